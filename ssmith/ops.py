"""The op list of a bundle: one current vector per frame runs through it, top to bottom.

Every stage after freezing (reference, ONNX, C) reads this list and nothing else. All weights are
float32 and real; complex states are planar, ``[re (N) | im (N)]``, and so are B and C.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, field_validator

from ssmith.errors import InputError
from ssmith.system import System, channel_mask

Float32 = NDArray[np.float32]
Tensors = Mapping[str, Float32]
MOST_WITH_ZEROS = 1 << 25  # modes times channels: a small file may not make us allocate more


class _Op(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)
    name: str = Field(pattern=r"^[a-z][a-z0-9_.]*$", max_length=64)  # also a C and ONNX name stem


class Linear(_Op):
    """y = W v + b, W (out, in), b (out) or None."""

    op: Literal["linear"] = "linear"
    weight: str
    bias: str | None = None


class Embedding(_Op):
    """y = W[i], i the only input, rounded to nearest even and clamped to [0, V-1]; W (V, H)."""

    op: Literal["embedding"] = "embedding"
    weight: str


class Affine(_Op):
    """y = scale ∘ v + shift, both (H); what is left of a folded BatchNorm."""

    op: Literal["affine"] = "affine"
    scale: str
    shift: str


class LayerNorm(_Op):
    """y = scale ∘ (v - mean) / sqrt(var + eps) + shift over the H features of one frame."""

    op: Literal["layernorm"] = "layernorm"
    scale: str
    shift: str
    eps: float = Field(gt=0, lt=1)


class SSM(_Op):
    """x ← λ x + B v, y = C x + D ∘ v; λ (2, N), B (2N, U), C (Y, 2N), D (Y) or None; state (2N).

    With ``channels``, the number of modes of each of the H channels, modes stand channel after channel and
    hear and reach their own channel only (S4D): B (2N, H) and C (H, 2N) are zero elsewhere. In memory they
    are stored whole, in a file without those zeros, as (2N, 1) and (1, 2N): ``packed``.
    """

    op: Literal["ssm"] = "ssm"
    lam: str
    B: str
    C: str
    D: str | None = None
    state: str
    channels: tuple[Annotated[int, Field(ge=0, le=8192)], ...] | None = Field(default=None, max_length=4096)

    @field_validator("channels")
    @classmethod
    def _fits_in_memory(cls, channels: tuple[int, ...] | None) -> tuple[int, ...] | None:
        if channels is not None and sum(channels) * len(channels) > MOST_WITH_ZEROS:
            raise ValueError(
                f"{sum(channels)} modes of {len(channels)} channels; with its zeros B may have"
                f" {2 * MOST_WITH_ZEROS} numbers, which is less"
            )
        return channels


class Gelu(_Op):
    """y = v Φ(v), the exact (erf) form."""

    op: Literal["gelu"] = "gelu"


class Gate(_Op):
    """y = v[:H] ∘ sigmoid(v[H:]); with the linear before it, a gated linear unit."""

    op: Literal["gate"] = "gate"


class Save(_Op):
    """Keep the current vector under ``slot``; it stays current."""

    op: Literal["save"] = "save"
    slot: int = Field(ge=0, lt=16)


class Add(_Op):
    """y = v + slot."""

    op: Literal["add"] = "add"
    slot: int = Field(ge=0, lt=16)


class Pool(_Op):
    """s ← decay s + v, w ← decay w + 1, y = s / w; states ``sum`` (H) and ``count`` (1).

    decay = 1 is the cumulative mean, below 1 an exponential average without start-up bias.
    """

    op: Literal["pool"] = "pool"
    decay: float = Field(gt=0, le=1)
    sum: str
    count: str

    @field_validator("decay")
    @classmethod
    def _round(cls, decay: float) -> float:
        return float(np.float32(decay))  # what every float32 backend computes with


Op = Annotated[
    Linear | Embedding | Affine | LayerNorm | SSM | Gelu | Gate | Save | Add | Pool,
    Field(discriminator="op"),
]

TENSOR_FIELDS = ("weight", "bias", "scale", "shift", "lam", "B", "C", "D")


def tensor_names(op: Op) -> list[str]:
    """The tensors an op reads, in the order of its fields."""
    fields = (getattr(op, field, None) for field in TENSOR_FIELDS)
    return [name for name in fields if name is not None]


def state_shapes(ops: Iterable[Op], tensors: Tensors, inputs: int) -> dict[str, tuple[int, ...]]:
    """Name → shape of every state, in the order the ops own them; ``inputs`` values per frame come in."""
    shapes: dict[str, tuple[int, ...]] = {}
    width = inputs
    for op in ops:
        if isinstance(op, SSM):
            shapes[op.state] = (2 * tensors[op.lam].shape[1],)
        if isinstance(op, Pool):
            shapes[op.sum], shapes[op.count] = (width,), (1,)
        width = output_width(op, width, tensors)
    return shapes


def output_width(op: Op, width: int, tensors: Tensors) -> int:
    """Length of the current vector after ``op``, given its length before."""
    if isinstance(op, Linear):
        return int(tensors[op.weight].shape[0])
    if isinstance(op, Embedding):
        return int(tensors[op.weight].shape[1])
    if isinstance(op, SSM):
        return int(tensors[op.C].shape[0])
    return width // 2 if isinstance(op, Gate) else width


def ssm_system(op: SSM, tensors: Tensors, dt_s: float | None = None) -> System:
    """A layer as a system: y = Re(C x) + D ∘ u in complex128."""
    lam, b, c = (tensors[name].astype(np.float64) for name in (op.lam, op.B, op.C))
    n = lam.shape[1]
    d = None if op.D is None else tensors[op.D]
    complex_c = c[:, :n] - 1j * c[:, n:]  # planar C is [Re C, -Im C]
    return System(lam[0] + 1j * lam[1], b[:n] + 1j * b[n:], complex_c, d, dt_s, op.channels)


def ssm_tensors(op: SSM, system: System) -> dict[str, Float32]:
    """λ, B and C of a system under the names that a layer reads; D stays what it was."""
    planar = {
        op.lam: np.stack([system.lam.real, system.lam.imag]),
        op.B: np.concatenate([system.B.real, system.B.imag]),
        op.C: np.concatenate([system.C.real, -system.C.imag], axis=1),
    }
    return {name: array.astype(np.float32) for name, array in planar.items()}


def packed(ops: Iterable[Op], tensors: Tensors) -> dict[str, Float32]:
    """The tensors as a file holds them: B and C of layers with channels without their zeros."""
    stored = dict(tensors)
    for op in ops:
        if isinstance(op, SSM) and op.channels is not None:
            inside = np.tile(channel_mask(op.channels), (2, 1))
            stored[op.B] = tensors[op.B][inside][:, None]
            stored[op.C] = tensors[op.C].T[inside][None]
    return stored


def unpacked(ops: Iterable[Op], stored: Tensors) -> dict[str, Float32]:
    """What ``packed`` was made of; shapes that do not fit stay for ``check_ops`` to refuse."""
    tensors = dict(stored)
    for op in ops:
        if isinstance(op, SSM) and op.channels is not None:
            inside = np.tile(channel_mask(op.channels), (2, 1))
            for name, shape in ((op.B, (len(inside), 1)), (op.C, (1, len(inside)))):
                if name in stored and stored[name].shape == shape:
                    whole = np.zeros(inside.shape, np.float32)
                    whole[inside] = stored[name].ravel()
                    tensors[name] = whole if name == op.B else np.ascontiguousarray(whole.T)
    return tensors


def check_ops(ops: tuple[Op, ...], tensors: Tensors, inputs: int, outputs: int) -> None:
    """Walk the list once with shapes only; after this every stage may trust it.

    Raises:
        InputError: a tensor is missing, has another shape, is not finite, |λ| ≥ 1, or widths do not meet.
    """
    width, slots, states, names = inputs, dict[int, int](), list[str](), list[str]()
    for op in ops:
        for name in tensor_names(op):
            if name not in tensors:
                raise InputError(f"op {op.name!r} reads tensor {name!r}, which the file does not hold")
        for field, shape in expected_shapes(op, width, tensors).items():
            got = tensors[getattr(op, field)].shape
            if got != shape:
                raise InputError(f"op {op.name!r}: {field} has shape {got}, expected {shape}")
        if isinstance(op, Embedding) and width != 1:
            raise InputError(f"op {op.name!r}: an embedding reads one index per frame, got {width} values")
        if isinstance(op, Gate) and width % 2:
            raise InputError(f"op {op.name!r}: a gate halves its input, which has odd width {width}")
        if isinstance(op, SSM):
            _check_poles(op, tensors[op.lam])
            _check_channels(op, width, tensors)
            states.append(op.state)
        if isinstance(op, Pool):
            states += [op.sum, op.count]
        if isinstance(op, Save):
            slots[op.slot] = width
        if isinstance(op, Add) and slots.get(op.slot) != width:
            raise InputError(f"op {op.name!r} adds slot {op.slot}, which holds no vector of width {width}")
        width = output_width(op, width, tensors)
        names.append(op.name)
    if width != outputs:
        raise InputError(f"the ops end with {width} values, but {outputs} outputs are named")
    for kind, found in (("op", names), ("state", states)):
        if len(set(found)) != len(found):
            raise InputError(f"two {kind}s share a name; each needs its own")


def expected_shapes(op: Op, width: int, tensors: Tensors) -> dict[str, tuple[int, ...]]:
    """Field → shape for every tensor whose shape the op fixes, given the incoming width."""
    shapes: dict[str, tuple[int, ...]] = {}
    if isinstance(op, Linear):
        rows = _rows(tensors[op.weight])
        shapes = {"weight": (rows, width)} | ({"bias": (rows,)} if op.bias else {})
    elif isinstance(op, Embedding):
        table = tensors[op.weight]
        shapes = {"weight": (_rows(table), table.shape[-1] if table.ndim else 0)}
    elif isinstance(op, Affine | LayerNorm):
        shapes = {"scale": (width,), "shift": (width,)}
    elif isinstance(op, SSM):
        n, rows = (
            max(tensors[op.lam].shape[-1] if tensors[op.lam].ndim else 0, 1),
            _rows(tensors[op.C]),
        )
        shapes = {"lam": (2, n), "B": (2 * n, width), "C": (rows, 2 * n)}
        if op.D is not None:
            shapes |= {"D": (width,), "C": (width, 2 * n)}
    return shapes


def _rows(tensor: Float32) -> int:
    return max(int(tensor.shape[0]) if tensor.ndim else 0, 1)


def _check_poles(op: SSM, lam: Float32) -> None:
    worst = float(np.hypot(*lam.astype(np.float64)).max())
    if not worst < 1.0:  # also catches NaN
        raise InputError(f"op {op.name!r} has a pole with |λ| = {worst:.9g}; a stable system needs |λ| < 1")


def _check_channels(op: SSM, width: int, tensors: Tensors) -> None:
    if op.channels is None:
        return
    n, rows = tensors[op.lam].shape[1], tensors[op.C].shape[0]
    if len(op.channels) != width or rows != width or sum(op.channels) != n:
        raise InputError(
            f"op {op.name!r} shares {sum(op.channels)} modes out over {len(op.channels)} channels; it has {n}"
            f" modes, {width} inputs and {rows} outputs, and each of the three must be met"
        )
    outside = ~np.tile(channel_mask(op.channels), (2, 1))
    if tensors[op.B][outside].any() or tensors[op.C].T[outside].any():
        raise InputError(f"op {op.name!r} joins a mode to another channel than its own")
