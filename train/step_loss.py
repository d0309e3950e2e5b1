"""The loss of one training step: over whole sequences, or over chunks with states carried on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor

from ssmith.recipe import Recipe
from ssmith.train.data import batch_indices
from ssmith.train.distill import Teacher, taught
from ssmith.train.evaluate import loss_of_outputs, on_device, relevant
from ssmith.train.loss_audio import check_windows
from ssmith.train.model import Network
from ssmith.train.splits import SequenceSet
from ssmith.train.ssm_layer import SSMLayer
from ssmith.train.tbptt import Lanes, State, check_recordings, chunks_at, resumed

TEACHER = "teacher/"  # before the names of its states


class StepLoss:
    """What a training step lowers, as a function of (model, step).

    Args:
        recipe: task, loss, batches and chunks.
        data: training sequences.
        device: where the network is.
        seed: of the batches.
        teacher: a network to learn from besides the targets, or None.
        share: which sequences of a batch are this process's.

    Attributes:
        carried: states after the last step, (lanes, …) each, by the names of ``Network.initial_state``; empty
            before the first step and without chunks. A run that goes on puts them back.

    Raises:
        InputError: a recording is shorter than ``train.chunk``, or than a window of the STFT.
    """

    def __init__(
        self,
        recipe: Recipe,
        data: SequenceSet,
        device: torch.device,
        *,
        seed: int,
        teacher: Teacher | None = None,
        share: slice = slice(None),
    ) -> None:
        settings = recipe.train
        self._recipe, self._data, self._device, self._seed = recipe, data, device, seed
        self._teacher, self._share = teacher, share
        self.carried: State = {}
        self._lanes: Lanes | None = None
        if "stft" in settings.loss:
            check_windows(data.lengths, settings.stft_windows, settings.ignore_first)
        if settings.chunk is not None:
            check_recordings(data.lengths, settings.chunk)
            self._lanes = Lanes(
                data.lengths,
                seed=seed,
                batch=settings.batch,
                chunk=settings.chunk,
                carry=settings.carry_state,
            )

    def __call__(self, model: Any, network: Network, step: int) -> Tensor:
        """The loss, a scalar.

        Args:
            model: the network, maybe wrapped; runs.
            network: the same unwrapped.
            step: training step from 0; with chunks each step has to follow the one before.
        """
        if self._lanes is not None:
            return self._over_chunks(model, network, self._lanes, step)
        recipe = self._recipe
        picked = batch_indices(self._seed, step, len(self._data), recipe.train.batch)
        x, y, lengths = on_device(self._data, picked[self._share], self._device)
        outputs, counted = relevant(recipe, model, x, lengths)
        loss = loss_of_outputs(recipe, network, outputs, y, counted)
        return taught(recipe, self._teacher, network, x, lengths, outputs, loss)

    def follow(self, index: int, to_reduced: Tensor) -> None:
        """After a cut: the state of layer ``index`` in the coordinates of the smaller layer, z = Y x.

        Args:
            index: number of the layer.
            to_reduced: Y, (2r, 2N), float64; see ``moments.Basis``.
        """
        name = f"state_{index}"
        if name in self.carried:
            state = self.carried[name]
            self.carried[name] = (state.cpu().double() @ to_reduced.T).to(state)

    def _over_chunks(self, model: Any, network: Network, lanes: Lanes, step: int) -> Tensor:
        recipe, chunk = self._recipe, lanes.chunk
        places = lanes.at(step)[self._share]
        ages = torch.tensor([place.age for place in places], device=self._device)
        x, y, lengths = on_device(chunks_at(self._data, places, chunk), range(len(places)), self._device)
        before = _split(self.carried)
        outputs, after = model.process(x, resumed(before[0], ages), lengths)
        carried = _detached(after, "")
        ignored = (recipe.train.ignore_first - ages).clamp(min=0)
        loss = loss_of_outputs(recipe, network, outputs, y, lengths, ignored)
        if self._teacher is not None:
            self._teacher.network.eval()
            with torch.no_grad():
                teacher = cast(Network, self._teacher.network)
                goal, told = teacher.process(x, resumed(before[1], ages), lengths)
            carried |= _detached(told, TEACHER)
            weight = self._teacher.weight
            learned = loss_of_outputs(recipe, network, outputs, goal, lengths, ignored)
            loss = (1 - weight) * loss + weight * learned
        self.carried = carried
        return loss


def follower(step_loss: StepLoss, network: Network) -> Any:
    """What `Truncator` calls after a cut that stands: (layer, basis) → the states follow."""

    def follow(layer: SSMLayer, basis: Any) -> None:
        index = next(i for i, own in enumerate(network.layers) if own is layer)
        step_loss.follow(index, basis.to_reduced)

    return follow


def _split(carried: Mapping[str, Tensor]) -> tuple[State | None, State | None]:
    """The student's and the teacher's states; None where there are none yet."""
    own = {name: t for name, t in carried.items() if not name.startswith(TEACHER)}
    told = {name.removeprefix(TEACHER): t for name, t in carried.items() if name.startswith(TEACHER)}
    return own or None, told or None


def _detached(state: Mapping[str, Tensor], prefix: str) -> State:
    return {prefix + name: tensor.detach() for name, tensor in state.items()}
