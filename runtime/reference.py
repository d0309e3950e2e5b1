"""The NumPy oracle: runs a bundle's op list in float64, or in float32 bit for bit as the C engine.

Every matrix product is a sum over inputs in order, starting from the bias (or 0), each product and
each sum rounded on its own, or both at once in "float32-fma". The C kernels keep that order whatever
tile or vector width they use, so their float32 results equal these exactly, and a sequence fed in
pieces equals it fed whole.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ssmith.bundle import Bundle
from ssmith.ops import (
    SSM,
    Add,
    Affine,
    Embedding,
    Float32,
    Gate,
    LayerNorm,
    Linear,
    Op,
    Pool,
    Save,
    Tensors,
    state_shapes,
)
from ssmith.runtime.arithmetic import ARITHMETIC, Arithmetic, Real, flush64, row_sum

Precision = Literal["float64", "float32", "float32-fma"]
State = dict[str, Real]
CHUNK = 256  # frames at a time: temporaries stay in cache, results do not depend on it


def run(
    ops: Sequence[Op],
    tensors: Tensors,
    block: Real,
    state: Mapping[str, Real] | None = None,
    *,
    precision: Precision = "float64",
) -> tuple[Real, State]:
    """Feed a block of frames: (output, state after the last frame). Pure; inputs stay as they are.

    Args:
        ops: the network, checked by ``ssmith.ops.check_ops``.
        tensors: its weights.
        block: frames, shape (T, U); T = 0 is allowed.
        state: name → values as returned earlier; None is a fresh start (all zeros).
        precision: ``"float64"``; ``"float32"``, the C engine's arithmetic; or ``"float32-fma"``, that
            of an engine compiled with -DSSM_FMA.

    Returns:
        Output of shape (T, Y) and the states, both of the chosen precision.
    """
    arithmetic = ARITHMETIC[precision]
    block = np.asarray(block, arithmetic.dtype)
    after = initial_state(ops, tensors, block.shape[1], arithmetic.dtype)
    for name, value in (state or {}).items():
        after[name] = np.array(value, arithmetic.dtype)
    return _in_chunks(ops, tensors, block, after, arithmetic, CHUNK), after


def run_streams(
    ops: Sequence[Op], tensors: Tensors, streams: Real, *, precision: Precision = "float64"
) -> Real:
    """Several sequences of one length at once, each from a fresh start: the bits of ``run``, in less time.

    Args:
        ops: as of ``run``.
        tensors: its weights.
        streams: frames, shape (batch, T, U).
        precision: as of ``run``.

    Returns:
        Outputs, shape (batch, T, Y).
    """
    arithmetic = ARITHMETIC[precision]
    batch, frames, inputs = streams.shape
    fresh = initial_state(ops, tensors, inputs, arithmetic.dtype)
    states = {name: np.zeros((batch, *value.shape), value.dtype) for name, value in fresh.items()}
    rows = np.asarray(streams, arithmetic.dtype).transpose(1, 0, 2).reshape(frames * batch, inputs)
    chunk = max(CHUNK // batch, 1) * batch  # whole frames
    output = _in_chunks(ops, tensors, rows, states, arithmetic, chunk)
    return np.ascontiguousarray(output.reshape(frames, batch, -1).transpose(1, 0, 2))


def layer_states(
    ops: Sequence[Op], tensors: Tensors, layer: SSM, block: Real, state: Mapping[str, Real] | None = None
) -> tuple[Real, State]:
    """The states that one SSM layer runs through in float64, frame by frame.

    Args:
        ops: the network.
        tensors: its weights.
        layer: the op, one of ``ops``.
        block: frames, shape (T, U).
        state: as returned earlier; None is a fresh start.

    Returns:
        Planar states [Re x | Im x], shape (T, 2N), and where to go on: pass it with the next frames.
    """
    before = [*ops[: list(ops).index(layer)]]
    own = np.zeros(2 * tensors[layer.lam].shape[1])
    earlier = {name: value for name, value in (state or {}).items() if name != layer.state}
    inputs, after = run(before, tensors, block, earlier)
    after[layer.state] = (state or {}).get(layer.state, own)
    drive = inputs @ tensors[layer.B].astype(np.float64).T
    lam = tensors[layer.lam].astype(np.float64)
    return _scan(lam, drive, after, layer.state, ARITHMETIC["float64"]), after


def initial_state(ops: Sequence[Op], tensors: Tensors, inputs: int, dtype: type[np.floating]) -> State:
    """The states of a fresh start: zeros, in the order the ops own them."""
    shapes = state_shapes(ops, tensors, inputs)
    return {name: np.zeros(shape, dtype) for name, shape in shapes.items()}


def _in_chunks(
    ops: Sequence[Op], tensors: Tensors, rows: Real, state: State, arithmetic: Arithmetic, chunk: int
) -> Real:
    """``_run_chunk`` over all rows, so many at a time."""
    pieces = [rows[start : start + chunk] for start in range(0, max(len(rows), 1), chunk)]
    return np.concatenate([_run_chunk(ops, tensors, piece, state, arithmetic) for piece in pieces])


def _run_chunk(ops: Sequence[Op], tensors: Tensors, v: Real, state: State, arithmetic: Arithmetic) -> Real:
    """All ops over a few frames, (T, U) → (T, Y); ``state`` is advanced in place."""
    slots: dict[int, Real] = {}

    def weight(name: str) -> Real:
        return tensors[name].astype(arithmetic.dtype, copy=False)

    for op in ops:
        if isinstance(op, Linear):
            v = _linear(v, weight(op.weight), None if op.bias is None else weight(op.bias), arithmetic)
        elif isinstance(op, Embedding):
            table = weight(op.weight)
            v = table[np.clip(np.rint(v[:, 0]), 0, len(table) - 1).astype(np.int64)]
        elif isinstance(op, Affine):
            v = v * weight(op.scale) + weight(op.shift)
        elif isinstance(op, LayerNorm):
            v = _layernorm(v, weight(op.scale), weight(op.shift), op.eps, arithmetic)
        elif isinstance(op, SSM):
            drive = _linear(v, weight(op.B), None, arithmetic)
            y = _scan(weight(op.lam), drive, state, op.state, arithmetic)
            y = _linear(y, weight(op.C), None, arithmetic)
            v = y if op.D is None else y + weight(op.D) * v
        elif isinstance(op, Gate):
            half = v.shape[1] // 2
            v = v[:, :half] * arithmetic.sigmoid(np.ascontiguousarray(v[:, half:]))
        elif isinstance(op, Save):
            slots[op.slot] = v
        elif isinstance(op, Add):
            v = v + slots[op.slot]
        elif isinstance(op, Pool):
            v = _pool(v, op, state, arithmetic)
        else:
            v = arithmetic.gelu(v)
    return v


def _linear(v: Real, weight: Real, bias: Real | None, arithmetic: Arithmetic) -> Real:
    """y_o = (((b_o + w_o0 v_0) + w_o1 v_1) + …): (T, in), (out, in) → (T, out)."""
    y = np.zeros((len(v), len(weight)), v.dtype)
    if bias is not None:
        y += bias
    columns = np.ascontiguousarray(weight.T)
    for i, column in enumerate(columns):
        y = arithmetic.multiply_add(v[:, i : i + 1], column, y)
    return y


def _layernorm(v: Real, scale: Real, shift: Real, eps: float, arithmetic: Arithmetic) -> Real:
    """((v - mean) r) scale + shift with r = 1 / √(var + eps), per frame, biased variance."""
    width = arithmetic.dtype(v.shape[1])
    centred = v - row_sum(v) / width
    variance = row_sum(centred * centred) / width
    return centred * arithmetic.rsqrt(variance + arithmetic.dtype(eps)) * scale + shift


def _scan(lam: Real, drive: Real, state: State, name: str, arithmetic: Arithmetic) -> Real:
    """Recurrence x ← flush(λ x + drive) over time: (T, 2N) → all states (T, 2N); the last one is kept.

    A frame is two rows, x = [Re x; Im x], so that (Re λ ∘ x + [-Im λ; Im λ] ∘ [Im x; Re x]) + drive is four
    calls of NumPy. Of several streams drive is (T · batch, 2N), frame by frame, and the state (batch, 2N).
    """
    re, im = lam
    n, last = len(re), state[name]
    turn = np.stack([-im, im])
    drive = drive.reshape(-1, *last.shape[:-1], 2, n)
    states, product = np.empty_like(drive), np.empty(drive.shape[1:], drive.dtype)
    x = last.reshape(*last.shape[:-1], 2, n)
    exchanged = x[..., ::-1, :]
    for d, now, now_exchanged in zip(drive, states, states[..., ::-1, :], strict=True):
        np.multiply(re, x, now)
        np.multiply(turn, exchanged, product)
        np.add(now, product, now)
        np.add(now, d, now)
        if arithmetic.flush is not flush64:  # which would copy what it leaves alone
            now[...] = arithmetic.flush(now)
        x, exchanged = now, now_exchanged
    state[name] = x.reshape(last.shape).copy()
    return states.reshape(-1, 2 * n)


def _pool(v: Real, op: Pool, state: State, arithmetic: Arithmetic) -> Real:
    """Running average s ← flush(decay s + v), w ← decay w + 1, y = s / w, frame by frame.

    Of several streams v is (T · batch, H), as in ``_scan``.
    """
    decay, one = v.dtype.type(op.decay), v.dtype.type(1)
    total, count = state[op.sum], state[op.count]
    frames = v.reshape(-1, *total.shape)
    y = np.empty_like(frames)
    for t, frame in enumerate(frames):
        total = arithmetic.flush(decay * total + frame)
        count = decay * count + one
        np.divide(total, count, y[t])
    state[op.sum], state[op.count] = total, count
    return y.reshape(v.shape)


class ReferenceBackend:
    """A bundle behind ``Session``, computed by ``run``.

    ``state_get`` returns arrays of the backend's own precision, so that resuming is exact.
    """

    name = "reference"

    def __init__(self, bundle: Bundle, precision: Precision = "float64") -> None:
        self._ops = bundle.meta.ops
        dtype = ARITHMETIC[precision].dtype
        self._tensors: Mapping[str, Any] = {
            name: tensor.astype(dtype) for name, tensor in bundle.tensors.items()
        }
        self.precision = precision
        self.inputs = len(bundle.meta.inputs)
        self.outputs = len(bundle.meta.outputs)
        self.period_s = bundle.meta.period_s
        self.meta: dict[str, Any] = describe(bundle)
        self.reset()

    def reset(self) -> None:
        """Forget everything: all states zero."""
        self._state = initial_state(self._ops, self._tensors, self.inputs, ARITHMETIC[self.precision].dtype)

    def process(self, block: Float32) -> Float32:
        """Feed (T, U), get (T, Y)."""
        output, self._state = run(self._ops, self._tensors, block, self._state, precision=self.precision)
        return output.astype(np.float32)

    def step(self, u: Float32) -> Float32:
        """Feed one frame (U,), get (Y,)."""
        y: Float32 = self.process(u[None])[0]
        return y

    def state_get(self) -> dict[str, Real]:
        """A copy of every state."""
        return {name: value.copy() for name, value in self._state.items()}

    def state_set(self, saved: Mapping[str, Real]) -> None:
        """Continue from states that ``state_get`` returned."""
        for name, value in saved.items():
            self._state[name] = np.array(value, ARITHMETIC[self.precision].dtype)


def describe(bundle: Bundle) -> dict[str, Any]:
    """What an artifact says about its model, as plain JSON values; the same in every format.

    Keys: name, task, inputs and outputs (lists of {name, unit, minimum, maximum}), period_s, states
    (list of [name, length] in order) and bundle_sha256.
    """
    return {
        "name": bundle.name,
        "task": bundle.meta.task,
        "inputs": [signal.model_dump() for signal in bundle.meta.inputs],
        "outputs": [signal.model_dump() for signal in bundle.meta.outputs],
        "period_s": bundle.meta.period_s,
        "states": [[name, shape[0]] for name, shape in bundle.states.items()],
        "bundle_sha256": bundle.sha256,
    }


def open_backend(path: Path, precision: Precision = "float64", order: int | None = None) -> ReferenceBackend:
    """Open a bundle file ``NAME.ssm``; with an order, the model of that order in it."""
    bundle = Bundle.read(path)
    return ReferenceBackend(bundle if order is None else bundle.variant(order), precision)
