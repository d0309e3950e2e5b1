"""From a goal for a finished model to the trial that meets it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

from ssmith.cost import ModelCost
from ssmith.errors import InputError, SsmithError
from ssmith.recipe import CostKind
from ssmith.reduce import CRITERIA
from ssmith.reduce.budget import bisect_order
from ssmith.train.cutter import Aim
from ssmith.train.goal import Goal, split_budget
from ssmith.train.trial import Trial, Trials

Costs = Callable[[CostKind], ModelCost]


def reach(goal: Goal, trials: Trials, costs: Costs) -> Trial:
    """The cut model that a goal asks for.

    - ``order``, ``tolerance``, ``bound``: one trial.
    - a budget: the orders come from the spectra of the uncut model; with two rules to share it, the one whose
      trial has the lower held-out loss stays (without a loss, the lower predicted one).
    - ``max_loss``: the total number of states is bisected, shared by each rule; every probe is a whole
      reduction whose held-out loss was measured, and so is the result. Fewer states win, then the lower loss.

    Args:
        goal: with exactly one goal.
        trials: of the model.
        costs: kind → what the model costs at which orders.

    Raises:
        InputError: an order above the present ones, a budget below the fixed part, or a loss limit without
            a loss to measure.
        SsmithError: the goal was not reached.
    """
    present = trials.network.orders
    goal.check_layers(len(present))
    if not goal.named:
        raise InputError("nothing says how far to cut; give an order, a tolerance, a loss or a budget")
    if goal.max_loss is not None:
        return _within_loss(goal, trials, costs("states"))
    if goal.max_cost is not None:
        return _within_cost(goal, trials, costs(goal.max_cost[0]))
    if goal.order is not None:
        goal.refuse_higher(present)
        return _at(_whole(goal, present), trials)
    aims: list[Aim | None] = []
    for i, n in enumerate(present):
        fixed = goal.fixed_order(i, n)
        if fixed is not None:
            aims.append(trials.aim(fixed) if fixed < n else None)
        else:
            aims.append(Aim(None, goal.tolerance, 0.0, bound=goal.bound, minimum_order=goal.minimum(i)))
    return trials.cut(aims)


def _within_loss(goal: Goal, trials: Trials, cost: ModelCost) -> Trial:
    assert goal.max_loss is not None
    start = trials.start.found.loss
    if math.isnan(start):
        raise InputError("--max-loss needs a loss to measure; give --data RECIPE")
    limit = start + goal.max_loss * abs(start)
    found: list[tuple[int, float, Trial]] = []
    present = trials.network.orders
    lowest = sum(_lowest(goal, i, n) for i, n in enumerate(present))
    whole = _whole(goal, present)
    for rule in _rules(goal, len(trials.network.layers)):

        def orders(total: int, rule: Goal = rule) -> tuple[int, ...]:
            if total == sum(whole):  # a share leaves states of σ = 0 out, whose modes may hold real poles
                return whole
            power = CRITERIA[trials.criterion].power
            return split_budget(rule, trials.spectra(), cost, power=power, limit=total).orders

        total = bisect_order(lambda r: trials.loss(orders(r)), limit, lowest, sum(whole))
        trial = trials.to_orders(orders(total))
        found.append((sum(trial.network.orders), trial.found.loss, trial))
    return min(found, key=lambda entry: entry[:2])[2]


def _within_cost(goal: Goal, trials: Trials, cost: ModelCost) -> Trial:
    assert goal.max_cost is not None
    limit = goal.max_cost[1]
    present = trials.network.orders
    if cost.total(present) <= limit:
        return trials.start
    known = not math.isnan(trials.start.found.loss)
    split = split_budget(
        goal,
        trials.spectra(),
        cost,
        power=CRITERIA[trials.criterion].power,
        loss=trials.loss if known else None,
    )
    trial = _at(split.orders, trials)
    assert cost.total(trial.network.orders) <= limit
    return trial


def _lowest(goal: Goal, index: int, present: int) -> int:
    fixed = goal.fixed_order(index, present)
    return min(goal.minimum(index), present) if fixed is None else fixed


def _whole(goal: Goal, present: tuple[int, ...]) -> tuple[int, ...]:
    """The order of each layer where one is decided, else its present one."""
    fixed = (goal.fixed_order(i, n) for i, n in enumerate(present))
    return tuple(n if r is None else r for r, n in zip(fixed, present, strict=True))


def _rules(goal: Goal, layers: int) -> list[Goal]:
    """The goal under each rule that it allows; with one layer they all say the same."""
    if goal.split != "best":
        return [goal]
    return [replace(goal, split="marginal"), *([replace(goal, split="equal")] if layers > 1 else [])]


def _at(orders: tuple[int, ...], trials: Trials) -> Trial:
    """The trial to these orders.

    Raises:
        SsmithError: a layer did not get there.
    """
    trial = trials.to_orders(orders)
    for i, (wanted, got) in enumerate(zip(orders, trial.network.orders, strict=True)):
        if got > wanted:
            why = next((row["reason"] for row in trial.rows if row["layer"].split(".")[1] == str(i)), "")
            raise SsmithError(
                f"layer {i} stays at {got} states, not the {wanted} asked for: {why}. Nothing was written;"
                " another order or --criterion may work"
            )
    return trial
