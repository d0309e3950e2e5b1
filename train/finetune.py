"""Training a finished model a little longer, after a cut: a thawed network, from a low rate down a cosine.

What freezing folded is not unfolded: a BatchNorm has become a fixed affine map (or a part of the SSM's B and
D). Its scale and shift go on learning, its statistics stay what they were. Dropout is the recipe's again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from ssmith.errors import InputError, SsmithError
from ssmith.recipe import Recipe
from ssmith.train.accelerator import reproducible, seed_step
from ssmith.train.checkpoint import cloned
from ssmith.train.distill import Teacher
from ssmith.train.evaluate import Evaluation, evaluate
from ssmith.train.loop import working_threads
from ssmith.train.model import Block, Network, parameter_groups
from ssmith.train.progress import Progress
from ssmith.train.schedule import learning_rate_factor
from ssmith.train.splits import Splits
from ssmith.train.step_loss import StepLoss

RATE = 0.3  # of the recipe's learning rate
EVALUATIONS = 20  # on validation, over all steps


@dataclass(frozen=True)
class FineTuned:
    """What fine-tuning found.

    Attributes:
        steps: how many were done.
        best_step: the one whose weights were kept; 0 if no step was better than the start.
        before: loss and metric on validation at the start.
        after: of the weights that were kept.
    """

    steps: int
    best_step: int
    before: Evaluation
    after: Evaluation


def fine_tune(
    network: Network,
    recipe: Recipe,
    splits: Splits,
    steps: int,
    *,
    rate: float = RATE,
    by_loss: bool = False,
    teacher: Teacher | None = None,
    on_progress: Callable[[Progress], object] | None = None,
) -> FineTuned:
    """Train a network at a share of the recipe's rate, warm-up and cosine; the best on validation is kept.

    Equal arguments give equal weights. An interrupt leaves the network somewhere on its way.

    Args:
        network: changed in place; left in evaluation mode with the best weights.
        recipe: batches, rates, loss and seed; threads as in training.
        splits: the data; training and validation are used.
        steps: how many; a tenth of the recipe's is a good first try.
        rate: the share.
        by_loss: keep the weights with the lowest loss on validation, not those with the best metric.
        teacher: a network to learn from besides the targets.
        on_progress: called after every step.

    Raises:
        InputError: fewer than one step.
        SsmithError: the loss diverged.
    """
    if steps < 1:
        raise InputError(f"{steps} steps of fine-tuning: write 1 or more, or leave it out")
    device = network.head.weight.device
    if teacher is not None:
        teacher.network.to(device)
    with reproducible(working_threads(recipe, splits), device):
        return _Tuning(network, recipe, splits, steps, rate, by_loss, teacher).run(on_progress)


class _Tuning:
    """One fine-tuning on its way: optimiser, best weights so far."""

    def __init__(
        self,
        network: Network,
        recipe: Recipe,
        splits: Splits,
        steps: int,
        share: float,
        by_loss: bool,
        teacher: Teacher | None,
    ) -> None:
        self.network, self.recipe, self.splits, self.steps = network, recipe, splits, steps
        self.device = network.head.weight.device
        self.step_loss = StepLoss(recipe, splits.train, self.device, seed=recipe.seed, teacher=teacher)
        self.share, self.by_loss = share, by_loss
        rate = share * recipe.train.learning_rate
        settings = recipe.train.model_copy(update={"learning_rate": rate})
        groups = parameter_groups(network, settings)
        self.rates = [float(group["lr"]) for group in groups]
        self.optimizer = torch.optim.AdamW(groups)

    def run(self, on_progress: Callable[[Progress], object] | None) -> FineTuned:
        for block in self.network.blocks:
            assert isinstance(block, Block)
            block.dropout.p = self.recipe.model.dropout
        before = best = self._evaluation()
        best_step, weights = 0, cloned(self.network.state_dict())
        every, losses = max(1, self.steps // EVALUATIONS), list[float]()
        mean: float | None = None
        metric = best.metric
        for step in range(self.steps):
            losses.append(self._step(step))
            done = step + 1
            if done % every == 0 or done == self.steps:
                mean, losses = sum(losses) / len(losses), []
                found = self._evaluation()
                metric = found.metric
                if found.loss < best.loss if self.by_loss else better(self.recipe, found, best):
                    best, best_step, weights = found, done, cloned(self.network.state_dict())
            if on_progress is not None:
                on_progress(Progress(done, self.steps, self.network.orders, mean, metric))
        self.network.load_state_dict(weights)
        self.network.eval()
        return FineTuned(self.steps, best_step, before, best)

    def _step(self, step: int) -> float:
        recipe, settings = self.recipe, self.recipe.train
        seed_step(recipe.seed, step, 0, self.device)
        factor = learning_rate_factor(step, self.steps, settings.warmup)
        for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
            group["lr"] = rate * factor
        self.network.train()
        self.optimizer.zero_grad()
        loss = self.step_loss(self.network, self.network, step)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), settings.gradient_clip)
        self.optimizer.step()
        value = float(loss.detach())
        if not value < float("inf"):
            raise SsmithError(
                f"the loss of fine-tuning stopped being finite at step {step + 1}; lower train.learning_rate"
                f" in the recipe (now {settings.learning_rate:g}, times {self.share:g} here). Nothing was"
                " written"
            )
        return value

    def _evaluation(self) -> Evaluation:
        return evaluate(self.recipe, self.network, self.splits.validation, self.device)


def better(recipe: Recipe, a: Evaluation, b: Evaluation) -> bool:
    """Whether a beats b, by the metric; by the loss where that ties. A loss that is not finite never does."""
    sign = 1 if recipe.task == "classification" else -1
    return (sign * a.metric, -a.loss) > (sign * b.metric, -b.loss)
