"""How far each cut of a training goes: from a goal for the whole training to the aims of its layers now."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from torch import nn

from ssmith.cost import ModelCost, ssm_cost
from ssmith.errors import InputError
from ssmith.recipe import CriterionName, Schedule
from ssmith.reduce import CRITERIA
from ssmith.system import Real
from ssmith.train.cutter import Aim
from ssmith.train.goal import Goal, module_cost, split_budget
from ssmith.train.schedule import allowance, between, order_goal
from ssmith.train.ssm_layer import SSMLayer


@dataclass(frozen=True)
class Progress:
    """Where a training's cuts are.

    Attributes:
        attempt: k, which cut this is, from 1.
        attempts: K, how many there will be.
        start: order of each layer before the first cut.
        orders: and now.
        spent: what each layer's cuts have used up of a tolerance, a bound or the rise of the loss.
    """

    attempt: int
    attempts: int
    start: Mapping[str, int]
    orders: Mapping[str, int]
    spent: Mapping[str, float]

    @property
    def last(self) -> bool:
        """Whether this is the last cut."""
        return self.attempt == self.attempts


@dataclass(frozen=True, eq=False)
class Course:
    """The way to a goal.

    Attributes:
        goal: where the training's cuts are to end.
        schedule: with which law orders and budgets fall.
        gate: smallest share of a layer's modes whose removal is worth a cut, except for the last one.
        power: of σ in the predicted loss, the criterion's.
        cost: what the model costs at which orders; None where the goal is no budget.
    """

    goal: Goal
    schedule: Schedule
    gate: float
    power: int
    cost: ModelCost | None

    def aims(
        self,
        progress: Progress,
        *,
        loss: Callable[[], float],
        spectra: Callable[[], list[Real]],
        loss_at: Callable[[tuple[int, ...]], float] | None,
    ) -> dict[str, Aim]:
        """Where this cut takes the layers; those that it leaves alone are not in it.

        Args:
            progress: where the cuts are.
            loss: the held-out loss now; called where the goal is one.
            spectra: measures σ of each layer, (2N,) each; called where a budget is to be shared.
            loss_at: orders → held-out loss, to choose between two ways to share; None: by prediction.

        Raises:
            InputError: the budget is below what stays at the smallest orders.
        """
        shared = self._shared(progress, spectra, loss_at)
        found: dict[str, Aim] = {}
        for index, name in enumerate(progress.orders):
            end = self.goal.fixed_order(index, progress.start[name])
            if end is not None:
                aim = self._to_order(progress, name, index, end)
            elif shared is not None:
                aim = self._gated(progress, name, index, shared[index])
            else:
                aim = self._by_share(progress, name, index, loss)
            if aim is not None:
                found[name] = aim
        return found

    def check(self, start: Mapping[str, int]) -> None:
        """Refuse what cannot be reached, before anything is cut.

        Raises:
            InputError: a layer is to end with more states than it has, or the budget is below what stays.
        """
        for index, (name, order) in enumerate(start.items()):
            whole = self.goal.order[index] if isinstance(self.goal.order, tuple) else self.goal.order
            own = self.goal.settings(index)
            wanted = own.order or whole
            if wanted is not None and wanted > order and not own.keep:
                raise InputError(
                    f"layer {name!r} has {order} states and is to end with {wanted}; a reduction goes down, "
                    "so write a smaller order, or keep = true for this layer"
                )
        if self.cost is not None:
            split_budget(self.goal, [np.zeros(2 * n) for n in start.values()], self.cost, power=self.power)

    def unmet(self, orders: Mapping[str, int], start: Mapping[str, int]) -> tuple[str, str] | None:
        """Which layer is above what was asked for, or "" for the model, and a sentence; None if none is."""
        for index, (name, order) in enumerate(orders.items()):
            end = self.goal.fixed_order(index, start[name])
            if end is not None and order > end:
                return name, f"layer {name!r} still has {order} states after the last cut, not the {end}"
        if self.cost is not None and self.goal.max_cost is not None:
            kind, limit = self.goal.max_cost
            total = self.cost.total(orders.values())
            if total > limit:
                return "", f"the model still has {total:g} {kind} after the last cut, not the {limit:g}"
        return None

    def _to_order(self, progress: Progress, name: str, index: int, end: int) -> Aim | None:
        to = order_goal(self.schedule, progress.start[name], end, progress.attempt, progress.attempts)
        return self._gated(progress, name, index, self.goal.rounded(max(to, self.goal.minimum(index))))

    def _gated(self, progress: Progress, name: str, index: int, to: int) -> Aim | None:
        order, gate = progress.orders[name], 0.0 if progress.last else self.gate
        if to >= order or order - to < gate * order:
            return None
        return Aim(to, None, gate, minimum_order=min(to, self.goal.minimum(index)))

    def _by_share(self, progress: Progress, name: str, index: int, loss: Callable[[], float]) -> Aim | None:
        """A tolerance or a bound of the layer's own, or its part of the rise of the loss."""
        goal, minimum = self.goal, self.goal.minimum(index)
        now = progress.attempt, progress.attempts
        if goal.tolerance is not None:
            left = allowance(progress.spent[name], goal.tolerance, *now)
            return Aim(None, left, self.gate, minimum_order=minimum)
        if goal.bound is not None:
            left = allowance(progress.spent[name], goal.bound, *now)
            return Aim(None, None, self.gate, bound=left, minimum_order=minimum)
        if goal.max_loss is not None:
            left = allowance(sum(progress.spent.values()), goal.max_loss, *now)
            free = [i for i, n in enumerate(progress.start.values()) if goal.fixed_order(i, n) is None]
            share = (free.index(index) + 1) / len(free)  # what a layer does not use is there for the next
            limit = loss() + left * share * abs(loss())
            return Aim(None, None, self.gate, minimum_order=minimum, loss_limit=limit)
        return None

    def _shared(
        self,
        progress: Progress,
        spectra: Callable[[], list[Real]],
        loss_at: Callable[[tuple[int, ...]], float] | None,
    ) -> tuple[int, ...] | None:
        """The orders that share this cut's budget, one a layer; None without a budget."""
        if self.cost is None or self.goal.max_cost is None:
            return None
        limit = self.goal.max_cost[1]
        start, now = (self.cost.total(orders.values()) for orders in (progress.start, progress.orders))
        budget = between(self.schedule, max(start, limit), limit, progress.attempt, progress.attempts)
        if now <= budget:
            return tuple(progress.orders.values())
        split = split_budget(self.goal, spectra(), self.cost, power=self.power, limit=budget, loss=loss_at)
        return split.orders


def one_goal(
    order: int | Sequence[int] | None,
    tolerance: float | None,
    goal: Goal | None,
    minimum_order: int,
    multiple: int,
) -> Goal:
    """The goal that `Truncator`'s arguments give.

    Raises:
        InputError: two at once.
    """
    if goal is None:
        orders = order if isinstance(order, int | None) else tuple(order)
        return Goal(order=orders, tolerance=tolerance, minimum_order=minimum_order, multiple=multiple)
    if not (order is tolerance is None and minimum_order == multiple == 1):
        raise InputError(
            "goal is given beside order, tolerance, minimum_order or multiple; they are fields of the goal, "
            "so write them there"
        )
    return goal


def check_goal(goal: Goal, layers: int, criterion: CriterionName, *, refit: bool, has_loss: bool) -> None:
    """Refuse a goal that does not fit a model of so many layers, its criterion, or what can be measured.

    Raises:
        InputError: it does not.
    """
    if layers == 0:
        raise InputError("the model holds no SSM layer (ssmith.train.SSMLayer), so there is nothing to cut")
    goal.check_layers(layers)
    if not goal.named and all(own.order is None for own in goal.layers.values()):
        raise InputError("nothing says how far to cut: give order, tolerance or goal, exactly one of them")
    if goal.bound is not None and (refit or not CRITERIA[criterion].bound):
        why = "a refit of C voids it" if refit else f"criterion {criterion!r} has none"
        having = ", ".join(name for name, c in CRITERIA.items() if c.bound)
        raise InputError(f"bound = {goal.bound:g}: {why}; write a tolerance, or use {having} without a refit")
    if goal.max_loss is not None and not has_loss:
        raise InputError(f"max_loss = {goal.max_loss:g} needs a loss to measure; give loss_fn and held_out")


def cost_of(goal: Goal, model: nn.Module, layers: Sequence[SSMLayer]) -> ModelCost | None:
    """What the model costs at which orders, in the kind that the goal's budget counts; None without one.

    Raises:
        InputError: the model cannot be frozen, so what it costs is not known.
    """
    if goal.max_cost is None:
        return None
    kind, _ = goal.max_cost
    if kind == "states":  # of any model, also one that cannot be frozen
        return ModelCost(kind, 0.0, tuple(ssm_cost(kind, m.width, m.width, True) for m in layers))
    return module_cost(kind, model)
