"""The measuring loop over targets and backends: raw nanoseconds in, measurements out."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, get_args

import numpy as np

from ssmith.devices.deadlines import summarise_blocks, summarise_deadlines
from ssmith.devices.fingerprint import busy_note
from ssmith.devices.golden import compare
from ssmith.devices.loop import again, period_of
from ssmith.devices.registry import find_target
from ssmith.devices.repeats import intervals, noise_of
from ssmith.devices.target import KINDS, Job, Plan, Probe, RawRun, Target, held
from ssmith.devices.timing import Nanoseconds, clock_step, find_warm_up, statistics, steady_times
from ssmith.errors import InputError, MissingToolError, SsmithError
from ssmith.measurement import Block, Deadline, Golden, Measurement, MetricKind, Timing
from ssmith.recipe import ArtifactPrecision
from ssmith.runtime.artifacts import find_bundle, read_manifest
from ssmith.runtime.session import BackendName

ENOUGH = 10_000  # samples for a p99.9
COARSE = 0.02  # of the median: a clock with such steps is told


def bench(
    artifacts: Path | str,
    target: Target | str = "host",
    *,
    backends: Sequence[BackendName] | None = None,
    precisions: Sequence[str] | None = None,
    plan: Plan | None = None,
    on_skip: Callable[[BackendName, str], None] | None = None,
    on_row: Callable[[Measurement], None] | None = None,
    on_error: Callable[[BackendName, str, SsmithError], None] | None = None,
) -> list[Measurement]:
    """Measure every artifact of a folder that can run on a target.

    A backend for which the folder holds several precisions is measured with each of them. Repeats take
    turns: every artifact once, then every one again, so that a slow minute hits all alike.

    Args:
        artifacts: the artifact folder.
        target: ``"host"`` or an object that follows ``Target``.
        backends: only these; None takes what the folder holds and the target can run.
        precisions: only these of each backend; None takes all that the folder holds.
        plan: how long to measure.
        on_skip: called with (backend, reason) for what the folder holds but the target cannot run.
        on_row: called with each row as it comes.
        on_error: called with (backend, precision, error) for what fails; None raises it.

    Raises:
        InputError: an unknown target or backend, or a folder with nothing to measure.
        MissingToolError: a backend that was asked for needs something that is not installed.
        SsmithError: a measured program failed.
    """
    artifacts, plan = Path(artifacts), plan or Plan()
    place = find_target(target) if isinstance(target, str) else target
    probe = place.probe()
    if probe.absent is not None:
        raise MissingToolError(f"{place.name} cannot be used here: {probe.absent}")
    found = present(artifacts)
    missing = {name: why for name in found if (why := _why_not(name, probe))}
    for name in backends or ():
        if name not in found:
            raise InputError(f"{artifacts} holds nothing for the backend {name!r}; it has {', '.join(found)}")
        if name in missing:
            raise MissingToolError(f"the backend {name!r} cannot run on {place.name}: {missing[name]}")
    chosen = list(backends or [name for name in found if name not in missing])
    if not chosen:
        why = "; ".join(f"{name}: {reason}" for name, reason in missing.items()) or "it holds no model"
        raise InputError(f"nothing in {artifacts} can be measured on {place.name} ({why})")
    if on_skip is not None and backends is None:
        for name, why in missing.items():
            on_skip(name, why)
    pairs = [(b, p) for b in chosen for p in found[b] if precisions is None or p in precisions]
    return list(_in_turns(place, probe, artifacts, pairs, plan, on_row, on_error))


def present(artifacts: Path) -> dict[BackendName, list[str]]:
    """Backends that find something to open in the folder, fastest first, each with its precisions."""
    manifest = read_manifest(artifacts)
    known = get_args(ArtifactPrecision)
    opened = {name: [p for p in known if held(manifest, name, p) is not None] for name in KINDS}
    if find_bundle(artifacts, manifest) is not None:
        opened["reference"] = ["float64"]
    return {name: precisions for name, precisions in opened.items() if precisions}


def _in_turns(
    place: Target,
    probe: Probe,
    artifacts: Path,
    pairs: Sequence[tuple[BackendName, str]],
    plan: Plan,
    on_row: Callable[[Measurement], None] | None,
    on_error: Callable[[BackendName, str, SsmithError], None] | None,
) -> Iterator[Measurement]:
    """Every pair once, then, where the plan repeats, every pair again; rows come in the last turn."""
    turns = 1 if probe.emulated else plan.repeats  # a count is the same every time
    built: dict[tuple[BackendName, str], Job] = {}
    pushed: dict[tuple[BackendName, str], Job] = {}
    runs: dict[tuple[BackendName, str], list[RawRun]] = {pair: [] for pair in pairs}
    with tempfile.TemporaryDirectory(prefix="ssmith-bench-") as scratch:
        for turn in range(turns):
            for pair in [pair for pair in pairs if pair in runs]:
                try:
                    if turn == 0:
                        folder = Path(tempfile.mkdtemp(dir=scratch))
                        built[pair] = place.build(artifacts, *pair, folder)
                    now = plan if turn == 0 else again(plan)
                    job = place.push(built[pair], now)
                    runs[pair].append(_once(place, job, now))
                    pushed.setdefault(pair, job)
                    if turn < turns - 1:
                        continue
                    first, *others = runs[pair]
                    row = measurement(place.name, probe, pushed[pair], first, plan, others)
                except SsmithError as error:
                    if on_error is None:
                        raise
                    del runs[pair]
                    on_error(*pair, error)
                    continue
                if on_row is not None:
                    on_row(row)
                yield row


def _once(place: Target, job: Job, plan: Plan) -> RawRun:
    """Run and read; what was written makes room for the next turn."""
    output = place.run(job, plan)
    raw = place.read(job, output)
    if output.parent == job.folder:
        shutil.rmtree(output)
    return raw


def measurement(
    target: str, probe: Probe, job: Job, raw: RawRun, plan: Plan, repeats: Sequence[RawRun] = ()
) -> Measurement:
    """All arithmetic between a target's raw numbers and the published ones.

    Args:
        target: its name.
        probe: what it is.
        job: what was run.
        raw: the first run.
        plan: how it was run.
        repeats: further runs of steady steps.
    """
    fingerprint = probe.fingerprint | job.fingerprint
    golden = compare(job.artifacts, job.backend, job.precision, raw.golden_outputs)
    if probe.emulated or (golden is not None and not golden.passed):
        return _without_time(target, probe, job, raw, golden)
    runs = [raw, *repeats]
    ends = [find_warm_up(run.samples, limit=plan.warmup_limit) for run in runs]
    steady = [run.samples[end.steps :][: plan.steps] for run, end in zip(runs, ends, strict=True)]
    times = [
        steady_times(samples, overhead_ns=run.overhead_ns, step_ns=run.clock_step_ns)
        for samples, run in zip(steady, runs, strict=True)
    ]
    timing, warm_up = statistics(np.concatenate(times)), ends[0]
    noise = [reason for run in runs for reason in run.noise] + noise_of(steady)
    notes = [*job.notes, *raw.notes, *filter(None, [busy_note(fingerprint)])]
    unsettled = [end.steps for end in ends if not end.stable]
    if unsettled:
        notes.append(
            f"step times had not settled after {unsettled[0]} warm-up steps: the machine was busy, so"
            " the median may move by more than 2 % from run to run"
        )
    notes += [f"noisy: {reason}" for reason in dict.fromkeys(noise)]
    if timing.samples < ENOUGH:
        notes.append(f"{timing.samples} steps were measured; a p99.9 needs {ENOUGH}")
    notes += _clock_note(raw.clock_step_ns or clock_step(steady[0]), timing)
    period_s = period_of(job, plan)
    return Measurement(
        target=target,
        backend=job.backend,
        precision=job.precision,
        metric_kind="latency",
        artifact=job.artifact,
        golden=golden,
        layers=list(raw.layers),
        code_bytes=raw.code_bytes,
        stack_bytes=raw.stack_bytes,
        clock=raw.clock,
        timer_overhead_us=raw.overhead_ns / 1e3,
        loop_overhead_us=None if raw.loop_overhead_ns is None else raw.loop_overhead_ns / 1e3,
        cold_start_us=_median_us(raw.cold_start_ns),
        load_us=_median_us(raw.load_ns),
        first_step_us=_median_us(np.maximum(raw.first_ns - int(raw.overhead_ns), 0)),
        warmup_steps=warm_up.steps,
        warmup_stable=not unsettled,
        timing=timing,
        repeats=len(runs),
        intervals=intervals([statistics(t) for t in times], timing),
        noisy=True if noise or unsettled else None if len(runs) == 1 else False,
        deadline=_deadline(raw, period_s, timing.mean_us),
        blocks=_blocks(raw, period_s),
        python_step_p50_us=_session_us(raw.session_samples, plan),
        flash_bytes=_first(raw.flash_bytes, job.flash_bytes),
        ram_bytes=raw.ram_bytes,
        peak_rss_bytes=raw.peak_rss_bytes,
        pinned=raw.pinned,
        notes=notes,
        fingerprint=fingerprint | raw.fingerprint,
    )


def _without_time(target: str, probe: Probe, job: Job, raw: RawRun, golden: Golden | None) -> Measurement:
    """A row of counts or estimates, or of nothing but a wrong result."""
    kind: MetricKind = "correctness"
    numbers: dict[str, Any] = {}
    if golden is None or golden.passed:
        if raw.instructions_per_step is not None:
            kind = "instructions"
            numbers = {"instructions_per_step": raw.instructions_per_step, "count_unit": raw.count_unit}
        elif raw.cycles_estimated is not None:
            kind = "static_estimate"
        numbers |= {"cycles_estimated": raw.cycles_estimated, "layers": list(raw.layers)}
    return Measurement(
        target=target,
        backend=job.backend,
        precision=job.precision,
        metric_kind=kind,
        emulated=probe.emulated,
        artifact=job.artifact,
        golden=golden,
        flash_bytes=_first(raw.flash_bytes, job.flash_bytes),
        ram_bytes=raw.ram_bytes,
        code_bytes=raw.code_bytes,
        stack_bytes=raw.stack_bytes,
        notes=[*job.notes, *raw.notes],
        fingerprint=probe.fingerprint | job.fingerprint | raw.fingerprint,
        **numbers,
    )


def _why_not(backend: BackendName, probe: Probe) -> str:
    if backend in probe.backends:
        return ""
    return probe.missing.get(backend, "the target does not offer it")


def _deadline(raw: RawRun, period_s: float | None, steady_mean_us: float) -> Deadline | None:
    if period_s is None or not len(raw.paced_busy):
        return None
    return summarise_deadlines(
        raw.paced_busy,
        raw.paced_late,
        period_s=period_s,
        steady_mean_us=steady_mean_us,
        overhead_ns=raw.overhead_ns,
    )


def _blocks(raw: RawRun, period_s: float | None) -> list[Block]:
    if period_s is None or not raw.blocks:
        return []
    return summarise_blocks(raw.blocks, period_s=period_s, overhead_ns=raw.overhead_ns)


def _clock_note(step_ns: float, timing: Timing) -> list[str]:
    if timing.p50_us is None or step_ns <= 1 or step_ns < COARSE * timing.p50_us * 1e3:
        return []
    return [f"the clock moves in steps of {step_ns:.3g} ns; between them the percentiles are interpolated"]


def _session_us(samples: Nanoseconds, plan: Plan) -> float | None:
    return _median_us(samples[find_warm_up(samples, limit=plan.warmup_limit).steps :])


def _median_us(samples: Nanoseconds) -> float | None:
    return float(np.median(samples)) / 1e3 if len(samples) else None


def _first(*values: int | None) -> int | None:
    return next((value for value in values if value is not None), None)
