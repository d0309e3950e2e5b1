"""Does training with rounding win back what int8 loses? Float, rounded after training, trained with rounding.

Models of different difficulty are trained with a few seeds and then rounded both ways, with activations of 16
and of 8 bits. The metric is that of the test set, which nothing has seen: accuracy, or NRMSE.

    python -m benchmarks.qat_table --seeds 2 --json qat.json
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any, Literal

import torch

from ssmith.bundle import Bundle
from ssmith.recipe import Recipe
from ssmith.runtime.calibrate import calibrate
from ssmith.runtime.integer import run_integer
from ssmith.runtime.integer_lower import lower_integer
from ssmith.runtime.reference import run
from ssmith.train.checkpoint import Checkpoint
from ssmith.train.data import load
from ssmith.train.evaluate import score
from ssmith.train.freeze import GoldenInput, freeze
from ssmith.train.loop import load_network, train
from ssmith.train.qat import quantisation_aware
from ssmith.train.splits import SequenceSet, Splits

MODELS: dict[str, tuple[str, tuple[str, ...]]] = {
    "digits": ("digits", ()),
    "digits, width 8, order 4": (
        "digits",
        ("model.width=8", "reduce.order=4", "reduce.max_loss_increase=100"),
    ),
    "digits, poles near one": ("digits", ("model.minimum_radius=0.99", "model.maximum_radius=0.9999")),
    "flexjoint": ("flexjoint", ()),
    "flexjoint, width 4, order 4": (
        "flexjoint",
        ("model.width=4", "reduce.order=4", "reduce.max_loss_increase=100"),
    ),
}
FRAMES = 8000  # of the test set at least: the integers run in NumPy


def trained(recipe: Recipe, splits: Splits) -> Bundle:
    """The recipe's network, cut and frozen, with ranges."""
    with tempfile.TemporaryDirectory() as folder:
        train(recipe, splits, Path(folder), threads=1)
        network = load_network(recipe, splits, Checkpoint.read(Path(folder) / "best.safetensors"))
    bundle = freeze(
        network,
        name=recipe.name,
        task=recipe.task,
        inputs=splits.inputs,
        outputs=splits.outputs,
        golden_inputs=[GoldenInput("validation_0", splits.validation.inputs[0])],
    )
    return calibrate(bundle, list(splits.train.inputs[:: max(1, len(splits.train) // 100)]))


def metrics(recipe: Recipe, bundle: Bundle, data: SequenceSet, bits: Literal[8, 16]) -> dict[str, float]:
    """The task's metric of float64 and of the integers, bit for bit those of the C code."""
    model, exact, rounded, frames = lower_integer(bundle, bits), [], [], 0
    for block in data.inputs:
        exact.append(run(bundle.meta.ops, bundle.tensors, block)[0].astype("float32"))
        rounded.append(model.decode(run_integer(model, model.encode(block))[0]))
        frames += len(block)
        if frames >= FRAMES and recipe.task == "regression":
            break
    return {"float": score(recipe, exact, data), "int8": score(recipe, rounded, data)}


def row(name: str, seed: int, bits: Literal[8, 16], share: float, bundle: Bundle) -> dict[str, Any]:
    """One model, seed and width of the activations."""
    recipe = recipe_of(name, seed)
    splits = load(recipe)
    steps = round(share * recipe.train.steps)
    found = quantisation_aware(bundle, recipe, splits, steps, activation_bits=bits)
    before = metrics(recipe, bundle, splits.test, bits)
    after = metrics(recipe, found.bundle, splits.test, bits) if found.helped else before
    return {
        "model": name,
        "seed": seed,
        "activation_bits": bits,
        "metric": "accuracy" if recipe.task == "classification" else "nrmse",
        "steps": steps,
        "float": before["float"],
        "rounded_after_training": before["int8"],
        "trained_with_rounding": after["int8"],
        "float_of_the_trained": after["float"],
        "on_validation": found.facts(),
    }


def recipe_of(name: str, seed: int) -> Recipe:
    """The recipe of a model of the table."""
    source, changes = MODELS[name]
    return Recipe.load(source, (*changes, f"seed={seed}"))


def main() -> None:
    """Print a row a line, write all of them as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--share", type=float, default=0.15, help="steps with rounding, of the recipe's")
    parser.add_argument("--models", nargs="*", default=list(MODELS), choices=list(MODELS))
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for name in given.models:
        for seed in range(given.seeds):
            recipe = recipe_of(name, seed)
            bundle = trained(recipe, load(recipe))
            for bits in (16, 8):
                rows.append(row(name, seed, bits, given.share, bundle))
                r = rows[-1]
                print(
                    f"{name}, seed {seed}, a{bits}: {r['metric']} float {r['float']:.4f}, rounded"
                    f" {r['rounded_after_training']:.4f}, trained {r['trained_with_rounding']:.4f}"
                    f" (step {r['on_validation']['best_step']} of {r['steps']})",
                    flush=True,
                )
    if given.json:
        given.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
