"""Several runs of the same thing: how far they differ, and whether that is too much."""

from __future__ import annotations

from collections.abc import Sequence
from math import comb, sqrt

import numpy as np

from ssmith.devices.timing import Nanoseconds
from ssmith.measurement import Timing

FIELDS = ("p50_us", "p90_us", "p95_us", "p99_us", "p99_9_us", "mean_us")
SPREAD = 0.05  # medians that differ more are noise
PARTS = 5  # of a single run
_T975 = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776}  # Student's t by the number of runs


def interval(values: Sequence[float], pooled: float) -> tuple[float, float]:
    """An interval that holds the median over all such runs with at least 95 %.

    From six runs on it lies between two order statistics, which assumes nothing but independent runs:
    the median lies outside them as often as a fair coin falls on one side so many times. With fewer, no
    two of the values enclose the median that surely; then it is Student's, for runs that vary normally,
    widened to the extremes.

    Args:
        values: one of each run, at least two.
        pooled: the same of all runs together; the interval is widened to it.
    """
    ordered, n = sorted(values), len(values)
    if n in _T975:
        half = _T975[n] * float(np.std(ordered, ddof=1)) / sqrt(n)
        mean = float(np.mean(ordered))
        low, high = min(max(mean - half, 0.0), ordered[0]), max(mean + half, ordered[-1])
    else:
        outside = 0.0  # chance that the median lies below order statistic k, or above its mirror image
        for k in range(n // 2):
            outside += 2 * comb(n, k) / 2**n
            if outside > 0.05:
                break
            low, high = ordered[k], ordered[n - 1 - k]
    return min(low, pooled), max(high, pooled)


def intervals(runs: Sequence[Timing], pooled: Timing) -> dict[str, tuple[float, float]]:
    """Name of a time → its interval, where every run has it; empty for a single run."""
    found: dict[str, tuple[float, float]] = {}
    for name in FIELDS if len(runs) > 1 else ():
        values = [getattr(run, name) for run in runs]
        if None not in values:
            found[name] = interval(values, getattr(pooled, name))
    return found


def moved(values: Sequence[float]) -> float:
    """How far the largest lies above the smallest, as a share of it."""
    return max(values) / max(min(values), 1e-9) - 1.0


def noise_of(steady: Sequence[Nanoseconds]) -> list[str]:
    """What the times themselves say against the runs.

    Args:
        steady: of each run the steady step times in nanoseconds, shape (n,).
    """
    if len(steady) > 1:
        share = moved([float(np.mean(_middle(run))) for run in steady])
        return [f"the median moved by {share:.0%} between {len(steady)} repeats"] if share > SPREAD else []
    if len(steady[0]) < PARTS * 20:
        return []
    share = moved([float(np.mean(_middle(part))) for part in np.array_split(steady[0], PARTS)])
    return [f"the median moved by {share:.0%} within the run"] if share > SPREAD else []


def _middle(samples: Nanoseconds) -> Nanoseconds:
    """The middle half: its mean is a median that the steps of a coarse clock do not show in."""
    quarter = len(samples) // 4
    return np.sort(samples)[quarter : len(samples) - quarter]
