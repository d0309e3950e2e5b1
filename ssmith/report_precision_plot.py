"""The figure of accuracy against file size: a dot for each format and precision, named if there is room."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ssmith.lowering import TITLES
from ssmith.report_precisions import PrecisionCost
from ssmith.report_svg import SERIES, SOFT, svg
from ssmith.report_words import size_text

WIDTH, HEIGHT = 3.9, 3.0  # inches of 72 points
FONT, LETTER, LINE = 8.5, 4.7, 10.0  # points: size, mean width of a letter, height of a line
GAP = 5.0  # from a dot to its name
MOST_TICKS = 5
Box = tuple[float, float, float, float]  # left, bottom, right, top in points


def precision_plot(costs: Sequence[PrecisionCost], metric: str | None) -> str | None:
    """Metric, or without one the signal-to-error ratio, against bytes of the file; None below two dots.

    A dashed line is floating point. Higher is better, but for NRMSE.
    """
    points = [(c, value) for c in costs if (value := _height(c, metric)) is not None]
    if len(points) < 2:
        return None
    names = {"accuracy": "accuracy", "nrmse": "NRMSE, lower is better", "esr": "ESR, lower is better"}
    name = names.get(metric or "", "signal to error")

    def draw(axes: Any) -> None:
        axes.set_xscale("log")
        axes.margins(0.12, 0.16)
        formats = list(dict.fromkeys(cost.format for cost, _ in points))
        for cost, value in points:
            color = SERIES[formats.index(cost.format)]
            mark = "D" if cost.precision == "float32" else "o"
            axes.plot([cost.file_bytes], [value], mark, color=color, ms=5)
        if exact := next((value for cost, value in points if cost.precision == "float32"), None):
            axes.axhline(exact, color=SOFT, lw=0.8, ls=(0, (4, 3)), zorder=0)
        unit = {"accuracy": " %", "nrmse": "", "esr": ""}.get(metric or "", " dB")
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:.6g}{unit}".replace("-", "−"))
        sizes = _ticks(*axes.get_xlim())
        axes.set_xticks(sizes, [size_text(size).replace(".0 ", " ") for size in sizes], minor=False)
        axes.set_xticks([], minor=True)
        axes.set_xlabel("file")
        axes.set_ylabel(name)
        for index, format in enumerate(formats):
            axes.plot([], [], "o", color=SERIES[index], ms=5, label=TITLES[format])
        axes.legend(
            loc="lower left", bbox_to_anchor=(-0.02, 1.0), ncols=3, handlelength=0.8, borderaxespad=0.2
        )
        axes.figure.draw_without_rendering()  # only then is it settled where a dot lies
        pixels = axes.transData.transform([(cost.file_bytes, value) for cost, value in points])
        dots = (72 * pixels / axes.figure.dpi).tolist()
        names = [cost.precision for cost, _ in points]
        for (cost, value), place in zip(points, placed(dots, names), strict=True):
            if place is not None:
                color = SERIES[formats.index(cost.format)]
                at = {"textcoords": "offset points", "fontsize": FONT, "va": "center", "color": color}
                axes.annotate(cost.precision, (cost.file_bytes, value), xytext=place, ha="left", **at)

    title = f"{name[0].upper()}{name[1:]} against bytes of the file, for {len(points)} artifacts"
    return svg("precisions", title, draw, width=WIDTH, height=HEIGHT)


def placed(dots: Sequence[tuple[float, float]], names: Sequence[str]) -> list[tuple[float, float] | None]:
    """Where each name goes beside its dot: offset of its left middle in points; None: it would touch others.

    Tried in turn: above, below, right, left, and the corners. Dots are never covered.
    """
    taken: list[Box] = [(x - 3, y - 3, x + 3, y + 3) for x, y in dots]
    found: list[tuple[float, float] | None] = []
    for (x, y), name in zip(dots, names, strict=True):
        width = LETTER * len(name)
        right, left = GAP, -GAP - width
        offsets = [(-width / 2, LINE), (-width / 2, -LINE), (right, 0.0), (left, 0.0)]
        offsets += [(dx, dy) for dx in (right, left) for dy in (LINE, -LINE)]
        for dx, dy in offsets:
            box = (x + dx, y + dy - LINE / 2, x + dx + width, y + dy + LINE / 2)
            if not any(_touch(box, other) for other in taken):
                taken.append(box)
                found.append((dx, dy))
                break
        else:
            found.append(None)
    return found


def _ticks(low: float, high: float) -> list[int]:
    """Powers of two between two numbers of bytes, with three times such powers where they are few."""
    whole = [2**power for power in range(4, 41) if low <= 2**power <= high]
    if len(whole) < 3:
        whole = sorted(
            size for power in range(4, 41) for size in (2**power, 3 * 2**power) if low <= size <= high
        )
    return whole[:: math.ceil(len(whole) / MOST_TICKS) or 1]


def _touch(a: Box, b: Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _height(cost: PrecisionCost, metric: str | None) -> float | None:
    if metric is None:
        return cost.snr_db
    return None if cost.metric is None else cost.metric * (100 if metric == "accuracy" else 1)
