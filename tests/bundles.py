"""Random bundles for the tests of everything that reads an op list.

Weights are random but scaled so that signals stay near unit size; every kind of op can be asked
for. The golden vectors come from a plain float64 loop written here, independent of the runtime.
"""

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ssmith.bundle import Bundle, BundleMeta, GoldenMeta, Signal
from ssmith.ops import (
    SSM,
    Add,
    Affine,
    Embedding,
    Float32,
    Gate,
    Gelu,
    LayerNorm,
    Linear,
    Op,
    Pool,
    Save,
    Tensors,
)
from ssmith.system import channel_mask

Norm = Literal["layer", "affine", "none"]
Pooling = Literal["mean", "ema", "none"]


def random_bundle(
    rng: np.random.Generator,
    *,
    name: str = "net",
    inputs: int = 3,
    outputs: int = 2,
    width: int = 5,
    orders: Sequence[int] = (4, 3),
    channels: Sequence[Sequence[int]] | None = None,
    norm: Norm = "layer",
    pool: Pooling = "ema",
    decay: float = 0.9,
    vocabulary: int | None = None,
    feedthrough: bool = True,
    radius: tuple[float, float] = (0.8, 0.999),
    golden_frames: Sequence[int] = (40,),
    tolerance: float = 1e-4,
    period_s: float | None = 0.01,
) -> Bundle:
    """Encoder, one block an entry of ``orders``, pooling, head; golden cases included.

    Args:
        rng: the only source of randomness.
        name: the model's name.
        inputs: U; ignored (1) with a vocabulary.
        outputs: Y.
        width: H.
        orders: N of each block's SSM.
        channels: of each block: modes of each of the H channels, instead of ``orders``.
        norm: what opens each block.
        pool: what stands before the head.
        decay: of the ``ema``, rounded to float32 as in a frozen model.
        vocabulary: V: the encoder becomes an embedding of V rows.
        feedthrough: whether the SSMs have D.
        radius: |λ| is uniform in this range.
        golden_frames: T of each golden case; empty for none.
        tolerance: relative tolerance of the golden cases.
        period_s: seconds between frames.
    """
    tensors: dict[str, Float32] = {}
    ops: list[Op] = []

    def put(key: str, *shape: int, scale: float = 1.0, shift: float = 0.0) -> str:
        tensors[key] = (shift + scale * rng.standard_normal(shape)).astype(np.float32)
        return key

    def linear(stem: str, rows: int, columns: int) -> Linear:
        weight = put(f"{stem}.weight", rows, columns, scale=columns**-0.5)
        return Linear(name=stem, weight=weight, bias=put(f"{stem}.bias", rows, scale=0.1))

    if vocabulary is None:
        ops.append(linear("encoder", width, inputs))
    else:
        inputs = 1
        ops.append(Embedding(name="encoder", weight=put("encoder.weight", vocabulary, width)))
    for i, order in enumerate(orders if channels is None else map(sum, channels)):
        stem = f"block{i}"
        ops.append(Save(name=f"{stem}.save", slot=0))
        if norm != "none":
            scale = put(f"{stem}.norm.scale", width, scale=0.2, shift=1.0)
            shift = put(f"{stem}.norm.shift", width, scale=0.2)
            if norm == "layer":
                ops.append(LayerNorm(name=f"{stem}.norm", scale=scale, shift=shift, eps=1e-5))
            else:
                ops.append(Affine(name=f"{stem}.norm", scale=scale, shift=shift))
        magnitude, angle = rng.uniform(*radius, order), rng.uniform(0, math.pi, order)
        lam = magnitude * np.exp(1j * angle)
        tensors[f"{stem}.ssm.lam"] = np.stack([lam.real, lam.imag]).astype(np.float32)
        gain = np.tile(np.sqrt(1 - magnitude**2), 2)[:, None].astype(np.float32)
        put(f"{stem}.ssm.b", 2 * order, width, scale=(2 * width) ** -0.5)
        tensors[f"{stem}.ssm.b"] *= gain
        put(f"{stem}.ssm.c", width, 2 * order, scale=order**-0.5)
        own = None if channels is None else tuple(channels[i])
        if own is not None:
            inside = np.tile(channel_mask(own), (2, 1))
            tensors[f"{stem}.ssm.b"] *= inside * np.float32(width**0.5)
            tensors[f"{stem}.ssm.c"] *= inside.T * np.float32(width**0.5)
        ops += [
            SSM(
                name=f"{stem}.ssm",
                lam=f"{stem}.ssm.lam",
                B=f"{stem}.ssm.b",
                C=f"{stem}.ssm.c",
                D=put(f"{stem}.ssm.d", width) if feedthrough else None,
                state=f"state_{i}",
                channels=own,
            ),
            Gelu(name=f"{stem}.gelu"),
            linear(f"{stem}.glu", 2 * width, width),
            Gate(name=f"{stem}.gate"),
            Add(name=f"{stem}.add", slot=0),
        ]
    if pool != "none":
        kept = 1.0 if pool == "mean" else float(np.float32(decay))
        ops.append(Pool(name="pool", decay=kept, sum="pool_sum", count="pool_count"))
    ops.append(linear("head", outputs, width))

    cases = []
    for i, frames in enumerate(golden_frames):
        block = rng.standard_normal((frames, inputs)).astype(np.float32)
        if vocabulary is not None:
            block = rng.integers(0, vocabulary, (frames, 1)).astype(np.float32)
        result = plain_run(ops, tensors, block).astype(np.float32)
        cases.append(GoldenMeta(name=f"noise_{i}", relative_tolerance=tolerance))
        for part, value in (("input", block), ("output", result), ("streamed", result.copy())):
            tensors[f"golden.noise_{i}.{part}"] = value
    meta = BundleMeta(
        name=name,
        task="regression",
        inputs=tuple(Signal(name=f"in_{i}", unit="V") for i in range(inputs)),
        outputs=tuple(Signal(name=f"out_{i}", unit="m/s") for i in range(outputs)),
        period_s=period_s,
        ops=tuple(ops),
        golden=tuple(cases),
    )
    return Bundle(meta, tensors)


def kept_modes(bundle: Bundle, order: int) -> Bundle:
    """The same model with the first ``order`` modes of each SSM, its golden outputs made again."""
    tensors = dict(bundle.tensors)
    for op in bundle.meta.ops:
        if isinstance(op, SSM):
            kept = np.arange(tensors[op.lam].shape[1]) < order
            twice = np.tile(kept, 2)
            tensors[op.lam] = tensors[op.lam][:, kept]
            tensors[op.B], tensors[op.C] = tensors[op.B][twice], tensors[op.C][:, twice]
    for case in bundle.golden():
        result = plain_run(bundle.meta.ops, tensors, case.input).astype(np.float32)
        tensors |= {f"golden.{case.name}.{part}": result for part in ("output", "streamed")}
    return Bundle(bundle.meta, tensors)


def plain_run(ops: Sequence[Op], tensors: Tensors, block: Float32) -> NDArray[np.float64]:
    """What the op list says, frame by frame in float64 from zero states; block (T, U) → (T, Y)."""
    state: dict[str, NDArray[np.complex128]] = {}
    rows = []
    for frame in block:
        v = frame.astype(np.float64)
        slots: dict[int, NDArray[np.float64]] = {}
        for op in ops:
            v = _plain_op(op, tensors, v, slots, state)
        rows.append(v)
    return np.array(rows)


def _plain_op(op, tensors, v, slots, state):
    def read(name):
        return tensors[name].astype(np.float64)

    if isinstance(op, Linear):
        return read(op.weight) @ v + (read(op.bias) if op.bias else 0.0)
    if isinstance(op, Embedding):
        table = read(op.weight)
        return table[int(np.clip(np.rint(v[0]), 0, len(table) - 1))]
    if isinstance(op, Affine):
        return read(op.scale) * v + read(op.shift)
    if isinstance(op, LayerNorm):
        centred = v - v.mean()
        normed = centred / np.sqrt((centred**2).mean() + op.eps)
        return read(op.scale) * normed + read(op.shift)
    if isinstance(op, SSM):
        lam, b, c = read(op.lam), read(op.B), read(op.C)
        n = lam.shape[1]
        poles = lam[0] + 1j * lam[1]
        x = poles * state.get(op.state, np.zeros(n)) + (b[:n] + 1j * b[n:]) @ v
        state[op.state] = x
        y = ((c[:, :n] - 1j * c[:, n:]) @ x).real
        return y if op.D is None else y + read(op.D) * v
    if isinstance(op, Gelu):
        return np.array([0.5 * a * (1 + math.erf(a / math.sqrt(2))) for a in v])
    if isinstance(op, Gate):
        half = len(v) // 2
        return v[:half] / (1 + np.exp(-v[half:]))
    if isinstance(op, Save):
        slots[op.slot] = v
        return v
    if isinstance(op, Add):
        return v + slots[op.slot]
    assert isinstance(op, Pool)
    state[op.sum] = op.decay * state.get(op.sum, np.zeros(len(v))) + v
    state[op.count] = op.decay * state.get(op.count, np.zeros(1)) + 1.0
    return state[op.sum] / state[op.count]
