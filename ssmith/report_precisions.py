"""What each written precision costs: accuracy, error, bytes and time, gathered from several stages.

A row is one format in one precision. Its metric is what ``verify`` saw when it ran the file over the
validation set; without that it comes from ``quantization.json``, as the signal-to-error ratio does, where
rounding was simulated on validation sequences, and of int8 in C from the integer reference, whose bits C
has. Bytes of files come from the manifest, times from the measurements.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

from pydantic import BaseModel, Field

from ssmith.measurement import Measurement
from ssmith.quantization import PrecisionRow, Quantization
from ssmith.recipe import Format
from ssmith.report_cuts import RECORD
from ssmith.runtime.artifacts import Kind

Source = Literal["reference", "integers", "simulation", "file", "golden vectors"]


class _Record(BaseModel):
    model_config = RECORD


class PrecisionCost(_Record):
    """One precision of one format; None where a figure is not known."""

    format: Format
    precision: str
    activation_bits: int | None = None
    known_from: Source | None = None
    metric: float | None = None
    metric_difference: float | None = None
    snr_db: float | None = None
    weight_bytes: int | None = None
    weight_ratio: float | None = None
    file: str
    file_bytes: int
    file_ratio: float | None = None
    step_p50_us: float | None = None
    step_ratio: float | None = None


class SensitivityRow(_Record):
    """What rounding one tensor alone costs; an entry of ``sensitivity.json``."""

    tensor: str
    part: Literal["weights", "activations", "poles", "state", "table"]
    bits: int
    values: int
    snr_db: float | None = None
    loss: float | None = None
    rise: float | None = None
    metric: float | None = None


class Sensitivity(_Record):
    """``sensitivity.json``: each tensor of a model rounded alone, the costliest first."""

    bundle_sha256: str = ""
    measured_on: str = ""
    rows: list[SensitivityRow]


class Score(_Record):
    """Loss and metric on the whole validation set."""

    loss: float | None = None
    metric: float | None = None


class Qat(_Record):
    """``qat/result.json``: what training with rounding did."""

    helped: bool
    activation_bits: Literal[8, 16]
    steps: int = Field(ge=0)
    best_step: int = Field(ge=0)
    float_before: Score
    rounded_before: Score
    float_after: Score
    rounded_after: Score


class WrittenFile(NamedTuple):
    """What is needed here of a file in the manifest."""

    path: str
    kind: str
    precision: str
    activation_bits: int | None
    bytes: int
    snr_db: float | None = None  # against float64 on the golden vectors, the lowest
    metric: float | None = None  # of the validation set, run through the file
    metric_difference: float | None = None  # to that of the float64 reference


# The file of each format that a device gets, the first that is there; and who runs it.
_SHIPPED: dict[Format, tuple[Kind, ...]] = {
    "onnx": ("onnx-step", "onnx-sequence"),
    "executorch": ("pte-step", "pte-stream", "pte-portable"),
    "c99": ("ssmc", "c-source"),
}
BACKENDS: dict[Format, str] = {"onnx": "onnx", "executorch": "executorch", "c99": "native"}


def precision_costs(
    files: Sequence[WrittenFile], found: Quantization | None, measurements: Sequence[Measurement]
) -> list[PrecisionCost]:
    """A row for each format and precision that was written, in the order of the manifest.

    Ratios are to float32 of the same format, so they are None without it; a difference of the metric is
    to the float64 reference, and float32 equals that as far as ``verify`` says.
    """
    times = {(m.backend, m.precision): m.timing.p50_us for m in measurements if m.timing}
    shipped = [(format, file) for format in _SHIPPED for file in _shipped(format, files)]
    exact = {format: file.bytes for format, file in shipped if file.precision == "float32"}
    rows = []
    for format, file in shipped:
        backend = BACKENDS[format]
        time = times.get((backend, file.precision))
        rows.append(
            PrecisionCost(
                format=format,
                precision=file.precision,
                file=file.path,
                file_bytes=file.bytes,
                file_ratio=_ratio(file.bytes, exact.get(format)),
                step_p50_us=time,
                step_ratio=_ratio(time, times.get((backend, "float32"))),
                **_figures(format, file, found),
            )
        )
    return rows


def _shipped(format: Format, files: Sequence[WrittenFile]) -> list[WrittenFile]:
    """The file to ship in each precision."""
    chosen: dict[str, WrittenFile] = {}
    for kind in _SHIPPED[format]:
        for file in files:
            if file.kind == kind:
                chosen.setdefault(file.precision, file)
    order = list(dict.fromkeys(file.precision for file in files))
    return sorted(chosen.values(), key=lambda file: order.index(file.precision))


def _figures(format: Format, file: WrittenFile, found: Quantization | None) -> Mapping[str, Any]:
    """What is known of accuracy and weights."""
    rows = found.precisions if found else []
    size = next((row.weight_bytes_float for row in rows if row.format == format), None)
    size = size or next((row.weight_bytes_float for row in rows), None)
    if file.precision == "float32":
        figures: dict[str, Any] = {"weight_bytes": size, "weight_ratio": _ratio(size, size)}
        metric = found.metric_float if found else None
        metric = metric if metric is not None else next((row.metric_float for row in rows), None)
        if metric is not None:
            figures |= {"known_from": "reference", "metric": metric}
        return figures | _measured(file)
    row = _row_of(format, file, rows)
    figures = {"activation_bits": file.activation_bits}
    if row is not None:
        figures |= {
            "activation_bits": row.activation_bits if row.activation_bits < 32 else None,
            "weight_bytes": row.weight_bytes,
            "weight_ratio": _ratio(row.weight_bytes, row.weight_bytes_float),
        }
    if found is not None and _is_the_integers(format, file, found):
        difference = _difference(found.metric_int8, found.metric_float)
        scores = {"metric": found.metric_int8, "metric_difference": difference}
        figures |= {"known_from": "integers", "snr_db": found.measured_snr_db, **scores}
    elif row is not None and row.simulated:
        difference = _difference(row.metric_rounded, row.metric_float)
        scores = {"metric": row.metric_rounded, "metric_difference": difference}
        figures |= {"known_from": "simulation", "snr_db": row.snr_db, **scores}
    elif file.snr_db is not None:
        figures |= {"known_from": "golden vectors", "snr_db": file.snr_db}
    return figures | _measured(file)


def _measured(file: WrittenFile) -> dict[str, Any]:
    """The metric of the file itself, where it is known."""
    if file.metric is None:
        return {}
    return {"known_from": "file", "metric": file.metric, "metric_difference": file.metric_difference}


def _row_of(format: Format, file: WrittenFile, rows: Sequence[PrecisionRow]) -> PrecisionRow | None:
    """The simulation of a file: of its own format, or of another that rounds the same way."""
    same = [row for row in rows if row.precision == file.precision]
    if file.precision == "int8":
        same = [row for row in same if row.activation_bits == file.activation_bits]
    own = [row for row in same if row.format == format]
    return next(iter(own or same), None)


def _is_the_integers(format: Format, file: WrittenFile, found: Quantization) -> bool:
    same_bits = file.activation_bits == found.activation_bits
    return format == "c99" and file.precision == "int8" and same_bits and not found.refused


def _difference(value: float | None, exact: float | None) -> float | None:
    return None if value is None or exact is None else value - exact


def _ratio(value: float | None, whole: float | None) -> float | None:
    return value / whole if value is not None and whole else None
