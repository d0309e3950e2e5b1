"""The SSM in integers: poles, state scales that cannot overflow, and the products around the scan.

With q the saturating codes of the layer's own input and the quantised coefficients,

    |x_k| ≤ (limit · Σ_i |b_i| + |drive bias| + ρ) / (1 - |λ|)

for each mode k, where b_i is column i of the quantised B as a complex number, and ρ = √2 + √½ is what
the four rounded products and the requantised drive can add in one frame. The first term is the ℓ1 norm of
the impulse response |λ|^j |b_i| in closed form; the last is also how far from zero a state can stay
on silence.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ssmith.errors import InputError
from ssmith.ops import SSM, Float32, Tensors
from ssmith.quant import POLE_TOLERANCE, Rounding
from ssmith.runtime.integer_functions import INT32_MAX, Int64
from ssmith.runtime.integer_ledger import VECTOR_LIMIT, Ledger, requant_shift, whole
from ssmith.runtime.integer_model import Float64, Int32, SsmOp
from ssmith.runtime.integer_scales import Ids, Scales
from ssmith.runtime.integer_weights import Product, Seen, TrainedScales, make_product
from ssmith.system import channel_mask

ROUNDING = math.sqrt(2) + math.sqrt(0.5)  # codes a frame, of a complex state
_MARGIN = 1.0 + 1e-5  # factors that come later are rounded too
_DRIVE_ROUNDING = 1.1  # codes a frame: what rounding the drive's multiplier and bias may add
_POLE_UNIT = 31


@dataclass(frozen=True, eq=False)
class SsmStep:
    """A drafted SSM; see ``ssmith.runtime.integer_steps``."""

    name: str
    state: str
    into: Product
    gain: Float64
    lam: Int32
    lam_bits: int
    unit: Float64  # real value of one state code, (N)
    out: Product
    feedthrough: Float64 | None  # D ∘ step of the codes
    bias: Float64
    source: Ids
    target: Ids
    channels: tuple[int, ...] | None

    def finish(self, ledger: Ledger) -> SsmOp:
        """See ``Step``."""
        name, scale, unit = self.name, ledger.scale(self.target), np.tile(self.unit, 2)
        factor = ledger.scale(self.source) * self.gain / self.into.codes.step
        codes = ledger.quantize(f"{name}.codes", f"{name}.input", self.into.codes, factor, ledger.reach)
        sums = self.into.codes.limit * self.into.row_sums.astype(np.int64)
        drive, _ = ledger.requant(f"{name}.drive", self.into.scale / unit, sums)
        drive_bias = whole(f"the bias of the drive of {name}", self.into.bias / unit)
        multiplier = drive.multiplier.astype(np.float64) * 2.0 ** (drive.shift - 32)
        rows = multiplier[:, None] * self.into.weight * self.into.codes.limit
        offset = np.zeros(len(unit)) if drive_bias is None else drive_bias.astype(np.float64)
        reach = _state_reach(rows, offset, decay_gap(self.lam))
        ledger.prove(f"{name}.state", reach)
        ledger.scales |= {f"{name}.state": unit, f"{name}.output": scale}
        states = ledger.quantize(
            f"{name}.state_codes",
            f"{name}.state",
            self.out.codes,
            unit / self.out.codes.step,
            np.tile(reach, 2),
        )
        sums = self.out.codes.limit * self.out.row_sums.astype(np.int64)
        requant, total = ledger.requant(f"{name}.accumulator", self.out.scale / scale, sums)
        direct = None
        if self.feedthrough is not None:
            limits = np.full(len(scale), codes.limit)
            direct, more = ledger.requant(f"{name}.direct", self.feedthrough / scale, limits)
            total = total + more
        bias = whole(f"the bias of {name}", self.bias / scale)
        ledger.reach = total + (0 if bias is None else np.abs(bias.astype(np.int64)))
        return SsmOp(
            name, self.state, codes, self.into.weight, drive, drive_bias, self.lam, self.lam_bits,
            states, self.out.weight, requant, direct, bias, self.channels,
        )  # fmt: skip


def draft_ssm(
    op: SSM,
    tensors: Tensors,
    bits: int,
    classes: Scales,
    source: Ids,
    gain: Float64,
    shift: Float64,
    floors: Float64 | float,
    rounding: Rounding | None = None,
) -> tuple[SsmStep, Ids, Float64]:
    """Round an SSM; returns the step, the classes of its output and the real bound of each channel.

    Args:
        op: the layer.
        tensors: weights and calibration.
        bits: of the codes.
        classes: where scales are asked for.
        source: classes of the vector that is quantised; the layer reads gain ∘ v + shift.
        gain: (K).
        shift: (K).
        floors: smallest steps of the input's codes.
        rounding: of the bundle, if its scales were trained.

    Raises:
        InputError: a pole is so slow that rounding alone fills 32 bits.
    """
    lam, lam_bits = quantize_poles(op.name, tensors[op.lam])
    gap = decay_gap(lam)
    reads = tensors[op.C].astype(np.float64)
    energy = (reads**2).sum(0).reshape(2, -1).sum(0) / (gap * (2 - gap))  # of an output per drive of a mode
    seen = Seen.read(tensors, f"{op.name}.input")
    inside = None if op.channels is None else np.tile(channel_mask(op.channels), (2, 1))
    into = make_product(
        tensors[op.B],
        seen,
        bits,
        shift=shift,
        importance=np.tile(energy, 2),
        floor=floors,
        trained=TrainedScales.read(tensors, f"{op.name}.B", rounding),
        inside=inside,
    )
    unit = _state_unit(op.name, into, gap)
    states = Seen.read(tensors, f"{op.name}.state")
    trained = TrainedScales.read(tensors, f"{op.name}.C", rounding)
    if trained is not None:
        unit = _dividing(unit, trained.step)
    coarse = np.tile(unit, 2) * _MARGIN
    reads_own = None if inside is None else inside.T
    out = make_product(tensors[op.C], states, bits, floor=coarse, trained=trained, inside=reads_own)
    direct, bias = None, out.bias
    needed = out.scale * 2.0 ** (31 - requant_shift(int(out.codes.limit * out.row_sums.max())))
    bound = out.codes.limit * out.row_sums * out.scale
    if op.D is not None:
        d = tensors[op.D].astype(np.float64)
        direct, bias = d * into.codes.step, bias + d * into.codes.offset
        bound = bound + into.codes.limit * np.abs(direct)
        needed = np.maximum(needed, np.abs(direct) * 2.0 ** (31 - requant_shift(into.codes.limit)))
    bound = bound + np.abs(bias)
    target = classes.fresh(len(bound))
    classes.require(target, np.maximum(bound, needed))
    step = SsmStep(
        op.name, op.state, into, gain, lam, lam_bits, unit, out, direct, bias, source, target, op.channels
    )
    return step, target, bound


def quantize_poles(name: str, lam: Float32) -> tuple[Int32, int]:
    """λ (2, N) in units of 2^-31, and in how many bits: 16 where that moves no pole by 1 % of 1 - |λ|.

    Raises:
        InputError: a rounded pole is not stable.
    """
    exact = lam.astype(np.float64)
    gap = 1 - np.hypot(*exact)
    short = np.clip(np.rint(exact * 2.0**15), -(2**15 - 1), 2**15 - 1)
    if (np.hypot(*(short / 2.0**15 - exact)) < POLE_TOLERANCE * gap).all():
        return (short * 2.0**16).astype(np.int32), 16
    rounded = np.clip(np.rint(exact * 2.0**_POLE_UNIT), -INT32_MAX, INT32_MAX).astype(np.int32)
    if not (decay_gap(rounded) > 0).all():
        raise InputError(
            f"op {name!r} has a pole within 2^-31 of the unit circle, which integers cannot keep inside"
        )
    return rounded, 32


def decay_gap(lam: Int32) -> Float64:
    """1 - |λ| of integer poles, without cancellation: (2^62 - |λ|²) / (2^62 (1 + |λ|)); (2, N) → (N)."""
    squares = [int(re) ** 2 + int(im) ** 2 for re, im in lam.T]
    one = 1 << 2 * _POLE_UNIT
    return np.array([(one - s) / one / (1 + math.sqrt(s / one)) for s in squares])


def _state_unit(name: str, into: Product, gap: Float64) -> Float64:
    """Real value of one code of each mode's state, so that it stays below 2^30 codes; (N)."""
    rows = into.scale[:, None] * into.weight * into.codes.limit
    real = _complex_sums(rows, into.bias) / gap
    room = VECTOR_LIMIT - (ROUNDING + _DRIVE_ROUNDING) / gap * _MARGIN - 4
    if (room < VECTOR_LIMIT / 2).any():
        worst = float(gap.min())
        raise InputError(
            f"op {name!r} has a pole with 1 - |λ| = {worst:.3g}: rounding alone could reach"
            f" {ROUNDING / worst:.3g} codes of a state that holds {VECTOR_LIMIT}; integer code needs"
            f" 1 - |λ| above {2 * ROUNDING / VECTOR_LIMIT:.1e}"
        )
    unit = real * _MARGIN / room
    finest = into.scale * 2.0 ** (1 - requant_shift(int(into.codes.limit * into.row_sums.max())))
    unit = np.maximum(unit, finest.reshape(2, -1).max(0) * _MARGIN)
    return np.where(unit > 0, unit, 1.0)


def _dividing(unit: Float64, step: Float64) -> Float64:
    """Units a little larger, m / 2^31 of a step with m whole: what makes codes of states is then exact.

    That takes one step for both parts of a mode; where they differ the unit stays. (N), (2N) → (N).
    """
    re, im = step.reshape(2, -1)
    whole_parts = np.ceil(unit / re * 2.0**31)
    return np.where((re == im) & (whole_parts < INT32_MAX), whole_parts * re / 2.0**31, unit)


def _state_reach(rows: Float64, offset: Float64, gap: Float64) -> Int64:
    """The bound at the top of this file, in codes, rounded up; (N)."""
    return np.ceil((_complex_sums(rows, offset) + ROUNDING) / gap).astype(np.int64) + 1


def _complex_sums(rows: Float64, offset: Float64) -> Float64:
    """Σ_i |b_i| + |offset| with planar rows (2N, K) and offset (2N) → (N)."""
    half = len(rows) // 2
    sums: Float64 = np.hypot(rows[:half], rows[half:]).sum(1) + np.hypot(offset[:half], offset[half:])
    return sums
