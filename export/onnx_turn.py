"""λ x for the states of a step model: a dense product a layer, or all layers at once, element by element.

A product with a (2N, 2N) matrix is one node and reads 4 N² numbers, a rotation by elements reads few and is
eight nodes, however many layers there are. The file holds 2 N numbers a layer either way: a matrix is made of
them when the file is opened, where a runtime folds constants; one that does not computes the same.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ssmith.export.onnx_graph import Graph
from ssmith.ops import SSM, Float32
from ssmith.runtime.integer_model import Float64

# The matrices of all layers together hold at most so many numbers, or none is made.
# benchmarks/onnx_state_update.py, µs a step, dense against elements: one layer of N = 64 5.9 / 7.5, of 128
# 9.0 / 8.3; four of 32 10.6 / 12.5, of 48 12.5 / 13.5, of 64 15.5 / 14.5, of 128 31.8 / 18.8.
DENSE_NUMBERS = 45_000


@dataclass(frozen=True, eq=False)
class Poles:
    """The poles of one SSM, λ as (2, N), and what is added to λ x each step, (2N) or None."""

    op: SSM
    lam: Float32
    constant: Float64 | None = None

    @property
    def order(self) -> int:
        """N."""
        return int(self.lam.shape[1])

    @property
    def complex(self) -> NDArray[np.complex128]:
        """λ, (N)."""
        poles: NDArray[np.complex128] = self.lam[0] + 1j * self.lam[1].astype(np.float64)
        return poles


def is_dense(layers: Sequence[Poles]) -> bool:
    """Whether matrices are faster."""
    return sum((2 * layer.order) ** 2 for layer in layers) <= DENSE_NUMBERS


def emit_matrix(graph: Graph, layer: Poles) -> str:
    """Append the (2N, 2N) matrix that turns a row [re | im] to [λre re - λim im | λim re + λre im]."""
    name, n = layer.op.name, layer.order
    re, im = layer.lam
    diagonal, crossed = _patterns(graph, n)
    terms = [
        graph.node("Mul", [diagonal, graph.weight(f"{name}/same", np.tile(re, 2))], f"{name}/turn_same"),
        graph.node("Mul", [crossed, graph.weight(f"{name}/other", np.tile(im, 2))], f"{name}/turn_other"),
    ]
    return graph.node("Add", terms, f"{name}/turn")


def emit_turned(graph: Graph, layers: Sequence[Poles]) -> dict[str, str]:
    """Append λ x + constant of all layers together; returns the name of each, by the SSM's name."""
    width = 2 * sum(layer.order for layer in layers)
    block = math.gcd(*(layer.order for layer in layers))
    rows = width // block
    states = [layer.op.state for layer in layers]
    joined = graph.node("Concat", states, "_turns/states", axis=-1)
    shape = graph.weight("_turns/as_blocks", [-1, rows, block], np.int64)
    x = graph.node("Reshape", [joined, shape], "_turns/blocks")

    # [re | im] of each layer → [im | re], as an order of blocks: they are copied faster than single numbers.
    starts = np.cumsum([layer.order // block for layer in layers for _ in "ri"])[:-1]
    halves = np.split(np.arange(rows), starts)
    swapped = [part for re, im in zip(halves[::2], halves[1::2], strict=True) for part in (im, re)]
    order = graph.weight("_turns/order", np.concatenate(swapped), np.int64)
    other = graph.node("Gather", [x, order], "_turns/swapped", axis=1)

    own = np.concatenate([np.tile(layer.lam[0], 2) for layer in layers])
    cross = np.concatenate([np.concatenate([-layer.lam[1], layer.lam[1]]) for layer in layers])
    constants = [np.zeros(2 * layer.order) if layer.constant is None else layer.constant for layer in layers]
    terms = [
        graph.node("Mul", [x, graph.weight("_turns/own", own.reshape(rows, block))], "_turns/same"),
        graph.node("Mul", [other, graph.weight("_turns/cross", cross.reshape(rows, block))], "_turns/other"),
    ]
    turned = graph.node("Add", terms, "_turns/turned")
    if any(layer.constant is not None for layer in layers):
        constant = graph.weight("_turns/constant", np.concatenate(constants).reshape(rows, block))
        turned = graph.node("Add", [turned, constant], "_turns/shifted")
    flat = graph.node(
        "Reshape", [turned, graph.weight("_turns/as_states", [-1, width], np.int64)], "_turns/flat"
    )
    names = {layer.op.name: f"/{layer.op.name}/turned" for layer in layers}
    sizes = graph.weight("_turns/sizes", [2 * layer.order for layer in layers], np.int64)
    graph.nodes_out("Split", [flat, sizes], "_turns/split", list(names.values()), axis=-1)
    return names


def _patterns(graph: Graph, n: int) -> tuple[str, str]:
    """The matrices [[1, 0], [0, 1]] and [[0, 1], [-1, 0]] of n x n blocks, once for all layers of n modes."""
    diagonal, crossed = f"/_modes{n}/diagonal", f"/_modes{n}/crossed"
    if not graph.has(crossed):
        size = graph.shared(f"_modes{n}/size", [2 * n, 2 * n], np.int64)
        empty = graph.node("ConstantOfShape", [size], f"_modes{n}/empty")
        graph.node("EyeLike", [empty], f"_modes{n}/diagonal")
        above = graph.node("EyeLike", [empty], f"_modes{n}/above", k=n)
        below = graph.node("EyeLike", [empty], f"_modes{n}/below", k=-n)
        graph.node("Sub", [above, below], f"_modes{n}/crossed")
    return diagonal, crossed
