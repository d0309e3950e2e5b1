"""Times against the time there is: paced steps against their period, audio blocks against their length."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ssmith.devices.timing import Nanoseconds, summarise
from ssmith.measurement import Block, Deadline

_EDGES = (1.0, 1.5, 2.0, 3.0, 5.0, 7.0)  # of each decade of a histogram


def summarise_deadlines(
    busy: Nanoseconds,
    late: Nanoseconds,
    *,
    period_s: float,
    steady_mean_us: float,
    overhead_ns: float = 0.0,
) -> Deadline:
    """Statistics of a paced run.

    A miss that is no overrun was caused by something else: the system woke us too late, or an
    earlier step was still in the way.

    Args:
        busy: duration of each step, shape (n,), n ≥ 1.
        late: end of each step minus the moment it was due, shape (n,).
        period_s: seconds between two steps.
        steady_mean_us: mean step time when run back to back.
        overhead_ns: of the loop in ``busy``; the system's lateness is left as it is.
    """
    period_ns = round(period_s * 1e9)  # as the loops count it
    period_us = period_ns / 1e3
    wake = (late - busy) / 1e3
    edges, counts = histogram(late, period_us)
    return Deadline(
        period_us=period_us,
        steps=len(busy),
        misses=int((late > period_ns).sum()),
        overruns=int((busy > period_ns).sum()),
        duty=max(float(busy.mean()) - overhead_ns, 0.0) / period_ns,
        real_time_factor=period_us / max(steady_mean_us, 1e-3),
        worst_us=float(late.max()) / 1e3,
        worst_at_s=int(late.argmax()) * period_s,
        wake_p50_us=float(np.median(wake)),
        wake_p99_us=float(np.quantile(wake, 0.99)) if len(wake) >= 1000 else None,
        wake_max_us=float(wake.max()),
        jitter_us=float(wake.std()),
        late_edges_us=edges,
        late_counts=counts,
    )


def histogram(late: Nanoseconds, period_us: float) -> tuple[list[float], list[int]]:
    """Edges in microseconds and counts of the times between them, each bin without its lower edge.

    The first bin starts at 0 and holds what is below, too. The period is an edge.

    Args:
        late: nanoseconds, shape (n,), n ≥ 1.
        period_us: the time there is.
    """
    top = float(late.max()) / 1e3
    ladder = [digit * 10.0**decade for decade in range(-1, 13) for digit in _EDGES]
    inner = sorted({*ladder, period_us})
    last = next(k for k, edge in enumerate(inner) if edge >= top)
    edges = [0.0, *inner[: last + 1]]
    bins = np.searchsorted(np.array(edges[1:]), late / 1e3, side="left")
    return edges, np.bincount(bins, minlength=len(edges) - 1).tolist()


def summarise_blocks(
    blocks: Mapping[int, Nanoseconds], *, period_s: float, overhead_ns: float
) -> list[Block]:
    """A row for each size of block, smallest first.

    Args:
        blocks: frames of a block → time of each block, shape (b,), b ≥ 1.
        period_s: seconds between two frames.
        overhead_ns: of the loop in each time.
    """
    rows = []
    for frames, samples in sorted(blocks.items()):
        timing, length_us = summarise(samples, overhead_ns=overhead_ns), frames * period_s * 1e6
        p50 = float(np.median(samples) - overhead_ns) / 1e3 if timing.p50_us is None else timing.p50_us
        p50 = min(max(p50, timing.min_us), timing.max_us)
        rows.append(
            Block(
                frames=frames,
                p50_us=p50,
                p99_us=timing.p99_us,
                max_us=timing.max_us,
                duty_p50=p50 / length_us,
                duty_max=timing.max_us / length_us,
                rate_hz=1 / period_s,
            )
        )
    return rows
