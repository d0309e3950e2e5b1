"""A recipe's loss, its relevant outputs and its metric, as functions of (network, batch)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from ssmith.recipe import Recipe
from ssmith.train.batches import Loss, Outputs
from ssmith.train.data import collate
from ssmith.train.loss import metric, objective
from ssmith.train.model import Network, valid_steps
from ssmith.train.splits import Float32, Int64, SequenceSet

# x (batch, T, U), y, and lengths (batch,), or None where all sequences fill their T steps.
Tensors = tuple[Tensor, Tensor, Tensor | None]

# Sequences evaluated at once; a constant, so that sums are taken in the same order everywhere.
EVALUATION_BATCH = 100


@dataclass(frozen=True)
class Evaluation:
    """Loss (mean over batches, weighted by sequences) and metric over a set."""

    loss: float
    metric: float


def answers_once(recipe: Recipe) -> bool:
    """Whether only the last valid step of a sequence counts: a classifier that pools."""
    return recipe.task == "classification" and recipe.pooling != "none"


def relevant(
    recipe: Recipe, model: nn.Module, x: Tensor, lengths: Tensor | None
) -> tuple[Tensor, Tensor | None]:
    """The outputs that loss and metric look at, and the lengths they have; ``model`` may be wrapped.

    Args:
        recipe: its task and pooling decide.
        model: a ``Network``.
        x: (batch, T, U).
        lengths: (batch,), or None.

    Returns:
        Outputs (batch, 1, Y) and None where sequences answer once, else (batch, T, Y) and the lengths.
    """
    if answers_once(recipe):
        return model(x, lengths, last=True), None
    return model(x, lengths), lengths


def loss_function(recipe: Recipe) -> Loss:
    """(network, batch) → the recipe's training loss, a scalar."""

    def loss(network: nn.Module, batch: Tensors) -> Tensor:
        x, y, lengths = batch
        outputs, counted = relevant(recipe, network, x, lengths)
        return loss_of_outputs(recipe, cast(Network, network), outputs, y, counted)

    return loss


def loss_of_outputs(
    recipe: Recipe, network: Network, outputs: Tensor, targets: Tensor, lengths: Tensor | None
) -> Tensor:
    """The training loss of ``relevant`` outputs."""
    criterion = objective(
        recipe.task,
        recipe.pooling,
        scale=network.output_std,
        ignore_first=recipe.train.ignore_first,
    )
    return criterion(outputs, targets, lengths)


def outputs_function(recipe: Recipe) -> Outputs:
    """(network, batch) → the outputs that the loss looks at, all others zero, in units of the loss."""

    def outputs(network: nn.Module, batch: Tensors) -> Tensor:
        x, _, lengths = batch
        y, counted = relevant(recipe, network, x, lengths)
        y = y / cast(Network, network).output_std
        if not answers_once(recipe):
            y = y * (torch.arange(y.shape[1], device=y.device) >= recipe.train.ignore_first)[:, None]
        return y if counted is None else y * valid_steps(counted, y.shape[1])[..., None]

    return outputs


@torch.no_grad()
def evaluate(recipe: Recipe, network: Network, data: SequenceSet, device: torch.device) -> Evaluation:
    """Run a set through the network in evaluation mode; its modes are as before afterwards."""
    loss_sum, gathered = 0.0, metric(recipe.task, recipe.pooling, ignore_first=recipe.train.ignore_first)
    training = network.training
    network.eval()
    for x, y, lengths in in_batches(data, device):
        out, counted = relevant(recipe, network, x, lengths)
        loss_sum += len(x) * float(loss_of_outputs(recipe, network, out, y, counted))
        gathered.add(out, y, counted)
    network.train(training)
    return Evaluation(loss_sum / len(data), gathered.value())


@torch.no_grad()
def score(recipe: Recipe, outputs: Sequence[Float32], data: SequenceSet) -> float:
    """The recipe's metric of outputs that something else computed from the sequences of ``data``.

    Args:
        recipe: its task and pooling decide.
        outputs: of each sequence in order, shape (T_i, Y); may end before the sequence, or the set, does.
        data: the sequences with their targets.
    """
    gathered = metric(recipe.task, recipe.pooling, ignore_first=recipe.train.ignore_first)
    for output, target in zip(outputs, data.targets, strict=False):
        if len(output) > recipe.train.ignore_first:
            reached = target[: len(output)] if np.ndim(target) else target
            gathered.add(torch.tensor(output)[None], torch.tensor(reached)[None])
    return gathered.value()


def in_batches(data: SequenceSet, device: torch.device, sequences: int | None = None) -> Iterator[Tensors]:
    """The first sequences of a set, in order, as padded batches on a device."""
    count = len(data) if sequences is None else min(sequences, len(data))
    for first in range(0, count, EVALUATION_BATCH):
        yield on_device(data, range(first, min(first + EVALUATION_BATCH, count)), device)


def on_device(data: SequenceSet, indices: Sequence[int] | Int64, device: torch.device) -> Tensors:
    """Some sequences of a set as one padded batch on a device."""
    batch = collate(data, indices)
    full = bool((batch.lengths == batch.x.shape[1]).all())  # then no mask has to be applied anywhere
    return batch.x.to(device), batch.y.to(device), None if full else batch.lengths.to(device)
