"""``report.html`` from ``ReportData``: figures and texts put into the template. Needs Jinja."""

from __future__ import annotations

from dataclasses import replace
from importlib import resources
from typing import Any

import jinja2
from markupsafe import Markup

from ssmith import report_plots as plots
from ssmith.measurement import Measurement
from ssmith.report_data import ReportData
from ssmith.report_devices import COLUMNS, FILTERS, devices
from ssmith.report_int8 import integers, vector_text
from ssmith.report_lateness import late_table, latenesses
from ssmith.report_layers import layer_tables
from ssmith.report_pareto_plot import frontiers
from ssmith.report_parity import checks, proofs
from ssmith.report_precision_plot import precision_plot
from ssmith.report_precision_words import metric_of, precisions
from ssmith.report_reduction import reductions
from ssmith.report_words import (
    CRITERIA,
    DASH,
    count_text,
    metric_text,
    metric_title,
    percent_text,
    ratio_text,
    score_text,
    share_text,
    size_text,
)


def render(data: ReportData) -> str:
    """Fill the template; everything from outside is escaped, only our own SVG is not."""
    files = resources.files("ssmith")
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(lambda name: (files / name).read_text(encoding="utf-8")),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters: dict[str, Any] = {
        "size": size_text,
        "us": plots.time_text,
        "score": lambda value: DASH if value is None else score_text(value, data.summary.metric),
        "metric_text": metric_text,
        "metric_title": metric_title,
        "range": plots.range_text,
        "percent": lambda value: DASH if value is None else percent_text(value),
        "share": lambda value: DASH if value is None else share_text(value, "< "),
        "ratio": ratio_text,
        "vector": vector_text,
        "sci": scientific_text,
        "count": count_text,
    }
    environment.filters |= filters | FILTERS
    shared = [file for file in data.artifacts or [] if not file.path.startswith(data.name)]
    own = [file for file in data.artifacts or [] if file not in shared]
    timed = [m for m in data.measurements or [] if m.timing]
    hosts = list(dict.fromkeys(m.target for m in timed))
    paced = [m for m in data.measurements or [] if m.deadline]

    def name_of(m: Measurement) -> str:
        return _named(m, hosts)

    template = environment.get_template("report.html.j2")
    css = (files / "report.css").read_text(encoding="utf-8")
    return template.render(
        data=data,
        css=Markup(css),
        plots={name: Markup(svg) for name, svg in _plots(data).items()},
        reductions=reductions(data),
        criteria=CRITERIA,
        deadlines=paced,
        lateness=[replace(late, figure=Markup(late.figure)) for late in latenesses(paced, name_of)],
        late_counts=late_table(paced, name_of),
        blocked=[m for m in data.measurements or [] if m.blocks],
        layer_tables=layer_tables(data.measurements or []),
        matrix=devices(data.measurements or []),
        columns_of=list(COLUMNS.items()),
        frontiers=[replace(f, figure=Markup(f.figure)) for f in frontiers(data.pareto, metric_of(data))],
        hosts=hosts,
        name_of=name_of,
        latencies=[Markup(_latency(host, i, timed, len(hosts))) for i, host in enumerate(hosts)],
        gain=_gain(data),
        unmeasured=_unmeasured(data),
        integers=integers(data),
        precisions=precisions(data),
        own_files=own,
        engine_files=shared,
        engine_paths=[file.path for file in shared],
        layers=_layers(data),
        readings=_readings(timed, hosts),
        proofs=proofs(data.parity or []),
        checks=checks(data.parity or []),
    )


def scientific_text(value: float | None) -> str:
    """Small numbers: ``0`` stays 0, the rest as 1.2e-07."""
    if value is None:
        return DASH
    return "0" if value == 0 else f"{value:.2g}"


def _plots(data: ReportData) -> dict[str, str]:
    training, cuts, drawn = data.training or [], data.cuts or [], {}
    layers = max([len(r.orders) for r in training] + [c.layer + 1 for c in cuts], default=0)
    if layers:
        drawn["orders"] = plots.order_plot(training, cuts, layers=layers)
    if any(row.loss is not None or row.validation_loss is not None for row in training):
        drawn["loss"] = plots.loss_plot(training, cuts)
    if any(row.validation_metric is not None for row in training):
        names = {"accuracy": "accuracy", "nrmse": "NRMSE", "esr": "ESR"}
        name = names.get(data.summary.metric or "", "metric")
        drawn["metric"] = plots.metric_plot(training, cuts, metric=name)
    if any(row.change for row in data.spectra or []):
        drawn["settling"] = plots.settling_plot(data.spectra or [], cuts)
    if data.comparison and data.comparison.rows:
        drawn["comparison"] = plots.comparison_plot(data.comparison)
    if (figure := precision_plot(data.precisions, metric_of(data))) is not None:
        drawn["precisions"] = figure
    return drawn


def _layers(data: ReportData) -> list[dict[str, Any]]:
    """A row a layer: order at the start and now, cuts that stayed and that were undone."""
    start, end = data.summary.order_before, data.summary.order_after
    rows = []
    for layer in range(min(len(start), len(end))):
        cuts = [cut for cut in data.cuts or [] if cut.layer == layer]
        kept = sum(cut.outcome == "kept" for cut in cuts)
        rows.append(
            {
                "layer": layer + 1,
                "start": start[layer],
                "end": end[layer],
                "gone": 1 - end[layer] / start[layer],
                "kept": kept,
                "undone": sum(cut.outcome == "undone" for cut in cuts),
            }
        )
    return rows


def _readings(measurements: list[Measurement], hosts: list[str]) -> list[tuple[str, str]]:
    """The distribution in words: (backend, sentence)."""
    found = []
    for m in measurements:
        if m.timing is None or m.timing.p50_us is None:
            continue
        t = m.timing
        tail = next(
            (
                f"{share} of the steps finish within {plots.time_text(value)}; "
                for share, value in (("99.9 %", t.p99_9_us), ("99 %", t.p99_us))
                if value is not None
            ),
            "",
        )
        worst = f"the slowest of {count_text(t.samples)} took {plots.time_text(t.max_us)}"
        times = f", {ratio_text(t.max_us / t.p50_us)} × the median" if t.p50_us else ""
        found.append((_named(m, hosts), f"{tail}{worst}{times}."))
    return found


def _named(m: Measurement, hosts: list[str]) -> str:
    """What tells a row with times from the others; its device only where there are several."""
    return m.label if len(hosts) < 2 else f"{m.target} {m.label}"


def _latency(host: str, index: int, timed: list[Measurement], hosts: int) -> str:
    """The distributions on one device."""
    rows = [(m.label, m.timing) for m in timed if m.target == host and m.timing]
    return plots.latency_plot(rows, where=host if hosts > 1 else None, index=index)


def _unmeasured(data: ReportData) -> list[str]:
    """Backends, by precision, that an exported file is for and that have no measurement."""
    opened_by = {"onnx-step": "onnx", "c-source": "native", "ssmc": "native", "pte-step": "executorch"}
    wanted = {
        opened_by[file.kind] + ("" if file.precision == "float32" else f" {file.precision}")
        for file in data.artifacts or []
        if file.kind in opened_by
    }
    return sorted(wanted - {m.label for m in data.measurements or []})


def _gain(data: ReportData) -> dict[str, Any]:
    """What reduction changed, for the sentence at the top."""
    comparison = data.comparison
    rows = {name: comparison.row(name) if comparison else None for name in ("full", "reduced")}
    found: dict[str, Any] = {"scratch": comparison.row("scratch") if comparison else None}
    full, reduced = rows["full"], rows["reduced"]
    if full and reduced:
        if full.train_seconds and reduced.train_seconds:
            found["time"] = reduced.train_seconds / full.train_seconds
        if full.parameters and reduced.parameters:
            found["parameters"] = 1 - reduced.parameters / full.parameters
    return found
