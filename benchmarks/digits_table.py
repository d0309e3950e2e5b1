"""Does truncating while training pay? Full, reduced and scratch networks on digits, paired by seed.

A seed sets the split, the initial weights and the batches. Per seed: `full` (64 states throughout), `reduced`
(the recipe: cut to 12 while training), `scratch` (12 states from the first step), and `one_shot_*`: the best
full network cut to 12 after training, without fine-tuning, by the task-aware criterion and by the usual one
(balanced truncation of the complex system with exact Gramians, what CompreSSM publishes [Chahine2025]).
Checkpoints are selected on the validation split; each network meets the test split once.

    python benchmarks/digits_table.py --seeds 10 --out benchmarks/results/digits_table.json

A killed run goes on: seeds that --out already holds for the same settings are not trained again. Times are
CPU seconds of this process around a whole training, evaluations and cuts included, with --threads threads.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import scipy.stats
import torch
from _output import Rows, by_seed

from ssmith.recipe import Recipe
from ssmith.reduce import balanced_truncation, reduce_system
from ssmith.train.checkpoint import Checkpoint
from ssmith.train.data import load
from ssmith.train.evaluate import evaluate, in_batches, outputs_function
from ssmith.train.loop import load_network, train
from ssmith.train.model import Network
from ssmith.train.splits import Splits
from ssmith.train.statistics import collect

CPU = torch.device("cpu")
# What the project promises: figure, comparison, limit.
TARGETS = {
    "reduced_minus_full": (-0.01, "at least"),
    "reduced_minus_scratch": (0.05, "at least"),
    "time_reduced_over_full": (0.7, "at most"),
    "one_shot_task_aware": (0.88, "at least"),
}


def variant(recipe: Recipe, seed: int, **changes: dict[str, Any]) -> Recipe:
    """The recipe with another seed and some keys of its sections changed."""
    raw = recipe.model_dump(mode="json", exclude_unset=True)
    for section, values in changes.items():
        raw[section] = {**raw.get(section, {}), **values}
    return Recipe.parse({**raw, "seed": seed}, "digits_table")


def measure(recipe: Recipe, seed: int, threads: int) -> dict[str, Any]:
    """All figures of one seed."""
    order = recipe.reduce.order
    recipes = {
        "full": variant(recipe, seed, reduce={"order": None}),
        "reduced": variant(recipe, seed),
        "scratch": variant(recipe, seed, model={"order": order}, reduce={"order": None}),
    }
    splits = load(recipes["full"])
    row: dict[str, Any] = {"seed": seed}
    for name, one in recipes.items():
        with tempfile.TemporaryDirectory() as folder:
            begin = time.process_time()
            result = train(one, splits, Path(folder), threads=threads)
            row[f"{name}_cpu_s"] = round(time.process_time() - begin, 2)
            row[name], row[f"{name}_order"] = result.test_metric, list(result.orders)
            row[f"{name}_validation"] = result.validation_metric
            if name == "full":
                best = Checkpoint.read(Path(folder) / "best.safetensors")
    for name, cut in (("one_shot_task_aware", task_aware), ("one_shot_complex", complex_exact)):
        network = load_network(recipes["full"], splits, best)
        cut(recipes["full"], network, splits, order)
        row[name] = evaluate(recipes["full"], network, splits.test, CPU).metric
    return row


def task_aware(recipe: Recipe, network: Network, splits: Splits, order: int) -> None:
    """Cut every layer to `order` with statistics of the training set, layer by layer."""
    for layer in network.layers:
        batches = in_batches(splits.train, CPU, recipe.reduce.sequences)
        found = collect(network, {"": layer}, batches, outputs=outputs_function(recipe))[""]
        reduction = balanced_truncation(
            layer.system(),
            order=order,
            controllability=found.controllability,
            observability=found.observability,
        )
        layer.load_system(reduction.system)


def complex_exact(recipe: Recipe, network: Network, splits: Splits, order: int) -> None:
    """Cut every layer to `order` by balancing the complex system with its exact Gramians."""
    for layer in network.layers:
        layer.load_system(reduce_system(layer.system(), criterion="complex", order=order).system)


def interval(values: np.ndarray) -> dict[str, Any]:
    """Mean with two 95 % intervals: Student's t, and percentiles of 20,000 bootstrap means."""
    n, mean = len(values), float(values.mean())
    if n < 2:
        return {"mean": mean, "n": n}
    half = float(scipy.stats.t.ppf(0.975, n - 1) * values.std(ddof=1) / np.sqrt(n))
    draws = np.random.default_rng(0).integers(0, n, (20_000, n))
    low, high = np.percentile(values[draws].mean(1), [2.5, 97.5])
    return {
        "mean": mean,
        "sd": float(values.std(ddof=1)),
        "t95": [mean - half, mean + half],
        "bootstrap95": [float(low), float(high)],
        "n": n,
    }


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Figures over the seeds, and each target beside what was measured."""

    def column(name: str) -> np.ndarray:
        return np.array([row[name] for row in rows], float)

    names = ("full", "reduced", "scratch", "one_shot_task_aware", "one_shot_complex")
    found = {name: interval(column(name)) for name in names}
    found["reduced_minus_full"] = interval(column("reduced") - column("full"))
    found["reduced_minus_scratch"] = interval(column("reduced") - column("scratch"))
    found["time_reduced_over_full"] = interval(column("reduced_cpu_s") / column("full_cpu_s"))
    found["time_scratch_over_full"] = interval(column("scratch_cpu_s") / column("full_cpu_s"))
    for name, (limit, side) in TARGETS.items():
        mean = found[name]["mean"]
        found[name] |= {
            "target": f"{side} {limit}",
            "met": mean >= limit if side == "at least" else mean <= limit,
        }
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--out", type=Path, help="write the JSON here after every seed, and go on from it")
    parser.add_argument("--seeds", type=int, default=10, help="seeds 0 to SEEDS - 1, plus --first")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument(
        "--set", action="append", default=[], help="override a key of the recipe, as in the CLI"
    )
    arguments = parser.parse_args()
    recipe = Recipe.load("digits", tuple(arguments.set))
    key = {"recipe_sha256": recipe.digest(), "threads": arguments.threads}

    def document(rows: Rows) -> dict[str, Any]:
        return {
            "benchmark": "digits_table",
            "command": " ".join(["python", *sys.argv]),
            "machine": {"cpu": platform.processor() or platform.machine(), "cores": os.cpu_count()},
            "versions": {name: version(name) for name in ("ssmith", "torch", "numpy", "scikit-learn")},
            "recipe": recipe.model_dump(mode="json", exclude_unset=True),
            "summary": summary(rows),
        }

    seeds = range(arguments.first, arguments.first + arguments.seeds)
    by_seed(seeds, lambda seed: measure(recipe, seed, arguments.threads), document, key, arguments.out)


if __name__ == "__main__":
    main()
