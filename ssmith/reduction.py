"""`ssmith reduce`: options that go together, one of three kinds of work, files written at the end."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from ssmith import lowering, stages
from ssmith.bundle import Bundle
from ssmith.errors import InputError, MissingToolError
from ssmith.files import check_writable, write_atomic
from ssmith.quantization import calibrated
from ssmith.recipe import CostKind, CriterionName, Recipe

if TYPE_CHECKING:
    from ssmith import torchfree
    from ssmith.train.goal import Goal
    from ssmith.train.posthoc import Reduced, Request

Facts = dict[str, Any]
BUDGETS: tuple[CostKind, ...] = get_args(CostKind)
CRITERIA: tuple[CriterionName, ...] = get_args(CriterionName)
_ORDER = re.compile("0*[1-9][0-9]{0,8}")  # no layer has more states than nine digits say


@dataclass(frozen=True)
class Options:
    """What the command line says about a reduction; None and False where it says nothing.

    Attributes:
        order, tolerance, bound, max_loss: goals, see `ssmith.train.goal.Goal`.
        budgets: kind → limit, of those that are given.
        max_latency_us, max_instructions: of a step in C, measured on the target ``on``.
        orders: several orders, for one bundle or for a sweep.
        sweep: draw the curve over the order in place of a bundle.
        data: recipe whose data to use.
        criterion: which states matter.
        refit, fine_tune, distill: see `ssmith.train.posthoc.Request`.
        multiple: orders are rounded up to a multiple of this.

    Raises:
        InputError: options that contradict each other, or not one goal.
    """

    order: int | None = None
    tolerance: float | None = None
    bound: float | None = None
    max_loss: float | None = None
    budgets: Mapping[CostKind, int] | None = None
    max_latency_us: float | None = None
    max_instructions: float | None = None
    on: str | None = None
    orders: tuple[int, ...] = ()
    sweep: bool = False
    data: str | None = None
    criterion: str | None = None
    refit: bool = False
    fine_tune: int | None = None
    distill: bool = False
    multiple: int = 1

    def __post_init__(self) -> None:
        if self.criterion is not None and self.criterion not in CRITERIA:
            raise InputError(f"--criterion {self.criterion}: write one of {', '.join(CRITERIA)}")
        if self.multiple < 1:
            raise InputError(f"--multiple {self.multiple}: orders are rounded up to it, so write 1 or more")
        if self.fine_tune is not None and self.fine_tune < 1:
            raise InputError(f"--fine-tune {self.fine_tune}: it counts training steps, so write 1 or more")
        goals = self.goals
        if self.on is not None and self.measured is None:
            raise InputError(
                f"--on {self.on} is where a cost is measured; write --max-latency-us or --max-instructions"
                " too"
            )
        if self.sweep:
            others = [*goals, *(["--fine-tune"] if self.fine_tune else [])]
            if others:
                raise InputError(
                    f"--sweep and {others[0]}: a sweep cuts to every order and trains nothing; give --sweep"
                    " alone, or with --orders to choose the points"
                )
        elif self.orders and goals:
            raise InputError(f"--orders and {goals[0]}: each says how far to cut, so keep one of them")
        elif not self.orders and len(goals) != 1:
            raise InputError(
                f"{' and '.join(goals) or 'no goal'} given; one goal says how far to cut: --order STATES,"
                " --tolerance SHARE, --bound SHARE, --max-loss RISE or a budget such as --max-bytes; or"
                " --orders for several orders, --sweep for the curve over all"
            )

    @property
    def goals(self) -> list[str]:
        """The goals that are given, as options."""
        single = {
            "--order": self.order,
            "--tolerance": self.tolerance,
            "--bound": self.bound,
            "--max-loss": self.max_loss,
            "--max-latency-us": self.max_latency_us,
            "--max-instructions": self.max_instructions,
        }
        given = [name for name, value in single.items() if value is not None]
        return given + [f"--max-{kind}" for kind in self.budgets or {}]

    @property
    def measured(self) -> tuple[str, float] | None:
        """The quantity that is measured to find the order, and its limit."""
        if self.max_latency_us is not None:
            return "latency", self.max_latency_us
        return None if self.max_instructions is None else ("instructions", self.max_instructions)


def parse_orders(text: str | None) -> tuple[int, ...]:
    """``32,16,8`` as numbers; nothing for None.

    Raises:
        InputError: something else stands there.
    """
    if text is None:
        return ()
    parts = [part.strip() for part in text.split(",")]
    if not all(_ORDER.fullmatch(part) for part in parts):
        raise InputError(f"--orders {text[:80]}: write whole numbers from 1, for instance --orders 32,16,8")
    return tuple(int(part) for part in parts)


def reduce_bundle(source: Path, target: Path | None, options: Options, *, quiet: bool = False) -> Facts:
    """Cut a frozen model as the options say, and write what comes out; an interrupt leaves nothing behind.

    Args:
        source: a bundle.
        target: the new bundle, default NAME-reduced.ssm; for a sweep its JSON, default NAME-sweep.json.
        options: what to do.
        quiet: no progress on stderr.

    Raises:
        InputError: the options do not fit the model or the data.
        SsmithError: the goal was not reached.
    """
    bundle = Bundle.read(source)
    if not bundle.order:
        raise InputError(
            f"{source} holds no SSM layer, and a reduction cuts nothing else; give another model"
        )
    recipe = None if options.data is None else Recipe.load(options.data)
    torch_is_here = not lowering.absent("torch", "lightning_fabric")
    lowering.need("train" if torch_is_here else "reduce", "scipy")
    if not torch_is_here:
        _refuse_what_trains(options)
    if options.sweep:
        lowering.need("report", "matplotlib")
        target = target or source.with_name(f"{source.stem}-sweep.json")
        return _sweep(bundle, target, options, recipe, quiet)
    target = target or source.with_name(f"{source.stem}-reduced.ssm")
    if target.suffix != ".ssm":
        raise InputError(
            f"--out {target}: what comes out is a bundle, and is opened as one by its name; end it in .ssm"
        )
    check_writable(target)  # not after an hour of fine-tuning
    bytes_before = source.stat().st_size  # the target may take its place
    options, measured = _without_measuring(bundle, options, recipe, quiet)
    reduced = (
        _reduce(bundle, options, recipe, quiet) if torch_is_here else _torchfree(bundle, options, recipe)
    )
    result = reduced.bundle if recipe is None else _calibrated(reduced.bundle, recipe)
    result.write(target)
    return {
        "bundle": str(target),
        "bytes": f"{bytes_before} -> {target.stat().st_size}",
        **_known(reduced.facts),
        **measured,
        **_ranges(bundle, result),
        **_left_out(bundle),
        "cuts": [_cut(row) for row in reduced.cuts],
        **({"probes": [_known(probe) for probe in reduced.probes]} if len(reduced.probes) > 1 else {}),
    }


def _without_measuring(
    bundle: Bundle, options: Options, recipe: Recipe | None, quiet: bool
) -> tuple[Options, Facts]:
    """A budget that has to be measured as one of states, which does not; what was measured."""
    if options.measured is None:
        return options, {}
    from ssmith.measured_budget import QUANTITIES, Budget, states_within

    quantity, limit = options.measured
    budget = Budget(quantity, limit, options.on or "host")

    def of(states: int) -> Options:
        return replace(
            options, max_latency_us=None, max_instructions=None, on=None, budgets={"states": states}
        )

    def cut(states: int) -> Bundle:
        quick = replace(of(states), fine_tune=None, distill=False, refit=False)
        if lowering.absent("torch", "lightning_fabric"):
            return _torchfree(bundle, quick, recipe).bundle
        return _reduce(bundle, quick, recipe, quiet=True).bundle

    states, costs = states_within(budget, bundle, cut, lambda text: stages.tell(text, quiet))
    _, unit = QUANTITIES[quantity]
    return of(states), {
        "budget": f"{limit:g} {unit} a step on {budget.target}",
        "cost": f"{costs[states]:.6g} {unit}",
        "measured": [{"states": n, quantity: cost} for n, cost in costs.items()],
    }


def _reduce(bundle: Bundle, options: Options, recipe: Recipe | None, quiet: bool) -> Reduced:
    from ssmith.train.posthoc import reduce_posthoc, reduce_to_orders
    from ssmith.train.progress import show_progress

    def say(text: str) -> None:
        stages.tell(text, quiet)

    with show_progress("  fine-tuning", quiet=quiet or not options.fine_tune) as progress:
        request = _request(options)
        if options.orders:
            return reduce_to_orders(bundle, options.orders, request, recipe, say=say, on_progress=progress)
        return reduce_posthoc(bundle, request, recipe, say=say, on_progress=progress)


def _torchfree(bundle: Bundle, options: Options, recipe: Recipe | None) -> torchfree.Reduced:
    from ssmith import torchfree

    goal, criterion = _goal(options), _criterion(options)
    if options.orders:
        return torchfree.reduce_to_orders_without_torch(
            bundle, options.orders, goal, criterion=criterion, recipe=recipe
        )
    return torchfree.reduce_without_torch(bundle, goal, criterion=criterion, recipe=recipe)


def _refuse_what_trains(options: Options) -> None:
    """Options whose work only PyTorch can do; what is left is cut with the reference runtime."""
    wanted = {
        "--sweep": options.sweep,
        "--refit": options.refit,
        "--fine-tune": options.fine_tune,
        "--distill": options.distill,
        "--max-loss": options.max_loss is not None,
    }
    for name in (name for name, given in wanted.items() if given):
        raise MissingToolError(
            f"{name} needs PyTorch, which is not installed; write pip install 'ssmith[train]', or give"
            " --order, --orders, --tolerance or a budget alone"
        )


def _sweep(bundle: Bundle, target: Path, options: Options, recipe: Recipe | None, quiet: bool) -> Facts:
    from ssmith.report_sweep import sweep_plot
    from ssmith.train.progress import show_progress
    from ssmith.train.sweep import sweep

    if target.suffix != ".json":
        raise InputError(f"--out {target}: a sweep writes NAME.json and NAME.svg, so end it in .json")
    for path in (target, target.with_suffix(".svg")):
        check_writable(path)
    with show_progress("  sweep", quiet=quiet) as progress:
        document = sweep(
            bundle, target, _request(options), recipe, orders=options.orders or None, on_progress=progress
        )
    plot = target.with_suffix(".svg")
    write_atomic(plot, sweep_plot(document).encode())
    columns = ("order", "loss", "metric", "output_error", "predicted_change", "weight_bytes")
    return {
        "curve": str(target),
        "plot": str(plot),
        "criterion": document["criterion"],
        **({"metric": document["metric"]} if document["metric"] else {}),
        "points": [_known({key: point[key] for key in columns}) for point in document["points"]],
        "marks": [f"{mark['order']}: {mark['meaning']}" for mark in document["marks"]],
    }


def _request(options: Options) -> Request:
    from ssmith.train.posthoc import Request

    return Request(
        _goal(options), _criterion(options), options.refit, options.fine_tune or 0, options.distill
    )


def _goal(options: Options) -> Goal:
    from ssmith.train.goal import Goal

    budgets = [(kind, float(limit)) for kind, limit in (options.budgets or {}).items()]
    return Goal(
        order=options.order,
        tolerance=options.tolerance,
        bound=options.bound,
        max_loss=options.max_loss,
        max_cost=budgets[0] if budgets else None,
        multiple=options.multiple,
    )


def _criterion(options: Options) -> CriterionName | None:
    return next((name for name in CRITERIA if name == options.criterion), None)


def _calibrated(bundle: Bundle, recipe: Recipe) -> Bundle:
    """The same model with the ranges that int8 needs, from the recipe's training sequences."""
    from ssmith.train.model_data import load_for

    _, splits = load_for(bundle, recipe)
    return calibrated(bundle, splits.train.inputs)


def _ranges(before: Bundle, after: Bundle) -> Facts:
    """What the user has to know of the ranges that a cut voids."""
    if before.calibrated and not after.calibrated:
        return {"int8": "the ranges of the model before are no longer true; `ssmith quantize` finds new ones"}
    return {}


def _left_out(bundle: Bundle) -> Facts:
    """The other orders of a bundle that had several: only its main model is cut."""
    others = ", ".join(map(str, bundle.orders[1:]))
    return (
        {"left_out": f"the models of order {others} in the bundle; its main model was cut"} if others else {}
    )


def _cut(row: Mapping[str, Any]) -> Facts:
    """What a user wants to know of one layer's cut."""
    facts = {"layer": row["layer"], "order": f"{row['order_before']} -> {row['order_after']}"}
    keys = ("loss_before", "loss_after", "metric_before", "metric_after", "output_error", "error_bound")
    facts |= _known({key: row.get(key) for key in keys})
    notes = dict.fromkeys([*([] if row["accepted"] else [row["reason"]]), *row["notes"]])
    return facts | ({"notes": "; ".join(notes)} if notes else {})


def _known(facts: Mapping[str, Any]) -> Facts:
    """Without what is not known: None, and numbers that are not finite."""

    def known(value: Any) -> bool:
        return value is not None and not (isinstance(value, float) and not math.isfinite(value))

    return {key: value for key, value in facts.items() if known(value)}
