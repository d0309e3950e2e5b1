"""The part of ``report.json`` about reduction: every cut with its certificate, the plan, the bundles.

Old files lack the newer fields; each has a default that says "not known".
"""

from __future__ import annotations

import math
import re
from itertools import accumulate
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from ssmith.recipe import GOALS, MetricName

# These criteria look at the system alone, so their certificates add singular values, not their squares.
SYSTEM_ONLY = ("exact", "complex", "modal")


# A stage may write more than the report shows; a number that does not exist is null.
RECORD = ConfigDict(extra="ignore", frozen=True, allow_inf_nan=False)


class _Record(BaseModel):
    model_config = RECORD


def layer_index(layer: Any) -> Any:
    """The number in a layer's name: ``blocks.0.ssm`` is layer 0."""
    found = re.search(r"\d+", layer) if isinstance(layer, str) else None
    return int(found.group()) if found else layer


Layer = Annotated[int, BeforeValidator(layer_index), Field(ge=0)]


class SpectrumRow(_Record):
    """One look at a layer's spectrum while waiting for it to settle; an entry of ``spectra.json``."""

    step: int = Field(ge=0)
    layer: Layer
    order: int = Field(ge=1)
    change: float | None = None


class CutRow(_Record):
    """One attempt to cut one layer; an entry of ``cuts.json``, or of a bundle's reduction history."""

    step: int = Field(ge=0)
    attempt: int | None = None
    layer: Layer
    order_before: int = Field(ge=1)
    order_after: int = Field(ge=1)
    singular_values: list[float]
    criterion: str = ""
    tail: float | None = None
    error_bound: float | None = None
    gain: float | None = None
    h2_error: float | None = None
    hinf_error: float | None = None
    output_error: float | None = None
    stable: bool = True
    clamped: int = 0
    loss_before: float | None = None
    loss_after: float | None = None
    metric: MetricName | None = None
    metric_before: float | None = None
    metric_after: float | None = None
    accepted: bool
    reason: str = ""
    notes: list[str] = []

    @property
    def outcome(self) -> Literal["kept", "undone", "not cut"]:
        """Whether the cut stands, was taken back after measuring its cost, or was not made."""
        if self.accepted:
            return "kept"
        return "not cut" if self.loss_after is None else "undone"

    @property
    def kept_values(self) -> int:
        """How many singular values stay, or would have stayed: those that do not add up to the tail.

        Where no tail is recorded two a stored state, though a real pole keeps one and padding none.
        """
        count = len(self.singular_values)
        if self.tail is None:
            return min(2 * self.order_after, count)
        tail, sums = self.tail, list(accumulate(reversed(self.singular_values), initial=0.0))
        return count - min(range(count + 1), key=lambda dropped: (abs(sums[dropped] - tail), -dropped))

    @property
    def order_tried(self) -> int:
        """The order a cut led to, or would have led to."""
        if self.outcome == "kept" or not self.singular_values:
            return self.order_after
        return -(-self.kept_values * self.order_before // len(self.singular_values))

    @property
    def power(self) -> Literal[1, 2]:
        """Whether the criterion counts Σσ or Σσ²."""
        return 1 if self.criterion in SYSTEM_ONLY else 2

    @property
    def share_cut(self) -> float | None:
        """Σσ² (Σσ where the criterion counts that) of what was dropped, as a share of all."""
        sizes = [v**self.power for v in self.singular_values]
        total = sum(sizes)
        return sum(sizes[self.kept_values :]) / total if total > 0 else None

    @property
    def share_bound(self) -> float | None:
        """The bound as a share of the layer's largest gain; None where either is not known."""
        return self.error_bound / self.gain if self.error_bound is not None and self.gain else None

    @property
    def predicted_change(self) -> float | None:
        """What the spectrum foretells for the outputs, relative: √ of the dropped share of Σσ²."""
        share = self.share_cut
        return None if share is None else math.sqrt(share) if self.power == 2 else share

    @property
    def cost(self) -> float | None:
        """Relative change of the held-out loss; None where it was not measured."""
        if self.loss_before is None or self.loss_after is None or self.loss_before <= 0:
            return None
        return self.loss_after / self.loss_before - 1


class ReductionPlan(_Record):
    """What the recipe asked of the reduction; from ``recipe.json``."""

    schedule: str = "window"
    criterion: str = ""
    goal: str
    target: int | float | list[int]
    cuts: int | None = None
    window: list[float] = []
    refit: bool = False


class BundleRow(_Record):
    """One model in a bundle of the run folder: its orders, and what was cut after training."""

    file: str
    model: str
    bytes: int
    sha256: str
    orders: list[int] = []
    reduced_from: str | None = None
    reduced_to: str | None = None
    fine_tuned: str | None = None
    cuts: list[CutRow] = []


def plan_of(recipe: Any) -> ReductionPlan | None:
    """The plan in a parsed ``recipe.json``; None where nothing was to be cut.

    Raises:
        ValidationError: a field has another type than a recipe's.
    """
    settings = recipe.get("reduce") if isinstance(recipe, dict) else None
    if not isinstance(settings, dict):
        return None
    goal = next((name for name in GOALS if settings.get(name) is not None), None)
    if goal is None:
        return None
    return ReductionPlan.model_validate({**settings, "goal": goal, "target": settings[goal]})
