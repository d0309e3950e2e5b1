"""Matrices of powers of the poles, for all layers: made of few powers when a file is opened.

A runtime that folds constants makes them once; one that does not computes the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ssmith.export.onnx_graph import CHUNK, Graph
from ssmith.export.onnx_turn import Poles

FINE = 4
TABLE = CHUNK + FINE  # powers in the table: 0 … CHUNK, and a few that nothing reads


class Powers(NamedTuple):
    """Names of what an SSM's chunks are multiplied with, a matrix a mode.

    ``all``, (N, 2 CHUNK + 2, 2 CHUNK): frames and what is carried → every state; ``last``, (N, 2 CHUNK, 2):
    frames → what they leave at the chunk's end.
    """

    all: str
    last: str


def emit_powers(graph: Graph, layers: Sequence[Poles]) -> dict[str, Powers]:
    """Append the matrices of all SSMs, made of few powers when a file is opened; by the SSM's name."""
    if not layers:
        return {}
    factors = _factors(graph, np.concatenate([layer.complex for layer in layers]))
    names = {layer.op.name: Powers(f"/{layer.op.name}/all", f"/{layer.op.name}/last") for layer in layers}
    sizes = graph.weight("_chunks/orders", [layer.order for layer in layers], np.int64)
    for part, where in zip(Powers._fields, _toeplitz(), strict=True):
        indices = graph.weight(f"_chunks/{part}_where", where, np.int32)
        matrices = graph.node("Gather", [factors, indices], f"_chunks/{part}", axis=1)
        outputs = [getattr(powers, part) for powers in names.values()]
        graph.nodes_out("Split", [matrices, sizes], f"_chunks/{part}_split", outputs, axis=0)
    return names


def _factors(graph: Graph, poles: NDArray[np.complex128]) -> str:
    """Append [Re λ^k | Im λ^k | -Im λ^k], k = 0 … TABLE - 1, a row a mode; returns its name.

    λ^(a + FINE b) = λ^a λ^(FINE b): few powers are stored.
    """
    fine = poles[:, None, None] ** np.arange(FINE)
    coarse = poles[:, None, None] ** np.arange(0, TABLE, FINE)[:, None]
    parts = {"fine_re": fine.real, "fine_im": fine.imag, "coarse_re": coarse.real, "coarse_im": coarse.imag}
    stored = {name: graph.weight(f"_chunks/{name}", values) for name, values in parts.items()}

    def times(a: str, b: str) -> str:
        return graph.node("Mul", [stored[f"coarse_{a}"], stored[f"fine_{b}"]], f"_chunks/{a}_{b}")

    re = graph.node("Sub", [times("re", "re"), times("im", "im")], "_chunks/re")
    im = graph.node("Add", [times("re", "im"), times("im", "re")], "_chunks/im")
    minus = graph.node("Neg", [im], "_chunks/minus_im")
    both = graph.node("Concat", [re, im, minus], "_chunks/parts", axis=1)
    shape = graph.weight("_chunks/flat", [len(poles), 3 * TABLE], np.int64)
    return graph.node("Reshape", [both, shape], "_chunks/table")


def _toeplitz() -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Where ``_factors`` has ``Powers.all`` and ``Powers.last`` of a mode.

    Rows are re and im of each frame in turn, then of what is carried; columns re and im of each state.
    """
    re, im, minus = (k * TABLE for k in range(3))
    zero = im  # Im λ⁰
    i, j = np.arange(CHUNK)[:, None], np.arange(CHUNK)
    lag = np.concatenate([j - i, j[None] + 1])  # of frames, and of what is carried
    real, imag, minus_imag = (np.where(lag >= 0, start + lag, zero) for start in (re, im, minus))
    from_re, from_im = np.hstack([real, imag]), np.hstack([minus_imag, real])
    both = np.stack([from_re, from_im], 1).reshape(2 * CHUNK + 2, 2, CHUNK)
    matrix = both.swapaxes(1, 2).reshape(2 * CHUNK + 2, 2 * CHUNK)
    return matrix, matrix[: 2 * CHUNK, -2:]
