"""The measuring loop for backends that are called from Python, run in a fresh process.

``python -m ssmith.devices.worker ARTIFACT BACKEND PRECISION FRAMES OUTPUT STEPS LIMIT_NS PACED
PERIOD_NS STARTED_NS`` writes the times that ``firmware/host_loop.c`` writes; see there for the arguments.
Every step goes through ``Session.step``, checks included: it is what a user's program pays.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np

from ssmith.devices.timing import Nanoseconds

SPIN_NS = 300_000  # as in host_loop.c: a sleep alone wakes up tens of microseconds late
Step = Callable[[Any], object]


def clock_ns() -> int:
    """The clock that C's ``CLOCK_MONOTONIC`` reads, so that a parent's start time compares."""
    if hasattr(time, "clock_gettime_ns"):
        return time.clock_gettime_ns(time.CLOCK_MONOTONIC)
    return time.perf_counter_ns()


def run_back_to_back(step: Step, frames: Sequence[Any], steps: int, limit_ns: int) -> Nanoseconds:
    """Time up to ``steps`` steps, one after the other; returns durations, shape (n,)."""
    clock, samples, count = time.perf_counter_ns, np.zeros(steps, np.int64), len(frames)
    stop, done = clock() + limit_ns, 0
    while done < steps:
        frame = frames[done % count]
        start = clock()
        step(frame)
        end = clock()
        samples[done] = end - start
        done += 1
        if end > stop:
            break
    return samples[:done]


def run_paced(
    step: Step, frames: Sequence[Any], steps: int, period_ns: int
) -> tuple[Nanoseconds, Nanoseconds]:
    """One step every period; returns durations and ends minus due times, shapes (steps,).

    The schedule is absolute, as a sensor's: a step that ends late makes the next one start late.
    """
    clock = time.perf_counter_ns
    busy, late = np.zeros(steps, np.int64), np.zeros(steps, np.int64)
    due = clock() + period_ns
    for k in range(steps):
        left = due - clock()
        if left > SPIN_NS:
            time.sleep((left - SPIN_NS) / 1e9)
        while clock() < due:
            pass
        start = clock()
        step(frames[k % len(frames)])
        end = clock()
        busy[k], late[k] = end - start, end - due
        due += period_ns
    return busy, late


def clock_overhead_ns(readings: int = 10_001) -> float:
    """Median difference of two clock readings with nothing between them."""
    clock, found = time.perf_counter_ns, np.zeros(readings, np.int64)
    for k in range(readings):
        start = clock()
        found[k] = clock() - start
    return float(np.median(found))


def peak_rss_bytes() -> int:
    """Peak resident memory of this process; Linux's ``ru_maxrss`` may be the parent's instead."""
    try:
        status = Path("/proc/self/status").read_text()
        return 1024 * int(status.split("VmHWM:")[1].split()[0])
    except (OSError, IndexError, ValueError):
        pass
    try:
        import resource
    except ImportError:  # Windows
        return 0
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def main(arguments: Sequence[str]) -> None:
    """Open, run, write; the arguments are those of the module's docstring."""
    artifact, backend, precision, frames_path, output = arguments[:5]
    steps, limit_ns, paced, period_ns, started_ns = (int(a) for a in arguments[5:])

    before = clock_ns()
    from ssmith.runtime.session import Session  # its import is part of what opening costs

    session = Session.open(artifact, backend=cast(Any, backend), precision=cast(Any, precision))
    ready = clock_ns()

    import gc

    rows = np.fromfile(frames_path, np.float32).reshape(-1, session.inputs)
    frames = [row.copy() for row in rows]
    gc.collect()
    gc.disable()
    samples = run_back_to_back(session.step, frames, steps, limit_ns)
    busy, late = run_paced(session.step, frames, paced, period_ns)
    folder = Path(output)
    for name, values in (("samples", samples), ("busy", busy), ("late", late)):
        values.tofile(folder / f"{name}.i64")
    (folder / "stats.txt").write_text(
        f"overhead_ns {clock_overhead_ns()}\nload_ns {ready - before}\n"
        f"cold_start_ns {ready - started_ns}\npeak_rss_bytes {peak_rss_bytes()}\n"
    )


if __name__ == "__main__":
    main(sys.argv[1:])
