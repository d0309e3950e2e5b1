"""Rounded networks judged on held-out data: signal to error, metric, and how much the loss rises."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssmith.bundle import Bundle
from ssmith.errors import InputError
from ssmith.quantization import HeldOut, metric_of
from ssmith.runtime.arithmetic import Float64
from ssmith.runtime.rounding import Rounding
from ssmith.runtime.simulate import simulate

_LEAST_LOSS = 1e-12  # a network without any error rises by what it then has, over this


@dataclass(frozen=True)
class Judgement:
    """What rounding does to the outputs on held-out data.

    Attributes:
        snr_db: 10 log10(Σ y² / Σ (y - ŷ)²); None where nothing changes.
        loss: the recipe's; without a recipe, Σ (y - ŷ)² / Σ y².
        rise: of the loss, relative to that of the exact network; without a recipe √loss, the size of the
            error relative to that of the outputs. Infinite where an output is not finite.
        metric: the recipe's, where it is known.
    """

    snr_db: float | None
    loss: float
    rise: float
    metric: float | None


class Trial:
    """Held-out sequences, and what the exact network makes of them.

    Args:
        bundle: the network.
        held_out: validation data, never test data.

    Raises:
        InputError: there are no frames to judge with.
    """

    def __init__(self, bundle: Bundle, held_out: HeldOut) -> None:
        if not sum(map(len, held_out.inputs)):
            raise InputError("there are no held-out frames to judge rounding with; give data with validation")
        self.bundle, self.held_out = bundle, held_out
        self._exact = simulate(bundle, {}, held_out.inputs)
        self._signal = sum(float((y**2).sum()) for y in self._exact)
        self._loss = self._loss_of(self._exact)

    def exact(self) -> Judgement:
        """The network as it is."""
        return self.judge(self._exact)

    def rounded(
        self,
        roundings: Mapping[str, Rounding],
        *,
        bundle: Bundle | None = None,
        state_steps: Mapping[str, Float64] | None = None,
    ) -> Judgement:
        """The network with some products rounded, see ``ssmith.runtime.simulate``.

        Args:
            roundings: by the key of the product.
            bundle: to run in place of the own one: the same network with other tensors.
            state_steps: as of ``run_simulated``.
        """
        with np.errstate(over="ignore", invalid="ignore"):  # rounding poles coarsely may make them diverge
            model = bundle or self.bundle
            return self.judge(simulate(model, roundings, self.held_out.inputs, state_steps=state_steps))

    def judge(self, outputs: list[Float64]) -> Judgement:
        """Outputs that something computed from the held-out inputs, in their order."""
        noise = sum(float(((y - e) ** 2).sum()) for y, e in zip(outputs, self._exact, strict=True))
        if not math.isfinite(noise):
            return Judgement(-math.inf, math.inf, math.inf, None)
        snr = 10 * math.log10(max(self._signal, 1e-300) / noise) if noise else None
        loss = self._loss_of(outputs)
        if self.held_out.recipe is None:
            rise = math.sqrt(loss)
        else:
            rise = (loss - self._loss) / max(self._loss, _LEAST_LOSS)
        return Judgement(snr, loss, rise, metric_of(self.held_out, [y.astype(np.float32) for y in outputs]))

    def _loss_of(self, outputs: list[Float64]) -> float:
        """The recipe's loss, in NumPy: cross-entropy, or the squared error over the targets' variance."""
        recipe, targets = self.held_out.recipe, self.held_out.targets
        if recipe is None or targets is None:
            noise = sum(float(((y - e) ** 2).sum()) for y, e in zip(outputs, self._exact, strict=True))
            return noise / max(self._signal, 1e-300)
        given = targets.targets[: len(outputs)]
        if recipe.task == "classification":
            last = recipe.pooling != "none"
            pairs = zip(outputs, given, strict=True)
            parts = [_entropy(y[-1:] if last else y, label) for y, label in pairs]
            return float(np.concatenate(parts).mean())
        skip = recipe.train.ignore_first
        kept = [np.asarray(t, np.float64)[skip : len(y)] for y, t in zip(outputs, given, strict=True)]
        real = np.concatenate(kept)
        error = np.concatenate([y[skip:] for y in outputs]) - real
        spread = real.std(0)
        return float(((error / np.where(spread > 0, spread, 1.0)) ** 2).mean())


def _entropy(logits: Float64, labels: NDArray[Any] | int) -> Float64:
    """-log p of the labels, one a frame: (T, Y) → (T)."""
    shifted = logits - logits.max(-1, keepdims=True)
    chosen = np.take_along_axis(shifted, np.broadcast_to(labels, len(logits))[: len(logits), None], -1)
    entropy: Float64 = np.log(np.exp(shifted).sum(-1)) - chosen[:, 0]
    return entropy
