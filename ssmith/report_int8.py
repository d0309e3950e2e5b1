"""The int8 form of a model on the report's page: sentences, and figures beside those of float32."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ssmith.measurement import Measurement
from ssmith.quantization import INPUT, Quantization, snr_text
from ssmith.report_data import ReportData
from ssmith.report_plots import time_text
from ssmith.report_words import (
    DASH,
    count_text,
    metric_text,
    metric_title,
    ratio_text,
    score_text,
    share_text,
    size_text,
)


@dataclass(frozen=True)
class Figure:
    """One row of the table: the same figure of both forms."""

    name: str
    float32: str
    int8: str


@dataclass(frozen=True)
class Integers:
    """What the page says about int8."""

    sentences: list[str]
    figures: list[Figure]


def integers(data: ReportData) -> Integers:
    """Words and figures about the int8 form; nothing where there is none."""
    found = data.quantization
    if found is None or found.refused:
        return Integers([], [])
    native = {m.precision: m for m in data.measurements or [] if m.backend == "native"}
    sentences = [_error(found), _score(found), _saturated(found), _price(native)]
    return Integers([text for text in sentences if text], _figures(found, native))


def _error(found: Quantization) -> str:
    where = f"On {count_text(found.sequences)} {found.measured_on} ({count_text(found.frames)} frames)"
    if found.measured_snr_db is None:
        return f"{where} the outputs are exact."
    predicted = ""
    if found.predicted_snr_db is not None:
        predicted = f"; predicted from the model and its ranges: {snr_text(found.predicted_snr_db)}"
    return f"{where} the outputs stand {snr_text(found.measured_snr_db)} above their error{predicted}."


def _score(found: Quantization) -> str:
    if found.metric_int8 is None or found.metric_float is None:
        return ""
    name = metric_text(found.metric)
    exact, integer = (score_text(m, found.metric) for m in (found.metric_float, found.metric_int8))
    return f"Their {name} is {integer}; in floating point it is {exact}."


def _saturated(found: Quantization) -> str:
    codes = sum(row.codes for row in found.saturation)
    saturated = sum(row.saturated for row in found.saturation)
    if not codes:
        return ""
    if not saturated:
        return "No activation met its limit: the ranges seen in training hold there too."
    worst = max(found.saturation, key=lambda row: row.saturated / max(row.codes, 1))
    share, most = share_text(saturated / codes), share_text(worst.saturated / worst.codes)
    return (
        f"{share[0].upper()}{share[1:]} of the activations met their limit, most often those of the"
        f" {vector_text(worst.vector)}: {most}."
    )


def vector_text(vector: str) -> str:
    """What a quantised vector is: ``states of OP``, ``input of OP``, ``input of the model``."""
    op = vector.removesuffix(".state")
    return f"states of {op}" if op != vector else f"input of {'the model' if vector == INPUT else op}"


def _price(native: dict[str, Measurement]) -> str:
    full, small = native.get("float32"), native.get("int8")
    if full is None or small is None or not full.flash_bytes or not small.flash_bytes:
        return ""
    share = small.flash_bytes / full.flash_bytes
    text = f"Weights and tables take {size_text(small.flash_bytes)}, {share:.2f} × what float32 takes"
    times = [m.timing.p50_us if m.timing else None for m in (small, full)]
    if times[0] and times[1]:
        text += f"; a step on this machine takes {ratio_text(times[0] / times[1])} × its time"
    return f"{text}."


def _figures(found: Quantization, native: dict[str, Measurement]) -> list[Figure]:
    rows = [
        Figure("Signal to error, measured", DASH, snr_text(found.measured_snr_db)),
        Figure("Signal to error, predicted", DASH, _or_dash(found.predicted_snr_db, snr_text)),
    ]
    if found.metric is not None:
        name = metric_title(found.metric)
        scores = (
            _or_dash(value, lambda v: score_text(v, found.metric))
            for value in (found.metric_float, found.metric_int8)
        )
        rows.append(Figure(name, *scores))
    both = [native.get(precision) for precision in ("float32", "int8")]
    if all(both):
        measured: list[tuple[str, Callable[[Any], str]]] = [
            ("Flash: weights and tables", lambda m: size_text(m.flash_bytes)),
            ("RAM per instance", lambda m: size_text(m.ram_bytes)),
            ("One step, median", lambda m: time_text(m.timing and m.timing.p50_us)),
        ]
        rows += [Figure(name, *(text(m) for m in both)) for name, text in measured]
    return rows


def _or_dash(value: float | None, text: Callable[[float], str]) -> str:
    return DASH if value is None else text(value)
