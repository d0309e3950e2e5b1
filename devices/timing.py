"""From raw nanoseconds to a `Timing`: where the warm-up ends, percentiles; durations as people write them."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ssmith.errors import InputError
from ssmith.measurement import Timing

Nanoseconds = NDArray[np.int64]
Float64 = NDArray[np.float64]

WINDOW = 250  # steps of one warm-up window
STABLE_WINDOWS = 3  # so many windows in a row have to agree
STABLE_SPREAD = 0.02  # their medians within 2 %
_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "": 1.0, "min": 60.0, "h": 3600.0}
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


def clock_step(samples: Nanoseconds) -> int:
    """The steps in which the clock moves, in nanoseconds, as far as the samples show it; at least 1."""
    values = np.unique(samples)
    return int(np.diff(values).min()) if len(values) > 1 else 1


def steady_times(samples: Nanoseconds, *, overhead_ns: float, step_ns: float | None = None) -> Float64:
    """Sorted times in nanoseconds, shape (n,), the overhead subtracted, never below zero.

    A clock that moves in steps of 10 ns gives 190 or 200 for 193. Equal readings are spread evenly over
    the step around them, within the extremes; the mean stays, and a percentile lies where it belongs.

    Args:
        samples: raw differences of two clock readings, shape (n,), n ≥ 1.
        overhead_ns: what the loop adds to each.
        step_ns: of the clock; None takes what the samples show.
    """
    times, step = np.sort(samples).astype(np.float64), step_ns or clock_step(samples)
    if step > 1:
        _, first, counts = np.unique(times, return_index=True, return_counts=True)
        rank = np.arange(len(times)) - np.repeat(first, counts)
        times += step * ((rank + 0.5) / np.repeat(counts, counts) - 0.5)
        times = np.clip(times, samples.min(), samples.max())
    return np.maximum(times - overhead_ns, 0.0)


def summarise(samples: Nanoseconds, *, overhead_ns: float, step_ns: float | None = None) -> Timing:
    """Statistics of steady step times; the arguments are those of ``steady_times``."""
    return statistics(steady_times(samples, overhead_ns=overhead_ns, step_ns=step_ns))


def statistics(times_ns: Float64) -> Timing:
    """Statistics of steady step times in nanoseconds, shape (n,), n ≥ 1."""
    times = np.sort(times_ns) / 1e3
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


def seconds(text: str) -> float:
    """Read a duration: ``2ms``, ``500us``, ``10min``, ``1h``, ``1.5`` (seconds).

    Raises:
        InputError: it is none.
    """
    found = re.fullmatch(r"\s*([0-9]*\.?[0-9]+)\s*(ns|us|µs|ms|s|min|h|)\s*", text)
    if found is None:
        raise InputError(
            f"{text!r} is no duration; write a number and a unit, as in 2ms, 500us, 30s, 10min or 1h"
        )
    return float(found[1]) * _UNITS[found[2]]
