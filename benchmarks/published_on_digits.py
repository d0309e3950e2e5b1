"""Is the published method here the published method? Its figures on digits, against those measured before.

Before this project a line-by-line reimplementation of CompreSSM [Chahine2025] (complex Gramians, Σσ, sliced
Adam moments, four cuts in the first tenth) was run on scikit-learn's digits: layer norm, H = 16, N = 64, 800
steps, learning rate 4e-3. `EARLIER` holds its means and standard deviations over 6 seeds (5 at order 12 in
training). The same set-up here, with `criterion = "complex"` and `moments = "keep"`, has to come out within
one deviation.

    python benchmarks/published_on_digits.py --seeds 6 --out benchmarks/results/published_on_digits.json
"""

from __future__ import annotations

import statistics
import tempfile
from pathlib import Path
from typing import Any

import torch
from _output import Rows, arguments, by_seed, versions

from ssmith.recipe import Recipe
from ssmith.reduce import reduce_system
from ssmith.train.checkpoint import Checkpoint
from ssmith.train.data import load
from ssmith.train.evaluate import evaluate
from ssmith.train.loop import load_network, train

CPU = torch.device("cpu")
PUBLISHED = {"criterion": "complex", "moments": "keep", "window": [0.025, 0.1], "cuts": 4}
NO_LIMIT = {"max_loss_increase": 1e9, "gate": 0.0}
# No warm-up, no decay, no clipping, one rate for all parameters.
EARLIER_TRAINING = {
    "ssm_learning_rate_factor": 1.0,
    "warmup": 0.0,
    "weight_decay": 0.0,
    "gradient_clip": 1e9,
}
EARLIER = {
    "full": (0.944, 0.018),
    "one_shot_24": (0.747, 0.263),
    "one_shot_16": (0.476, 0.217),
    "one_shot_12": (0.301, 0.211),
    "one_shot_8": (0.260, 0.183),
    "in_training_12": (0.866, 0.070),
    "in_training_8": (0.815, 0.111),
}


def recipe(seed: int, order: int | None) -> Recipe:
    reduce = {} if order is None else {"order": order} | PUBLISHED | NO_LIMIT
    raw = {
        "name": "digits",
        "task": "classification",
        "seed": seed,
        "data": {"source": "digits"},
        "model": {"width": 16, "order": 64, "norm": "layer", "pooling": "mean"},
        "train": {"steps": 800, "batch": 50, "learning_rate": 4e-3} | EARLIER_TRAINING,
        "reduce": reduce,
    }
    return Recipe.parse(raw, "published_on_digits")


def measure(seed: int) -> dict[str, Any]:
    row: dict[str, Any] = {"seed": seed}
    full = recipe(seed, None)
    splits = load(full)
    with tempfile.TemporaryDirectory() as folder:
        row["full"] = train(full, splits, Path(folder), threads=1).test_metric
        best = Checkpoint.read(Path(folder) / "best.safetensors")
    for order in (24, 16, 12, 8):
        network = load_network(full, splits, best)
        layer = network.layers[0]
        layer.load_system(reduce_system(layer.system(), criterion="complex", order=order).system)
        row[f"one_shot_{order}"] = evaluate(full, network, splits.test, CPU).metric
    for order in (12, 8):
        with tempfile.TemporaryDirectory() as folder:
            result = train(recipe(seed, order), splits, Path(folder), threads=1)
            assert result.orders == (order,)
            row[f"in_training_{order}"] = result.test_metric
    return row


def document(rows: Rows) -> dict[str, Any]:
    compared = {}
    for name, (mean, deviation) in EARLIER.items():
        here = [row[name] for row in rows]
        compared[name] = {
            "here": statistics.fmean(here),
            "here_sd": statistics.stdev(here) if len(here) > 1 else None,
            "earlier": mean,
            "earlier_sd": deviation,
            "within_one_deviation": abs(statistics.fmean(here) - mean) <= deviation,
        }
    return {"compared": compared}


def main() -> None:
    options = arguments(__doc__, seeds=6)
    torch.set_num_threads(1)
    by_seed(range(options.seeds), measure, document, {"versions": versions()}, options.out)


if __name__ == "__main__":
    main()
