"""Cutting a finished model: bundle → smaller bundle, with statistics from data or from the system alone."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ssmith.bundle import Bundle
from ssmith.cost import ModelCost
from ssmith.errors import InputError
from ssmith.recipe import CriterionName, Recipe
from ssmith.reduce import CRITERIA
from ssmith.train.accelerator import reproducible
from ssmith.train.batches import relative_change
from ssmith.train.distill import Teacher
from ssmith.train.evidence import Evidence
from ssmith.train.finetune import FineTuned, fine_tune
from ssmith.train.freeze import GoldenInput, freeze
from ssmith.train.goal import Goal
from ssmith.train.model import Network
from ssmith.train.progress import Progress
from ssmith.train.search import reach
from ssmith.train.trial import Trial, Trials

Say = Callable[[str], object]
OnProgress = Callable[[Progress], object]


@dataclass(frozen=True)
class Request:
    """What is to be done to a finished model.

    Attributes:
        goal: how far to cut.
        criterion: which states matter; None is "task-aware" with data and "exact" without.
        refit: fit C of each cut layer to what the layer said before.
        fine_tune: steps of training after the cut; 0 for none.
        distill: let the model before the cut teach while fine-tuning.

    Raises:
        InputError: a negative number of steps, or a teacher without anybody to teach.
    """

    goal: Goal
    criterion: CriterionName | None = None
    refit: bool = False
    fine_tune: int = 0
    distill: bool = False

    def __post_init__(self) -> None:
        if self.fine_tune < 0:
            raise InputError(f"--fine-tune {self.fine_tune}: it counts training steps, so write 1 or more")
        if self.distill and not self.fine_tune:
            raise InputError("--distill teaches while the cut model trains; give --fine-tune STEPS too")


@dataclass(frozen=True, eq=False)
class Reduced:
    """A finished reduction.

    Attributes:
        bundle: the new model; the given one, unchanged, where nothing was cut or trained.
        cuts: one record a layer, also in the bundle where the cut stands.
        probes: every whole reduction that a search measured: orders, loss, metric, output error.
        facts: figures for the user: criterion, loss and metric before and after, what was tuned.
    """

    bundle: Bundle
    cuts: tuple[dict[str, Any], ...]
    probes: tuple[dict[str, Any], ...]
    facts: Mapping[str, Any] = field(default_factory=dict)


def reduce_posthoc(
    bundle: Bundle,
    request: Request,
    recipe: Recipe | None = None,
    *,
    say: Say = lambda text: None,
    on_progress: OnProgress | None = None,
) -> Reduced:
    """Cut the layers of a frozen model in order, each with statistics of what the ones before became.

    With a recipe the task-aware criterion runs on its training data (the choice that keeps accuracy);
    without one the default is the exact Gramians, which assume white noise at every layer's input: the
    error bound holds, accuracy often does not. Decisions fall on validation data; the test set is measured
    once at the start and once at the end.

    Args:
        bundle: the model.
        request: how far, by which criterion, and what happens afterwards.
        recipe: whose data to use.
        say: called with a line about each probe of a search.
        on_progress: called after every step of fine-tuning.

    Raises:
        InputError: the data does not fit the model, or the request needs data that is not given; a budget
            below what no order changes; an order above the present one.
        SsmithError: the goal was not reached.
    """
    with prepare(bundle, request, recipe, say) as trials:
        return _reduced(bundle, request, trials, on_progress)


def _reduced(bundle: Bundle, request: Request, trials: Trials, on_progress: OnProgress | None) -> Reduced:
    trial = reach(request.goal, trials, lambda kind: ModelCost.of(kind, bundle.meta.ops, bundle.tensors))
    network, tuned = _tuned(trial, trials, request, on_progress)
    facts = _facts(bundle, trials, trial, network, tuned)
    if not any(row["accepted"] for row in trial.rows) and (tuned is None or not tuned.best_step):
        return Reduced(bundle, trial.rows, tuple(trials.probes), facts | {"result": "nothing was cut"})
    cuts = tuple(_labelled(row, request, tuned) for row in trial.rows)
    provenance = {"reduced_from": bundle.sha256, "reduced_to": request.goal.words}
    if tuned is not None:
        teacher = ", taught by the model before the cut" if request.distill else ""
        provenance["fine_tuned"] = (
            f"{tuned.best_step} of {tuned.steps} steps on {_name(trials.evidence.recipe)}{teacher}"
        )
    reduced = freeze(
        network,
        name=bundle.name,
        task=bundle.meta.task,
        inputs=bundle.meta.inputs,
        outputs=bundle.meta.outputs,
        period_s=bundle.meta.period_s,
        golden_inputs=[GoldenInput(case.name, case.input) for case in bundle.golden()],
        reduction=[*bundle.meta.reduction, *(cut for cut in cuts if cut["accepted"])],
        provenance={**bundle.meta.provenance, **provenance},
    )
    return Reduced(reduced, cuts, tuple(trials.probes), facts)


@contextlib.contextmanager
def prepare(bundle: Bundle, request: Request, recipe: Recipe | None, say: Say) -> Iterator[Trials]:
    """Load the data of a request; inside, trials of the model are made that come out the same every time.

    Raises:
        InputError: the request does not go together with the data, or with the lack of it.
    """
    if recipe is None:
        wants = {"--max-loss": request.goal.max_loss is not None, "--fine-tune": bool(request.fine_tune)}
        if missing := [name for name, wanted in wants.items() if wanted]:
            raise InputError(f"{missing[0]} needs sequences with targets; give --data RECIPE")
    criterion = request.criterion or ("exact" if recipe is None else "task-aware")
    if request.goal.bound is not None and not CRITERIA[criterion].bound:
        known = ", ".join(name for name, facts in CRITERIA.items() if facts.bound)
        raise InputError(
            f"--bound needs a criterion with an error bound, and {criterion} has none; give --criterion with"
            f" one of {known}"
        )
    if request.goal.bound is not None and request.refit:
        raise InputError("--bound and --refit: fitting C anew voids the bound; leave out --refit")
    evidence = Evidence.gather(bundle, recipe)
    goal = request.goal
    with reproducible(evidence.threads, evidence.device):
        yield Trials(
            evidence.network(bundle),
            evidence,
            criterion,
            refit=request.refit,
            minimum_order=goal.minimum_order,
            multiple=goal.multiple,
            say=say,
        )


def _tuned(
    trial: Trial, trials: Trials, request: Request, on_progress: OnProgress | None
) -> tuple[Network, FineTuned | None]:
    """The trial's network, trained on a copy if that was asked for."""
    if not request.fine_tune:
        return trial.network, None
    evidence = trials.evidence
    assert evidence.recipe is not None and evidence.splits is not None  # prepare has seen to it
    network = copy.deepcopy(trial.network)
    teacher = Teacher(copy.deepcopy(trials.network)) if request.distill else None
    tuned = fine_tune(
        network,
        evidence.recipe,
        evidence.splits,
        request.fine_tune,
        teacher=teacher,
        on_progress=on_progress,
    )
    return network, tuned


def _labelled(row: dict[str, Any], request: Request, tuned: FineTuned | None) -> dict[str, Any]:
    """A cut's record with its goal; training after the cut voids the bound of the layer's error."""
    row = {**row, "goal": request.goal.words}
    if tuned is None or not tuned.best_step or not row["accepted"]:
        return row
    note = f"trained for {tuned.best_step} steps after the cut: the errors are those before"
    return {**row, "error_bound": None, "notes": [*row["notes"], note]}


def _name(recipe: Recipe | None) -> str:
    return "" if recipe is None else recipe.name


def _facts(
    bundle: Bundle, trials: Trials, trial: Trial, network: Network, tuned: FineTuned | None
) -> dict[str, Any]:
    """Figures before and after; ``cut`` between them where fine-tuning followed. Plain values."""
    evidence, start, cut = trials.evidence, trials.start.found, trial.found
    cost = ModelCost.of("bytes", bundle.meta.ops, bundle.tensors)
    orders = trials.network.orders, network.orders
    error = trial.output_error
    if tuned is not None:
        error = relative_change(evidence.answers(trials.network), evidence.answers(network))
    facts: dict[str, Any] = {
        "criterion": trials.criterion,
        "orders": {"before": list(orders[0]), "after": list(orders[1])},
        "weight_bytes": {"before": int(cost.total(orders[0])), "after": int(cost.total(orders[1]))},
        "output_error": error,
    }
    if evidence.metric is None:
        return facts
    end = cut if tuned is None else tuned.after
    for name, values in {
        "loss": (start.loss, cut.loss, end.loss),
        evidence.metric: (start.metric, cut.metric, end.metric),
    }.items():
        found = dict(zip(("before", "cut", "after"), values, strict=True))
        facts[name] = found if tuned is not None else {k: v for k, v in found.items() if k != "cut"}
    tests = (evidence.test(trials.network).metric, evidence.test(network).metric)
    facts[f"test_{evidence.metric}"] = {"before": tests[0], "after": tests[1]}
    return facts if tuned is None else facts | {"fine_tuned": {"steps": tuned.steps, "best": tuned.best_step}}


def reduce_to_orders(
    bundle: Bundle,
    orders: tuple[int, ...],
    request: Request,
    recipe: Recipe | None = None,
    *,
    say: Say = lambda text: None,
    on_progress: OnProgress | None = None,
) -> Reduced:
    """One bundle that holds the model at several orders, each cut from the model as it is given.

    Args:
        bundle: the model.
        orders: at least one; the largest becomes the bundle's main model, the others its variants. The
            present order may be among them: then the model itself is.
        request: everything but the goal's order is used for each of them.
        recipe: whose data to use.
        say: called with a line about each probe.
        on_progress: called after every step of fine-tuning.

    Raises:
        InputError: see `reduce_posthoc`; or an order twice.
    """
    if len(set(orders)) < len(orders):
        raise InputError(f"--orders {','.join(map(str, orders))}: each order once; orders tell them apart")
    with prepare(bundle, request, recipe, say) as trials:
        done = [
            _reduced(bundle, replace(request, goal=replace(request.goal, order=order)), trials, on_progress)
            for order in sorted(orders, reverse=True)
        ]
    main, *others = done
    return replace(
        main,
        bundle=main.bundle.with_variants([other.bundle for other in others]),
        cuts=tuple(row for one in done for row in one.cuts),
        facts={
            "criterion": trials.criterion,
            "models": [{k: v for k, v in one.facts.items() if k != "criterion"} for one in done],
        },
    )
