"""The two ops that look back in time: a step model updates them once, a sequence model by a Scan.

State is [re (N) | im (N)], so that one product applies B, one applies C, and each model takes
``state_i`` and returns ``state_i_out``.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ssmith.export.onnx_graph import Dims, Graph
from ssmith.ops import SSM, Float32, Pool, Tensors

# Up to this many modes one small dense product turns the state faster than four elementwise nodes;
# it stores 4 N² numbers. benchmarks/onnx_state_update.py, four layers, µs a step, dense against
# pairs: N = 12 9.2 / 14.9, N = 64 15.1 / 17.6, N = 80 19.2 / 18.7, N = 256 77.2 / 31.7.
DENSE_MODES = 72


def emit_ssm(graph: Graph, op: SSM, tensors: Tensors, v: str) -> str:
    """Append x ← λ x + B v and y = C x + D ∘ v; returns the name of y."""
    b = graph.weight(f"{op.name}/b", tensors[op.B].T)
    turn = _turn_weights(graph, op, tensors[op.lam])
    if graph.sequence:
        drive = graph.product(v, b, f"{op.name}/drive")
        body, before, frame = graph.frame(), f"/{op.name}/before", f"/{op.name}/frame"
        dims = ("batch", 2 * tensors[op.lam].shape[1])
        after = _turned(body, op, turn, before, frame)
        state = (op.state, before, after, dims)
        [x] = graph.scan(f"{op.name}/scan", body, [state], drive, (frame, dims))
    else:
        turned = _turned(graph, op, turn, op.state)
        x = graph.node("Gemm", [v, b, turned], f"{op.name}/x", output=f"{op.state}_out")
    through = ""
    if op.D is not None:
        d = graph.weight(f"{op.name}/d", tensors[op.D])
        through = graph.node("Mul", [v, d], f"{op.name}/through")
    c = graph.weight(f"{op.name}/c", tensors[op.C].T)
    return graph.product(x, c, f"{op.name}/y", through)


def _turn_weights(graph: Graph, op: SSM, lam: Float32) -> list[str]:
    """What ``_turned`` multiplies with: λ as one (2N, 2N) matrix, or as (2, 2, N) and shapes."""
    (re, im), n = lam, lam.shape[1]
    if n <= DENSE_MODES:
        a, b = np.diag(re), np.diag(im)
        return [graph.weight(f"{op.name}/turn", np.block([[a, b], [-b, a]]))]
    return [
        graph.weight(f"{op.name}/turn", np.stack([[re, -im], [im, re]])[None]),
        graph.weight(f"{op.name}/as_parts", [-1, 1, 2, n], np.int64),
        graph.weight(f"{op.name}/parts_axis", [2], np.int64),
        graph.weight(f"{op.name}/as_state", [-1, 2 * n], np.int64),
    ]


def _turned(graph: Graph, op: SSM, weights: Sequence[str], x: str, plus: str = "") -> str:
    """λ x (+ plus): [re|im] → [λre re - λim im | λim re + λre im], x and plus (batch, 2N)."""
    name = f"{op.name}/turned"
    if len(weights) == 1:
        return graph.node("Gemm", [x, weights[0], plus] if plus else [x, weights[0]], name)
    turn, as_parts, parts_axis, as_state = weights
    parts = graph.node("Reshape", [x, as_parts], f"{op.name}/parts")  # (batch, 1, 2, N)
    terms = graph.node("Mul", [parts, turn], f"{op.name}/terms")  # (batch, 2, 2, N)
    sums = graph.node("ReduceSum", [terms, parts_axis], f"{op.name}/sums", keepdims=0)
    if not plus:
        return graph.node("Reshape", [sums, as_state], name)
    return graph.node("Add", [graph.node("Reshape", [sums, as_state], f"{op.name}/turn_flat"), plus], name)


def emit_pool(graph: Graph, op: Pool, v: str) -> str:
    """Append s ← decay s + v, w ← decay w + 1 and y = s / w; returns the name of y."""
    if not graph.sequence:
        outputs = [f"{op.sum}_out", f"{op.count}_out"]
        return graph.node("Div", _pooled(graph, op, op.sum, op.count, v, outputs), f"{op.name}/y")
    body, frame = graph.frame(), f"/{op.name}/frame"
    before = [f"/{op.name}/sum_before", f"/{op.name}/count_before"]
    after = [f"/{op.name}/sum", f"/{op.name}/count"]
    _pooled(body, op, before[0], before[1], frame, after)
    wide: Dims = ("batch", "features")
    single: Dims = ("batch", 1)
    states = [(op.sum, before[0], after[0], wide), (op.count, before[1], after[1], single)]
    over_time = graph.scan(f"{op.name}/scan", body, states, v, (frame, wide))
    return graph.node("Div", over_time, f"{op.name}/y")


def _pooled(graph: Graph, op: Pool, total: str, count: str, v: str, outputs: Sequence[str]) -> list[str]:
    """Append the two updates; their results are called ``outputs``."""
    if op.decay != 1.0:
        decay = graph.weight(f"{op.name}/decay", op.decay)
        total = graph.node("Mul", [total, decay], f"{op.name}/sum_kept")
        count = graph.node("Mul", [count, decay], f"{op.name}/count_kept")
    one = graph.weight(f"{op.name}/one", 1.0)
    return [
        graph.node("Add", [total, v], f"{op.name}/sum", output=outputs[0]),
        graph.node("Add", [count, one], f"{op.name}/count", output=outputs[1]),
    ]
