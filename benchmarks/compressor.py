"""How well does a network imitate an optical compressor, and does it need all its states? By seed.

A seed draws the recordings, the initial weights and the batches. For S4D (the recipe) and LRU: `full` (32
states a layer), `reduced` (cut to the recipe's order while training), `scratch` (that order from the first
step). The metric is the error-to-signal ratio of the recipe's loss on unseen recordings and knob settings;
beside it the ESR without pre-emphasis of each network, and that of the best constant gain for each recording,
which is what a network reaches that knows how loud the output is but not when.

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
import torch
from _output import Rows, arguments, by_seed, versions

from ssmith.devices.fingerprint import host_fingerprint
from ssmith.recipe import Recipe, ReduceSettings
from ssmith.train.checkpoint import Checkpoint
from ssmith.train.data import load
from ssmith.train.loop import load_network, train
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
        row["constant_gain_esr"] = constant_gain(splits.test)
        for name, one in variants(recipe).items():
            with tempfile.TemporaryDirectory() as folder:
                begin = time.process_time()
                result = train(one, splits, Path(folder), threads=1)
                checkpoint = Checkpoint.read(Path(folder) / "best.safetensors")
            row[f"{layer}_{name}"] = {
                result.metric: result.test_metric,
                "plain_esr": plain_esr(load_network(one, splits, checkpoint), splits.test),
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


@torch.no_grad()
def plain_esr(network: torch.nn.Module, data: SequenceSet) -> float:
    """Mean over recordings of |error|² / |target|², without pre-emphasis."""
    outputs = [network(torch.from_numpy(u)[None])[0].numpy() for u in data.inputs]
    return esr(outputs, list(data.targets))


def constant_gain(data: SequenceSet) -> float:
    """ESR of the dry signal times the best gain of each recording."""
    gains = [
        np.vdot(u[:, :1], y) / np.vdot(u[:, :1], u[:, :1])
        for u, y in zip(data.inputs, data.targets, strict=True)
    ]
    return esr([g * u[:, :1] for g, u in zip(gains, data.inputs, strict=True)], list(data.targets))


def esr(outputs: list[Any], targets: list[Any]) -> float:
    """Mean over recordings."""
    ratios = [np.square(y - t).sum() / np.square(t).sum() for y, t in zip(outputs, targets, strict=True)]
    return float(np.mean(ratios))


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
