"""λ x + drive without the file holding a (2N, 2N) matrix: it is made of 4 N numbers when a file is opened.

A runtime that folds constants then multiplies with a dense matrix, as the float32 form does; one that
does not computes the same.
"""

from __future__ import annotations

import numpy as np

from ssmith.export.onnx_graph import Graph
from ssmith.export.onnx_states import DENSE_MODES
from ssmith.ops import SSM, Float32

Turn = tuple[str, ...]


def emit_states(graph: Graph, op: SSM, lam: Float32, drive: str) -> str:
    """Append x ← λ x + drive for the planar state of ``op``; returns the name of all its x."""
    turn, width = _turn(graph, op, lam), 2 * lam.shape[1]
    if not graph.sequence:
        return _turned(graph, op, turn, op.state, drive, f"{op.state}_out")
    body, before, frame = graph.frame(), f"/{op.name}/before", f"/{op.name}/frame"
    dims = ("batch", width)
    after = _turned(body, op, turn, before, frame, f"/{op.name}/turned")
    [x] = graph.scan(f"{op.name}/scan", body, [(op.state, before, after, dims)], drive, (frame, dims))
    return x


def _turn(graph: Graph, op: SSM, lam: Float32) -> Turn:
    """What ``_turned`` multiplies with: one (2N, 2N) matrix, or its two diagonals of many modes."""
    (re, im), n = lam, lam.shape[1]
    if n > DENSE_MODES:
        return (
            graph.weight(f"{op.name}/same", np.tile(re, 2)),
            graph.weight(f"{op.name}/other", np.concatenate([-im, im])),
        )
    same = graph.weight(f"{op.name}/same", np.tile(re, 2))
    other = graph.weight(f"{op.name}/other", np.tile(im, 2))
    diagonal, crossed = _patterns(graph, n)
    terms = [
        graph.node("Mul", [diagonal, same], f"{op.name}/turn_same"),
        graph.node("Mul", [crossed, other], f"{op.name}/turn_other"),
    ]
    return (graph.node("Add", terms, f"{op.name}/turn"),)


def _patterns(graph: Graph, n: int) -> tuple[str, str]:
    """The matrices [[1, 0], [0, 1]] and [[0, 1], [-1, 0]] of n x n blocks, once for all layers of n modes."""
    diagonal, crossed = f"/modes{n}/diagonal", f"/modes{n}/crossed"
    if not graph.has(crossed):
        size = graph.shared(f"modes{n}/size", [2 * n, 2 * n], np.int64)
        empty = graph.node("ConstantOfShape", [size], f"modes{n}/empty")
        graph.node("EyeLike", [empty], f"modes{n}/diagonal")
        above = graph.node("EyeLike", [empty], f"modes{n}/above", k=n)
        below = graph.node("EyeLike", [empty], f"modes{n}/below", k=-n)
        graph.node("Sub", [above, below], f"modes{n}/crossed")
    return diagonal, crossed


def _turned(graph: Graph, op: SSM, turn: Turn, x: str, plus: str, output: str) -> str:
    """λ x + plus: [re|im] → [λre re - λim im | λre im + λim re]; x and plus (batch, 2N)."""
    name = f"{op.name}/turned"
    if len(turn) == 1:
        return graph.node("Gemm", [x, turn[0], plus], name, output=output)
    re, im = f"/{op.name}/re", f"/{op.name}/im"
    graph.nodes_out("Split", [x], f"{op.name}/turn_parts", [re, im], axis=-1, num_outputs=2)
    swapped = graph.node("Concat", [im, re], f"{op.name}/turn_swapped", axis=-1)
    own = graph.node("Mul", [x, turn[0]], f"{op.name}/turn_own")
    cross = graph.node("Mul", [swapped, turn[1]], f"{op.name}/turn_cross")
    turned = graph.node("Add", [own, cross], f"{op.name}/turn_free")
    return graph.node("Add", [turned, plus], name, output=output)
