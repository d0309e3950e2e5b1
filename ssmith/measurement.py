"""One measured fact about one artifact on one target, and what kind of fact it is.

A latency comes from real hardware or not at all: ``Measurement`` refuses one from an emulator.
All times are microseconds on the target's own monotonic clock, timer overhead subtracted.
"""

from __future__ import annotations

import json
from math import isclose
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from ssmith.errors import InputError, first_problem
from ssmith.files import write_atomic

MetricKind = Literal["latency", "instructions", "static_estimate", "correctness"]


class Timing(BaseModel):
    """Steady-state times of single steps in microseconds, the warm-up left out.

    A percentile is given only where at least ten samples lie beyond it, None otherwise: p90 from
    100 samples on, p99 from 1,000, p99.9 from 10,000. ``ecdf_us`` holds the times at the fractions
    ``ecdf_fraction``, enough to draw the distribution.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    samples: int = Field(ge=1)
    min_us: float
    mean_us: float
    std_us: float
    p50_us: float | None
    p90_us: float | None
    p95_us: float | None
    p99_us: float | None
    p99_9_us: float | None
    max_us: float
    ecdf_us: list[float]
    ecdf_fraction: list[float]

    @model_validator(mode="after")
    def _check(self) -> Timing:
        ladder = [self.p50_us, self.p90_us, self.p95_us, self.p99_us, self.p99_9_us]
        known = [self.min_us, *(p for p in ladder if p is not None), self.max_us]
        if known != sorted(known):
            raise ValueError("min, the percentiles and max must not decrease")
        if len(self.ecdf_us) != len(self.ecdf_fraction):
            raise ValueError("ecdf_us and ecdf_fraction must have one value a point")
        return self


class Deadline(BaseModel):
    """How a paced run went: one step is due every ``period_us``, by default at the model's own rate.

    The histogram counts steps by the time from the moment they were due to their end:
    ``late_counts[i]`` of them took more than ``late_edges_us[i]`` and at most ``late_edges_us[i + 1]``.
    The period is an edge, so what lies beyond it are the misses.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    period_us: float = Field(gt=0)
    steps: int = Field(ge=1)
    misses: int = Field(ge=0)  # steps that ended after the next one was due
    overruns: int = Field(ge=0)  # of the misses: computing alone took longer than the period
    duty: float  # mean busy time of the paced steps / period
    real_time_factor: float  # period / mean back-to-back step; above 1 is faster than real time
    worst_us: float  # from the moment a step was due to its end, lateness of the wake-up included
    worst_at_s: float | None = None  # when that step was due, since the first one was
    wake_p50_us: float | None = None  # from the moment a step was due to its start
    wake_p99_us: float | None = None
    wake_max_us: float | None = None
    jitter_us: float | None = None  # standard deviation of that
    late_edges_us: list[float] = []
    late_counts: list[int] = []

    @model_validator(mode="after")
    def _check(self) -> Deadline:
        if self.late_counts and sum(self.late_counts) != self.steps:
            raise ValueError("the histogram must hold every step once")
        if self.late_counts and len(self.late_edges_us) != len(self.late_counts) + 1:
            raise ValueError("a histogram has one edge more than counts")
        return self


class Golden(BaseModel):
    """Whether the target computed what the model computes, on recorded frames.

    ``tolerance`` is on ``max_abs``, in units of the output; 0 asks for the same bits.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    frames: int = Field(ge=1)
    max_abs: float = Field(ge=0)
    tolerance: float = Field(ge=0)
    against: str  # "reference float32", "integer reference", "reference float64"
    passed: bool


class Block(BaseModel):
    """A block of audio frames computed at once, against the time in which the next one comes."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    frames: int = Field(ge=1)
    p50_us: float
    p99_us: float | None
    max_us: float
    duty_p50: float  # of the block's duration
    duty_max: float
    rate_hz: float | None = None  # frames a second: a block lasts frames / rate


class LayerCost(BaseModel):
    """The share of one op of the model in a step, in the unit of its measurement.

    Shares of instructions add up to the step: one row holds what surrounds the ops.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    layer: str
    instructions: float | None = None
    time_us: float | None = None
    cycles_estimated: float | None = None


class Measurement(BaseModel):
    """What was measured, where and how.

    Raises:
        ValueError: a latency from an emulated target, or a number that its ``metric_kind`` has no
            place for. Emulators count instructions; they do not know time.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    target: str  # "host"
    backend: str  # "native", "onnx", "executorch", "reference"
    precision: str  # of the artifact, "float32", "int8", …; the reference computes in "float64"
    order: int | None = None  # of a variant, the N of its folder orderN; None: the model as exported
    metric_kind: MetricKind
    emulated: bool = False
    artifact: str | None = None  # the file that was run
    clock: Literal["c", "python"] | None = None  # the language the timing loop is written in
    timer_overhead_us: float | None = None  # of the loop in each time, already subtracted
    loop_overhead_us: float | None = None  # what the loop costs a step in all, none of it in the times
    cold_start_us: float | None = None  # starting a fresh process until the model can take a frame
    load_us: float | None = None  # of that, opening the artifact, imports of the backend included
    first_step_us: float | None = None
    warmup_steps: int | None = None
    warmup_stable: bool | None = None  # False: the limit came first; read the numbers with care
    timing: Timing | None = None
    deadline: Deadline | None = None  # None where the model has no rate
    python_step_p50_us: float | None = None  # the same step called as Session.step from Python
    instructions_per_step: float | None = None
    count_unit: Literal["instructions", "fuel"] = "instructions"  # fuel: WebAssembly operators
    cycles_estimated: float | None = None  # of kind static_estimate: by a model of the core, not measured
    repeats: int = Field(default=1, ge=1)  # processes whose steps ``timing`` holds together
    intervals: dict[str, tuple[float, float]] = {}  # 95 % over repeats, by the name of a time in ``timing``
    noisy: bool | None = None  # notes say why; None: not repeated, and nothing speaks against the one run
    blocks: list[Block] = []
    layers: list[LayerCost] = []
    golden: Golden | None = None  # None: not compared on this target
    error: str | None = None  # why there is no number; everything else may be missing then
    command: str | None = None  # what gives this row again
    code_bytes: int | None = None  # machine code of the model, libraries left out
    stack_bytes: int | None = None  # deepest use during a step
    flash_bytes: int | None = None  # constants of the model: C tables, or the file itself
    ram_bytes: int | None = None  # state and scratch of one instance
    peak_rss_bytes: int | None = None  # of the whole process
    pinned: bool | None = None
    notes: list[str] = []
    fingerprint: dict[str, str] = {}

    @property
    def label(self) -> str:
        """What tells it from the others on its target: ``native``, ``native int8``, ``native order 8``."""
        plain = self.precision in ("float32", "float64")
        name = self.backend if plain else f"{self.backend} {self.precision}"
        return name if self.order is None else f"{name} order {self.order}"

    @property
    def told(self) -> str:
        """What a row says in a few words; a p99 only where there were samples enough for one."""
        if self.error is not None:
            return self.error
        if self.golden is not None and not self.golden.passed:
            return f"computes something else: {self.golden.max_abs:.3g} off the {self.golden.against}"
        if self.timing is not None:
            tail = "" if self.timing.p99_us is None else f", p99 {self.timing.p99_us:.3g} µs"
            return f"p50 {self.timing.p50_us:.3g} µs{tail} a step"
        if self.instructions_per_step is not None:
            return f"{self.instructions_per_step:,.0f} {self.count_unit} a step"
        if self.cycles_estimated is not None:
            return f"about {self.cycles_estimated:,.0f} cycles a step by a model of the core, not measured"
        return "computes the same"

    @model_validator(mode="after")
    def _kind_is_honest(self) -> Measurement:
        if self.emulated and self.metric_kind == "latency":
            raise ValueError(
                f"target {self.target!r} is emulated, so its time says nothing about the device; "
                "record instructions or correctness instead of a latency"
            )
        times = (self.timing, self.deadline, self.cold_start_us, self.load_us, self.first_step_us)
        numbers = (*times, self.instructions_per_step, self.cycles_estimated)
        failed = self.error is not None or (self.golden is not None and not self.golden.passed)
        if failed and any(value is not None for value in numbers):
            raise ValueError("what failed or computes something else has no cost; leave the numbers out")
        if failed and self.metric_kind != "correctness":
            raise ValueError("what failed or computes something else is a fact of kind 'correctness'")
        if self.metric_kind != "latency" and any(value is not None for value in times):
            raise ValueError(f"a measurement of kind {self.metric_kind!r} holds no times")
        if self.emulated and (self.blocks or any(layer.time_us is not None for layer in self.layers)):
            raise ValueError(f"target {self.target!r} is emulated: it has no times of blocks or layers")
        shares = [layer.instructions for layer in self.layers if layer.instructions is not None]
        if shares and not isclose(sum(shares), self.instructions_per_step or 0.0, rel_tol=1e-6):
            raise ValueError(f"the layers hold {sum(shares):g} instructions, not those of the whole step")
        if self.metric_kind == "instructions" and self.instructions_per_step is None:
            raise ValueError("a measurement of instructions needs instructions_per_step")
        if self.metric_kind == "static_estimate" and self.cycles_estimated is None:
            raise ValueError("a static estimate needs cycles_estimated")
        return self


class Measurements(BaseModel):
    """The document ``measurements.json``."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    version: Literal[1] = 1
    measurements: list[Measurement] = []


def write_measurements(path: Path, measurements: list[Measurement]) -> None:
    """Write ``measurements.json`` atomically."""
    document = Measurements(measurements=measurements).model_dump(mode="json")
    write_atomic(path, (json.dumps(document, indent=1, allow_nan=False) + "\n").encode())


def read_measurements(path: Path) -> list[Measurement]:
    """Read ``measurements.json``.

    Raises:
        InputError: the file cannot be read or is not what ``write_measurements`` writes.
    """
    try:
        return list(Measurements.model_validate_json(path.read_bytes()).measurements)
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}; run `ssmith bench` first") from error
    except ValidationError as error:
        raise InputError(
            f"{path} is not a measurements file: {first_problem(error)}; run `ssmith bench` again"
        ) from error
