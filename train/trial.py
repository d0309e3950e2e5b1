"""Whole reductions of one finished model, each on a copy: what a search over orders compares."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from ssmith.recipe import CriterionName
from ssmith.system import Real
from ssmith.train.batches import relative_change
from ssmith.train.cuts import CutReport
from ssmith.train.cutter import Aim, Cutter, alone
from ssmith.train.evaluate import Evaluation
from ssmith.train.evidence import Evidence
from ssmith.train.model import Network
from ssmith.train.undisturbed import undisturbed


@dataclass(frozen=True, eq=False)
class Trial:
    """One copy of the model after all its layers were cut.

    Attributes:
        network: the copy.
        rows: one record a layer that was looked at, ready for JSON, with the metric around each cut.
        found: loss and metric on the held-out sequences.
        output_error: relative RMS change of the outputs on the held-out sequences, all cuts together.
    """

    network: Network
    rows: tuple[dict[str, Any], ...]
    found: Evaluation
    output_error: float


class Trials:
    """Cuts copies of a model and remembers each; equal orders are never cut twice.

    Layers are cut in their order, each with fresh statistics of what the ones before have become.

    Args:
        network: the model, in evaluation mode; never changed.
        evidence: statistics and held-out sequences.
        criterion: which states matter.
        refit: fit each cut layer's C to what the layer said before.
        minimum_order: no layer goes below.
        multiple: orders are rounded up to a multiple of this.
        say: called with a line about each trial to orders.
    """

    def __init__(
        self,
        network: Network,
        evidence: Evidence,
        criterion: CriterionName,
        *,
        refit: bool = False,
        minimum_order: int = 1,
        multiple: int = 1,
        say: Callable[[str], object] = lambda text: None,
    ) -> None:
        self.network, self.evidence, self.criterion, self.refit = network, evidence, criterion, refit
        self.minimum_order, self.multiple, self.say = minimum_order, multiple, say
        self.probes: list[dict[str, Any]] = []
        self.start = Trial(network, (), evidence.measure(network), 0.0)
        self._answers = evidence.answers(network)
        self._done = {network.orders: self.start}
        self._spectra: list[Real] | None = None

    def spectra(self) -> list[Real]:
        """σ of each layer of the uncut model under the criterion, shape (2N,) each."""
        if self._spectra is None:
            layers = {_name(i): layer for i, layer in enumerate(self.network.layers)}
            cutter = self._cutter(self.network)
            with undisturbed(self.network):
                seen = cutter.measure(layers, self.evidence.batches, 0)
                self._spectra = list(cutter.spectra(layers, seen).values())
        return self._spectra

    def to_orders(self, orders: tuple[int, ...]) -> Trial:
        """The model cut to these orders, one a layer; a layer whose order is not smaller stays."""
        if orders not in self._done:
            aims = [
                self.aim(order) if order < layer.order else None
                for order, layer in zip(orders, self.network.layers, strict=True)
            ]
            trial = self._done[orders] = self.cut(aims)
            self._note(orders, trial)
        return self._done[orders]

    def aim(self, order: int) -> Aim:
        """To an order that was decided: a layer's own may be below the minimum of all."""
        return Aim(order, None, 0.0, minimum_order=min(order, self.minimum_order))

    def loss(self, orders: tuple[int, ...]) -> float:
        """Held-out loss of the model cut to these orders; nan counts as infinite."""
        loss = self.to_orders(orders).found.loss
        return loss if loss == loss else float("inf")

    def cut(self, aims: Sequence[Aim | None]) -> Trial:
        """Cut a copy, one aim a layer; None leaves the layer alone."""
        network = copy.deepcopy(self.network)
        cutter = self._cutter(network)
        rows: list[dict[str, Any]] = []
        found = self.start.found
        with undisturbed(network):
            for i, (layer, aim) in enumerate(zip(network.layers, aims, strict=True)):
                if aim is None:
                    continue
                cut, _, _ = cutter.cut(
                    _name(i),
                    layer,
                    aim,
                    self.evidence.batches,
                    self.evidence.held_out,
                    loss_before=found.loss,
                    loss_limit=float("inf"),
                    seed=i,
                )
                before, found = found, self.evidence.measure(network)
                [row] = CutReport(0, 1, (cut,)).as_json()
                rows.append(row | self._metric(before, found))
        error = relative_change(self._answers, self.evidence.answers(network))
        return Trial(network, tuple(rows), found, error)

    def _metric(self, before: Evaluation, after: Evaluation) -> dict[str, Any]:
        name = self.evidence.metric
        if name is None:
            return {}
        return {"metric": name, "metric_before": before.metric, "metric_after": after.metric}

    def forget(self) -> None:
        """Let go of the trials so far, whose networks take memory."""
        self._done = {self.network.orders: self.start}

    def _cutter(self, network: Network) -> Cutter:
        optimizer = torch.optim.SGD(network.parameters())  # the cutter exchanges parameters in one
        return Cutter(
            network,
            optimizer,
            self.criterion,
            self.multiple,
            "keep",
            self.evidence.loss,
            self.evidence.outputs,
            alone,
            self.refit,
        )

    def _note(self, orders: tuple[int, ...], trial: Trial) -> None:
        found, name = trial.found, self.evidence.metric
        probe: dict[str, Any] = {"orders": list(trial.network.orders), "output_error": trial.output_error}
        text = f"  {' '.join(map(str, orders))} states: outputs change by {trial.output_error:.2%}"
        if name is not None:
            probe |= {"loss": found.loss, name: found.metric}
            text += f", loss {found.loss:.4g}, {name} {found.metric:.4g}"
        self.probes.append(probe)
        self.say(text)


def _name(index: int) -> str:
    return f"blocks.{index}.ssm"
