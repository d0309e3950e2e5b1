r"""Learning from a larger network as well as from the targets [Hinton2015].

.. math::
    L = (1 - w)\, L_{\mathrm{targets}} + w\, L_{\mathrm{teacher}}, \qquad
    L_{\mathrm{teacher}} = τ^2\, \mathrm{KL}\big(\mathrm{softmax}(z_t / τ) \,\|\, \mathrm{softmax}(z / τ)\big)

for a classifier with logits z and the teacher's z_t; for a regression the recipe's loss against the teacher's
outputs in place of the targets.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ssmith.errors import InputError
from ssmith.recipe import Recipe
from ssmith.train.evaluate import answers_once, loss_of_outputs, relevant
from ssmith.train.model import Network, valid_steps


@dataclass(frozen=True, eq=False)
class Teacher:
    """A trained network to learn from; it is never changed.

    Attributes:
        network: with the same inputs and outputs as the student.
        weight: w in [0, 1], the teacher's share of the loss.
        temperature: τ > 0 of a classifier's softmax; higher shows more of the wrong answers' order.

    Raises:
        InputError: weight or temperature is out of its range.
    """

    network: nn.Module
    weight: float = 0.5
    temperature: float = 2.0

    def __post_init__(self) -> None:
        if not (0 <= self.weight <= 1 and self.temperature > 0):
            raise InputError(
                f"distillation with weight {self.weight:g} and temperature {self.temperature:g}: the weight"
                " is the teacher's share of the loss, from 0 to 1, and the temperature is above 0"
            )

    def digest(self) -> str:
        """Hash of all that decides what the teacher teaches."""
        found = hashlib.sha256(f"{self.weight} {self.temperature}".encode())
        for name, tensor in sorted(self.network.state_dict().items()):
            found.update(name.encode() + tensor.detach().cpu().numpy().tobytes())
        return found.hexdigest()


def distillation_loss(
    recipe: Recipe, teacher: Teacher, student: Network, x: Tensor, lengths: Tensor | None, outputs: Tensor
) -> Tensor:
    """What the teacher's share of the loss is: how far the student's outputs are from the teacher's.

    Args:
        recipe: whose task and loss count.
        teacher: put into evaluation mode here and kept there.
        student: the network that made ``outputs``; its scale of the outputs counts.
        x: the batch, (batch, T, U).
        lengths: valid steps, (batch,), or None.
        outputs: the student's ``relevant`` outputs on it.

    Returns:
        A scalar, not yet weighted.
    """
    teacher.network.eval()
    with torch.no_grad():
        goal, counted = relevant(recipe, teacher.network, x, lengths)
    if recipe.task == "regression":
        return loss_of_outputs(recipe, student, outputs, goal, counted)
    if not answers_once(recipe) and counted is not None:
        valid = valid_steps(counted, outputs.shape[1])
        outputs, goal = outputs[valid], goal[valid]
    tau = teacher.temperature
    divergence = nn.functional.kl_div(
        (outputs / tau).log_softmax(-1).flatten(0, -2),
        (goal / tau).log_softmax(-1).flatten(0, -2),
        reduction="batchmean",
        log_target=True,
    )
    return tau * tau * divergence


def taught(
    recipe: Recipe,
    teacher: Teacher | None,
    student: Network,
    x: Tensor,
    lengths: Tensor | None,
    outputs: Tensor,
    loss: Tensor,
) -> Tensor:
    """The loss against the targets, mixed with the teacher's share: L above. Without a teacher as it is.

    Args:
        recipe: see `distillation_loss`, as for all but the last.
        teacher: or None.
        student: the network that made ``outputs``.
        x: the batch, (batch, T, U).
        lengths: valid steps, (batch,), or None.
        outputs: the student's ``relevant`` outputs on it.
        loss: L_targets, a scalar.
    """
    if teacher is None:
        return loss
    share = distillation_loss(recipe, teacher, student, x, lengths, outputs)
    return (1 - teacher.weight) * loss + teacher.weight * share
