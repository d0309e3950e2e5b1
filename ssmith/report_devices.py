"""The matrix of devices on the report's page: what ran where, and what it cost, each number by its type.

A time, a count and an estimate are three types, and each column's text function takes one of them only: a
number from an emulator has no way into a column of times.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from ssmith.measurement import Measurement
from ssmith.report_plots import time_text
from ssmith.report_words import DASH, count_text, ratio_text, share_text, size_text

T = TypeVar("T")


@dataclass(frozen=True)
class Latency:
    """A time that a clock of the device read, in microseconds, with its 95 % interval over repeats."""

    us: float
    interval: tuple[float, float] | None = None


@dataclass(frozen=True)
class Count:
    """What a step executes: exact, and no time."""

    value: float
    unit: str  # "instructions" or "fuel"


@dataclass(frozen=True)
class Estimate:
    """Cycles by a model of the core; nothing ran."""

    cycles: float


@dataclass(frozen=True)
class Row:
    """The cells of one backend in one precision on one device.

    ``failure`` says why there is no number; then every cost is None. ``golden`` is ``same``, ``differs``
    or a dash where nothing was compared.
    """

    device: str
    backend: str
    precision: str
    emulated: bool
    failure: str | None
    differs: bool
    p50: Latency | None
    p99_9: Latency | None
    max: Latency | None
    count: Count | None
    estimate: Estimate | None
    real_time: float | None
    duty: float | None
    misses: str | None
    missed: bool
    flash: int | None
    ram: int | None
    stack: int | None
    golden: str
    noisy: bool


@dataclass(frozen=True)
class Device:
    """A device's own words: what it is, and what gives its rows again."""

    name: str
    kind: str
    fingerprint: Mapping[str, str]
    commands: Sequence[tuple[str, str]]
    notes: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Devices:
    """What the page says about devices; ``columns`` are the names of those that hold a number."""

    rows: list[Row]
    columns: frozenset[str]
    each: list[Device]


COLUMNS = {
    "p50": "p50",
    "p99_9": "p99.9",
    "max": "max",
    "count": "Instructions",
    "estimate": "Cycles, estimated",
    "real_time": "Real time",
    "duty": "Duty",
    "misses": "Missed",
    "flash": "Flash",
    "ram": "RAM",
    "stack": "Stack",
}


def devices(measurements: Sequence[Measurement]) -> Devices:
    """Rows of the matrix in their order, and what each device is."""
    rows = [_row(m) for m in measurements]
    held = frozenset(name for name in COLUMNS if any(getattr(row, name) is not None for row in rows))
    names = list(dict.fromkeys(m.target for m in measurements))
    return Devices(rows, held, [_device(n, [m for m in measurements if m.target == n]) for n in names])


def latency_of(row: Measurement, name: str) -> Latency | None:
    """A time of a row by its name in ``Timing``; None of anything but a latency from hardware."""
    if row.emulated or row.metric_kind != "latency" or row.timing is None:
        return None
    value = getattr(row.timing, name)
    return None if value is None else Latency(value, row.intervals.get(name))


def latency_text(value: Latency | None) -> str:
    """A time with its unit.

    Raises:
        TypeError: it is no time.
    """
    if value is None:
        return DASH
    return time_text(_only(value, Latency).us)


def interval_text(value: Latency | None) -> str:
    """The interval of a time, empty where there is none.

    Raises:
        TypeError: it is no time.
    """
    if value is None or _only(value, Latency).interval is None:
        return ""
    low, high = value.interval or (0.0, 0.0)
    return f"{time_text(low)} to {time_text(high)}"


def amount_text(value: Count | None) -> str:
    """What was counted; ``fuel`` stands beside a number of that unit.

    Raises:
        TypeError: it is no count.
    """
    if value is None:
        return DASH
    number = count_text(round(_only(value, Count).value))
    return number if value.unit == "instructions" else f"{number} {value.unit}"


def estimate_text(value: Estimate | None) -> str:
    """Estimated cycles, said to be about so many.

    Raises:
        TypeError: it is no estimate.
    """
    return DASH if value is None else f"≈ {count_text(round(_only(value, Estimate).cycles))}"


def _only(value: object, kind: type[T]) -> T:
    if not isinstance(value, kind):
        raise TypeError(f"a column of {kind.__name__} cannot show a {type(value).__name__}")
    return value


def _row(m: Measurement) -> Row:
    differs = m.golden is not None and not m.golden.passed
    failure = None if m.error is None else f"not measured: {m.error}"
    if differs and m.golden is not None:
        failure = (
            f"computes something else: {m.golden.max_abs:.3g} off the {m.golden.against}, allowed"
            f" {m.golden.tolerance:.3g}; so it has no cost"
        )
    paced = m.deadline
    good = failure is None
    counted = m.instructions_per_step
    return Row(
        device=m.target,
        backend=m.backend if m.order is None else f"{m.backend}, order {m.order}",
        precision=m.precision,
        emulated=m.emulated,
        failure=failure,
        differs=differs,
        p50=latency_of(m, "p50_us"),
        p99_9=latency_of(m, "p99_9_us"),
        max=latency_of(m, "max_us"),
        count=None if counted is None else Count(counted, m.count_unit),
        estimate=None if m.cycles_estimated is None else Estimate(m.cycles_estimated),
        real_time=None if paced is None else paced.real_time_factor,
        duty=None if paced is None else paced.duty,
        misses=None if paced is None else f"{count_text(paced.misses)} of {count_text(paced.steps)}",
        missed=paced is not None and paced.misses > 0,
        flash=m.flash_bytes if good else None,
        ram=m.ram_bytes if good else None,
        stack=m.stack_bytes if good else None,
        golden=DASH if m.golden is None else "differs" if differs else "same",
        noisy=bool(m.noisy),
    )


def _device(name: str, rows: Sequence[Measurement]) -> Device:
    fingerprint: dict[str, str] = {}
    for m in rows:
        fingerprint = dict(m.fingerprint) | fingerprint
    said: dict[str, list[str]] = {}
    for m in rows:
        for note in m.notes:
            said.setdefault(note, []).append(m.label)
    by_command: dict[str, list[str]] = {}
    for m in rows:
        if m.command is not None:
            by_command.setdefault(m.command, []).append(m.label)
    return Device(
        name,
        _kind(rows),
        fingerprint,
        [(", ".join(labels), command) for command, labels in by_command.items()],
        [(", ".join(labels), note) for note, labels in said.items()],
    )


def _kind(rows: Sequence[Measurement]) -> str:
    if all(m.error is not None for m in rows):
        return "nothing was measured"
    if any(m.timing is not None for m in rows):
        return "real hardware: times"
    if any(m.instructions_per_step is not None for m in rows):
        return "emulated: counts, no times"
    if any(m.cycles_estimated is not None for m in rows):
        return "a model of the core: estimates, no times"
    return "results compared, nothing counted"


FILTERS: dict[str, Any] = {
    "latency": latency_text,
    "interval": interval_text,
    "amount": amount_text,
    "estimate": estimate_text,
    "factor": lambda value: DASH if value is None else f"{ratio_text(value)} ×",
    "portion": lambda value: DASH if value is None else share_text(value, "< "),
    "bytes": size_text,
}
