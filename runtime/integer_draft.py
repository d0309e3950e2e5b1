"""The first walk over a bundle: ops rounded, vectors bounded in real numbers, scales asked for.

An affine op right before a product is not an op of the integer model: its factors are folded into the
multipliers that make the product's codes, its shifts into the codes' offsets.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from ssmith.bundle import Bundle
from ssmith.errors import InputError
from ssmith.ops import SSM, Add, Affine, Embedding, Gate, Gelu, LayerNorm, Linear, Op, Pool, Save
from ssmith.quant import PREFIX, WEIGHT_LIMIT
from ssmith.runtime.integer_ledger import requant_shift
from ssmith.runtime.integer_model import CODE_LIMIT, Float64
from ssmith.runtime.integer_scales import REACH, Ids, Scales
from ssmith.runtime.integer_ssm import SsmStep, draft_ssm
from ssmith.runtime.integer_steps import (
    AddStep,
    AffineStep,
    EmbeddingStep,
    GateStep,
    GeluStep,
    LayerNormStep,
    LinearStep,
    PoolStep,
    SaveStep,
    Step,
)
from ssmith.runtime.integer_weights import HEADROOM, Seen, TrainedScales, make_product

INPUT_SHIFT = 14  # |code| ≤ 2^15, so |v| ≤ 2^29
_QUIETEST = 2.0**-20  # of the loudest input channel: what a channel that calibration saw silent can tell
_ROUNDS = 60  # of widening scales; a few are enough, and what is left over is refused by the ledger


@dataclass
class Draft:
    """Where the walk is, and what it has decided."""

    bundle: Bundle
    bits: int
    floors: Mapping[str, Float64]
    classes: Scales = field(default_factory=Scales)
    steps: list[Step] = field(default_factory=list)
    slots: dict[int, tuple[Ids, Float64]] = field(default_factory=dict)
    ids: Ids = field(default_factory=lambda: np.zeros(0, np.int64))
    bound: Float64 = field(default_factory=lambda: np.zeros(0))
    input_scale: Float64 = field(default_factory=lambda: np.zeros(0))

    def settle(self) -> dict[str, Float64]:
        """Widen scales until every change of scale fits its multiplier; codes that are too fine are returned.

        Returns:
            For each product whose codes would be finer than the vector behind them: steps to use at least.
        """
        affines = [step for step in self.steps if isinstance(step, AffineStep)]
        for i in range(_ROUNDS):
            if not any([self._widen(step, both=i > 2) for step in affines]):
                break
        floors = {}
        for step in self.steps:
            if isinstance(step, LinearStep | SsmStep):
                codes = (step.product if isinstance(step, LinearStep) else step.into).codes
                least = self.classes.solve(step.source) * np.abs(step.gain)
                if (codes.step < least).any():
                    floors[step.name] = np.maximum(codes.step, least * 1.01)
        return floors

    def _widen(self, step: AffineStep, *, both: bool) -> bool:
        """Ask for a target scale that the multipliers of this step can reach; whether it was too small.

        A gain above 1 whose result is added to what it came from cannot have a larger scale than its source;
        there the source must leave bits free: ``both``.
        """
        source = self.classes.solve(step.source)
        shift = requant_shift(int(np.ceil((step.bound / source).max())))
        needed = source * np.abs(step.gain) * 2.0 ** (1 - shift) * 1.01
        if (self.classes.solve(step.target) >= needed).all():
            return False
        self.classes.require(step.target, needed * REACH)
        if both:
            self.classes.require(step.source, 2 * source * REACH)
        return True


def draft(bundle: Bundle, bits: int, floors: Mapping[str, Float64]) -> Draft:
    """Walk the ops of a calibrated bundle.

    Args:
        bundle: the model.
        bits: of activation codes.
        floors: from an earlier ``settle``: smallest steps of some products' codes.

    Raises:
        InputError: an embedding that is not the first op, or has more rows than an input code counts.
    """
    d = Draft(bundle, bits, floors)
    ops = bundle.meta.ops
    _start(d, ops[0])
    folded: Affine | None = None
    for i, op in enumerate(ops):
        if isinstance(op, Affine) and i + 1 < len(ops) and isinstance(ops[i + 1], Linear | SSM):
            folded = op
            continue
        _DRAFTS[type(op)](d, op, *_affine(d, folded))
        folded = None
    return d


def _start(d: Draft, first: Op) -> None:
    """The input: codes of 16 bits with a scale a channel, shifted up; a table reads its code itself."""
    if isinstance(first, Embedding):
        d.input_scale = np.ones(1)
        return
    low, high, _ = d.bundle.tensors[f"{PREFIX}input"].astype(np.float64)
    largest = np.maximum(np.abs(low), np.abs(high)) * HEADROOM[16]
    top = float(largest.max())
    largest = np.maximum(largest, (top if top > 0 else 1.0) * _QUIETEST)
    largest = np.maximum(largest, CODE_LIMIT * float(np.finfo(np.float32).tiny))  # 1 / scale is a float32 too
    # float32, because that is what the edge of the model multiplies with
    d.input_scale = (largest / CODE_LIMIT).astype(np.float32).astype(np.float64)
    d.ids = d.classes.fixed(d.input_scale / 2.0**INPUT_SHIFT)
    d.bound = d.input_scale * 2.0**15
    if not isinstance(first, Linear | SSM | Affine):
        _rescale(d, "input")


def _affine(d: Draft, folded: Affine | None) -> tuple[Float64, Float64]:
    """Gain and shift of a folded affine, ones and zeros without."""
    width = len(d.bound)
    if folded is None:
        return np.ones(width), np.zeros(width)
    gain, shift = (d.bundle.tensors[name].astype(np.float64) for name in (folded.scale, folded.shift))
    return gain, shift


def _rescale(d: Draft, name: str) -> None:
    """The same vector with scales of its own, so that they may be joined with others."""
    width = len(d.bound)
    target = d.classes.fresh(width)
    d.classes.require(target, d.bound)
    step = AffineStep(f"{name}.rescale", np.ones(width), np.zeros(width), d.bound, d.ids, target)
    d.steps.append(step)
    d.ids = target


def _linear(d: Draft, op: Linear, gain: Float64, shift: Float64) -> None:
    tensors, floor = d.bundle.tensors, d.floors.get(op.name, 0.0)
    seen = Seen.read(tensors, f"{op.name}.input")
    trained = TrainedScales.read(tensors, op.name, d.bundle.meta.rounding)
    product = make_product(tensors[op.weight], seen, d.bits, shift=shift, floor=floor, trained=trained)
    bias = np.zeros(len(product.bias)) if op.bias is None else tensors[op.bias].astype(np.float64)
    target = d.classes.fresh(len(bias))
    d.steps.append(LinearStep(op.name, product, gain, bias, d.ids, target))
    d.bound = product.codes.limit * product.row_sums * product.scale + np.abs(product.bias + bias)
    least = product.scale * 2.0 ** (31 - requant_shift(int(product.codes.limit * product.row_sums.max())))
    d.classes.require(target, np.maximum(d.bound, least))
    d.ids = target


def _ssm(d: Draft, op: SSM, gain: Float64, shift: Float64) -> None:
    floor = d.floors.get(op.name, 0.0)
    step, d.ids, d.bound = draft_ssm(
        op, d.bundle.tensors, d.bits, d.classes, d.ids, gain, shift, floor, d.bundle.meta.rounding
    )
    d.steps.append(step)


def _embedding(d: Draft, op: Embedding, *_: Float64) -> None:
    table = d.bundle.tensors[op.weight].astype(np.float64)
    if d.steps:
        raise InputError(f"op {op.name!r} looks up a computed index; integer code looks up the input only")
    if len(table) > CODE_LIMIT + 1:
        raise InputError(
            f"op {op.name!r} has {len(table)} rows; an input code of 16 bits counts to"
            f" {CODE_LIMIT}; export the model in float32 only"
        )
    scale = np.maximum(np.abs(table).max(0), np.finfo(np.float32).tiny) / WEIGHT_LIMIT
    d.bound, d.ids = WEIGHT_LIMIT * scale, d.classes.fresh(table.shape[1])
    d.classes.require(d.ids, scale * 2.0 ** (31 - requant_shift(WEIGHT_LIMIT)))
    d.steps.append(EmbeddingStep(op.name, np.rint(table / scale).astype(np.int8), scale, d.ids))


def _affine_op(d: Draft, op: Affine, *_: Float64) -> None:
    gain, shift = _affine(d, op)
    target = d.classes.fresh(len(gain))
    d.steps.append(AffineStep(op.name, gain, shift, d.bound, d.ids, target))
    d.ids, d.bound = target, np.abs(gain) * d.bound + np.abs(shift)
    d.classes.require(target, d.bound)


def _layernorm(d: Draft, op: LayerNorm, *_: Float64) -> None:
    if not d.classes.uniform(d.ids):
        _rescale(d, op.name)
        d.classes.uniform(d.ids)
    d.classes.require(d.ids, 2 * np.maximum(d.bound, op.eps**0.5))
    gain, shift = (d.bundle.tensors[name].astype(np.float64) for name in (op.scale, op.shift))
    target = d.classes.fresh(len(gain))
    d.steps.append(LayerNormStep(op.name, gain, shift, op.eps, d.ids, target))
    largest = np.abs(gain) * len(gain) ** 0.5
    d.ids, d.bound = target, largest * 1.001 + np.abs(shift)
    d.classes.require(target, np.maximum(d.bound, 2 * largest))


def _gelu(d: Draft, op: Gelu, *_: Float64) -> None:
    if not d.classes.accepts(d.ids, "gelu"):
        _rescale(d, op.name)
    d.classes.to_grid(d.ids, "gelu")
    d.steps.append(GeluStep(op.name, d.ids))
    d.bound = np.maximum(d.bound, 1.1 * 5 / 32)
    d.classes.require(d.ids, d.bound)


def _gate(d: Draft, op: Gate, *_: Float64) -> None:
    half = len(d.ids) // 2
    if not d.classes.accepts(d.ids[half:], "sigmoid"):
        _rescale(d, op.name)
    d.classes.to_grid(d.ids[half:], "sigmoid")
    d.classes.require(d.ids[:half], 2 * d.bound[:half])
    d.steps.append(GateStep(op.name, d.ids))
    d.ids, d.bound = d.ids[:half], d.bound[:half]


def _save(d: Draft, op: Save, *_: Float64) -> None:
    d.slots[op.slot] = d.ids, d.bound
    d.steps.append(SaveStep(op.name, op.slot))


def _add(d: Draft, op: Add, *_: Float64) -> None:
    ids, bound = d.slots[op.slot]
    if not d.classes.joinable(d.ids, ids):
        _rescale(d, op.name)
    d.classes.join(ids, d.ids)
    d.bound = d.bound + bound
    d.classes.require(d.ids, d.bound)
    d.steps.append(AddStep(op.name, op.slot))


def _pool(d: Draft, op: Pool, *_: Float64) -> None:
    gain = None
    if op.decay < 1:
        gain = 4 * min(max(round((1 - op.decay) * 2**29), 32), 2**29 - 1)
        d.bound = d.bound * (1 + 2.0**4 / gain)  # its rounding, up to 2^31 / gain codes of 2^28
    d.classes.require(d.ids, (2 if op.decay == 1 else 4) * d.bound)
    d.steps.append(PoolStep(op.name, gain, op.sum, op.count))


_DRAFTS: dict[type, Callable[..., None]] = {
    Linear: _linear,
    SSM: _ssm,
    Embedding: _embedding,
    Affine: _affine_op,
    LayerNorm: _layernorm,
    Gelu: _gelu,
    Gate: _gate,
    Save: _save,
    Add: _add,
    Pool: _pool,
}
