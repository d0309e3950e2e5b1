"""Trained full networks that several benchmarks cut: each is trained once and kept in --runs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from ssmith.recipe import Recipe
from ssmith.train.checkpoint import Checkpoint
from ssmith.train.data import load
from ssmith.train.evaluate import in_batches, loss_function, outputs_function
from ssmith.train.loop import TrainResult, load_network, train
from ssmith.train.model import Network
from ssmith.train.splits import SequenceSet, Splits
from ssmith.train.truncate import Truncator

RUNS = Path("runs/benchmarks")
CPU = torch.device("cpu")
# Three tasks: real images read slowly, a simulated arm with two layers, real images read pixel by pixel.
TASKS: dict[str, dict[str, Any]] = {
    "digits": {},
    "flexjoint": {},
    "smnist": {
        "model": {"order": 64, "dropout": 0.0},
        "train": {"steps": 1000, "learning_rate": 1.6e-2, "evaluate_every": 500},
    },
}
LARGEST = {"validation": 1500, "test": 3000}  # sequences that are looked at, so that many cuts can be


@dataclass(frozen=True, eq=False)
class Trained:
    """A recipe, its data, and where the training of it lies."""

    recipe: Recipe
    splits: Splits
    result: TrainResult

    def network(self) -> Network:
        """A fresh copy of the best network, on the CPU, in evaluation mode."""
        best = Checkpoint.read(self.result.folder / "best.safetensors")
        return load_network(self.recipe, self.splits, best)

    @property
    def sign(self) -> int:
        """1 where a larger metric is better, else -1."""
        return 1 if self.recipe.task == "classification" else -1


def variant(task: str, seed: int, **changes: dict[str, Any]) -> Recipe:
    """A shipped recipe with another seed and some keys of its sections changed; without a reduction."""
    raw = Recipe.load(task).model_dump(mode="json", exclude_unset=True)
    raw["reduce"] = {}
    raw["train"] = {**raw.get("train", {}), "threads": 1}
    for layer in (TASKS.get(task, {}), changes):
        for section, values in layer.items():
            raw[section] = {**raw.get(section, {}), **values}
    return Recipe.parse({**raw, "seed": seed}, task)


def trained(task: str, seed: int, runs: Path = RUNS, **changes: dict[str, Any]) -> Trained:
    """Train a variant of a recipe, or read the result where it is there already."""
    recipe = variant(task, seed, **changes)
    splits = _limited(load(recipe))
    folder = runs / f"{task}-{recipe.digest()[:8]}-s{seed}"
    return Trained(recipe, splits, train(recipe, splits, folder))


def _limited(splits: Splits) -> Splits:
    def first(part: SequenceSet, count: int) -> SequenceSet:
        return SequenceSet(part.inputs[:count], part.targets[:count])

    return replace(splits, **{name: first(getattr(splits, name), n) for name, n in LARGEST.items()})


def cut_to(full: Trained, order: int, **settings: Any) -> Network:
    """A copy of the network with every layer cut to `order` in one go, statistics fresh for each layer."""
    network = full.network()
    truncator = Truncator(
        network,
        torch.optim.SGD(network.parameters()),
        list(in_batches(full.splits.train, CPU, full.recipe.reduce.sequences)),
        total_steps=1,
        order=order,
        schedule="once",
        window=(0.0, 0.0),
        gate=0.0,
        max_loss_increase=float("inf"),
        moments="keep",
        loss_fn=loss_function(full.recipe),
        outputs=outputs_function(full.recipe),
        allow_larger=True,
        **settings,
    )
    truncator.step(1)
    return network
