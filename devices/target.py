"""What a place to run on must be able to do: probe, build, push, run, read.

``bench`` drives these five steps and does all arithmetic; a target only moves files, starts
programs and returns raw numbers. It never sees a weight.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

import numpy as np

from ssmith.devices.timing import Nanoseconds
from ssmith.errors import InputError
from ssmith.measurement import LayerCost, MetricKind
from ssmith.ops import Float32
from ssmith.runtime.artifacts import Artifact, Kind, Manifest
from ssmith.runtime.session import BackendName

# What a backend opens, best first; reference opens the bundle beside the folder.
KINDS: dict[BackendName, tuple[Kind, ...]] = {
    "native": ("c-source", "ssmc"),
    "onnx": ("onnx-step", "onnx-sequence"),
    "executorch": ("pte-step", "pte-sequence"),
    "reference": (),
}
AUDIO_HZ = 4_000.0  # from so many frames a second on, programs get them in blocks
AUDIO_BLOCKS = (32, 64, 128, 256, 512, 1024)


def held(manifest: Manifest, backend: BackendName, precision: str) -> Artifact | None:
    """The file of an artifact folder that a backend opens in this precision, if there is one."""
    kinds = KINDS[backend]
    return next(
        (f for kind in kinds for f in manifest.files if (f.kind, f.precision) == (kind, precision)), None
    )


def _none() -> Nanoseconds:
    return np.zeros(0, np.int64)


def check_plan(plan: Plan) -> None:
    """Raise InputError for numbers that no run can follow."""
    if plan.period_s is not None and not 1e-6 <= plan.period_s <= 3600:
        raise InputError(f"the period is {plan.period_s:g} s; it must lie between 1 us and 1 h, as in 2ms")
    if plan.rt_priority is not None and not 1 <= plan.rt_priority <= 99:
        raise InputError(
            f"real-time priority {plan.rt_priority} does not exist; take one from 1 to 99, as 80"
        )
    if plan.core is not None and plan.core < 0:
        raise InputError(f"there is no core {plan.core}; cores count from 0")
    if plan.repeats < 1:
        raise InputError(f"{plan.repeats} repeats measure nothing; take 1, or 5 and more for intervals")
    for frames in plan.blocks or ():
        if not 1 <= frames <= 65_536:
            raise InputError(f"a block of {frames} frames is refused; take 1 to 65536, as in 32,64,128")


@dataclass(frozen=True)
class Plan:
    """How long to measure.

    Args:
        steps: steady steps wanted; 10,000 are needed for a p99.9.
        warmup_limit: at most so many steps before them.
        time_limit_s: stop a back-to-back run after this time, whatever is reached.
        paced_limit_s: length of the paced run.
        cold_starts: fresh processes for load and first step; the median counts.
        seed: of the random input frames, where the folder holds no recorded ones.
        period_s: from one paced step to the next; None is the model's own, if it has one.
        rt_priority: of SCHED_FIFO for the paced run, with locked memory; None is an ordinary process.
        rt_fallback: without the rights for it, go on as an ordinary process and say so.
        core: the one to hold the process on; None takes the last.
        repeats: fresh processes for the steady steps, in turn over all that one ``bench`` measures.
        blocks: frames computed at once, for the table of blocks; None is ``AUDIO_BLOCKS`` for models with
            at least ``AUDIO_HZ`` frames a second and nothing for others.
        session: call native steps from Python, too.
    """

    steps: int = 20_000
    warmup_limit: int = 5_000
    time_limit_s: float = 8.0
    paced_limit_s: float = 3.0
    cold_starts: int = 3
    seed: int = 0
    period_s: float | None = None
    rt_priority: int | None = None
    rt_fallback: bool = False
    core: int | None = None
    repeats: int = 1
    blocks: tuple[int, ...] | None = None
    session: bool = True

    def __post_init__(self) -> None:
        """Refuse numbers that no run can follow."""
        check_plan(self)


@dataclass(frozen=True)
class Probe:
    """What a target says about itself before anything is built."""

    backends: tuple[BackendName, ...]
    emulated: bool = False
    fingerprint: dict[str, str] = field(default_factory=dict)
    missing: dict[BackendName, str] = field(default_factory=dict)  # backend -> what would make it available
    measures: tuple[MetricKind, ...] = ("latency",)  # what numbers from here can be
    absent: str | None = None  # why nothing can run there, and what to install or connect


@dataclass(frozen=True)
class Job:
    """One artifact made ready to run on a target.

    Args:
        backend: ``native``, ``onnx``, ``executorch`` or ``reference``.
        precision: of the artifact, as the manifest names it; of the reference ``float64``.
        artifact: the file that is measured, or the bundle.
        artifacts: the artifact folder it was made from.
        command: what to start on the target; the plan is appended to it.
        folder: scratch folder of this job on the host; everything in it may be pushed.
        period_s: seconds per frame, None where the model has no rate.
        flash_bytes: constants of the model in bytes, where the file tells.
        fingerprint: compiler, flags, versions.
        notes: what a reader has to know about these numbers.
    """

    backend: BackendName
    precision: str
    artifact: str
    artifacts: Path
    command: tuple[str, ...]
    folder: Path
    period_s: float | None
    flash_bytes: int | None = None
    fingerprint: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class RawRun:
    """Numbers as they came from the target, in nanoseconds of its monotonic clock.

    Args:
        samples: step times back to back from the very first step on, shape (n,).
        paced_busy: duration of each paced step, shape (m,).
        paced_late: end of each paced step minus the moment it was due, shape (m,).
        overhead_ns: of the loop in each of ``samples``.
        clock_step_ns: the steps in which the clock moves; None where only the samples show it.
        loop_overhead_ns: what the loop costs a step in all, where it is known.
        cold_start_ns: per fresh process, from its start to ready for a frame, shape (k,).
        load_ns: per fresh process, opening the artifact, shape (k,).
        first_ns: per fresh process, the first step, shape (k,).
        peak_rss_bytes: of the process that ran ``samples``.
        session_samples: the same steps called through ``Session.step``, where ``samples`` are not.
        flash_bytes: constants of the model, where the target tells.
        ram_bytes: state and scratch of one instance, where the target tells.
        clock: language of the timing loop.
        pinned: whether the process was held on one core.
        instructions_per_step: from an emulator; then every time above stays empty.
        count_unit: what ``instructions_per_step`` counts.
        cycles_estimated: of a step, by a model of the core.
        golden_outputs: what the target computed for ``golden.case`` frames from a fresh state, shape (T, Y);
            None where it does not say.
        code_bytes: machine code of the model.
        stack_bytes: deepest use during a step.
        layers: what each op of the model costs, where the target can tell.
        notes: what a reader has to know that only the run showed.
        noise: what says that this run was disturbed.
        blocks: frames of a block → time of each block of that size, shape (b,).
        fingerprint: of the run: timer, scheduler, frequency and temperature before and after.
    """

    samples: Nanoseconds = field(default_factory=_none)
    paced_busy: Nanoseconds = field(default_factory=_none)
    paced_late: Nanoseconds = field(default_factory=_none)
    overhead_ns: float = 0.0
    clock_step_ns: float | None = None
    loop_overhead_ns: float | None = None
    cold_start_ns: Nanoseconds = field(default_factory=_none)
    load_ns: Nanoseconds = field(default_factory=_none)
    first_ns: Nanoseconds = field(default_factory=_none)
    peak_rss_bytes: int | None = None
    session_samples: Nanoseconds = field(default_factory=_none)
    flash_bytes: int | None = None
    ram_bytes: int | None = None
    clock: Literal["c", "python"] = "python"
    pinned: bool | None = None
    instructions_per_step: float | None = None
    count_unit: Literal["instructions", "fuel"] = "instructions"
    cycles_estimated: float | None = None
    golden_outputs: Float32 | None = None
    code_bytes: int | None = None
    stack_bytes: int | None = None
    layers: tuple[LayerCost, ...] = ()
    notes: tuple[str, ...] = ()
    noise: tuple[str, ...] = ()
    blocks: dict[int, Nanoseconds] = field(default_factory=dict)
    fingerprint: dict[str, str] = field(default_factory=dict)


class Target(Protocol):
    """A machine, a board or an emulator."""

    @property
    def name(self) -> str:
        """What reports call it."""

    def probe(self) -> Probe:
        """What can run there, and what it is."""

    def build(self, artifacts: Path, backend: BackendName, precision: str, folder: Path) -> Job:
        """Turn an artifact folder into something that runs there; ``folder`` is free to use."""

    def push(self, job: Job, plan: Plan) -> Job:
        """Bring the job and its input frames to the target."""

    def run(self, job: Job, plan: Plan) -> Path:
        """Run it; returns the host folder that holds what it printed and wrote. Repeats call it again."""

    def read(self, job: Job, output: Path) -> RawRun:
        """Parse what ``run`` brought back."""
