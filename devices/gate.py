"""Conditions on the difference between two sets of measurements: a step may not become dearer than before.

``"instructions>+2%"``, ``"latency.p99>+15%"``, ``"flash>+1024"``: a number of a row, and how far it may
rise above the same row of the baseline, as a share or in its own unit (instructions, µs, bytes).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ssmith.errors import InputError
from ssmith.measurement import Measurement, Timing

Reading = Callable[[Measurement], float | None]


def _time(name: str) -> Reading:
    def read(row: Measurement) -> float | None:
        value: float | None = None if row.timing is None else getattr(row.timing, name)
        return value

    return read


QUANTITIES: dict[str, Reading] = {
    "instructions": lambda row: row.instructions_per_step,
    "cycles": lambda row: row.cycles_estimated,
    "flash": lambda row: row.flash_bytes,
    "code": lambda row: row.code_bytes,
    "ram": lambda row: row.ram_bytes,
    "stack": lambda row: row.stack_bytes,
    "misses": lambda row: None if row.deadline is None else row.deadline.misses,
    **{
        f"latency.{name.removesuffix('_us').replace('p99_9', 'p99.9')}": _time(name)
        for name in Timing.model_fields
        if name.endswith("_us") and name != "ecdf_us"
    },
}
_FORM = re.compile(r"\s*([a-z0-9._]+)\s*>\s*\+?\s*(\d+(?:\.\d+)?)\s*(%?)\s*")


@dataclass(frozen=True)
class Condition:
    """A quantity that may rise by ``share`` of what it was, or by ``amount``."""

    text: str
    quantity: str
    limit: float
    relative: bool

    def allowed(self, before: float) -> float:
        """The largest value that is no failure."""
        return before * (1 + self.limit / 100) if self.relative else before + self.limit


@dataclass(frozen=True)
class Moved:
    """A row whose number rose above what a condition allows."""

    condition: str
    target: str
    label: str
    artifact: str | None
    before: float
    after: float
    allowed: float

    def __str__(self) -> str:
        rise = f" ({100 * (self.after / self.before - 1):+.1f} %)" if self.before else ""
        return (
            f"{self.target} {self.label}: {self.before:.6g} → {self.after:.6g}{rise}, {self.condition} allows"
            f" {self.allowed:.6g}"
        )


@dataclass(frozen=True)
class Verdict:
    """What moved, what could not be compared, and how many comparisons held."""

    moved: tuple[Moved, ...]
    lost: tuple[str, ...]
    held: int

    @property
    def passed(self) -> bool:
        """Whether nothing moved and nothing was lost."""
        return not self.moved and not self.lost


def parse(text: str) -> Condition:
    """Read one condition.

    Raises:
        InputError: it is none, or of a quantity that no measurement has.
    """
    match = _FORM.fullmatch(text)
    if match is None:
        raise InputError(
            f"--fail-if {text!r} is no condition; write QUANTITY>+SHARE% or QUANTITY>+AMOUNT, for instance"
            " 'instructions>+2%' or 'latency.p99>+15%'"
        )
    quantity, number, percent = match.groups()
    if quantity not in QUANTITIES:
        raise InputError(
            f"--fail-if {text!r}: no measurement has a {quantity!r}; write {', '.join(sorted(QUANTITIES))}"
        )
    return Condition(text.strip(), quantity, float(number), percent == "%")


def judge(
    baseline: Sequence[Measurement], now: Sequence[Measurement], conditions: Sequence[Condition]
) -> Verdict:
    """Compare rows of the same target, backend, precision, order and artifact.

    A row of the baseline with a number that now has none is lost: a failure must not pass for progress. A
    row that is only in ``now`` is new, and no failure.

    Args:
        baseline: the measurements of before.
        now: those of today; targets that it does not have at all are left out.
        conditions: from ``parse``.
    """
    measured = {row.target for row in now}
    today = {_key(row): row for row in now}
    moved, lost, held = list[Moved](), list[str](), 0
    for row in baseline:
        if row.target not in measured:
            continue
        for condition in conditions:
            before = QUANTITIES[condition.quantity](row)
            if before is None:
                continue
            other = today.get(_key(row))
            after = None if other is None else QUANTITIES[condition.quantity](other)
            if after is None:
                why = "the row is gone" if other is None else other.error or "it has no such number now"
                lost.append(f"{row.target} {row.label}: {condition.quantity} was {before:.6g}; {why}")
            elif after > condition.allowed(before):
                moved.append(
                    Moved(
                        condition.text,
                        row.target,
                        row.label,
                        row.artifact,
                        before,
                        after,
                        condition.allowed(before),
                    )
                )
            else:
                held += 1
    return Verdict(tuple(moved), tuple(dict.fromkeys(lost)), held)


def _key(row: Measurement) -> tuple[str, str, str, int | None, str | None]:
    return row.target, row.backend, row.precision, row.order, row.artifact
