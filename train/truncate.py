"""In-loop balanced truncation [Chahine2025]: when layers are cut and how far. `cutter` does the cutting.

A cut works layer by layer, each with statistics measured on what the layers before have become. A layer stays
cut only if the held-out loss allows; otherwise it is undone whole.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal

from torch import nn
from torch.optim import Optimizer

from ssmith.errors import InputError, SsmithError
from ssmith.reduce import budget_tolerance
from ssmith.train.batches import Loss, Outputs, all_outputs, take
from ssmith.train.cuts import CutReport, LayerCut
from ssmith.train.cutter import Aim, Criterion, Cutter, alone
from ssmith.train.layers import LRU
from ssmith.train.schedule import cut_steps, order_goal
from ssmith.train.statistics import undisturbed
from ssmith.train.surgery import Replaced


class OrderNotReachedError(SsmithError):
    """The last cut did not reach an explicit order; `report` says what happened."""

    def __init__(self, message: str, report: CutReport) -> None:
        super().__init__(message)
        self.report = report


class Truncator:
    """Cuts the LRU layers of a model while it trains; call `step` after every optimiser step.

    The optimiser and its schedule go on: parameters are exchanged inside its groups, moments follow, the
    step count stays. `on_cut` tells whoever else holds parameters (EMA, DDP wrappers).

    Args:
        model: anything that contains `LRU` layers; all of them are cut.
        optimizer: the torch optimiser that trains it.
        loader: training batches for the statistics; iterated anew at each cut (see `batches.parts`).
        total_steps: training steps in all.
        order: complex modes to end with, one number or one a layer. Or:
        tolerance: the share of the spectrum that all cuts of a layer together may drop, Σσ² where
            statistics were measured on data, Σσ with the exact criterion. 1e-3 loses little, 3e-4 less.
        criterion: "task-aware" (measured states, measured gradients), "empirical" (measured states only)
            or "exact" (no data).
        window: first and last cut as shares of the training.
        cuts: how many; the orders between fall geometrically. A single one happens at the window's end.
        gate: a cut that removes a smaller share of a layer's modes is not worth its disturbance; it is
            skipped, unless it is the last on the way to an order.
        minimum_order: no layer goes below.
        multiple: orders are rounded up to a multiple.
        sequences: how many training sequences the statistics see; 50 to 200 are enough.
        moments: "carry" the optimiser's moments through the change of basis, or "keep" the leading ones.
        loss_fn: (model, batch) → loss, a scalar; for the held-out check. Without one, only a cut that makes
            an output infinite or NaN is undone.
        held_out: batches for the check; the loader's own if None.
        max_loss_increase: relative rise of the held-out loss, over one whole cut, that is tolerated.
        outputs: (model, batch) → the outputs to preserve; every valid output if None.
        on_cut: called with old Parameter → new Parameter after a cut that stands.
        allow_larger: ending above `order` is no error.
        seed: of the random signs behind the statistics.
        share: runs a computation where decisions are made and gives every process its result.

    Raises:
        InputError: no LRU in the model, not exactly one goal, or a value out of range.
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
        criterion: Criterion = "task-aware",
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
        allow_larger: bool = False,
        seed: int = 0,
        share: Callable[[Callable[[], Any]], Any] = alone,
    ) -> None:
        _check(criterion, window, cuts, total_steps, loader)
        self.layers: dict[str, LRU] = {n: m for n, m in model.named_modules() if isinstance(m, LRU)}
        self.ends = _ends(order, tolerance, list(self.layers), minimum_order, multiple)
        self.loader, self.held_out = loader, held_out
        self.tolerance, self.cuts, self.gate, self.sequences = tolerance, cuts, gate, sequences
        self.max_loss_increase, self.on_cut, self.allow_larger = max_loss_increase, on_cut, allow_larger
        self.seed = seed
        self.cutter = Cutter(
            model,
            optimizer,
            criterion,
            minimum_order,
            multiple,
            moments,
            loss_fn,
            all_outputs if outputs is None else outputs,
            share,
        )
        self.steps = cut_steps(window, cuts, total_steps)
        self.attempt = 0  # cuts whose time has come
        self.start = {name: layer.order for name, layer in self.layers.items()}
        self.spent = dict.fromkeys(self.layers, 0.0)

    def step(self, step: int) -> CutReport | None:
        """Cut, if it is time.

        Args:
            step: how many training steps are finished; call it after the optimiser's step.

        Returns:
            What was cut and what it cost, or None.

        Raises:
            OrderNotReachedError: the last cut left a layer above its explicit order.
            InputError: the statistics cannot be measured.
        """
        due = sum(step >= at for at in self.steps)
        if due <= self.attempt:
            return None
        self.attempt = due
        report = self._cut(step)
        if due == self.cuts:
            self._require_orders(report)
        return report if report.layers else None

    def state_dict(self) -> dict[str, Any]:
        """All that a resumed run needs besides the model and the optimiser; plain JSON values."""
        return {"attempt": self.attempt, "start": dict(self.start), "spent": dict(self.spent)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from what `state_dict` gave."""
        self.attempt, self.start, self.spent = state["attempt"], dict(state["start"]), dict(state["spent"])

    def _cut(self, step: int) -> CutReport:
        model, cutter = self.cutter.model, self.cutter
        aims = {name: aim for name in self.layers if (aim := self._aim(name)) is not None}
        rows: list[LayerCut] = []
        replaced: Replaced = {}
        if aims:
            with undisturbed(model):
                batches = take(self.loader, self.sequences, model)
                held_out = batches if self.held_out is None else take(self.held_out, None, model)
                loss = cutter.loss(held_out)
                limit = loss + self.max_loss_increase * abs(loss)
                for name, aim in aims.items():
                    row, new, spent = cutter.cut(
                        name,
                        self.layers[name],
                        aim,
                        batches,
                        held_out,
                        loss_before=loss,
                        loss_limit=limit,
                        seed=self.seed + self.attempt,
                    )
                    rows.append(row)
                    replaced |= new
                    self.spent[name] += spent
                    loss = row.loss_after if row.accepted and not math.isnan(row.loss_after) else loss
        if replaced and self.on_cut is not None:
            self.on_cut(replaced)
        return CutReport(step, self.attempt, tuple(rows))

    def _aim(self, name: str) -> Aim | None:
        """Where this attempt takes a layer; None if there is nothing to do."""
        order = self.layers[name].order
        if self.ends is None:
            assert self.tolerance is not None  # one of the two is given
            left = budget_tolerance(self.spent[name], self.tolerance, self.attempt, self.cuts)
            return Aim(None, left, self.gate)
        end, last = self.ends[name], self.attempt == self.cuts
        goal = order_goal(self.start[name], end, self.attempt, self.cuts)
        goal = _slots(goal, self.cutter.minimum_order, self.cutter.multiple)
        if goal >= order or (not last and order - goal < self.gate * order):
            return None
        return Aim(goal, None, 0.0 if last else self.gate)

    def _require_orders(self, report: CutReport) -> None:
        """Raise if a layer has stayed above its explicit order."""
        if self.ends is None or self.allow_larger:
            return
        for name, layer in self.layers.items():
            if layer.order > self.ends[name]:
                why = next((row.reason for row in report.layers if row.layer == name), "it was not cut")
                raise OrderNotReachedError(
                    f"layer {name!r} still has {layer.order} states after the last cut, not the "
                    f"{self.ends[name]} asked for: {why}. Raise reduce.order or reduce.max_loss_increase, "
                    "move reduce.window, or write reduce.allow_larger = true to accept it",
                    report,
                )


def _slots(order: int, minimum: int, multiple: int) -> int:
    """An order as it is stored: at least the minimum, rounded up to a multiple."""
    return -(-max(order, minimum) // multiple) * multiple


def _ends(
    order: int | Sequence[int] | None,
    tolerance: float | None,
    layers: list[str],
    minimum: int,
    multiple: int,
) -> dict[str, int] | None:
    """Order to end with, by layer, as stored; None if a tolerance decides."""
    if not layers:
        raise InputError("the model holds no LRU layer (ssmith.train.layers.LRU), so there is nothing to cut")
    if (order is None) == (tolerance is None):
        raise InputError(
            f"order = {order} and tolerance = {tolerance}: give the order to end with or a total tolerance, "
            "exactly one of them"
        )
    if tolerance is not None:
        if not 0 < tolerance < 1:
            raise InputError(f"tolerance = {tolerance}: it is a share that may be lost, so write say 0.001")
        return None
    assert order is not None  # one of the two is given
    orders = [order] * len(layers) if isinstance(order, int) else list(order)
    if len(orders) != len(layers) or any(r < 1 for r in orders):
        raise InputError(
            f"order = {order} for {len(layers)} LRU layers: one number, or one a layer, all >= 1"
        )
    return {name: _slots(r, minimum, multiple) for name, r in zip(layers, orders, strict=True)}


def _check(
    criterion: str, window: tuple[float, float], cuts: int, total_steps: int, loader: Iterable[Any]
) -> None:
    if criterion not in ("task-aware", "empirical", "exact"):
        raise InputError(f"criterion = {criterion!r}: write task-aware, empirical or exact")
    if not 0 <= window[0] <= window[1] < 1:
        raise InputError(f"window = {window}: shares of the training, 0 <= first <= last < 1")
    if cuts < 1 or total_steps < 1:
        raise InputError(f"cuts = {cuts} in {total_steps} steps: both count from 1")
    if isinstance(loader, Iterator):
        raise InputError(
            "the loader is an iterator, which a cut would use up; give something that can be iterated anew, "
            "a DataLoader or a list of batches"
        )
