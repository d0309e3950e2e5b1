"""A recurrence over all frames of a block, CHUNK frames at a time.

Inside a chunk x_j = Σ_{i ≤ j} λ^(j-i) d_i + λ^(j+1) x_before is one product a mode with a matrix of powers,
for all chunks at once. What passes from chunk to chunk, x_after = λ^CHUNK x_before + end, runs in a Scan that
is CHUNK times shorter than the block. Frames are padded to whole chunks, see ``Graph.pad``.

λ^CHUNK is kept as a sum of two float32, so that a pole near one keeps its radius: over a memory of 10⁵ frames
a relative error of 6e-8 a chunk would add up to 4e-4.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from ssmith.export.onnx_graph import CHUNK, Graph
from ssmith.export.onnx_powers import Powers
from ssmith.export.onnx_turn import Poles


def emit_chunked_states(graph: Graph, layer: Poles, powers: Powers, drive: str) -> str:
    """Append x ← λ x + drive over (batch, T, 2N); returns the name of all x, sets the state's ``_out``."""
    op, n, name = layer.op, layer.order, layer.op.name

    # Frames to the end, re and im of a frame side by side: one axis moves, which is quick.
    rows = graph.shared(f"_modes{n}/rows", [0, -1, n], np.int64)
    chunks = graph.shared(f"_modes{n}/chunks", [0, n, -1, 2 * CHUNK], np.int64)
    d = graph.node("Reshape", [drive, rows], f"{name}/turn_rows")
    d = graph.node("Transpose", [d], f"{name}/turn_moved", perm=[0, 2, 1])
    d = graph.node("Reshape", [d, chunks], f"{name}/turn_chunks")  # (batch, N, chunks, 2 CHUNK)

    end = graph.node("MatMul", [d, powers.last], f"{name}/turn_ends")  # (batch, N, chunks, 2)
    end = graph.node("Transpose", [end], f"{name}/turn_planar", perm=[0, 2, 3, 1])
    end = graph.node(
        "Reshape", [end, graph.shared(f"_modes{n}/flat", [0, 0, 2 * n], np.int64)], f"{name}/turn_end"
    )
    before = emit_carried(
        graph, f"{name}/turn", op.state, end, 2 * n, _turning(name, graph, layer.complex**CHUNK)
    )
    pairs = graph.shared(f"_modes{n}/pairs", [0, 0, 2, n], np.int64)
    carried = graph.node("Reshape", [before, pairs], f"{name}/turn_pairs")
    carried = graph.node("Transpose", [carried], f"{name}/turn_carried", perm=[0, 3, 1, 2])

    all_in = graph.node("Concat", [d, carried], f"{name}/turn_in", axis=-1)
    x = graph.node("MatMul", [all_in, powers.all], f"{name}/turn_states")
    long = graph.shared(f"_modes{n}/long", [0, n, -1], np.int64)
    x = graph.node("Reshape", [x, long], f"{name}/turn_long")
    x = graph.node("Transpose", [x], f"{name}/turn_back", perm=[0, 2, 1])
    x = graph.node(
        "Reshape", [x, graph.shared(f"_modes{n}/whole", [0, -1, 2 * n], np.int64)], f"{name}/turned"
    )
    graph.node("Gather", [x, graph.last], f"{name}/turn_after", output=f"{op.state}_out", axis=1)
    return x


def emit_carried(
    graph: Graph, name: str, start: str, end: str, width: int, fade: Callable[[Graph, str], str]
) -> str:
    """Append x ← fade(x) + end over the chunks, from ``start``; returns the name of x before each chunk.

    Args:
        graph: what to append to.
        name: stem of the nodes' names.
        start: x before the first chunk, (batch, ``width``).
        end: what each chunk adds, (batch, chunks, ``width``).
        width: of x.
        fade: appends the nodes of fade(x) to the graph it is given.
    """
    body, before, now = graph.inside(), f"/{name}_before", f"/{name}_now"
    after = body.node("Add", [fade(body, before), now], f"{name}_next")
    return graph.scan(f"{name}_scan", body, start, (before, after), end, now, ("batch", width))


def _turning(name: str, graph: Graph, factor: NDArray[np.complex128]) -> Callable[[Graph, str], str]:
    """Appends factor x for planar x (batch, 2N)."""
    own = twice(graph, f"{name}/turn_own", np.tile(factor.real, 2))
    cross = twice(graph, f"{name}/turn_cross", np.concatenate([-factor.imag, factor.imag]))

    def turn(body: Graph, x: str) -> str:
        re, im = f"/{name}/turn_re", f"/{name}/turn_im"
        body.nodes_out("Split", [x], f"{name}/turn_halves", [re, im], axis=-1, num_outputs=2)
        swapped = body.node("Concat", [im, re], f"{name}/turn_swapped", axis=-1)
        sums = []
        for i, (a, b) in enumerate(zip(own, cross, strict=True)):
            same = body.node("Mul", [x, a], f"{name}/turn_same{i}")
            other = body.node("Mul", [swapped, b], f"{name}/turn_other{i}")
            sums.append(body.node("Add", [same, other], f"{name}/turn_sum{i}"))
        return body.node("Add", sums, f"{name}/turn_product")

    return turn


def twice(graph: Graph, name: str, values: NDArray[np.float64]) -> tuple[str, str]:
    """Two constants in float32 whose sum is ``values``."""
    high = values.astype(np.float32)
    return graph.weight(f"{name}_high", high), graph.weight(f"{name}_low", values - high)
