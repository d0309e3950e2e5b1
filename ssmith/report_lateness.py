"""The paced run on the report's page: how late each step was, as a figure a row and as one table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ssmith.measurement import Deadline, Measurement
from ssmith.report_plots import time_text
from ssmith.report_svg import SERIES, SOFT, svg
from ssmith.report_words import count_text

LATE = SERIES[1]  # beyond the period


@dataclass(frozen=True)
class Lateness:
    """A row's figure, and where its worst step was, in words."""

    name: str
    figure: str
    worst: str


@dataclass(frozen=True)
class LateTable:
    """The figures as one table: rows (range of times, beyond the period, counts by row), fastest first."""

    names: list[str]
    rows: list[tuple[str, bool, list[int]]]


def latenesses(measurements: Sequence[Measurement], name_of: Callable[[Measurement], str]) -> list[Lateness]:
    """A figure for each row with a histogram."""
    return [
        Lateness(name_of(m), _figure(index, name_of(m), m.deadline), worst_text(m.deadline))
        for index, m in enumerate(measurements)
        if m.deadline is not None and m.deadline.late_counts
    ]


def late_table(measurements: Sequence[Measurement], name_of: Callable[[Measurement], str]) -> LateTable:
    """Counts of all rows by the time from due to done; ranges that hold nothing anywhere are left out."""
    found = [(name_of(m), m.deadline) for m in measurements if m.deadline and m.deadline.late_counts]
    counts: dict[tuple[float, float, bool], dict[str, int]] = {}
    for name, late in found:
        for low, high, count in _bins(late):
            if count:
                counts.setdefault((low, high, low >= late.period_us), {})[name] = count
    names = [name for name, _ in found]
    rows = [
        (_range(low, high), missed, [by_name.get(name, 0) for name in names])
        for (low, high, missed), by_name in sorted(counts.items())
    ]
    return LateTable(names, rows)


def worst_text(late: Deadline) -> str:
    """The worst step and when it was."""
    when = "" if late.worst_at_s is None else f", {late.worst_at_s:.3g} s after the first"
    return f"{time_text(late.worst_us)}{when}"


def _bins(late: Deadline) -> list[tuple[float, float, int]]:
    """(from, to, steps), without the empty ones at both ends."""
    edges, counts = late.late_edges_us, late.late_counts
    held = [k for k, count in enumerate(counts) if count]
    return [(edges[k], edges[k + 1], counts[k]) for k in range(held[0], held[-1] + 1)]


def _range(low: float, high: float) -> str:
    return f"{time_text(low)} to {time_text(high)}" if low else f"up to {time_text(high)}"


def _figure(index: int, name: str, late: Deadline) -> str:
    bins = _bins(late)

    def draw(axes: Any) -> None:
        colors = [LATE if low >= late.period_us else SERIES[0] for low, _, _ in bins]
        axes.bar(range(len(bins)), [count for _, _, count in bins], 0.86, align="edge", color=colors)
        axes.set_yscale("log")
        axes.set_ylim(0.7, 2.0 * max(count for _, _, count in bins))
        axes.yaxis.set_major_formatter(lambda value, _: count_text(round(value)) if value >= 1 else "")
        edges = [low for low, _, _ in bins] + [bins[-1][1]]
        step = -(-len(edges) // 5)
        shown = range(0, len(edges), step)
        axes.set_xticks([k - 0.07 for k in shown], [time_text(edges[k]) if edges[k] else "0" for k in shown])
        if late.period_us in edges:
            place = edges.index(late.period_us) - 0.07
            axes.axvline(place, color=SOFT, lw=1.2, ls=(0, (4, 3)))
        axes.set_xlabel("from due to done")
        axes.set_ylabel("steps")
        axes.set_title(name, fontsize=9.5, loc="left")

    return svg(f"late{index}", f"{name}: {_told(late)}", draw)


def _told(late: Deadline) -> str:
    """The figure for who does not see it."""
    bins = _bins(late)
    below = np.cumsum([count for _, _, count in bins])
    low, high, _ = bins[int(np.searchsorted(below, (late.steps + 1) // 2))]
    return (
        f"{count_text(late.steps)} paced steps by the time from due to done; the middle one took"
        f" {_range(low, high)}, {count_text(late.misses)} beyond the period of {time_text(late.period_us)},"
        f" the worst {worst_text(late)}"
    )
