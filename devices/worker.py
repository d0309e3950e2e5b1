"""The measuring loop for backends that are called from Python, run in a fresh process.

``python -m ssmith.devices.worker ARTIFACT BACKEND PRECISION FRAMES OUTPUT STEPS LIMIT_NS PACED
PERIOD_NS STARTED_NS [NAME=VALUE ...]`` writes the times that ``firmware/host_loop.c`` writes; see there
for the arguments; the clock is always the monotonic one.
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
from ssmith.ops import Float32

SPIN_NS = 300_000  # as in host_loop.c: a sleep alone wakes up tens of microseconds late
BLOCKS, BLOCK_WARM_UP = 1000, 5  # as there, too
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
    step: Step, frames: Sequence[Any], steps: int, period_ns: int, spin_ns: int = SPIN_NS
) -> tuple[Nanoseconds, Nanoseconds]:
    """One step every period; returns durations and ends minus due times, shapes (steps,).

    The schedule is absolute, as a sensor's: a step that ends late makes the next one start late. What has
    taken twice its time and a second is ended; then there are fewer.
    """
    clock = time.perf_counter_ns
    busy, late = np.zeros(steps, np.int64), np.zeros(steps, np.int64)
    due = clock() + period_ns
    stop = due + 2 * steps * period_ns + 1_000_000_000
    for k in range(steps):
        left = due - clock()
        if left > spin_ns:
            time.sleep((left - spin_ns) / 1e9)
        while clock() < due:
            pass
        start = clock()
        if start > stop:
            return busy[:k], late[:k]
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


def loop_overhead_ns(steps: int = 10_000) -> float:
    """What ``run_back_to_back`` costs a step in all, measured with one that does nothing."""
    start = time.perf_counter_ns()
    run_back_to_back(lambda _: None, [None], steps, 10**12)
    return (time.perf_counter_ns() - start) / steps


def run_blocks(process: Step, frames: Float32, sizes: Sequence[int], limit_ns: int) -> dict[int, Nanoseconds]:
    """Time at most ``BLOCKS`` blocks of each size, after a few for warming up; frames have shape (T, U)."""
    found = {}
    for size in sizes:
        block = np.ascontiguousarray(frames[np.arange(size) % len(frames)])
        run_back_to_back(process, [block], BLOCK_WARM_UP, limit_ns)
        found[size] = run_back_to_back(process, [block], BLOCKS, limit_ns)
    return found


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
    steps, limit_ns, paced, period_ns, started_ns = (int(a) for a in arguments[5:10])
    asked = dict(argument.split("=", 1) for argument in arguments[10:])

    before = clock_ns()
    from ssmith.runtime.session import Session  # its import is part of what opening costs

    session = Session.open(artifact, backend=cast(Any, backend), precision=cast(Any, precision))
    ready = clock_ns()

    import gc

    from ssmith.devices import system

    rows = np.fromfile(frames_path, np.float32).reshape(-1, session.inputs)
    frames = [row.copy() for row in rows]
    core = int(asked["cpu"]) if "cpu" in asked else None
    priority = system.take_rights(core, int(asked.get("rt", 0)), fallback=asked.get("rt_fallback") == "1")
    gc.collect()
    gc.disable()
    conditions, preempted = system.conditions(core, "before"), system.own_record("nonvoluntary_ctxt_switches")
    samples = run_back_to_back(session.step, frames, steps, limit_ns)
    preempted = system.own_record("nonvoluntary_ctxt_switches") - preempted
    if priority and paced:
        system.schedule(priority)
    preempted_paced = system.own_record("nonvoluntary_ctxt_switches")
    busy, late = run_paced(session.step, frames, paced, period_ns, 0 if priority else SPIN_NS)
    if priority and paced:
        system.schedule(0)
    preempted_paced = system.own_record("nonvoluntary_ctxt_switches") - preempted_paced
    sizes = [int(size) for size in asked["blocks"].split(",")] if asked.get("blocks") else []
    blocks = run_blocks(session.process, rows, sizes, int(asked.get("block_limit_ns", 10**9)))

    folder = Path(output)
    if "golden" in asked:
        session.reset()
        golden = np.fromfile(asked["golden"], np.float32).reshape(-1, session.inputs)
        outputs = [session.step(frame) for frame in golden]
        np.array(outputs, np.float32).tofile(folder / "golden.f32")
    named = {"samples": samples, "busy": busy, "late": late}
    for name, values in (named | {f"block{size}": times for size, times in blocks.items()}).items():
        values.tofile(folder / f"{name}.i64")
    stats = {
        "overhead_ns": clock_overhead_ns(),
        "loop_ns": loop_overhead_ns(),
        "load_ns": ready - before,
        "cold_start_ns": ready - started_ns,
        "peak_rss_bytes": peak_rss_bytes(),
        "rt_priority": priority,
        "rt_refused": int("rt" in asked and not priority),
        "paced_planned": paced,
        "preemptions": preempted,
        "preemptions_paced": preempted_paced,
    } | (conditions | system.conditions(core, "after"))
    (folder / "stats.txt").write_text("".join(f"{name} {value}\n" for name, value in stats.items()))


if __name__ == "__main__":
    main(sys.argv[1:])
