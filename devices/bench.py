"""The measuring loop over targets and backends: raw nanoseconds in, measurements out."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, get_args

import numpy as np

from ssmith.devices.fingerprint import busy_note
from ssmith.devices.golden import compare
from ssmith.devices.registry import find_target
from ssmith.devices.target import KINDS, Job, Plan, Probe, RawRun, Target, held
from ssmith.devices.timing import Nanoseconds, find_warm_up, summarise, summarise_deadlines
from ssmith.errors import InputError, MissingToolError
from ssmith.measurement import Deadline, Golden, Measurement, MetricKind
from ssmith.recipe import ArtifactPrecision
from ssmith.runtime.artifacts import find_bundle, read_manifest
from ssmith.runtime.session import BackendName

ENOUGH = 10_000  # samples for a p99.9


def bench(
    artifacts: Path | str,
    target: Target | str = "host",
    *,
    backends: Sequence[BackendName] | None = None,
    precisions: Sequence[str] | None = None,
    plan: Plan | None = None,
    on_skip: Callable[[BackendName, str], None] | None = None,
) -> list[Measurement]:
    """Measure every artifact of a folder that can run on a target.

    A backend for which the folder holds several precisions is measured with each of them.

    Args:
        artifacts: the artifact folder.
        target: ``"host"`` or an object that follows ``Target``.
        backends: only these; None takes what the folder holds and the target can run.
        precisions: only these of each backend; None takes all that the folder holds.
        plan: how long to measure.
        on_skip: called with (backend, reason) for what the folder holds but the target cannot run.

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
    return [
        _measured(place, probe, artifacts, name, precision, plan)
        for name in chosen
        for precision in found[name]
        if precisions is None or precision in precisions
    ]


def present(artifacts: Path) -> dict[BackendName, list[str]]:
    """Backends that find something to open in the folder, fastest first, each with its precisions."""
    manifest = read_manifest(artifacts)
    known = get_args(ArtifactPrecision)
    opened = {name: [p for p in known if held(manifest, name, p) is not None] for name in KINDS}
    if find_bundle(artifacts, manifest) is not None:
        opened["reference"] = ["float64"]
    return {name: precisions for name, precisions in opened.items() if precisions}


def _measured(
    place: Target, probe: Probe, artifacts: Path, backend: BackendName, precision: str, plan: Plan
) -> Measurement:
    with tempfile.TemporaryDirectory(prefix="ssmith-bench-") as folder:
        job = place.push(place.build(artifacts, backend, precision, Path(folder)), plan)
        raw = place.read(job, place.run(job, plan))
    return measurement(place.name, probe, job, raw, plan)


def measurement(target: str, probe: Probe, job: Job, raw: RawRun, plan: Plan) -> Measurement:
    """All arithmetic between a target's raw numbers and the published ones."""
    fingerprint = probe.fingerprint | job.fingerprint
    golden = compare(job.artifacts, job.backend, job.precision, raw.golden_outputs)
    if probe.emulated or (golden is not None and not golden.passed):
        return _without_time(target, probe, job, raw, golden)
    warm_up = find_warm_up(raw.samples, limit=plan.warmup_limit)
    steady = raw.samples[warm_up.steps :][: plan.steps]
    timing = summarise(steady, overhead_ns=raw.overhead_ns)
    notes = [*job.notes, *raw.notes, *filter(None, [busy_note(fingerprint)])]
    if not warm_up.stable:
        notes.append(
            f"step times had not settled after {warm_up.steps} warm-up steps: the machine was busy, so"
            " the median may move by more than 2 % from run to run"
        )
    if len(steady) < ENOUGH:
        notes.append(f"{len(steady)} steps were measured; a p99.9 needs {ENOUGH}")
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
        cold_start_us=_median_us(raw.cold_start_ns),
        load_us=_median_us(raw.load_ns),
        first_step_us=_median_us(np.maximum(raw.first_ns - int(raw.overhead_ns), 0)),
        warmup_steps=warm_up.steps,
        warmup_stable=warm_up.stable,
        timing=timing,
        deadline=_deadline(job, raw, timing.mean_us),
        python_step_p50_us=_session_us(raw.session_samples, plan),
        flash_bytes=_first(raw.flash_bytes, job.flash_bytes),
        ram_bytes=raw.ram_bytes,
        peak_rss_bytes=raw.peak_rss_bytes,
        pinned=raw.pinned,
        notes=notes,
        fingerprint=fingerprint,
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
        fingerprint=probe.fingerprint | job.fingerprint,
        **numbers,
    )


def _why_not(backend: BackendName, probe: Probe) -> str:
    if backend in probe.backends:
        return ""
    return probe.missing.get(backend, "the target does not offer it")


def _deadline(job: Job, raw: RawRun, steady_mean_us: float) -> Deadline | None:
    if job.period_s is None or not len(raw.paced_busy):
        return None
    return summarise_deadlines(
        raw.paced_busy, raw.paced_late, period_s=job.period_s, steady_mean_us=steady_mean_us
    )


def _session_us(samples: Nanoseconds, plan: Plan) -> float | None:
    return _median_us(samples[find_warm_up(samples, limit=plan.warmup_limit).steps :])


def _median_us(samples: Nanoseconds) -> float | None:
    return float(np.median(samples)) / 1e3 if len(samples) else None


def _first(*values: int | None) -> int | None:
    return next((value for value in values if value is not None), None)
