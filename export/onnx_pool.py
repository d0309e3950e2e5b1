"""The running mean over frames: of one frame, and of all frames of a block, see ``onnx_chunks``."""

from __future__ import annotations

import numpy as np

from ssmith.export.onnx_chunks import emit_carried, twice
from ssmith.export.onnx_graph import CHUNK, Graph
from ssmith.ops import Pool


def emit_pool(graph: Graph, op: Pool, v: str) -> str:
    """Append s ← decay s + v, w ← decay w + 1 and y = s / w on one frame; returns the name of y."""
    total, count = op.sum, op.count
    if op.decay != 1.0:
        decay = graph.weight(f"{op.name}/decay", op.decay)
        total = graph.node("Mul", [total, decay], f"{op.name}/sum_kept")
        count = graph.node("Mul", [count, decay], f"{op.name}/count_kept")
    one = graph.shared("one", 1.0)
    updated = [
        graph.node("Add", [total, v], f"{op.name}/sum", output=f"{op.sum}_out"),
        graph.node("Add", [count, one], f"{op.name}/count", output=f"{op.count}_out"),
    ]
    return graph.node("Div", updated, f"{op.name}/y")


def emit_chunked_pool(graph: Graph, op: Pool, v: str, width: int) -> str:
    """Append s ← decay s + v, w ← decay w + 1, y = s / w over (batch, T, H); returns the name of y.

    s and w are one vector, for which a one stands beside every frame.
    """
    name = op.name
    powers = np.float64(op.decay) ** np.arange(CHUNK + 1)
    one = graph.shared("one", 1.0)
    side, axis = graph.shared("_chunks/side", [0, 1], np.int64), graph.shared("_chunks/axis2", [2], np.int64)
    beside = graph.node("Pad", [v, side, one, axis], f"{name}/beside")
    split = graph.weight(f"{name}/split", [0, -1, CHUNK, width + 1], np.int64)
    chunks = graph.node("Reshape", [beside, split], f"{name}/chunks")  # (batch, chunks, CHUNK, H + 1)
    fading = graph.weight(f"{name}/fading", powers[CHUNK - 1 :: -1][None])
    end = graph.node("MatMul", [fading, chunks], f"{name}/ends")
    end = graph.node("Squeeze", [end, axis], f"{name}/end")

    start, after = f"/{name}/start", f"/{name}/after"
    graph.node("Concat", [op.sum, op.count], f"{name}/start", axis=-1)
    decay = twice(graph, f"{name}/decay", powers[CHUNK : CHUNK + 1])

    def fade(body: Graph, x: str) -> str:
        kept = [body.node("Mul", [x, part], f"{name}/kept{i}") for i, part in enumerate(decay)]
        return body.node("Add", kept, f"{name}/kept")

    before = emit_carried(graph, name, start, end, width + 1, fade)
    carried = graph.node("Unsqueeze", [before, axis], f"{name}/carried")
    all_in = graph.node("Concat", [carried, chunks], f"{name}/in", axis=2)
    i, j = np.arange(CHUNK + 1), np.arange(CHUNK)[:, None]  # the carried value is one frame earlier
    matrix = graph.weight(f"{name}/powers", np.where(i <= j + 1, powers[np.clip(j + 1 - i, 0, None)], 0.0))
    sums = graph.node("MatMul", [matrix, all_in], f"{name}/sums")
    whole = graph.weight(f"{name}/whole", [0, -1, width + 1], np.int64)
    sums = graph.node("Reshape", [sums, whole], f"{name}/over_time")
    sizes = graph.weight(f"{name}/sizes", [width, 1], np.int64)
    total, count = f"/{name}/sum", f"/{name}/count"
    graph.nodes_out("Split", [sums, sizes], f"{name}/split_time", [total, count], axis=-1)
    graph.node("Gather", [sums, graph.last], f"{name}/after", axis=1)
    graph.nodes_out(
        "Split", [after, sizes], f"{name}/split_after", [f"{op.sum}_out", f"{op.count}_out"], axis=-1
    )
    return graph.node("Div", [total, count], f"{name}/y")
