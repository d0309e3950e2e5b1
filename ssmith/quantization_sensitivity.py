"""Which tensor bears rounding and which does not: each rounded alone, all others exact.

Poles and states are in the table to show why both have at least 16 bits everywhere: what is rounded in a
loop adds up over the length of the memory.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from ssmith.bundle import Bundle
from ssmith.ops import SSM, Embedding, Float32
from ssmith.quant import CODE_LIMITS, PREFIX
from ssmith.quantization import HeldOut
from ssmith.quantization_trial import Judgement, Trial
from ssmith.runtime.arithmetic import Float64
from ssmith.runtime.integer_weights import Product
from ssmith.runtime.products import rounded_products
from ssmith.runtime.rounding import ActivationsOnly, Rounding, WeightsOnly, rounded_rows
from ssmith.runtime.simulate import weights_of
from ssmith.runtime.weight_blocks import blocks_of

Part = Literal["weights", "activations", "poles", "state", "table"]
OnProgress = Callable[[int, int], object]  # (trials done, of so many)


@dataclass(frozen=True)
class SensitivityRow:
    """What rounding one tensor alone costs; ``Judgement`` says what the figures are.

    Attributes:
        tensor: key of the product, or name of the op.
        part: what of it is rounded.
        bits: to how many.
        values: how many numbers that are; of activations and states, in each frame.
    """

    tensor: str
    part: Part
    bits: int
    values: int
    snr_db: float | None
    loss: float
    rise: float
    metric: float | None

    def document(self) -> dict[str, Any]:
        """As JSON holds it: what is not finite, as the loss of a network that diverges, is null."""
        fields = asdict(self)
        return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in fields.items()}


@dataclass(frozen=True, eq=False)
class _Case:
    """One thing to round."""

    tensor: str
    part: Part
    bits: int
    values: int
    roundings: Mapping[str, Rounding]
    bundle: Bundle | None = None
    state_steps: Mapping[str, Float64] | None = None


def sensitivity(
    bundle: Bundle, held_out: HeldOut, *, on_progress: OnProgress | None = None
) -> list[SensitivityRow]:
    """A row a tensor and number of bits, the one that costs most first.

    Weights and embedding tables in 8 and 4 bits; activations, poles and states in 16 and 8.

    Args:
        bundle: calibrated; variants are not looked at.
        held_out: validation data.
        on_progress: called after each trial.

    Raises:
        InputError: the bundle has no ranges, or no int8 form.
    """
    cases = [*_product_cases(bundle), *_layer_cases(bundle)]
    trial = Trial(bundle, held_out)
    rows = []
    for i, case in enumerate(cases):
        found = trial.rounded(case.roundings, bundle=case.bundle, state_steps=case.state_steps)
        rows.append(_row(case, found))
        if on_progress is not None:
            on_progress(i + 1, len(cases))
    return sorted(rows, key=lambda row: (-row.rise, _noise(row), row.tensor, row.part, row.bits))


def document(bundle: Bundle, held_out: HeldOut, rows: Sequence[SensitivityRow]) -> dict[str, Any]:
    """What ``sensitivity.json`` holds: whose tensors these are, and on what they were tried."""
    return {
        "version": 1,
        "bundle_sha256": bundle.sha256,
        "measured_on": f"{len(held_out.inputs)} {held_out.name}",
        "rows": [row.document() for row in rows],
    }


def table(rows: list[SensitivityRow]) -> dict[str, str]:
    """The rows for people, in their order."""
    found = {}
    for row in rows:
        snr = "exact" if row.snr_db is None else f"{row.snr_db:.1f} dB"
        score = "" if row.metric is None else f", metric {row.metric:.4g}"
        found[f"{row.tensor} {row.part}, {row.bits} bits"] = f"{snr}, loss {row.rise:+.2%}{score}"
    return found


def exact_inputs(product: Product) -> WeightsOnly:
    """The rounded weights of a product on inputs that are not rounded: W' (u - offset) + bias."""
    rounded = product.scale[:, None] * product.weight.astype(np.float64) / product.codes.step
    return WeightsOnly(rounded, product.bias - rounded @ product.codes.offset)


def _product_cases(bundle: Bundle) -> Iterator[_Case]:
    coarse, fine = rounded_products(bundle, 8), rounded_products(bundle, 16)
    for key, weight in weights_of(bundle).items():
        rows, columns = weight.shape
        yield _Case(key, "weights", 8, rows * columns, {key: exact_inputs(fine[key])})
        yield _Case(key, "weights", 4, rows * columns, {key: WeightsOnly(blocks_of(weight, 4).real)})
        for bits, products in ((16, fine), (8, coarse)):
            rounding = ActivationsOnly(weight, products[key].codes)
            yield _Case(key, "activations", bits, columns, {key: rounding})


def _layer_cases(bundle: Bundle) -> Iterator[_Case]:
    for op in bundle.meta.ops:
        if isinstance(op, SSM):
            lam = bundle.tensors[op.lam]
            low, high, _ = bundle.tensors[f"{PREFIX}{op.name}.state"].astype(np.float64)
            reach = np.maximum(np.maximum(-low, high), 1e-30)
            for bits in (16, 8):
                other = _with(bundle, op.lam, _coarse_poles(lam, bits))
                yield _Case(op.name, "poles", bits, lam.size, {}, other)
                steps = {op.name: reach / CODE_LIMITS[bits]}
                yield _Case(op.name, "state", bits, len(reach), {}, None, steps)
        if isinstance(op, Embedding):
            rows = bundle.tensors[op.weight]
            for bits in (8, 4):
                codes, scale = rounded_rows(rows.T.astype(np.float64), (1 << (bits - 1)) - 1)
                yield _Case(
                    op.name,
                    "table",
                    bits,
                    rows.size,
                    {},
                    _with(bundle, op.weight, (codes * scale[:, None]).T),
                )


def _coarse_poles(lam: Float32, bits: int) -> Float64:
    """λ in units of 2^(1 - bits), inside the unit circle: rounded towards 0 where it would not be."""
    unit = 2.0 ** (1 - bits)
    nearest = np.rint(lam.astype(np.float64) / unit) * unit
    inside: Float64 = np.where(np.hypot(*nearest) < 1, nearest, np.trunc(lam / unit) * unit)
    return inside


def _with(bundle: Bundle, name: str, values: Float64) -> Bundle:
    return Bundle(bundle.meta, {**bundle.tensors, name: values.astype(np.float32)})


def _row(case: _Case, found: Judgement) -> SensitivityRow:
    return SensitivityRow(
        case.tensor, case.part, case.bits, case.values, found.snr_db, found.loss, found.rise, found.metric
    )


def _noise(row: SensitivityRow) -> float:
    return math.inf if row.snr_db is None else row.snr_db
