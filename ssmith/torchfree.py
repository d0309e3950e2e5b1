"""Cutting a finished model where PyTorch is not installed: the reference runtime measures the states.

There are no gradients here, so nothing tells how much the network's outputs care about a state: the
criterion is "empirical" (states as seen on data, exact observability of the layer itself) unless one that
measures nothing is asked for.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ssmith.bundle import Bundle
from ssmith.cost import ModelCost
from ssmith.errors import InputError, MissingToolError, SsmithError
from ssmith.recipe import CriterionName, Recipe
from ssmith.torchfree_cutter import Cutter, Model, Seen, layer_name

if TYPE_CHECKING:
    from ssmith.train.goal import Goal

Facts = dict[str, Any]
INSTALL = "write pip install 'ssmith[train]'"


@dataclass(frozen=True, eq=False)
class Reduced:
    """A finished reduction; the fields are those of ``ssmith.train.posthoc.Reduced``.

    Attributes:
        bundle: the smaller model, with golden vectors of its own; the given one if nothing was cut.
        cuts: one record a layer that was looked at, ready for JSON.
        probes: none: no search measures a loss here.
        facts: figures for the user, and what was measured on what.
    """

    bundle: Bundle
    cuts: tuple[dict[str, Any], ...]
    facts: Facts
    probes: tuple[dict[str, Any], ...] = ()


def reduce_without_torch(
    bundle: Bundle,
    goal: Goal,
    *,
    criterion: CriterionName | None = None,
    recipe: Recipe | None = None,
) -> Reduced:
    """Cut the layers of a frozen model in order, each with statistics of what the ones before became.

    Args:
        bundle: the model.
        goal: an order, a tolerance, a bound or a budget; a budget is shared by the rule whose cut changes
            the outputs least.
        criterion: "empirical" (the default), "exact", "modal" or "complex".
        recipe: whose data to use; the bundle's golden inputs if None.

    Raises:
        MissingToolError: the goal or the criterion needs PyTorch.
        InputError: the data does not fit, a budget is below the fixed part, an order above the present one.
        SsmithError: a layer did not come to the order asked for, or float32 does not carry the cut model.
    """
    return _reduced(_cutter(bundle, criterion, recipe), goal)


def reduce_to_orders_without_torch(
    bundle: Bundle,
    orders: Sequence[int],
    goal: Goal,
    *,
    criterion: CriterionName | None = None,
    recipe: Recipe | None = None,
) -> Reduced:
    """One bundle that holds the model at several orders, each cut from the model as it is given.

    Args:
        bundle: the model.
        orders: at least one, each once; the largest becomes the main model.
        goal: its minima, multiple and layers count.
        criterion: see `reduce_without_torch`, as for the rest and what is raised.
        recipe: whose data to use.
    """
    if len(set(orders)) < len(orders):
        raise InputError(f"--orders {','.join(map(str, orders))}: each order once; orders tell them apart")
    cutter = _cutter(bundle, criterion, recipe)
    main, *others = [_reduced(cutter, replace(goal, order=order)) for order in sorted(orders, reverse=True)]
    shared = ("criterion", "measured on", "note")
    return Reduced(
        main.bundle.with_variants([other.bundle for other in others]),
        tuple(row for one in (main, *others) for row in one.cuts),
        {key: main.facts[key] for key in shared}
        | {"models": [{k: v for k, v in one.facts.items() if k not in shared} for one in (main, *others)]},
    )


def _cutter(bundle: Bundle, criterion: CriterionName | None, recipe: Recipe | None) -> Cutter:
    from ssmith.reduce import CRITERIA

    chosen = criterion or "empirical"
    if CRITERIA[chosen].gradients:
        without = ", ".join(name for name, facts in CRITERIA.items() if not facts.gradients)
        raise MissingToolError(
            f"criterion {chosen} measures gradients, which needs PyTorch; {INSTALL}, or choose one of"
            f" {without}"
        )
    return Cutter(bundle, chosen, Seen.gather(bundle, recipe))


def _reduced(cutter: Cutter, goal: Goal) -> Reduced:
    """The model cut to a goal."""
    aims = _aims(cutter, goal)
    model, rows = cutter.cut(aims)
    _check_reached(model, aims, rows)
    accepted = [row | {"goal": goal.words} for row in rows if row["accepted"]]
    bundle = cutter.frozen(model, accepted, goal.words) if accepted else cutter.bundle
    cost = ModelCost.of("bytes", cutter.bundle.meta.ops, cutter.bundle.tensors)
    orders = tuple(map(model.order, range(len(cutter.present))))
    facts: Facts = {
        "criterion": cutter.criterion,
        "measured on": cutter.seen.words,
        "note": "PyTorch is not installed, so how much the outputs care about a state is not known;"
        f" {INSTALL} for the task-aware criterion, which keeps more accuracy",
        "orders": {"before": list(cutter.present), "after": list(orders)},
        "weight_bytes": {"before": int(cost.total(cutter.present)), "after": int(cost.total(orders))},
        "output_error": cutter.change(model),
    }
    return Reduced(bundle, tuple(rows), facts if accepted else facts | {"result": "nothing was cut"})


def _aims(cutter: Cutter, goal: Goal) -> list[Facts | None]:
    """What to ask ``reduce_system`` for, one entry a layer; None leaves it alone."""
    goal.check_layers(len(cutter.present))
    goal.refuse_higher(cutter.present)
    if goal.max_loss is not None:
        raise MissingToolError(
            f"a loss limit measures the recipe's loss, which needs PyTorch; {INSTALL}, or give an order,"
            " a tolerance or a budget"
        )
    if goal.max_cost is not None:
        return _to_orders(cutter, _within_budget(cutter, goal))
    fixed = [goal.fixed_order(i, n) for i, n in enumerate(cutter.present)]
    aims = _to_orders(cutter, [n if r is None else r for r, n in zip(fixed, cutter.present, strict=True)])
    if goal.order is None:
        for i, order in enumerate(fixed):
            if order is None:
                share = {"tolerance": goal.tolerance} if goal.bound is None else {"bound": goal.bound}
                aims[i] = {**share, "min_order": goal.minimum(i), "multiple": goal.multiple}
    return aims


def _to_orders(cutter: Cutter, orders: Sequence[int]) -> list[Facts | None]:
    return [{"order": r} if r < n else None for r, n in zip(orders, cutter.present, strict=True)]


def _within_budget(cutter: Cutter, goal: Goal) -> tuple[int, ...]:
    """Orders that keep the goal's budget, shared by the rule whose whole cut changes the outputs least."""
    from ssmith.reduce import CRITERIA
    from ssmith.train.goal import split_budget

    assert goal.max_cost is not None  # the caller has seen it
    kind, limit = goal.max_cost
    cost = ModelCost.of(kind, cutter.bundle.meta.ops, cutter.bundle.tensors)
    if cost.total(cutter.present) <= limit:
        return cutter.present

    def change(orders: tuple[int, ...]) -> float:
        found = cutter.change(cutter.cut(_to_orders(cutter, orders))[0])
        return found if math.isfinite(found) else math.inf

    power = CRITERIA[cutter.criterion].power
    return split_budget(goal, cutter.spectra(), cost, power=power, loss=change).orders


def _check_reached(model: Model, aims: Sequence[Facts | None], rows: Sequence[Facts]) -> None:
    """Orders, given or from a budget, are kept, or nothing is written."""
    reasons = {row["layer"]: row["reason"] for row in rows}
    for index, aim in enumerate(aims):
        order = model.order(index)
        if aim is not None and order > aim.get("order", order):
            raise SsmithError(
                f"layer {index} stays at {order} states, not the {aim['order']} asked for:"
                f" {reasons[layer_name(index)]}. Nothing was written; another order or --criterion may work"
            )
