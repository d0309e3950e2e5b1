"""A model in integers: what the integer reference runs and the C exporter writes, as plain data.

Between ops a vector ``v`` is int32 with |v| < 2^30; ``v · scale`` is its real value, and only the
exporter knows that scale. Inside an op, vectors that meet int8 weights are first quantized to codes
of 16 or 8 bits. All ranges are proven when the model is made (``ssmith.runtime.integer_lower``).
Functions named here are those of ``ssmith.runtime.integer_functions``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass

import numpy as np
from numpy.typing import NDArray

from ssmith.ops import Float32

Int8 = NDArray[np.int8]
Int16 = NDArray[np.int16]
Int32 = NDArray[np.int32]
Float64 = NDArray[np.float64]
CODE_LIMIT = 32767  # of an input code


@dataclass(frozen=True, eq=False)
class Requant:
    """requantize(a; multiplier, shift): a · multiplier · 2^(shift - 32), rounded.

    ``multiplier`` (M) int32, one a channel; ``shift`` 1 to 30.
    """

    multiplier: Int32
    shift: int


@dataclass(frozen=True, eq=False)
class Quantize:
    """Codes q = clamp(requantize(v) + bias, -limit, limit).

    ``bias`` (K) int32 or None; ``limit`` ≤ 32767 with ``bits`` 16 (int16 codes), ≤ 127 with 8 (int8).
    """

    requant: Requant
    bias: Int32 | None
    limit: int
    bits: int


@dataclass(frozen=True, eq=False)
class LinearOp:
    """v' = requantize(W q) + bias, q = quantize(v); weight (M, K) int8, bias (M) int32 or None."""

    name: str
    quantize: Quantize
    weight: Int8
    requant: Requant
    bias: Int32 | None


@dataclass(frozen=True, eq=False)
class EmbeddingOp:
    """v' = requantize(table[clamp(code, 0, V - 1)]); table (V, H) int8, code the only input."""

    name: str
    table: Int8
    requant: Requant


@dataclass(frozen=True, eq=False)
class SsmOp:
    """x ← λ x + d, v' = C z + D q + bias, with state x (2N) int32, planar re | im.

    - q = quantize(v); d = requantize(B q) [+ drive_bias], B (2N, K) int8
    - re' = rotate(re, λ_re) - rotate(im, λ_im) + d_re;  im' = rotate(re, λ_im) + rotate(im, λ_re) + d_im
    - z = state_quantize(x'); v' = requantize(C z) [+ requantize(q; feedthrough)] [+ bias]

    ``lam`` (2, N) int32 in units of 2^-31; where ``lam_bits`` is 16 its lower 16 bits are 0. C (M, 2N)
    int8; ``feedthrough`` (M = K channels) or None. ``drive_bias`` (2N) and ``bias`` (M), int32 or None, take
    back the offsets of the codes q and z. ``channels``: where B and C are zero, as in ``ssmith.ops.SSM``.
    """

    name: str
    state: str
    quantize: Quantize
    B: Int8
    drive: Requant
    drive_bias: Int32 | None
    lam: Int32
    lam_bits: int
    state_quantize: Quantize
    C: Int8
    requant: Requant
    feedthrough: Requant | None
    bias: Int32 | None
    channels: tuple[int, ...] | None = None


@dataclass(frozen=True)
class GeluOp:
    """v' = gelu(v, p); the scale of v stays."""

    name: str
    p: int


@dataclass(frozen=True)
class GateOp:
    """v' = gate(v, p): (2H) → (H); the scale of the first half stays."""

    name: str
    p: int


@dataclass(frozen=True, eq=False)
class AffineOp:
    """v' = requantize(v) + bias; bias (M) int32 or None: a model's affine, or a change of scale."""

    name: str
    requant: Requant
    bias: Int32 | None


@dataclass(frozen=True, eq=False)
class LayerNormOp:
    """v' = requantize(layernorm(v, mean_shift, mean_factor, eps)) + bias; bias (H) int32."""

    name: str
    mean_shift: int
    mean_factor: int
    eps: int
    requant: Requant
    bias: Int32


@dataclass(frozen=True)
class SaveOp:
    """Keep v under ``slot``."""

    name: str
    slot: int


@dataclass(frozen=True)
class AddOp:
    """v' = v + slot; both have the same scales."""

    name: str
    slot: int


@dataclass(frozen=True)
class MeanPoolOp:
    """mean_pool_step; states ``sum`` (H) int64 and ``count`` (1) int64."""

    name: str
    sum: str
    count: str


@dataclass(frozen=True)
class EmaPoolOp:
    """ema_pool_step; states ``sum`` (H) int32 and ``count`` (1) int32."""

    name: str
    gain: int
    sum: str
    count: str


IntegerOp = (
    LinearOp
    | EmbeddingOp
    | SsmOp
    | GeluOp
    | GateOp
    | AffineOp
    | LayerNormOp
    | SaveOp
    | AddOp
    | MeanPoolOp
    | EmaPoolOp
)


@dataclass(frozen=True)
class IntegerState:
    """One state array: ``length`` words of ``bits`` 32 or 64, in op order; 64 is two little-endian words."""

    name: str
    length: int
    bits: int


@dataclass(frozen=True, eq=False)
class IntegerModel:
    """Ops in order with their edges.

    Args:
        name: the bundle's name.
        activation_bits: 16 or 8.
        input_scale: (U) float32; real input = code · scale.
        input_shift: the first vector is v = code << input_shift (an embedding reads the code itself).
        output_scale: (Y) float32; real output = v · scale.
        ops: the network.
        states: layout of the state, in op order.
        proofs: largest magnitude that a value can reach, by ``OP.PART``: ``accumulator``,
            ``state``, ``output`` …; every one is below what its integer holds.
        scales: real value of one code a channel, by ``OP.PART``: ``output`` of the ops that change the
            scale, ``codes``, ``state``, ``state_codes``; and what code 0 means, ``codes.offset``
            and ``state_codes.offset``; nothing at run time reads it.
    """

    name: str
    activation_bits: int
    input_scale: Float32
    input_shift: int
    output_scale: Float32
    ops: tuple[IntegerOp, ...]
    states: tuple[IntegerState, ...]
    proofs: Mapping[str, int] = field(default_factory=dict)
    scales: Mapping[str, Float64] = field(default_factory=dict)

    def encode(self, x: Float32) -> Int16:
        """Codes of real inputs (..., U): x / scale, rounded to nearest even, saturated at ±32767.

        In float32: y = x (1 / scale), its magnitude clamped as an integer pattern to 32767.0, then
        1.5 · 2^23 added: the lower bits of the sum are the code. ``x`` MUST be finite.
        """
        with np.errstate(over="ignore"):  # an infinite product is clamped like a large one
            y = np.ascontiguousarray(x, np.float32) * self.input_factor
        bits = y.view(np.int32)
        magnitude = np.minimum(bits & 0x7FFFFFFF, np.float32(CODE_LIMIT).view(np.int32))
        clamped = (magnitude | (bits & np.int32(-0x80000000))).view(np.float32)
        rounded = clamped + np.float32(12582912.0)
        codes: Int16 = (rounded.view(np.int32) - np.int32(0x4B400000)).astype(np.int16)
        return codes

    def decode(self, v: Int32) -> Float32:
        """Real outputs of (..., Y): float32(v) · scale, each rounded once."""
        y: Float32 = v.astype(np.float32) * self.output_scale
        return y

    @property
    def input_factor(self) -> Float32:
        """1 / input_scale in float32, what ``encode`` multiplies with; (U)."""
        factor: Float32 = np.float32(1) / self.input_scale
        return factor

    @property
    def sha256(self) -> str:
        """Digest of all that is computed with: two models of one digest give the same bits."""
        digest = hashlib.sha256()
        edges = (self.activation_bits, self.input_scale, self.input_shift, self.output_scale)
        for part in (edges, self.ops, self.states):
            _hash_into(digest, part)
        return digest.hexdigest()


def _hash_into(digest: hashlib._Hash, value: object) -> None:
    """Add a value of a model; its type and length come first, so that no two models read alike."""
    if isinstance(value, np.ndarray):
        plain = value.astype(value.dtype.newbyteorder("<"))
        digest.update(f"{plain.dtype.str}{plain.shape}".encode() + plain.tobytes())
    elif isinstance(value, tuple):
        digest.update(f"({len(value)}".encode())
        for item in value:
            _hash_into(digest, item)
    elif is_dataclass(value):
        digest.update(type(value).__name__.encode())
        for item in fields(value):
            _hash_into(digest, getattr(value, item.name))
    else:
        digest.update(f"{type(value).__name__}{value!r};".encode())
