"""Cutting one layer of a model: measure, reduce, exchange, check, and keep the result or undo it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import torch
from torch import nn
from torch.optim import Optimizer

from ssmith.reduce import (
    Reduction,
    balanced_truncation,
    h2_error,
    hinf_error,
    hinf_norm,
    rounding_bound,
)
from ssmith.system import System
from ssmith.train.batches import Loss, Outputs, parts
from ssmith.train.cuts import LayerCut
from ssmith.train.layers import LRU
from ssmith.train.statistics import collect
from ssmith.train.surgery import Replaced, Snapshot, exchange, recalibrate

Criterion = Literal["task-aware", "empirical", "exact"]
Result = TypeVar("Result")
GRID = 128  # frequencies besides those at the poles, for the errors that are logged with a cut


def alone(compute: Callable[[], Result]) -> Result:
    """How a single process decides: it computes."""
    return compute()


@dataclass(frozen=True)
class Aim:
    """Where one cut of one layer is to go.

    Attributes:
        order: complex modes to keep, or None:
        tolerance: share of the spectrum to drop.
        gate: smallest share of the modes whose removal is worth a cut.
    """

    order: int | None
    tolerance: float | None
    gate: float


@dataclass(frozen=True, eq=False)
class Cutter:
    """How layers of one model are cut; `Truncator` explains the fields, and decides when and how far."""

    model: nn.Module
    optimizer: Optimizer
    criterion: Criterion
    minimum_order: int
    multiple: int
    moments: Literal["carry", "keep"]
    loss_fn: Loss | None
    outputs: Outputs
    share: Callable[[Callable[[], Any]], Any]

    def cut(
        self,
        name: str,
        layer: LRU,
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
            The record, old → new Parameters, and the share of the spectrum spent; nothing and 0 if undone.

        Raises:
            InputError: the statistics cannot be measured, or the optimiser's state cannot be carried.
        """
        full = layer.system()
        reduction: Reduction = self.share(lambda: self._reduce(name, layer, full, aim, batches, seed))
        refusal = _refusal(reduction, full.order, aim.gate)
        if refusal is not None:
            return self._refused(name, full.order, reduction, refusal, loss_before), {}, 0.0
        snapshot = Snapshot(self.model, layer, self.optimizer)
        try:
            replaced = exchange(layer, reduction, self.optimizer, self.moments)
            recalibrate(self.model, batches, lambda batch: self.outputs(self.model, batch))
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
                notes=reduction.notes,
                **_errors(full, reduction, layer.system()),
            )
        except BaseException:
            snapshot.restore()
            raise
        if accepted:
            return record, replaced, reduction.spent
        snapshot.restore()
        return record, {}, 0.0

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

    def _known(self, loss: float) -> float:
        return loss if self.loss_fn is not None else math.nan

    def _reduce(
        self, name: str, layer: LRU, system: System, aim: Aim, batches: Sequence[Any], seed: int
    ) -> Reduction:
        controllability = observability = None
        if self.criterion != "exact":
            gradients = self.criterion == "task-aware"
            layers = {name: layer}
            measured = collect(
                self.model, layers, batches, outputs=self.outputs, gradients=gradients, seed=seed
            )[name]
            controllability, observability = measured.controllability, measured.observability
        return balanced_truncation(
            system,
            order=aim.order,
            tolerance=aim.tolerance,
            controllability=controllability,
            observability=observability,
            min_order=self.minimum_order,
            multiple=self.multiple,
        )

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


def _errors(full: System, reduction: Reduction, loaded: System) -> dict[str, float]:
    """Measured errors of the layer as loaded, and the reduction's bound widened by what float32 moved."""
    error, norm = hinf_error(full, loaded, points=GRID), hinf_norm(full, points=GRID)
    return {
        "error_bound": reduction.error_bound + rounding_bound(reduction.system, loaded),
        "h2_error": h2_error(full, loaded, relative=True),
        "hinf_error": error / norm if norm > 0 else math.nan,
    }
