"""A budget in time or instructions: how many states a model may keep, by measuring smaller models."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ssmith.bundle import Bundle
from ssmith.devices.bench import bench
from ssmith.devices.registry import find_target
from ssmith.devices.target import Plan
from ssmith.errors import InputError, SsmithError
from ssmith.lowering import lower
from ssmith.measurement import Measurement, MetricKind
from ssmith.recipe import ExportSettings

PLAN = Plan(steps=4_000, time_limit_s=1.0, paced_limit_s=0.0, cold_starts=0, session=False)
QUANTITIES: dict[str, tuple[MetricKind, str]] = {
    "latency": ("latency", "µs"),
    "instructions": ("instructions", "instructions"),
}


@dataclass(frozen=True)
class Budget:
    """What a step of the float32 C code may cost on a target.

    Args:
        quantity: ``latency``, the median of a step in µs, or ``instructions``.
        limit: at most so much.
        target: its name, see ``devices.registry``.

    Raises:
        InputError: the target does not exist, is absent, or knows no such quantity.
    """

    quantity: str
    limit: float
    target: str

    def __post_init__(self) -> None:
        kind, unit = QUANTITIES[self.quantity]
        option = "--max-latency-us" if kind == "latency" else "--max-instructions"
        if self.limit <= 0:
            raise InputError(f"{option} {self.limit:g}: a step costs something; write a number above zero")
        probe = find_target(self.target).probe()
        if probe.absent is not None:
            raise InputError(f"{self.target} cannot be used here: {probe.absent}")
        if kind not in probe.measures:
            known = ", ".join(probe.measures)
            other = "--max-instructions" if kind == "latency" else "--max-latency-us"
            raise InputError(
                f"{option} asks {self.target} for {unit}, and it tells {known}; write {other} or another --on"
            )

    def cost(self, bundle: Bundle) -> float:
        """What a step of this model costs, in the unit of the quantity.

        Raises:
            SsmithError: it could not be measured, or computes something else there.
        """
        with tempfile.TemporaryDirectory(prefix="ssmith-budget-") as folder:
            artifacts = Path(folder)
            bundle.write(artifacts / f"{bundle.name}.ssm")
            lower(bundle, artifacts, ExportSettings(formats=("c99",), precisions=("float32",)))
            (row,) = bench(artifacts, self.target, backends=["native"], plan=PLAN)
        value = self._read(row)
        if value is None:
            raise SsmithError(f"{self.target} told no {self.quantity} of {bundle.name}: {_why(row)}")
        return value

    def _read(self, row: Measurement) -> float | None:
        if self.quantity == "instructions":
            return row.instructions_per_step
        return None if row.timing is None else row.timing.p50_us


def largest_within(cost: Callable[[int], float], low: int, high: int, limit: float) -> int | None:
    """The largest n of low … high whose cost is within the limit, by bisection; None if that of low is not.

    Args:
        cost: rises with n, but for noise.
        low: the least n.
        high: the most.
        limit: of the cost.
    """
    if cost(high) <= limit:
        return high
    if cost(low) > limit:
        return None
    while high - low > 1:  # low is within, high is not
        middle = (low + high) // 2
        if cost(middle) <= limit:
            low = middle
        else:
            high = middle
    return low


def states_within(
    budget: Budget,
    bundle: Bundle,
    cut: Callable[[int], Bundle],
    tell: Callable[[str], None],
) -> tuple[int, dict[int, float]]:
    """How many states all layers together may keep, and what was measured on the way.

    Args:
        budget: the limit.
        bundle: the model.
        cut: the model that keeps so many states.
        tell: a line of progress.

    Returns:
        The number of states, and states → cost of each model that was measured.

    Raises:
        SsmithError: even one state a layer is too dear.
    """
    _, unit = QUANTITIES[budget.quantity]
    layers = [op for op in bundle.meta.ops if op.op == "ssm"]
    most = sum(bundle.tensors[layer.lam].shape[1] for layer in layers)
    measured: dict[int, float] = {}

    def cost(states: int) -> float:
        if states not in measured:
            measured[states] = budget.cost(bundle if states == most else cut(states))
            tell(f"  {states} states: {measured[states]:.6g} {unit} a step on {budget.target}")
        return measured[states]

    found = largest_within(cost, len(layers), most, budget.limit)
    if found is None:
        raise SsmithError(
            f"with one state a layer a step still costs {measured[len(layers)]:.6g} {unit} on"
            f" {budget.target}, above {budget.limit:g}; the rest of the model is too large: choose a smaller"
            " width"
        )
    return found, dict(sorted(measured.items()))


def _why(row: Measurement) -> str:
    if row.error is not None:
        return row.error
    return "it computes something else there" if row.golden and not row.golden.passed else "no reason known"
