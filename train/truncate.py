"""In-loop balanced truncation [Chahine2025]: when layers are cut and how far. `cutter` does the cutting.

A cut works layer by layer, each with statistics measured on what the layers before have become. A layer stays
cut only if the held-out loss allows; otherwise it is undone whole.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, Literal, get_args

from torch import nn
from torch.optim import Optimizer

from ssmith.errors import InputError, SsmithError
from ssmith.recipe import CriterionName, Schedule
from ssmith.reduce import CRITERIA, Measured
from ssmith.system import Real
from ssmith.train.batches import Loss, Outputs, all_outputs, take
from ssmith.train.course import Course, Progress, check_goal, cost_of, one_goal
from ssmith.train.cuts import CutReport, LayerCut, Spectrum
from ssmith.train.cutter import Aim, Cutter, alone
from ssmith.train.goal import Goal
from ssmith.train.moments import Basis
from ssmith.train.plateau import compared, settled
from ssmith.train.schedule import cut_steps
from ssmith.train.ssm_layer import SSMLayer
from ssmith.train.surgery import Replaced
from ssmith.train.undisturbed import undisturbed


class OrderNotReachedError(SsmithError):
    """The last cut did not reach an explicit order; `report` says what happened."""

    def __init__(self, message: str, report: CutReport) -> None:
        super().__init__(message)
        self.report = report


class Truncator:
    """Cuts the SSM layers of a model while it trains; call `step` after every optimiser step.

    The optimiser and its schedule go on: parameters are exchanged inside its groups, moments follow, the
    step count stays. `on_cut` tells whoever else holds parameters: wrap DDP anew, let an averaged copy of
    the model follow (`average.follow`). A compiled model is compiled anew for the smaller layers; a
    GradScaler needs nothing.

    Args:
        model: anything that contains SSM layers (`SSMLayer`); all of them are cut.
        optimizer: the torch optimiser that trains it.
        loader: training batches for the statistics; iterated anew at each cut (see `batches.parts`).
        total_steps: training steps in all.
        order: complex modes to end with, one number or one a layer. Or:
        tolerance: the share of the spectrum that all cuts of a layer together may drop, Σσ² where
            statistics were measured on data, Σσ otherwise. 1e-3 loses little, 3e-4 less. Or:
        goal: any other goal, and what is different for single layers: a bound, a rise of the held-out loss,
            or a budget of states, parameters, MACs or bytes of the whole model. A budget other than of
            states needs a model that can be frozen.
        criterion: which states matter, a key of `ssmith.reduce.CRITERIA`.
        refit: after each cut, fit C to what the layer said before it.
        schedule: "window" cuts `cuts` times, evenly over the window, orders fall geometrically; "once" at
            the window's end; "gradual" every 1.5 % of the training, r + (N - r)(1 - t)³ over the window;
            "plateau" once, when the spectrum has settled (`plateau`), at the window's end at the latest.
        window: first and last cut as shares of the training.
        cuts: how many, with the schedule "window". A single one happens at the window's end.
        gate: a cut that removes a smaller share of a layer's modes is not worth its disturbance; it is
            skipped, unless it is the last on the way to an order. Not with "gradual".
        minimum_order: no layer goes below. With `goal` it is the goal's that holds.
        multiple: orders are rounded up to a multiple, likewise.
        sequences: how many training sequences the statistics see; 50 to 200 are enough.
        moments: "carry" the optimiser's moments through the change of basis, or "keep" the leading ones.
        loss_fn: (model, batch) → loss, a scalar; for the held-out check. Without one, only a cut that makes
            an output infinite or NaN is undone.
        held_out: batches for the check; the loader's own if None.
        max_loss_increase: relative rise of the held-out loss, over one whole cut, that is tolerated.
        outputs: (model, batch) → the outputs to preserve; every valid output if None.
        on_cut: called with old Parameter → new Parameter after a cut that stands.
        on_basis: called with each layer whose cut stands and its change of basis: for whoever carries states.
        allow_larger: ending above an order or a budget is no error.
        seed: of the random signs behind the statistics.
        share: runs a computation where decisions are made and gives every process its result.

    Raises:
        InputError: no SSM layer in the model, not exactly one goal, a bound that the criterion does not
            have, a rise of the loss without a loss, or a value out of range.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: Optimizer,
        loader: Iterable[Any],
        *,
        total_steps: int,
        order: int | Sequence[int] | None = None,
        tolerance: float | None = None,
        goal: Goal | None = None,
        criterion: CriterionName = "task-aware",
        refit: bool = False,
        schedule: Schedule = "window",
        window: tuple[float, float] = (0.3, 0.6),
        cuts: int = 4,
        gate: float = 0.05,
        minimum_order: int = 1,
        multiple: int = 1,
        sequences: int = 100,
        moments: Literal["carry", "keep"] = "carry",
        loss_fn: Loss | None = None,
        held_out: Iterable[Any] | None = None,
        max_loss_increase: float = 0.5,
        outputs: Outputs | None = None,
        on_cut: Callable[[Replaced], object] | None = None,
        on_basis: Callable[[SSMLayer, Basis], object] | None = None,
        allow_larger: bool = False,
        seed: int = 0,
        share: Callable[[Callable[[], Any]], Any] = alone,
    ) -> None:
        _check(criterion, schedule, window, cuts, total_steps, loader)
        model = getattr(model, "_orig_mod", model)  # what torch.compile has wrapped
        self.layers = {n: m for n, m in model.named_modules() if isinstance(m, SSMLayer)}
        goal = one_goal(order, tolerance, goal, minimum_order, multiple)
        check_goal(goal, len(self.layers), criterion, refit=refit, has_loss=loss_fn is not None)
        self.course = Course(
            goal,
            schedule,
            0.0 if schedule == "gradual" else gate,
            CRITERIA[criterion].power,
            cost_of(goal, model, list(self.layers.values())),
        )
        self.loader, self.held_out, self.sequences = loader, held_out, sequences
        self.max_loss_increase, self.on_cut, self.allow_larger = max_loss_increase, on_cut, allow_larger
        self.seed = seed
        self.cutter = Cutter(
            model,
            optimizer,
            criterion,
            goal.multiple,
            moments,
            loss_fn,
            all_outputs if outputs is None else outputs,
            share,
            refit,
            on_basis,
        )
        self.steps = cut_steps(schedule, window, cuts, total_steps)
        self.attempt = 0  # of `steps`, those whose time has come
        self.start = self._orders()
        self.spent = dict.fromkeys(self.layers, 0.0)
        self.spectra: dict[str, list[float]] = {}  # of the last measurement, while waiting for a plateau
        self.finished = False
        self._checked = False

    def step(self, step: int) -> CutReport | None:
        """Cut, if it is time.

        Args:
            step: how many training steps are finished; call it after the optimiser's step.

        Returns:
            What was cut and what it cost, or measured to decide that; None if there was nothing to do.

        Raises:
            OrderNotReachedError: the last cut left a layer above its explicit order, or the model above a
                budget.
            InputError: a goal that cannot be reached, or the statistics cannot be measured.
        """
        if not self._checked:  # not earlier: a resumed run has its true start only now
            self.course.check(self.start)
            self._checked = True
        due = sum(step >= at for at in self.steps)
        if due <= self.attempt or self.finished:
            return None
        self.attempt = due
        with undisturbed(self.cutter.model, self.loader, self.held_out):
            report, replaced = self._act(step)
        if replaced and self.on_cut is not None:
            self.on_cut(replaced)
        if self.finished:
            self._require_goal(report)
        return report if report.layers or report.spectra else None

    def state_dict(self) -> dict[str, Any]:
        """All that a resumed run needs besides the model and the optimiser; plain JSON values."""
        return {
            "attempt": self.attempt,
            "start": dict(self.start),
            "spent": dict(self.spent),
            "spectra": dict(self.spectra),
            "finished": self.finished,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from what `state_dict` gave."""
        self.attempt, self.finished = state["attempt"], state["finished"]
        self.start, self.spent, self.spectra = (dict(state[key]) for key in ("start", "spent", "spectra"))

    def _act(self, step: int) -> tuple[CutReport, Replaced]:
        """Cut all layers that it is time for, or find that it is not."""
        sight = _Sight(self)
        attempt, attempts = self.attempt, len(self.steps)
        spectra: tuple[Spectrum, ...] = ()
        self.finished = attempt == attempts
        if self.course.schedule == "plateau":
            spectra = compared(sight.spectra, self.spectra)
            self.spectra = {s.layer: list(s.singular_values) for s in spectra}
            self.finished = self.finished or settled(spectra)
            if not self.finished:
                return CutReport(step, attempt, (), spectra), {}
            attempt = attempts = 1  # whenever it comes, it is the only one
        progress = Progress(attempt, attempts, self.start, self._orders(), self.spent)
        aims = self.course.aims(
            progress,
            loss=lambda: sight.loss,
            spectra=lambda: list(sight.spectra.values()),
            loss_at=sight.loss_at if self.cutter.loss_fn is not None else None,
        )
        rows: list[LayerCut] = []
        replaced: Replaced = {}
        for name, aim in aims.items():
            row, new = self._cut(name, aim, sight, sight.loss if not rows else _loss_after(rows))
            rows.append(row)
            replaced |= new
        return CutReport(step, self.attempt, tuple(rows), spectra), replaced

    def _cut(self, name: str, aim: Aim, sight: _Sight, loss: float) -> tuple[LayerCut, Replaced]:
        """Cut one layer and count what it has spent."""
        limit = sight.loss + self.max_loss_increase * abs(sight.loss)
        row, replaced, spent = self.cutter.cut(
            name,
            self.layers[name],
            aim,
            sight.batches,
            sight.held_out,
            loss_before=loss,
            loss_limit=limit if aim.loss_limit is None else min(limit, aim.loss_limit),
            seed=self.seed + self.attempt,
        )
        if row.accepted and self.course.goal.max_loss is not None:
            rise, base = max(0.0, row.loss_after - row.loss_before), abs(sight.loss)
            spent = rise / base if base else math.inf if rise else 0.0
        self.spent[name] += spent
        return row, replaced

    def _orders(self) -> dict[str, int]:
        return {name: layer.order for name, layer in self.layers.items()}

    def _require_goal(self, report: CutReport) -> None:
        """Raise if a layer has stayed above its explicit order, or the model above its budget."""
        unmet = None if self.allow_larger else self.course.unmet(self._orders(), self.start)
        if unmet is not None:
            name, what = unmet
            reasons = {row.layer: row.reason for row in report.layers if name in ("", row.layer)}
            why = "; ".join(dict.fromkeys(reasons.values())) or "it was not cut"
            raise OrderNotReachedError(
                f"{what} asked for: {why}. Allow more states or a higher reduce.max_loss_increase, move "
                "reduce.window, or write reduce.allow_larger = true to accept it",
                report,
            )


class _Sight:
    """What one cut can know about the model, each thing found when it is first needed."""

    def __init__(self, truncator: Truncator) -> None:
        self._truncator, self._cutter = truncator, truncator.cutter

    @cached_property
    def batches(self) -> list[Any]:
        """For statistics."""
        return take(self._truncator.loader, self._truncator.sequences, self._cutter.model)

    @cached_property
    def held_out(self) -> list[Any]:
        """For the check."""
        own = self._truncator.held_out
        return self.batches if own is None else take(own, None, self._cutter.model)

    @cached_property
    def loss(self) -> float:
        """On the held-out batches, before anything is cut."""
        return self._cutter.loss(self.held_out)

    @cached_property
    def seen(self) -> dict[str, Measured]:
        """What the criterion needs, of all layers as they are now; always the same signs."""
        return self._cutter.measure(self._truncator.layers, self.batches, self._truncator.seed)

    @cached_property
    def spectra(self) -> dict[str, Real]:
        """σ of each layer, likewise."""
        return self._cutter.spectra(self._truncator.layers, self.seen)

    def loss_at(self, orders: tuple[int, ...]) -> float:
        """Held-out loss if the layers had these orders."""
        layers = self._truncator.layers
        wanted = dict(zip(layers, orders, strict=True))
        return self._cutter.loss_at(wanted, layers, self.seen, self.batches, self.held_out)


def _loss_after(rows: Sequence[LayerCut]) -> float:
    """The held-out loss after the last of these that changed it."""
    last = rows[-1]
    return last.loss_after if last.accepted else last.loss_before


def _check(
    criterion: str,
    schedule: str,
    window: tuple[float, float],
    cuts: int,
    total_steps: int,
    loader: Iterable[Any],
) -> None:
    if criterion not in CRITERIA:
        raise InputError(f"criterion = {criterion!r}: write one of {', '.join(CRITERIA)}")
    if schedule not in get_args(Schedule):
        raise InputError(f"schedule = {schedule!r}: write one of {', '.join(get_args(Schedule))}")
    if not 0 <= window[0] <= window[1] < 1:
        raise InputError(f"window = {window}: shares of the training, 0 <= first <= last < 1")
    if cuts < 1 or total_steps < 1:
        raise InputError(f"cuts = {cuts} in {total_steps} steps: both count from 1")
    if isinstance(loader, Iterator):
        raise InputError(
            "the loader is an iterator, which a cut would use up; give something that can be iterated anew, "
            "a DataLoader or a list of batches"
        )
