"""The two measuring loops, in C and in Python, seen from outside: their arguments and what they write."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from ssmith.devices.target import AUDIO_BLOCKS, AUDIO_HZ, Job, Plan, RawRun
from ssmith.devices.timing import Nanoseconds
from ssmith.errors import InputError

REFUSED = 4  # exit code: the system does not give the core or the priority
PREEMPTED = 1e-3  # of the steps: more is noise
DRIFT = 0.05  # of the frequency
BLOCK_LIMIT_S = 1.0  # for one size of block


def period_of(job: Job, plan: Plan) -> float | None:
    """Seconds from one paced step to the next; None where neither plan nor model has a rate."""
    return job.period_s if plan.period_s is None else plan.period_s


def paced_steps(job: Job, plan: Plan) -> int:
    """Steps of the paced run; 0 without a rate."""
    period = period_of(job, plan)
    if period is None or plan.paced_limit_s <= 0:
        return 0
    return max(1, int(plan.paced_limit_s / period + 1e-9))


def blocks_of(job: Job, plan: Plan) -> tuple[int, ...]:
    """Sizes of the blocks to time.

    Raises:
        InputError: some were asked for, but there is no rate to hold them against.
    """
    period = period_of(job, plan)
    if plan.blocks is None:
        return AUDIO_BLOCKS if period is not None and period <= 1 / AUDIO_HZ else ()
    if plan.blocks and period is None:
        raise InputError(
            f"{job.artifact} has no rate, so a block of frames has no deadline;"
            " give the time between two frames, as in --period 62.5us"
        )
    return plan.blocks


def again(plan: Plan) -> Plan:
    """The plan of a repeat: only the steady steps."""
    return replace(plan, cold_starts=0, paced_limit_s=0.0, blocks=(), rt_priority=None, session=False)


def short(plan: Plan, steps: int) -> Plan:
    """The plan of a process that is started for its load time, or of a few steps beside the main run."""
    return replace(again(plan), steps=steps)


def numbers(job: Job, plan: Plan, started_ns: int) -> list[str]:
    """The arguments of ``firmware/host_loop.c`` after the files: five numbers."""
    found = (
        max(1, plan.warmup_limit + plan.steps),
        int(plan.time_limit_s * 1e9),
        paced_steps(job, plan),
        round((period_of(job, plan) or 0.0) * 1e9),
        started_ns,
    )
    return [*map(str, found)]


def options(job: Job, plan: Plan, core: int | None) -> list[str]:
    """The optional arguments behind the numbers."""
    found = [] if core is None else [f"cpu={core}"]
    if plan.rt_priority is not None:
        found += [f"rt={plan.rt_priority}", f"rt_fallback={int(plan.rt_fallback)}"]
    if sizes := blocks_of(job, plan):
        limit = min(BLOCK_LIMIT_S, plan.time_limit_s)
        found += [f"blocks={','.join(map(str, sizes))}", f"block_limit_ns={int(limit * 1e9)}"]
    return found


def planned_s(job: Job, plan: Plan) -> float:
    """The longest that a run may take by itself."""
    paced = 2 * paced_steps(job, plan) * (period_of(job, plan) or 0.0) + 1.0
    return plan.time_limit_s + paced + 2 * BLOCK_LIMIT_S * len(blocks_of(job, plan))


def refused(words: str, plan: Plan) -> InputError:
    """What to say where the system does not give the core or the priority."""
    return InputError(
        f"{words.strip()}; run as root, allow it (limits.conf: rtprio {plan.rt_priority or 0}, memlock"
        " unlimited), or measure without it: --rt-fallback"
    )


def read_stats(folder: Path) -> dict[str, float]:
    """The lines of ``stats.txt``: name → number."""
    lines = (line.split() for line in (folder / "stats.txt").read_text().splitlines())
    return {name: float(value) for name, value in lines}


def read_samples(path: Path) -> Nanoseconds:
    """A file of 64-bit nanoseconds; shape (n,)."""
    return np.fromfile(path, np.int64)


def read_output(folder: Path) -> RawRun:
    """What one process wrote into its folder."""
    stats, samples = read_stats(folder), read_samples(folder / "samples.i64")
    late, notes = read_samples(folder / "late.i64"), []
    if len(late) < stats.get("paced_planned", 0):
        planned = int(stats["paced_planned"])
        notes.append(
            f"the paced run was ended after {len(late)} of {planned} steps: it had fallen far behind"
        )
    if stats.get("rt_refused"):
        notes.append("a real-time priority was refused: the paced run was an ordinary process")
    return RawRun(
        samples=samples,
        paced_busy=read_samples(folder / "busy.i64"),
        paced_late=late,
        overhead_ns=stats["overhead_ns"],
        loop_overhead_ns=stats.get("loop_ns"),
        clock_step_ns=stats.get("tick_ns"),
        flash_bytes=_whole(stats.get("flash_bytes")),
        ram_bytes=_whole(stats.get("ram_bytes")),
        notes=tuple(notes),
        noise=_noise(stats, len(samples), len(late)),
        blocks={int(p.stem.removeprefix("block")): read_samples(p) for p in folder.glob("block*.i64")},
        fingerprint=_conditions(stats),
    )


def _noise(stats: Mapping[str, float], steps: int, paced: int) -> tuple[str, ...]:
    found = []
    for name, run, count in (("preemptions", "steps", steps), ("preemptions_paced", "paced steps", paced)):
        if (times := stats.get(name, 0)) > max(PREEMPTED * count, 10):
            found.append(f"other programs took the core {times:.0f} times in {count} {run}")
    before, after = stats.get("frequency_khz_before", 0), stats.get("frequency_khz_after", 0)
    if before > 0 and after > 0 and abs(after - before) > DRIFT * before:
        found.append(f"the core ran at {before / 1e3:.0f} MHz before and at {after / 1e3:.0f} MHz after")
    return tuple(found)


def _conditions(stats: Mapping[str, float]) -> dict[str, str]:
    counter = stats.get("counter", 0) > 0
    found = {"timer": "counter scaled to CLOCK_MONOTONIC" if counter else "CLOCK_MONOTONIC"}
    if (priority := stats.get("rt_priority", 0)) > 0:
        found["scheduler"] = f"SCHED_FIFO {priority:.0f}, memory locked (paced run)"
    for moment in ("before", "after"):
        if (khz := stats.get(f"frequency_khz_{moment}")) is not None:
            found[f"frequency_mhz_{moment}"] = f"{khz / 1e3:.0f}"
        if (heat := stats.get(f"temperature_mc_{moment}")) is not None:
            found[f"temperature_c_{moment}"] = f"{heat / 1e3:.1f}"
    return found


def _whole(value: float | None) -> int | None:
    return None if value is None else int(value)
