"""The rows of ``quantization.json``: what each precision of a recipe costs, before it is written."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ssmith.bundle import Bundle
from ssmith.errors import InputError
from ssmith.quant import product_weights
from ssmith.quantization import Bits, HeldOut, PrecisionRow, metric_name
from ssmith.quantization_trial import Trial
from ssmith.recipe import WRITES, ArtifactPrecision, ExportSettings, Format
from ssmith.runtime.simulate import roundings
from ssmith.runtime.weight_blocks import blocks_of

_ORDER: tuple[Format, ...] = ("c99", "onnx", "executorch")  # the first has the row of what they share
_SAME = {("int8-dynamic", "executorch")}  # as good as ONNX's: the same weights, zero points a code apart


def precision_rows(bundle: Bundle, held_out: HeldOut, wanted: ExportSettings) -> list[PrecisionRow]:
    """A row for each precision but float32; int8 also as ExecuTorch has it, with 8-bit activations.

    A precision that this bundle cannot have (no ranges, no plan) has no row.

    Args:
        bundle: the model; variants are not looked at.
        held_out: validation data.
        wanted: formats and precisions.
    """
    trial = Trial(bundle, held_out)
    exact = trial.exact().metric
    found = []
    for precision, format, bits in _rounded_in(wanted):
        try:
            rounded = roundings(bundle, precision, bits, format)
            stored = weight_bytes(bundle, precision, format)
        except InputError:
            continue
        known: dict[str, Any] = {"simulated": False}
        if rounded is not None:
            judged = trial.rounded(rounded)
            known = {"snr_db": judged.snr_db, "metric_rounded": judged.metric}
        found.append(
            PrecisionRow(
                precision=precision,
                format=format,
                activation_bits=_activation_bits(bundle, precision, bits),
                weight_bytes=stored,
                weight_bytes_float=weight_bytes(bundle, "float32", format),
                metric=metric_name(held_out),
                metric_float=exact,
                **known,
            )
        )
    return found


def weight_bytes(bundle: Bundle, precision: ArtifactPrecision, format: Format = "onnx") -> int:
    """Bytes of all matrices of products, with the scales of their rows or blocks."""
    plan = bundle.meta.plan or {}
    total = 0
    for key, name in product_weights(bundle.meta.ops).items():
        weight = bundle.tensors[name]
        rows, columns = weight.shape
        int8 = rows * (columns + 4)
        if precision == "float32":
            total += 4 * rows * columns
        elif precision == "float16":
            total += 2 * rows * columns
        elif precision == "int8-weights":
            blocks = blocks_of(weight, 8)
            total += blocks.codes.size + 4 * blocks.scale.size
        elif precision == "int4-weights":
            blocks = blocks_of(weight, 4)
            total += blocks.codes.size // 2 + 4 * blocks.scale.size
        elif precision == "mixed":
            chosen = plan.get(key, "float32")
            exact = chosen == "float32" or (chosen == "int8-a16" and format == "executorch")
            total += 4 * rows * columns if exact else int8
        else:
            total += int8
    return total


def _rounded_in(wanted: ExportSettings) -> Iterator[tuple[ArtifactPrecision, Format, Bits]]:
    """Each different rounding once: precision, a format that has it, activation bits of int8."""
    for precision in wanted.precisions:
        seen: set[int] = set()
        for format in _ORDER:
            if precision == "float32" or format not in wanted.formats or precision not in WRITES[format]:
                continue
            bits: Bits = 8 if format == "executorch" else wanted.activation_bits
            if precision == "int8" and bits in seen:
                continue
            if seen and (precision, format) in _SAME:
                continue
            seen.add(bits)
            yield precision, format, bits


def _activation_bits(bundle: Bundle, precision: str, bits: Bits) -> int:
    if precision == "mixed":
        names = set((bundle.meta.plan or {}).values())
        return 8 if "int8-a8" in names else 16 if "int8-a16" in names else 32
    fixed = {"float16": 32, "int8-all": 8, "int8-dynamic": 8, "int8-weights": 32, "int4-weights": 32}
    return fixed.get(precision, bits)
