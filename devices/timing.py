"""From raw nanoseconds to a `Timing`: where the warm-up ends, percentiles, deadlines."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ssmith.measurement import Deadline, Timing

Nanoseconds = NDArray[np.int64]

WINDOW = 250  # steps of one warm-up window
STABLE_WINDOWS = 3  # so many windows in a row have to agree
STABLE_SPREAD = 0.02  # their medians within 2 %
BEYOND = 10  # samples that must lie beyond a percentile
# Points of the drawn distribution: every percent, then the tail evenly in "nines", then the maximum.
_FRACTIONS = np.concatenate([np.linspace(0, 0.99, 100), 1 - 10 ** -np.linspace(2.1, 5, 30), [1.0]])


@dataclass(frozen=True)
class WarmUp:
    """Steps to leave out, and whether the rest is steady or the limit came first."""

    steps: int
    stable: bool


def find_warm_up(samples: Nanoseconds, *, limit: int) -> WarmUp:
    """Where steady state begins: the first windows in a row whose medians agree.

    The windows that agree belong to the warm-up too, so nothing is both a criterion and a result.

    Args:
        samples: step times from the first step on, shape (n,).
        limit: at most so many steps are given away.
    """
    limit = min(limit, len(samples) // 2)
    medians: list[float] = []
    for end in range(WINDOW, limit + 1, WINDOW):
        medians.append(float(np.median(samples[end - WINDOW : end])))
        last = medians[-STABLE_WINDOWS:]
        if len(last) == STABLE_WINDOWS and max(last) <= (1 + STABLE_SPREAD) * min(last):
            return WarmUp(end, True)
    return WarmUp(limit, False)


def summarise(samples: Nanoseconds, *, overhead_ns: float) -> Timing:
    """Statistics of steady step times, shape (n,) in nanoseconds, n ≥ 1.

    Args:
        samples: raw differences of two clock readings.
        overhead_ns: what a step of no work reads; subtracted, never below zero.
    """
    times = np.maximum(np.sort(samples).astype(np.float64) - overhead_ns, 0.0) / 1e3
    n = len(times)

    def percentile(fraction: float) -> float | None:
        enough = n * (1 - fraction) >= BEYOND - 1e-9
        return float(np.quantile(times, fraction)) if enough else None

    low, high = float(times[0]), float(times[-1])
    fractions = _FRACTIONS[(n * (1 - _FRACTIONS) >= 2) | np.isin(_FRACTIONS, (0.0, 1.0))]
    return Timing(
        samples=n,
        min_us=low,
        # the sum of many equal times may round past them
        mean_us=min(max(float(times.mean()), low), high),
        std_us=float(times.std()),
        p50_us=percentile(0.5),
        p90_us=percentile(0.9),
        p95_us=percentile(0.95),
        p99_us=percentile(0.99),
        p99_9_us=percentile(0.999),
        max_us=high,
        ecdf_us=[round(float(t), 4) for t in np.quantile(times, fractions)],
        ecdf_fraction=[round(float(f), 6) for f in fractions],
    )


def summarise_deadlines(
    busy: Nanoseconds, late: Nanoseconds, *, period_s: float, steady_mean_us: float
) -> Deadline:
    """Statistics of a paced run.

    A miss that is no overrun was caused by something else: the system woke us too late, or an
    earlier step was still in the way.

    Args:
        busy: duration of each step, shape (n,).
        late: end of each step minus the moment it was due, shape (n,).
        period_s: seconds between two steps.
        steady_mean_us: mean step time when run back to back.
    """
    period_us = period_s * 1e6
    return Deadline(
        period_us=period_us,
        steps=len(busy),
        misses=int((late > period_s * 1e9).sum()),
        overruns=int((busy > period_s * 1e9).sum()),
        duty=float(busy.mean()) / 1e3 / period_us,
        real_time_factor=period_us / max(steady_mean_us, 1e-3),
        worst_us=float(late.max()) / 1e3,
    )
