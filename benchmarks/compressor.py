"""How well does a network imitate an optical compressor, and does it need all its states? By seed.

A seed draws the recordings, the initial weights and the batches. For S4D (the recipe) and LRU: `full` (32
states a layer), `reduced` (cut to the recipe's order while training), `scratch` (that order from the first
step). The metric is ESR, |error|² / |target|² without pre-emphasis, on unseen recordings and knob settings;
beside it that of the best constant gain for each recording, which knows how loud the output is but not when.

    python benchmarks/compressor.py --seeds 3 --tasks s4d lru --out benchmarks/results/compressor.json

A killed run goes on: seeds that --out already holds for the same recipe are not trained again.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from _output import Rows, arguments, by_seed, versions

from ssmith.devices.fingerprint import host_fingerprint
from ssmith.recipe import Recipe, ReduceSettings
from ssmith.train.data import load
from ssmith.train.evaluate import score
from ssmith.train.loop import train
from ssmith.train.splits import SequenceSet

LAYERS = ("s4d", "lru")
LRU = (
    "model.layer=lru",
    "model.minimum_radius=0.9",
    "model.maximum_radius=0.99999",
    "model.maximum_phase=0.2",
)


def measure(seed: int, layers: list[str]) -> dict[str, Any]:
    """All figures of one seed."""
    row: dict[str, Any] = {"seed": seed}
    for layer in layers:
        recipe = Recipe.load("compressor", (*(LRU if layer == "lru" else ()), f"seed={seed}"))
        splits = load(recipe)
        row["constant_gain"] = constant_gain(recipe, splits.test)
        for name, one in variants(recipe).items():
            with tempfile.TemporaryDirectory() as folder:
                begin = time.process_time()
                result = train(one, splits, Path(folder), threads=1)
            row[f"{layer}_{name}"] = {
                result.metric: result.test_metric,
                "orders": list(result.orders),
                "cpu_s": round(time.process_time() - begin, 1),
            }
            print(layer, name, row[f"{layer}_{name}"], file=sys.stderr, flush=True)
    return row


def variants(recipe: Recipe) -> dict[str, Recipe]:
    """The three trainings of a recipe."""
    no_cuts = recipe.model_copy(update={"reduce": ReduceSettings()})
    small = recipe.model.model_copy(update={"order": recipe.reduce.order})
    return {"full": no_cuts, "reduced": recipe, "scratch": no_cuts.model_copy(update={"model": small})}


def constant_gain(recipe: Recipe, data: SequenceSet) -> float:
    """The metric of the dry signal times the best gain of each recording."""
    pairs = [(u[:, :1], y) for u, y in zip(data.inputs, data.targets, strict=True)]
    return score(recipe, [u * (np.vdot(u, y) / np.vdot(u, u)) for u, y in pairs], data)


def document(rows: Rows) -> dict[str, Any]:
    """What is published."""
    return {
        "benchmark": "compressor",
        "command": " ".join(["python", *sys.argv]),
        "machine": host_fingerprint(),
        "versions": versions(),
    }


if __name__ == "__main__":
    options = arguments(__doc__, 3, LAYERS)
    key = {"recipe_sha256": Recipe.load("compressor").digest(), "layers": options.tasks}
    by_seed(range(options.seeds), lambda seed: measure(seed, options.tasks), document, key, options.out)
