"""What is known about a finished model: sequences for statistics, held-out ones to judge it by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ssmith.bundle import Bundle
from ssmith.errors import InputError
from ssmith.recipe import Recipe
from ssmith.train.accelerator import open_fabric
from ssmith.train.batches import Loss, Outputs, all_outputs
from ssmith.train.evaluate import Evaluation, batches_for_cuts, evaluate, loss_function, outputs_function
from ssmith.train.loop import working_threads
from ssmith.train.model import Network
from ssmith.train.model_data import load_for
from ssmith.train.splits import Splits
from ssmith.train.thaw import thaw
from ssmith.train.undisturbed import undisturbed

CPU = torch.device("cpu")


@dataclass(frozen=True, eq=False)
class Evidence:
    """A model's data, or in their place the golden inputs that its bundle carries.

    Attributes:
        batches: what statistics are measured on.
        held_out: what decisions are made on; without data the same.
        outputs: (network, batch) → the outputs to preserve.
        loss: (network, batch) → the recipe's loss; None without data.
        recipe: where the data came from, or None.
        splits: the data, or None.
        device: where all of it is.
    """

    batches: Sequence[Any]
    held_out: Sequence[Any]
    outputs: Outputs
    loss: Loss | None = None
    recipe: Recipe | None = None
    splits: Splits | None = None
    device: torch.device = CPU

    @classmethod
    def gather(cls, bundle: Bundle, recipe: Recipe | None) -> Evidence:
        """Load the data of a recipe, split as they were when the bundle's model was trained.

        Validation decides; see `ssmith.train.model_data` for the split.

        Args:
            bundle: the model.
            recipe: whose data to use; None makes do with the bundle's golden inputs.

        Raises:
            InputError: the data has other inputs, outputs or another task than the model.
        """
        if recipe is None:
            golden = [torch.tensor(case.input)[None] for case in bundle.golden()]
            if not golden:
                raise InputError(
                    "the bundle holds no golden inputs, so nothing tells what a cut does to its outputs;"
                    " give --data RECIPE"
                )
            return cls(golden, golden, all_outputs)
        recipe, splits = load_for(bundle, recipe)
        device = open_fabric(recipe.train.model_copy(update={"devices": 1, "strategy": "auto"})).device
        return cls(
            list(batches_for_cuts(recipe, splits.train, device, recipe.reduce.sequences)),
            list(batches_for_cuts(recipe, splits.validation, device)),
            outputs_function(recipe),
            loss_function(recipe),
            recipe,
            splits,
            device,
        )

    @property
    def threads(self) -> int:
        """CPU threads for work on it: as in training; one for a few golden inputs."""
        if self.recipe is None or self.splits is None:
            return 1
        return working_threads(self.recipe, self.splits)

    @property
    def metric(self) -> str | None:
        """Name of the metric: accuracy, nrmse, or None without data."""
        return None if self.recipe is None else self.recipe.metric

    def network(self, bundle: Bundle) -> Network:
        """The bundle's network where the data are, in evaluation mode.

        With data its inputs and outputs are normalised again as in training: weights that carry units
        would learn at the wrong speed, and the loss needs the outputs' scale. Same function, up to rounding.
        """
        network = thaw(bundle)
        if self.splits is not None:
            unfold_normalisation(network, self.splits)
        return network.to(self.device).eval()

    def measure(self, network: Network) -> Evaluation:
        """Loss and metric on the held-out sequences; nan without data."""
        return self._evaluation(network, "validation")

    def test(self, network: Network) -> Evaluation:
        """Loss and metric on the test set: for the figures that are reported, never to decide."""
        return self._evaluation(network, "test")

    @torch.no_grad()
    def answers(self, network: Network) -> list[Tensor]:
        """The outputs to preserve, one tensor a held-out batch."""
        with undisturbed(network):
            return [self.outputs(network, batch) for batch in self.held_out]

    def _evaluation(self, network: Network, part: str) -> Evaluation:
        if self.recipe is None:
            return Evaluation(float("nan"), float("nan"))
        return evaluate(self.recipe, network, getattr(self.splits, part), self.device)


@torch.no_grad()
def unfold_normalisation(network: Network, splits: Splits) -> None:
    """Take the data's normalisation out of the encoder and the head again; the function stays.

    W x + b = (W diag(s)) ((x - m) / s) + (b + W m), and the head likewise; what freezing folds.

    Args:
        network: thawed; changed in place.
        splits: whose means and standard deviations are taken out.
    """
    if isinstance(network.encoder, nn.Linear):
        mean, std = (torch.tensor(a).double() for a in (splits.input_mean, splits.input_std))
        weight, bias = _float64(network.encoder)
        _put(network.encoder, weight * std, bias + weight @ mean)
        network.set_normalisation(input_mean=mean, input_std=std)
    mean, std = (torch.tensor(a).double() for a in (splits.output_mean, splits.output_std))
    weight, bias = _float64(network.head)
    _put(network.head, weight / std[:, None], (bias - mean) / std)
    network.set_normalisation(output_mean=mean, output_std=std)


def _float64(layer: nn.Linear) -> tuple[Tensor, Tensor]:
    weight = layer.weight.double()
    bias = weight.new_zeros(len(weight)) if layer.bias is None else layer.bias.double()
    return weight, bias


def _put(layer: nn.Linear, weight: Tensor, bias: Tensor) -> None:
    layer.weight = nn.Parameter(weight.float())
    layer.bias = nn.Parameter(bias.float())
