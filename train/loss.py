"""What training lowers and what is reported, both on the steps that a sequence really has."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, Protocol

import torch
from torch import Tensor, nn

from ssmith.errors import InputError
from ssmith.train.model import Pooling, valid_steps

Task = Literal["classification", "regression"]
Objective = Callable[[Tensor, Tensor, Tensor | None], Tensor]


def objective(
    task: Task, pooling: Pooling, *, scale: Tensor | None = None, ignore_first: int | Tensor = 0
) -> Objective:
    """The loss of a task: a function (outputs (batch, T, Y), targets, lengths or None) → scalar.

    Args:
        task: classification gives ``classification_loss``, regression ``regression_loss``.
        pooling: a classifier without pooling ("none") answers at every step, else at the last one.
        scale: the network's ``output_std``; regression only.
        ignore_first: steps at the start that do not count, for all or of each sequence (batch,); regression
            only.
    """
    if task == "classification":
        return lambda y, labels, lengths: classification_loss(
            y, labels, lengths, every_step=pooling == "none"
        )
    return lambda y, targets, lengths: regression_loss(
        y, targets, lengths, scale=scale, ignore_first=ignore_first
    )


def classification_loss(
    logits: Tensor, labels: Tensor, lengths: Tensor | None = None, *, every_step: bool = False
) -> Tensor:
    """Mean cross-entropy of the logits.

    Args:
        logits: (batch, T, Y).
        labels: int64, (batch,), or (batch, T) with ``every_step``.
        lengths: valid steps, (batch,); all if None.
        every_step: every valid step of the batch counts alike, instead of each sequence's last one.
    """
    return nn.functional.cross_entropy(*_answers(logits, labels, lengths, every_step))


def regression_loss(
    outputs: Tensor,
    targets: Tensor,
    lengths: Tensor | None = None,
    *,
    scale: Tensor | None = None,
    ignore_first: int | Tensor = 0,
) -> Tensor:
    """Mean of ((output - target) / scale)² over the valid steps of the batch and over the outputs.

    Args:
        outputs: (batch, T, Y), in the targets' unit.
        targets: (batch, T, Y).
        lengths: valid steps, (batch,); all if None.
        scale: standard deviation of each output, (Y,); 1 if None.
        ignore_first: steps at the start of each sequence that do not count, or of each one its own (batch,):
            then the loss is 0 where none is left.

    Raises:
        InputError: no step is left to count.
    """
    mask = counted_steps(outputs, lengths, ignore_first)
    error = outputs - targets if scale is None else (outputs - targets) / scale
    # where, not a product: padding may hold anything, and NaN times zero is NaN.
    squared = torch.where(mask[..., None], error, 0.0).square()
    return squared.sum() / (mask.sum().clamp(min=1) * outputs.shape[-1])


class Metric(Protocol):
    """A figure over a whole set, gathered batch by batch."""

    name: str
    higher_is_better: bool

    def add(self, outputs: Tensor, targets: Tensor, lengths: Tensor | None = None) -> None:
        """Count a batch in."""

    def value(self) -> float:
        """The figure over all batches so far."""


def metric(task: Task, pooling: Pooling, *, ignore_first: int = 0) -> Metric:
    """A fresh metric for a task: accuracy or NRMSE, over the same steps as its loss."""
    if task == "classification":
        return Accuracy(every_step=pooling == "none")
    return Nrmse(ignore_first=ignore_first)


class Accuracy:
    """Share of answers whose largest logit is the label's; see ``classification_loss`` for the steps."""

    name, higher_is_better = "accuracy", True

    def __init__(self, *, every_step: bool = False) -> None:
        self.every_step, self.right, self.total = every_step, 0, 0

    def add(self, outputs: Tensor, targets: Tensor, lengths: Tensor | None = None) -> None:
        """Count a batch in: outputs (batch, T, Y), targets (batch,) or (batch, T), lengths (batch,)."""
        logits, labels = _answers(outputs, targets, lengths, self.every_step)
        self.right += int((logits.argmax(-1) == labels).sum())
        self.total += len(labels)

    def value(self) -> float:
        """In [0, 1]; NaN before the first batch."""
        return self.right / self.total if self.total else float("nan")


class Nrmse:
    """Mean over outputs of RMSE / standard deviation of the target, both over all counted steps.

    0 is perfect, 1 as good as the constant mean. A target that never moves gives infinity unless met.
    """

    name, higher_is_better = "nrmse", False

    def __init__(self, *, ignore_first: int = 0) -> None:
        self.ignore_first, self.count = ignore_first, 0
        self.squared = self.mean = self.spread = torch.zeros((), dtype=torch.float64)

    def add(self, outputs: Tensor, targets: Tensor, lengths: Tensor | None = None) -> None:
        """Count a batch in: outputs and targets (batch, T, Y), lengths (batch,)."""
        mask = counted_steps(outputs, lengths, self.ignore_first)
        y, t = (a.detach()[mask].cpu().double() for a in (outputs, targets))
        self.squared = self.squared + (y - t).square().sum(0)
        # Pooled mean and sum of squares about it, so that a large offset costs no digits.
        gap, total = t.mean(0) - self.mean, self.count + len(t)
        inside = (t - t.mean(0)).square().sum(0)
        self.spread = self.spread + inside + gap.square() * self.count * len(t) / total
        self.mean, self.count = self.mean + gap * len(t) / total, total

    def value(self) -> float:
        """At least 0; NaN before the first batch."""
        ratio = torch.where(self.squared == 0, 0.0, self.squared / self.spread)
        return float(ratio.sqrt().mean()) if self.count else float("nan")


def _answers(
    logits: Tensor, labels: Tensor, lengths: Tensor | None, every_step: bool
) -> tuple[Tensor, Tensor]:
    """The logits (n, Y) and labels (n,) that count."""
    batch, steps, _ = logits.shape
    if not every_step:
        if lengths is None:
            return logits[:, -1], labels
        return logits[torch.arange(batch, device=logits.device), lengths - 1], labels
    spread = labels[:, None].expand(batch, steps) if labels.ndim == 1 else labels
    mask = counted_steps(logits, lengths, 0)
    return logits[mask], spread[mask]


def counted_steps(outputs: Tensor, lengths: Tensor | None, ignore_first: int | Tensor) -> Tensor:
    """True at the steps that count, (batch, T).

    Args:
        outputs: (batch, T, Y).
        lengths: valid steps, (batch,); all if None.
        ignore_first: steps at the start that do not, for all or of each sequence (batch,).

    Raises:
        InputError: none is left by a number for all; in a chunk of a longer recording that may happen.
    """
    batch, steps, _ = outputs.shape
    if lengths is None:
        lengths = torch.full((batch,), steps, device=outputs.device)
    mask = valid_steps(lengths, steps)
    if isinstance(ignore_first, Tensor):
        return mask & ~valid_steps(ignore_first, steps)
    longest = int(lengths.max())
    if longest <= ignore_first:
        raise InputError(
            f"the longest sequence of a batch has {longest} steps and ignore_first = {ignore_first}, so "
            "nothing is left to learn from; lower train.ignore_first or use longer windows"
        )
    mask[:, :ignore_first] = False
    return mask
