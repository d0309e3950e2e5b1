"""The figure of accuracy against cost on one device: the front filled and joined, what it beats hollow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ssmith.report_devices import Count, Latency, amount_text, latency_text
from ssmith.report_pareto import CostKind, ParetoPoint, by_device
from ssmith.report_precision_plot import placed
from ssmith.report_svg import SERIES, SOFT, svg
from ssmith.report_words import score_text

WIDTH, HEIGHT = 3.9, 2.7  # inches of 72 points


@dataclass(frozen=True)
class Frontier:
    """A device's figure, and the names on its front, cheapest first."""

    target: str
    figure: str
    front: list[str]


def frontiers(points: Sequence[ParetoPoint], metric: str | None) -> list[Frontier]:
    """A figure for each device with two points or more."""
    return [
        Frontier(target, _figure(index, target, kind, group, metric), _front(group, metric))
        for index, ((target, kind), group) in enumerate(by_device(points).items())
        if len(group) > 1
    ]


def cost_text(point: ParetoPoint) -> str:
    """A time with its unit, or a count with its own."""
    if point.cost_kind == "latency":
        return latency_text(Latency(point.cost))
    count = amount_text(Count(point.cost, point.cost_kind))
    return f"{count} instructions" if point.cost_kind == "instructions" else count


def _front(group: Sequence[ParetoPoint], metric: str | None) -> list[str]:
    return [f"{p.name} ({score_text(p.metric, metric)}, {cost_text(p)})" for p in group if p.on_front]


def _figure(index: int, target: str, kind: CostKind, group: Sequence[ParetoPoint], metric: str | None) -> str:
    scale = 100 if metric == "accuracy" else 1
    front = [point for point in group if point.on_front]
    spots = [(point.cost, scale * point.metric) for point in group]

    def draw(axes: Any) -> None:
        axes.set_xscale("log")
        axes.margins(0.16, 0.2)
        ends = [(p.cost, scale * p.metric) for p in front]
        axes.plot([x for x, _ in ends], [y for _, y in ends], color=SERIES[0], lw=1.2, zorder=1)
        for point, (x, y) in zip(group, spots, strict=True):
            inside = SERIES[0] if point.on_front else "none"
            edge = SERIES[0] if point.on_front else SOFT
            axes.plot([x], [y], "o", mfc=inside, mec=edge, ms=5.5, zorder=2)
        if metric == "accuracy" and (bottom := axes.get_ylim()[0]) < 100:
            lowest = min(y for _, y in spots)
            top = max(y for _, y in spots)
            axes.set_ylim(max(bottom, lowest - 1 - (top - lowest)), min(100, top + 1 + (top - lowest) / 3))
        low, high = axes.get_xlim()
        ticks = _ticks(low, high)
        axes.set_xticks(ticks, [_tick(tick, kind) for tick in ticks])
        axes.set_xticks([], minor=True)
        unit = " %" if metric == "accuracy" else ""
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:.6g}{unit}".replace("-", "−"))
        axes.set_xlabel("median of a step" if kind == "latency" else f"{kind} a step")
        error = f"{metric.upper() if metric else 'error'}, lower is better"
        axes.set_ylabel("accuracy" if metric == "accuracy" else error)
        axes.set_title(target, fontsize=9.5, loc="left")
        axes.figure.draw_without_rendering()  # only then is it settled where a dot lies
        dots = (72 * axes.transData.transform(spots) / axes.figure.dpi).tolist()
        names = [point.name for point in group]
        for name, spot, place in zip(names, spots, placed(dots, names), strict=True):
            if place is not None and _inside(dots[spots.index(spot)][0] + place[0], name):
                at: dict[str, Any] = {"textcoords": "offset points", "fontsize": 8, "va": "center"}
                axes.annotate(name, spot, xytext=place, ha="left", color=SOFT, **at)

    what = "time" if kind == "latency" else kind
    title = f"Score against {what} of a step on {target}; on the front: {'; '.join(_front(group, metric))}"
    return svg(f"pareto{index}", title, draw, width=WIDTH, height=HEIGHT)


def _inside(left: float, name: str) -> bool:
    return left > 0 and left + 4.7 * len(name) < 72 * WIDTH


def _ticks(low: float, high: float) -> list[float]:
    """One, two and five times powers of ten between two costs, finer where those are few; four at most."""
    for steps in ((1, 2, 5), range(1, 10), [n / 10 for n in range(10, 100)]):
        found = _between(low, high, steps)
        if len(found) > 1:
            break
    return found[:: -(-len(found) // 4) or 1]


def _between(low: float, high: float, steps: Sequence[float]) -> list[float]:
    return [n * 10.0**power for power in range(-4, 13) for n in steps if low <= n * 10.0**power <= high]


def _tick(value: float, kind: CostKind) -> str:
    return latency_text(Latency(value)) if kind == "latency" else amount_text(Count(value, "instructions"))
