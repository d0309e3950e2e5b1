"""The figures of the report: data in, an SVG string out."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal

from ssmith.measurement import Timing
from ssmith.report_cuts import CutRow, SpectrumRow
from ssmith.report_data import Comparison, TrainingRow
from ssmith.report_svg import INK, LOST, SERIES, SOFT, series_color, svg
from ssmith.report_words import DASH

NAMED_LAYERS = 8  # more labels would not fit beside the plot
MANY_DECADES = 2.2
WIDE_LINES = 4  # so many layers get lines of different width
MANY_CUTS = 12  # of one layer: smaller dots
SINGLE_BARS = 64  # more values than this are drawn as one area: the page stays small

Measure = Literal["output_error", "cost"]


def order_plot(training: Sequence[TrainingRow], cuts: Sequence[CutRow], *, layers: int) -> str:
    """Stored order of each layer over training; a dot is a cut, a cross one that was undone."""

    def draw(axes: Any) -> None:
        ends: list[tuple[float, str, str]] = []
        for layer in range(layers):
            kept = [c for c in cuts if c.layer == layer and c.accepted]
            undone = [c for c in cuts if c.layer == layer and c.outcome == "undone"]
            points = _through_cuts(
                [(r.step, r.orders[layer]) for r in training if len(r.orders) > layer], kept
            )
            if not points:
                continue
            color = series_color(layer)
            below = max(min(layers, WIDE_LINES) - 1 - layer, 0)  # layers with equal orders stay visible
            axes.step(*_columns(points), where="post", color=color, lw=2.0 + 1.8 * below)
            if kept:
                axes.plot(
                    *_columns([(c.step, c.order_after) for c in kept]),
                    "o",
                    color=color,
                    ms=5 if len(kept) <= MANY_CUTS else 3,
                )
            if undone:
                axes.plot(
                    *_columns([(c.step, c.order_before) for c in undone]), "x", color=color, ms=6, mew=1.8
                )
            ends.append((points[-1][1], f"layer {layer + 1}: {points[-1][1]}", color))
        axes.set_ylim(bottom=0)
        axes.set_xlabel("training step")
        axes.set_ylabel("order (stored states)")
        if len(ends) <= NAMED_LAYERS:
            _label_ends(axes, ends)

    return svg("orders", "Order of each layer over training", draw)


def spectrum_plot(cut: CutRow, where: str) -> str:
    """Singular values at one cut, relative to the largest: kept in colour, dropped in grey.

    Args:
        cut: with at least one singular value.
        where: in words, unique on the page together with the layer and its orders.
    """
    top = max(cut.singular_values, default=1.0) or 1.0
    values = [max(v / top, 1e-9) for v in cut.singular_values]
    floor = 10.0 ** math.floor(math.log10(min(values, default=1.0) * 0.999))
    kept = cut.kept_values

    def draw(axes: Any) -> None:
        for start, part, color in (
            (0, values[:kept], series_color(cut.layer)),
            (kept, values[kept:], LOST),
        ):
            if len(values) > SINGLE_BARS and part:
                edges = [start + 0.5 + i for i in range(len(part) + 1)]
                axes.stairs(part, edges, baseline=floor, fill=True, color=color, lw=0)
            else:
                places = range(start + 1, start + 1 + len(part))
                axes.bar(places, [v - floor for v in part], 0.86, bottom=floor, color=color)
        if 0 < kept < len(values):
            axes.axvline(kept + 0.5, color=INK, lw=1.2, ls=(0, (3, 2)))
        axes.set_yscale("log")
        axes.set_ylim(floor, 1.6)
        axes.set_xlim(0.2, len(values) + 0.8)
        text = {"transform": axes.transAxes, "va": "bottom", "fontsize": 8.5}
        axes.text(0, 1.02, f"{kept} stay", color=series_color(cut.layer), weight="bold", **text)
        axes.text(1, 1.02, f"{len(values) - kept} go", color=SOFT, ha="right", **text)
        axes.set_xlabel("direction in the state, most important first")
        axes.grid(axis="x", visible=False)

    what = f"layer {cut.layer + 1} {where}, order {cut.order_before}"
    title = f"Singular values of {what}: {kept} of {len(values)} stay"
    return svg(f"spectrum {what} {kept}", title, draw, width=3.3, height=2.0)


def prediction_plot(cuts: Sequence[CutRow], measure: Measure, where: str) -> str:
    """What the spectrum foretold against what was measured; a cross is a cut that was undone."""
    name, unit, logarithmic = {
        "output_error": ("outputs moved by", "measured output change", True),
        "cost": ("loss changed by", "measured change of the loss", False),
    }[measure]
    points = [(c, *pair) for c in cuts if (pair := predicted_and_measured(c, measure)) is not None]

    def draw(axes: Any) -> None:
        axes.set_xscale("log")
        if logarithmic:
            axes.set_yscale("log")
        else:
            axes.set_yscale("symlog", linthresh=1.0)  # an undone cut must not flatten the others
            axes.axhline(0, color=SOFT, lw=0.8)
        axes.margins(0.08, 0.12)
        for cut, x, y in points:
            mark = "o" if cut.outcome == "kept" else "x"
            axes.plot([100 * x], [100 * y], mark, color=series_color(cut.layer), ms=5.5, mew=1.6)
        if logarithmic:
            _log_ticks(axes.yaxis, _percent_tick)
        else:
            axes.yaxis.set_major_formatter(lambda value, _: _percent_tick(value))
        _log_ticks(axes.xaxis, _percent_tick)
        axes.set_xlabel("predicted from the spectrum")
        axes.set_ylabel(name)

    title = f"Predicted and measured, {where}: {unit} of {len(points)} cuts"
    return svg(f"{measure} {where}", title, draw, width=3.3, height=2.2)


def settling_plot(spectra: Sequence[SpectrumRow], cuts: Sequence[CutRow]) -> str:
    """How much of each layer's spectrum had moved since the look before, with the cuts as vertical lines."""
    known = [(s.layer, s.step, 100 * s.change) for s in spectra if s.change]

    def draw(axes: Any) -> None:
        axes.set_yscale("log")
        ends: list[tuple[float, str, str]] = []
        for layer in sorted({layer for layer, _, _ in known}):
            points = [(step, change) for i, step, change in known if i == layer]
            color = series_color(layer)
            axes.plot(*_columns(points), "o-", color=color, ms=3, lw=1.2)
            ends.append((points[-1][1], f"layer {layer + 1}", color))
        _mark_cuts(axes, cuts)
        _log_ticks(axes.yaxis, _percent_tick)
        axes.set_xlabel("training step")
        axes.set_ylabel("spectrum moved by")
        if len(ends) <= NAMED_LAYERS:
            _label_ends(axes, ends)

    return svg("settling", "How much each layer's spectrum still moved", draw, height=2.0)


def predicted_and_measured(cut: CutRow, measure: Measure) -> tuple[float, float] | None:
    """Both numbers of one cut, or None where either is not known (or cannot be drawn: output change 0)."""
    predicted, measured = cut.predicted_change, getattr(cut, measure)
    if cut.outcome == "not cut" or not predicted or measured is None:
        return None
    return None if measure == "output_error" and measured <= 0 else (predicted, measured)


def comparison_plot(comparison: Comparison) -> str:
    """One bar from zero for each network, the number at its end."""
    scored = [(row, row.score) for row in comparison.rows]
    shown = [(row, value) for row, value in scored if value is not None]
    percent = comparison.metric == "accuracy"

    def draw(axes: Any) -> None:
        limit = 1.2 * max((value for _, value in shown), default=1.0) or 1.0
        for place, (row, value) in enumerate(shown):
            main = row.name == "reduced"
            axes.barh(place, value, 0.62, color=SERIES[0] if main else LOST)
            text = f"{100 * value:.1f} %" if percent else f"{value:.3f}"
            weight = "bold" if main else "normal"
            axes.text(value + limit * 0.015, place, text, va="center", weight=weight)
        names = [f"{r.name} ({range_text(r.orders)})" if r.orders else r.name for r, _ in shown]
        axes.set_yticks(range(len(shown)), names)
        axes.tick_params(axis="y", colors=INK)
        axes.set_xticks([])
        axes.spines["bottom"].set_visible(False)
        axes.grid(visible=False)
        axes.set_xlim(0, limit)
        axes.invert_yaxis()

    error = f"Error ({comparison.metric.upper()}) of each network, lower is better"
    title = "Accuracy of each network" if percent else error
    return svg("comparison", title, draw, height=0.25 + 0.46 * max(len(shown), 1))


def loss_plot(training: Sequence[TrainingRow], cuts: Sequence[CutRow]) -> str:
    """Training and held-out loss, with the accepted cuts as vertical lines."""
    lines = (
        ("training", LOST, 1.2, [(r.step, r.loss) for r in training]),
        ("held-out", SERIES[0], 2.0, [(r.step, r.validation_loss) for r in training]),
    )

    def draw(axes: Any) -> None:
        ends: list[tuple[float, str, str]] = []
        for label, color, width, points in lines:
            known = [(step, value) for step, value in points if value is not None and value > 0]
            if known:
                axes.plot(*_columns(known), color=color, lw=width)
                ends.append((known[-1][1], label, SOFT if color == LOST else color))
        _mark_cuts(axes, cuts)
        axes.set_yscale("log")
        _log_ticks(axes.yaxis)
        axes.set_xlabel("training step")
        axes.set_ylabel("loss")
        _label_ends(axes, ends)

    return svg("loss", "Loss over training", draw)


def metric_plot(training: Sequence[TrainingRow], cuts: Sequence[CutRow], *, metric: str) -> str:
    """The held-out metric over training, with the accepted cuts as vertical lines."""
    points = [(r.step, r.validation_metric) for r in training if r.validation_metric is not None]

    def draw(axes: Any) -> None:
        axes.plot(*_columns(points), color=SERIES[0])
        _mark_cuts(axes, cuts)
        axes.locator_params(axis="x", nbins=6)
        axes.set_xlabel("training step")
        axes.set_ylabel(f"held-out {metric}")

    return svg("metric", f"Held-out {metric} over training", draw)


def latency_plot(timings: Sequence[tuple[str, Timing]], *, where: str | None = None, index: int = 0) -> str:
    """Distribution of the step time per backend: time logarithmic, share of steps in "nines".

    Each line upwards is ten times rarer, so that the tail, which decides deadlines, has room. ``where``
    names the device if there are several, ``index`` tells their drawings apart.
    """
    top = max(math.log10(max((t.samples for _, t in timings), default=10)), 1.0)

    def height(fraction: float) -> float:
        return min(-math.log10(max(1 - fraction, 1e-12)), top)

    def draw(axes: Any) -> None:
        for index, (name, timing) in enumerate(timings):
            times = [max(t, 1e-3) for t in timing.ecdf_us]
            heights = [height(f) for f in timing.ecdf_fraction]
            axes.plot(times, heights, color=series_color(index), label=name)
        nines = [0.0, 0.5, *(1 - 10.0**-k for k in range(1, math.floor(top) + 1))]
        axes.set_yticks([height(f) for f in nines], [f"{100 * f:.6g} %" for f in nines])
        axes.set_ylim(0, top * 1.04)
        axes.set_xscale("log")
        _log_ticks(axes.xaxis, time_text)
        axes.set_xlabel("one step takes at most")
        axes.set_ylabel("share of steps")
        axes.legend(
            loc="lower left",
            bbox_to_anchor=(-0.02, 1.0),
            ncols=3 if len(timings) <= 3 else 2,
            handlelength=1.2,
            columnspacing=1.2,
            borderaxespad=0.2,
        )

    on = "" if where is None else f" on {where}"
    name = "latency" if index == 0 else f"latency{index}"
    return svg(name, f"Share of steps that finish within a time, per backend{on}", draw)


def time_text(value: float | None) -> str:
    """Microseconds with three digits, as ns, µs, ms or s."""
    if value is None:
        return DASH
    for limit, factor, unit in ((1, 1e3, "ns"), (1e3, 1, "µs"), (1e6, 1e-3, "ms")):
        if value < limit * (1 - 5e-4):  # 999.6 would round up to the next unit
            return f"{value * factor:.3g} {unit}"
    return f"{value / 1e6:.3g} s"


def range_text(orders: Sequence[int]) -> str:
    """``12`` where all layers agree, ``8–12`` where they do not."""
    low, high = min(orders), max(orders)
    return str(low) if low == high else f"{low}–{high}"


def _percent_tick(value: float) -> str:
    return f"{value:.4g} %".replace("-", "−")


def _columns(points: Sequence[tuple[float, float]]) -> tuple[list[float], list[float]]:
    return [x for x, _ in points], [y for _, y in points]


def _through_cuts(points: list[tuple[int, int]], cuts: Sequence[CutRow]) -> list[tuple[int, int]]:
    """Evaluations are sparse; the order changes at the cuts before and between them."""
    early = bool(cuts) and not any(step < cuts[0].step for step, _ in points)
    start = [(0, cuts[0].order_before)] if early else []
    return sorted((dict(start + points) | {c.step: c.order_after for c in cuts}).items())


def _mark_cuts(axes: Any, cuts: Sequence[CutRow]) -> None:
    for step in sorted({c.step for c in cuts if c.accepted}):
        axes.axvline(step, color=SOFT, lw=1.0, ls=(0, (2, 3)), zorder=1)


def _label_ends(axes: Any, ends: list[tuple[float, str, str]]) -> None:
    """Name each line at its right end, moved apart where two labels would touch."""
    low, high = axes.get_ylim()
    scale = math.log if axes.get_yscale() == "log" else float
    taken = -1.0
    for value, label, color in sorted(ends):
        place = (scale(value) - scale(low)) / (scale(high) - scale(low))
        taken = max(place, taken + 0.085)
        at = {"xycoords": "axes fraction", "textcoords": "offset points", "va": "center"}
        axes.annotate(label, (1.0, taken), xytext=(4, 0), color=color, **at)


def _log_ticks(axis: Any, text: Callable[[float], str] = "{:.6g}".format) -> None:
    """Plain numbers in place of powers of ten; 1, 2, 5 while they have room, then whole decades."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    low, high = axis.get_view_interval()
    roomy = math.log10(high / low) < MANY_DECADES
    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if roomy else (1.0,), numticks=8))
    axis.set_major_formatter(FuncFormatter(lambda value, _: text(value)))
    axis.set_minor_locator(NullLocator())
