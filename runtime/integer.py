"""The integer reference: runs an ``IntegerModel`` in NumPy, bit for bit what the C engine computes.

Products of codes and weights are exact (float64 holds every sum below 2^53); all else is int64 with
the shifts and roundings of ``ssmith.runtime.integer_functions``. A sequence fed in pieces equals it
fed whole, because every frame depends on the state before it and nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssmith.ops import Float32
from ssmith.runtime.integer_functions import (
    Int64,
    ema_pool_step,
    gate,
    gelu,
    layernorm,
    mean_pool_step,
    requantize,
    rotate,
)
from ssmith.runtime.integer_model import (
    CODE_LIMIT,
    AddOp,
    AffineOp,
    EmaPoolOp,
    EmbeddingOp,
    GateOp,
    GeluOp,
    Int8,
    Int16,
    Int32,
    IntegerModel,
    IntegerOp,
    LayerNormOp,
    LinearOp,
    MeanPoolOp,
    Quantize,
    Requant,
    SaveOp,
    SsmOp,
)

IntegerValues = dict[str, NDArray[Any]]  # state name → int32 or int64 array


def initial_state(model: IntegerModel) -> IntegerValues:
    """The states of a fresh start: zeros of their own type, in order."""
    return {s.name: np.zeros(s.length, np.int64 if s.bits == 64 else np.int32) for s in model.states}


def run_integer(
    model: IntegerModel,
    codes: Int16,
    state: Mapping[str, NDArray[Any]] | None = None,
    *,
    peaks: dict[str, int] | None = None,
    saturated: dict[str, int] | None = None,
) -> tuple[Int32, IntegerValues]:
    """Feed a block of frames: (output, state after the last frame). Pure; inputs stay as they are.

    Args:
        model: the network.
        codes: input codes, shape (T, U); T = 0 is allowed.
        state: as returned earlier; None is a fresh start.
        peaks: if given, the largest magnitudes met are entered under the keys of ``model.proofs``.
        saturated: if given, how many codes the limit cut off is added up: by ``OP`` those of its input,
            by ``OP.state`` those of its states.

    Returns:
        int32 outputs (T, Y), real value = output · ``model.output_scale``, and the states.
    """
    after = initial_state(model) | {name: value.copy() for name, value in (state or {}).items()}
    v = np.asarray(codes, np.int64)
    if not isinstance(model.ops[0], EmbeddingOp):
        v = v << model.input_shift
    slots: dict[int, Int64] = {}
    watch = _Watch(peaks, saturated)
    for op in model.ops:
        v = _apply(op, v, slots, after, watch)
        watch(f"{op.name}.output", v)
    return v.astype(np.int32), after


def beyond_codes(model: IntegerModel, x: Float32) -> int:
    """How many real inputs (T, U) are so large that ``model.encode`` cuts them off."""
    return int((np.abs(x * model.input_factor) > CODE_LIMIT + 0.5).sum())


class _Watch:
    """Notes the largest magnitude seen under each key, and saturated codes, if anybody wants to know."""

    def __init__(self, peaks: dict[str, int] | None, saturated: dict[str, int] | None) -> None:
        self._peaks, self._saturated = peaks, saturated

    def __call__(self, key: str, values: Int64) -> None:
        if self._peaks is not None and values.size:
            self._peaks[key] = max(self._peaks.get(key, 0), int(np.abs(values).max()))

    def codes(self, key: str, v: Int64, rule: Quantize) -> Int64:
        """quantize(v, rule), with the codes counted that were beyond the limit."""
        if self._saturated is not None:
            free = _biased(_requant(v, rule.requant), rule.bias)
            self._saturated[key] = self._saturated.get(key, 0) + int((np.abs(free) > rule.limit).sum())
        return quantize(v, rule)


def _apply(op: IntegerOp, v: Int64, slots: dict[int, Int64], state: IntegerValues, watch: _Watch) -> Int64:
    """One op over all frames: (T, K) → (T, M); ``state`` is advanced in place."""
    if isinstance(op, LinearOp):
        q = watch.codes(op.name, v, op.quantize)
        accumulator = _dot(q, op.weight)
        watch(f"{op.name}.accumulator", accumulator)
        return _biased(_requant(accumulator, op.requant), op.bias)
    if isinstance(op, EmbeddingOp):
        row = op.table[np.clip(v[:, 0], 0, len(op.table) - 1)]
        return _requant(row.astype(np.int64), op.requant)
    if isinstance(op, SsmOp):
        return _ssm(op, v, state, watch)
    if isinstance(op, GeluOp):
        return gelu(v, op.p)
    if isinstance(op, GateOp):
        return gate(v, op.p)
    if isinstance(op, AffineOp):
        return _biased(_requant(v, op.requant), op.bias)
    if isinstance(op, LayerNormOp):
        rows = [layernorm(frame, op.mean_shift, op.mean_factor, op.eps) for frame in v]
        return _biased(_requant(np.array(rows, np.int64).reshape(v.shape), op.requant), op.bias)
    if isinstance(op, SaveOp):
        slots[op.slot] = v
        return v
    if isinstance(op, AddOp):
        return v + slots[op.slot]
    return _pool(op, v, state, watch)


def quantize(v: Int64, rule: Quantize) -> Int64:
    """Codes of a vector: clamp(requantize(v) + bias, -limit, limit); (T, K) → (T, K)."""
    return np.clip(_biased(_requant(v, rule.requant), rule.bias), -rule.limit, rule.limit)


def _requant(a: Int64, rule: Requant) -> Int64:
    return requantize(a, rule.multiplier.astype(np.int64), rule.shift)


def _biased(v: Int64, bias: Int32 | None) -> Int64:
    return v if bias is None else v + bias


def _dot(q: Int64, weight: Int8) -> Int64:
    """Σ_i W_oi q_i, exactly: (T, K), (M, K) → (T, M). Sums stay below 2^31, so float64 is exact."""
    return (q.astype(np.float64) @ weight.T.astype(np.float64)).astype(np.int64)


def _ssm(op: SsmOp, v: Int64, state: IntegerValues, watch: _Watch) -> Int64:
    q = watch.codes(op.name, v, op.quantize)
    accumulator = _dot(q, op.B)
    drive = _biased(_requant(accumulator, op.drive), op.drive_bias)
    states = scan(op.lam.astype(np.int64), drive, state[op.state].astype(np.int64))
    if len(states):
        state[op.state] = states[-1].astype(np.int32)
    z = watch.codes(f"{op.name}.state", states, op.state_quantize)
    read = _dot(z, op.C)
    y = _biased(_requant(read, op.requant), op.bias)
    for key, values in (("drive", accumulator), ("state", states), ("accumulator", read)):
        watch(f"{op.name}.{key}", values)
    return y if op.feedthrough is None else y + _requant(q, op.feedthrough)


def scan(lam: Int64, drive: Int64, x: Int64) -> Int64:
    """All states of x ← λ x + d over time, planar: λ (2, N), d (T, 2N), x (2N) → (T, 2N)."""
    n = lam.shape[1]
    real, imaginary = lam
    states = np.empty_like(drive)
    for t, d in enumerate(drive):
        re, im = x[:n], x[n:]
        x = states[t]
        x[:n] = rotate(re, real) - rotate(im, imaginary) + d[:n]
        x[n:] = rotate(re, imaginary) + rotate(im, real) + d[n:]
    return states


def _pool(op: MeanPoolOp | EmaPoolOp, v: Int64, state: IntegerValues, watch: _Watch) -> Int64:
    total, count = state[op.sum].astype(np.int64), int(state[op.count][0])
    y = np.empty_like(v)
    for t, frame in enumerate(v):
        if isinstance(op, MeanPoolOp):
            total, count, y[t] = mean_pool_step(total, count, frame)
        else:
            total, count, y[t] = ema_pool_step(total, count, frame, op.gain)
        watch(f"{op.name}.sum", total)
    state[op.sum] = total.astype(state[op.sum].dtype)
    state[op.count] = np.array([count], state[op.count].dtype)
    return y
