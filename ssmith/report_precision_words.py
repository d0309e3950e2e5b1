"""The precisions on the report's page: cells of the table, and sentences about size and training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ssmith.lowering import TITLES
from ssmith.quantization import snr_text
from ssmith.recipe import MetricName
from ssmith.report_data import ReportData
from ssmith.report_plots import time_text
from ssmith.report_precisions import PrecisionCost, Qat, Score, SensitivityRow, Source
from ssmith.report_words import DASH, PERCENT, percent_text, score_text, size_text

LITTLE = {
    "accuracy": 0.005,
    "nrmse": 0.03,
    "esr": 0.06,
}  # what may be lost and still be called close: share of answers; relative
SHOWN = 10  # tensors before the reader has to open the rest
_SOURCES: dict[Source, str] = {
    "reference": "the float64 reference, which float32 equals within what parity allows",
    "integers": "the integer reference, whose bits C has",
    "simulation": "float64 with each product rounded as the file rounds it",
    "file": "the file itself, run over the validation set (SNR: simulated, of C the integers, of int8-all on"
    " the recorded sequences)",
    "golden vectors": "the file itself, on the recorded sequences",
}


@dataclass(frozen=True)
class Row:
    """The cells of one precision."""

    name: str
    activations: str
    score: str
    difference: str
    snr: str
    weights: str
    weights_ratio: str
    file: str
    file_bytes: str
    file_ratio: str
    step: str
    step_ratio: str
    source: str


@dataclass(frozen=True)
class Precisions:
    """What the page says about precisions.

    Attributes:
        rows: of the table.
        sources: what the words in the last column mean, those that occur.
        sentences: what the table shows at a glance.
        plan: key of a product → its precision in ``mixed``.
        training: sentences about training with rounding; empty without it.
        scores: rows of its table: name, loss, metric.
        sensitive: the tensors rounded alone: row, signal to error, change of the loss, metric.
        shown: so many of them stand before the fold.
    """

    rows: list[Row]
    sources: list[str]
    sentences: list[str]
    plan: list[tuple[str, str]]
    training: list[str]
    scores: list[tuple[str, str, str]]
    sensitive: list[tuple[SensitivityRow, str, str, str]]
    shown: int = SHOWN


def precisions(data: ReportData) -> Precisions:
    """Words and figures; empty lists where nothing is known."""
    metric, known = metric_of(data), {cost.known_from for cost in data.precisions}
    alone = data.sensitivity.rows if data.sensitivity else []
    return Precisions(
        rows=[_row(cost, metric) for cost in data.precisions],
        sources=[f"{name}, {text}" for name, text in _SOURCES.items() if name in known],
        sentences=_smallest(data.precisions, metric),
        plan=list(data.precision_plan.items()),
        training=_training(data.qat, metric) if data.qat else [],
        scores=_scores(data.qat, metric) if data.qat else [],
        sensitive=[(row, *_alone(row, metric)) for row in alone],
    )


def metric_of(data: ReportData) -> MetricName | None:
    """The recipe's metric, from whichever stage knows it."""
    found = data.quantization
    if found is not None and found.metric is None:
        return next((row.metric for row in found.precisions if row.metric), data.summary.metric)
    return found.metric if found is not None else data.summary.metric


def name_of(cost: PrecisionCost) -> str:
    """``ONNX int8-weights``."""
    return f"{TITLES[cost.format]} {cost.precision}"


def difference_text(cost: PrecisionCost, metric: MetricName | None) -> str:
    """What rounding does to the metric: points of an accuracy, per cent of an error."""
    difference, value = cost.metric_difference, cost.metric
    if difference is None or value is None:
        return DASH
    if difference == 0:
        return "0"
    if metric == "accuracy":
        return f"{100 * difference:+.2f}".replace("-", "−")
    return percent_text(difference / (value - difference)) if value != difference else DASH


def _row(cost: PrecisionCost, metric: MetricName | None) -> Row:
    exact = cost.precision == "float32"  # its error is a matter of parity
    bits = "float32" if cost.activation_bits is None else f"{cost.activation_bits} bits"
    snr = DASH if exact or cost.known_from is None else snr_text(cost.snr_db)
    return Row(
        name=name_of(cost),
        activations=bits,
        score=DASH if cost.metric is None else score_text(cost.metric, metric),
        difference=difference_text(cost, metric),
        snr=snr,
        weights=size_text(cost.weight_bytes),
        weights_ratio="" if exact else _times(cost.weight_ratio),
        file=cost.file,
        file_bytes=size_text(cost.file_bytes),
        file_ratio="" if exact else _times(cost.file_ratio),
        step=time_text(cost.step_p50_us),
        step_ratio="" if exact else _times(cost.step_ratio),
        source=cost.known_from or "",
    )


def _times(ratio: float | None) -> str:
    return "" if ratio is None else f"{ratio:.2f}\u00a0×"


def _smallest(costs: Sequence[PrecisionCost], metric: MetricName | None) -> list[str]:
    """For each format: its smallest file that is as good as float, or nearly."""
    if metric is None:
        return []
    close = "within half a point" if metric == "accuracy" else f"within {100 * LITTLE[metric]:.0f}{PERCENT}"
    found = []
    for format in dict.fromkeys(cost.format for cost in costs):
        own = [cost for cost in costs if cost.format == format]
        rounded = [c for c in own if c.metric_difference is not None and c.precision != "float32"]
        if not rounded:
            continue
        title = TITLES[format]
        good = [c for c in own if c.precision == "float32" or (c in rounded and _is_close(c, metric))]
        best = min(good, key=lambda c: c.file_bytes, default=None)
        if best is None:
            found.append(f"No precision of {title} that was written is {close} of floating point.")
        elif best.precision == "float32":
            found.append(f"{title}: nothing {close} of floating point is smaller than float32 itself.")
        else:
            ratio = f", {_times(best.file_ratio)} float32" if best.file_ratio is not None else ""
            found.append(
                f"{title}: the smallest file {close} of floating point is {best.precision},"
                f" {size_text(best.file_bytes)}{ratio}."
            )
    return found


def _is_close(cost: PrecisionCost, metric: MetricName) -> bool:
    assert cost.metric is not None and cost.metric_difference is not None
    if metric == "accuracy":
        return -cost.metric_difference <= LITTLE[metric] + 1e-12
    exact = cost.metric - cost.metric_difference
    return cost.metric <= (1 + LITTLE[metric]) * exact


def _training(qat: Qat, metric: MetricName | None) -> list[str]:
    bits = f"int8 with activations of {qat.activation_bits} bits"
    if qat.steps == 0:
        rise = _rise(qat.rounded_before, qat.float_before)
        cost = f" changes the validation loss by {percent_text(rise)}, which" if rise is not None else ""
        return [f"No step was done: rounding after training ({bits}){cost} leaves nothing to win back."]
    if not qat.helped:
        return [
            f"{qat.steps} steps for {bits} found nothing better than rounding after training, which is kept."
        ]
    return [
        f"Trained on for {qat.steps} steps for {bits}, with the model before as teacher; what ships is step"
        f" {qat.best_step}, the one with the lowest validation loss as int8 computes it. Its weights and"
        " poles lie on their codes, so every format starts from the same ones."
    ]


def _rise(now: Score, before: Score) -> float | None:
    if now.loss is None or not before.loss:
        return None
    return now.loss / before.loss - 1


def _scores(qat: Qat, metric: MetricName | None) -> list[tuple[str, str, str]]:
    named = [("float32 before", qat.float_before), ("int8, rounded after training", qat.rounded_before)]
    if qat.helped:
        named += [("int8, trained with rounding", qat.rounded_after), ("float32 after it", qat.float_after)]
    return [
        (
            name,
            DASH if score.loss is None else f"{score.loss:.4g}",
            DASH if score.metric is None else score_text(score.metric, metric),
        )
        for name, score in named
    ]


def _alone(row: SensitivityRow, metric: MetricName | None) -> tuple[str, str, str]:
    """SNR, change of the loss, metric."""
    rise = "diverges" if row.rise is None else percent_text(row.rise)
    snr = DASH if row.rise is None else snr_text(row.snr_db)
    return snr, rise, DASH if row.metric is None else score_text(row.metric, metric)
