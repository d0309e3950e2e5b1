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
from ssmith.train.loss import Metric, metric, objective
from ssmith.train.loss_audio import Esr, audio_objective
from ssmith.train.model import Network, valid_steps
from ssmith.train.splits import Float32, Int64, SequenceSet
from ssmith.train.tbptt import pieces

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
    recipe: Recipe,
    network: Network,
    outputs: Tensor,
    targets: Tensor,
    lengths: Tensor | None,
    ignore_first: Tensor | None = None,
) -> Tensor:
    """The training loss of ``relevant`` outputs; ``ignore_first`` (batch,) where it is not the recipe's."""
    ignored = recipe.train.ignore_first if ignore_first is None else ignore_first
    if recipe.train.loss != "auto":
        return audio_objective(recipe.train, ignored)(outputs, targets, lengths)
    criterion = objective(recipe.task, recipe.pooling, scale=network.output_std, ignore_first=ignored)
    return criterion(outputs, targets, lengths)


def fresh_metric(recipe: Recipe) -> Metric:
    """The recipe's metric, nothing counted yet."""
    if recipe.metric == "esr":
        return Esr(ignore_first=recipe.train.ignore_first)
    return metric(recipe.task, recipe.pooling, ignore_first=recipe.train.ignore_first)


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
    """Run a set through the network in evaluation mode; its modes are as before afterwards.

    Whole sequences, from a zero state and by the model's own outputs alone. With ``train.chunk`` they are fed
    in chunks, which gives the same outputs in memory that does not grow with their length.
    """
    loss_sum, gathered = 0.0, fresh_metric(recipe)
    training = network.training
    network.eval()
    for x, y, lengths in in_batches(data, device):
        if recipe.train.chunk is None:
            out, counted = relevant(recipe, network, x, lengths)
        else:
            out, counted = streamed(network, x, recipe.train.chunk), lengths
        loss_sum += len(x) * float(loss_of_outputs(recipe, network, out, y, counted))
        gathered.add(out, y, counted)
    network.train(training)
    return Evaluation(loss_sum / len(data), gathered.value())


@torch.no_grad()
def streamed(network: Network, x: Tensor, chunk: int) -> Tensor:
    """Outputs of whole sequences fed in chunks, in evaluation mode: x (batch, T, U) → y (batch, T, Y)."""
    state: dict[str, Tensor] | None = None
    outputs = []
    for piece in torch.split(x, chunk, 1):
        y, state = network.process(piece, state)
        outputs.append(y)
    return torch.cat(outputs, 1)


@torch.no_grad()
def score(recipe: Recipe, outputs: Sequence[Float32], data: SequenceSet) -> float:
    """The recipe's metric of outputs that something else computed from the sequences of ``data``.

    Args:
        recipe: its task and pooling decide.
        outputs: of each sequence in order, shape (T_i, Y); may end before the sequence, or the set, does.
        data: the sequences with their targets.
    """
    gathered = fresh_metric(recipe)
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


def batches_for_cuts(
    recipe: Recipe, data: SequenceSet, device: torch.device, sequences: int | None = None
) -> Iterator[Tensors]:
    """What statistics and the check of a cut look at: the first sequences, or with chunks some `pieces`."""
    if recipe.train.chunk is None:
        yield from in_batches(data, device, sequences)
    else:
        some = pieces(data, recipe.train.chunk, sequences)
        for index in range(len(some)):
            yield on_device(some, [index], device)


def on_device(data: SequenceSet, indices: Sequence[int] | Int64, device: torch.device) -> Tensors:
    """Some sequences of a set as one padded batch on a device."""
    batch = collate(data, indices)
    full = bool((batch.lengths == batch.x.shape[1]).all())  # then no mask has to be applied anywhere
    return batch.x.to(device), batch.y.to(device), None if full else batch.lengths.to(device)
