"""Cutting one layer of a model: measure, reduce, exchange, check, and keep the result or undo it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from ssmith.recipe import CriterionName
from ssmith.reduce import Reduction, hinf_norm, reduce_system
from ssmith.reduce.budget import bisect_order
from ssmith.reduce.certificate import certificate
from ssmith.reduce.criteria import Measured
from ssmith.system import Real, System
from ssmith.train.batches import Loss, Outputs, parts, relative_change, some
from ssmith.train.cuts import LayerCut
from ssmith.train.moments import Basis
from ssmith.train.refit import refitted
from ssmith.train.ssm_layer import SSMLayer
from ssmith.train.statistics import measured
from ssmith.train.surgery import Replaced, Snapshot, exchange, recalibrate

Result = TypeVar("Result")
ANSWERS = 200  # held-out sequences whose outputs are compared across a cut


def alone(compute: Callable[[], Result]) -> Result:
    """How a single process decides: it computes."""
    return compute()


@dataclass(frozen=True)
class Aim:
    """Where one cut of one layer is to go: exactly one of order, tolerance, bound and loss_limit.

    Attributes:
        order: complex modes to keep. Or:
        tolerance: share of the spectrum to drop. Or:
        bound: a-priori bound of the layer's error, as a share of its largest gain. Or:
        loss_limit: held-out loss that the smallest such order is to stay within.
        gate: smallest share of the modes whose removal is worth a cut.
        minimum_order: the layer does not go below.
    """

    order: int | None
    tolerance: float | None
    gate: float
    bound: float | None = None
    minimum_order: int = 1
    loss_limit: float | None = None


@dataclass(frozen=True, eq=False)
class Cutter:
    """How layers of one model are cut; `Truncator` explains the fields, and decides when and how far."""

    model: nn.Module
    optimizer: Optimizer
    criterion: CriterionName
    multiple: int
    moments: Literal["carry", "keep"]
    loss_fn: Loss | None
    outputs: Outputs
    share: Callable[[Callable[[], Any]], Any]
    refit: bool = False
    on_basis: Callable[[SSMLayer, Basis], object] | None = None

    def cut(
        self,
        name: str,
        layer: SSMLayer,
        aim: Aim,
        batches: Sequence[Any],
        held_out: Sequence[Any],
        *,
        loss_before: float,
        loss_limit: float,
        seed: int,
    ) -> tuple[LayerCut, Replaced, float]:
        """Cut one layer; a layer that fails the check, or an error on the way, leaves no trace.

        Args:
            name: the layer's, for the record.
            layer: the one to cut.
            aim: how far.
            batches: training batches for the statistics and for BatchNorm.
            held_out: batches for the check.
            loss_before: their loss now.
            loss_limit: the loss above which the cut is undone.
            seed: of the random signs behind the statistics.

        Returns:
            The record, old → new Parameters, and what was spent of the spectrum, or of the layer's largest
            gain where the aim is a bound; nothing and 0 if undone.

        Raises:
            InputError: the statistics cannot be measured, or the optimiser's state cannot be carried.
        """
        full = layer.system()
        seen = self.measure({name: layer}, batches, seed)
        if aim.loss_limit is not None:
            aim = self._order_within(name, layer, aim, seen, batches, held_out, loss_before)
        reduction: Reduction = self.share(lambda: self._reduced(name, layer, aim, seen[name], batches))
        refusal = _refusal(reduction, full.order, aim.gate)
        if refusal is not None:
            return self._refused(name, full.order, reduction, refusal, loss_before), {}, 0.0
        compared = some(held_out, ANSWERS)
        answers = self._answers(compared)
        snapshot = Snapshot(self.model, layer, self.optimizer)
        try:
            replaced, basis = exchange(layer, reduction, self.optimizer, self.moments)
            self._recalibrate(batches)
            loss_after = self.loss(held_out)
            accepted, reason = _verdict(loss_after, loss_limit)
            record = LayerCut(
                name,
                full.order,
                reduction.order if accepted else full.order,
                self.criterion,
                accepted,
                reason,
                singular_values=tuple(reduction.singular_values.tolist()),
                tail=reduction.tail,
                stable=reduction.stable,
                clamped=reduction.clamped,
                loss_before=self._known(loss_before),
                loss_after=self._known(loss_after),
                output_error=relative_change(answers, self._answers(compared)),
                notes=reduction.notes,
                **certificate(full, reduction, layer.system()),
            )
        except BaseException:
            snapshot.restore()
            raise
        if accepted:
            if self.on_basis is not None:
                self.on_basis(layer, basis)
            return record, replaced, reduction.spent if aim.bound is None else _bound_spent(reduction, full)
        snapshot.restore()
        return record, {}, 0.0

    def measure(
        self, layers: Mapping[str, SSMLayer], batches: Sequence[Any], seed: int
    ) -> dict[str, Measured]:
        """What the criterion needs to know about layers; known to every process."""
        found: dict[str, Measured] = self.share(
            lambda: measured(self.criterion, self.model, layers, batches, outputs=self.outputs, seed=seed)
        )
        return found

    def spectra(self, layers: Mapping[str, SSMLayer], seen: Mapping[str, Measured]) -> dict[str, Real]:
        """σ of each layer under the criterion, descending, (2N,); known to every process."""
        found: dict[str, Real] = self.share(
            lambda: {
                name: reduce_system(
                    layer.system(), criterion=self.criterion, measured=seen[name], order=layer.order
                ).singular_values
                for name, layer in layers.items()
            }
        )
        return found

    def loss_at(
        self,
        orders: Mapping[str, int],
        layers: Mapping[str, SSMLayer],
        seen: Mapping[str, Measured],
        batches: Sequence[Any],
        held_out: Sequence[Any],
    ) -> float:
        """Held-out loss with these layers at these orders; the model comes back as it was. nan is infinite.

        Args:
            orders: by the layers' names; a layer whose order is not smaller stays.
            layers: by name.
            seen: what was measured about them.
            batches: training batches for the refit and for BatchNorm.
            held_out: batches for the loss.
        """
        snapshots: list[Snapshot] = []
        try:
            for name, order in orders.items():
                layer, aim = layers[name], Aim(order, None, 0.0)
                if order < layer.order:
                    compute = partial(self._reduced, name, layer, aim, seen[name], batches)
                    reduction: Reduction = self.share(compute)
                    snapshots.append(Snapshot(self.model, layer, self.optimizer))
                    layer.load_system(reduction.system)
            if snapshots:
                self._recalibrate(batches)
            loss = self.loss(held_out)
        finally:
            for snapshot in reversed(snapshots):
                snapshot.restore()
        return math.inf if math.isnan(loss) else loss

    def loss(self, held_out: Sequence[Any]) -> float:
        """Mean loss over batches, weighted by their sequences; without a loss 0 if all outputs are finite.

        The caller has put the model into evaluation mode.
        """
        return float(self.share(lambda: self._mean_loss(held_out)))

    @torch.no_grad()
    def _mean_loss(self, held_out: Sequence[Any]) -> float:
        total, count = 0.0, 0
        for batch in held_out:
            if self.loss_fn is not None:
                value = float(self.loss_fn(self.model, batch))
            else:
                value = 0.0 if bool(self.outputs(self.model, batch).isfinite().all()) else math.nan
            size = len(parts(batch).x)
            total, count = total + size * value, count + size
        return total / count

    @torch.no_grad()
    def _answers(self, held_out: Sequence[Any]) -> list[Tensor]:
        return [self.outputs(self.model, batch) for batch in held_out]

    def _recalibrate(self, batches: Sequence[Any]) -> None:
        recalibrate(self.model, batches, lambda batch: self.outputs(self.model, batch))

    def _known(self, loss: float) -> float:
        return loss if self.loss_fn is not None else math.nan

    def _order_within(
        self,
        name: str,
        layer: SSMLayer,
        aim: Aim,
        seen: Mapping[str, Measured],
        batches: Sequence[Any],
        held_out: Sequence[Any],
        loss_before: float,
    ) -> Aim:
        """The aim with the smallest order whose held-out loss stays within its limit."""
        assert aim.loss_limit is not None  # the caller has asked
        lowest = min(aim.minimum_order, layer.order)

        def loss(order: int) -> float:
            if order >= layer.order:
                return loss_before
            return self.loss_at({name: order}, {name: layer}, seen, batches, held_out)

        order = bisect_order(loss, max(aim.loss_limit, loss_before), lowest, layer.order)
        return replace(aim, order=order, loss_limit=None)

    def _reduced(
        self, name: str, layer: SSMLayer, aim: Aim, seen: Measured, batches: Sequence[Any]
    ) -> Reduction:
        reduction = reduce_system(
            layer.system(),
            criterion=self.criterion,
            measured=seen,
            order=aim.order,
            tolerance=aim.tolerance,
            bound=aim.bound,
            min_order=aim.minimum_order,
            multiple=self.multiple,
        )
        if not self.refit or reduction.order >= layer.order:
            return reduction
        return refitted(reduction, self.model, name, layer, batches, self.outputs)

    def _refused(self, name: str, order: int, reduction: Reduction, reason: str, loss: float) -> LayerCut:
        return LayerCut(
            name,
            order,
            order,
            self.criterion,
            accepted=False,
            reason=reason,
            singular_values=tuple(reduction.singular_values.tolist()),
            loss_before=self._known(loss),
            notes=reduction.notes,
        )


def _refusal(reduction: Reduction, before: int, gate: float) -> str | None:
    """Why a reduction is not tried, or None."""
    if reduction.order >= before:
        return "; ".join(reduction.notes) or "nothing to cut"
    if before - reduction.order < gate * before:
        return f"skipped: going to {reduction.order} removes less than the gate of {gate:.0%}"
    return None


def _verdict(loss: float, limit: float) -> tuple[bool, str]:
    if not math.isfinite(loss):
        return False, "undone: the held-out loss was not finite"
    if loss > limit:
        return False, f"undone: the held-out loss rose to {loss:.4g}, above the limit of {limit:.4g}"
    return True, "accepted"


def _bound_spent(reduction: Reduction, full: System) -> float:
    """The a-priori bound as a share of the largest gain: what a bound as a goal is spent in."""
    norm = hinf_norm(full)
    return reduction.error_bound / norm if norm > 0 else 0.0
