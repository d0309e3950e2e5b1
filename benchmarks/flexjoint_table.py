"""How well does a reduced network simulate a flexible-joint arm? Free run on unseen episodes, by seed.

A seed draws the episodes, the initial weights and the batches. Per seed: `full` (32 states a layer),
`reduced` (the recipe: cut to 8 while training), `scratch` (8 from the first step), and what needs no network:
`persistence`, `arx` fitted by least squares and `output_error` refined from it, both of the real order that
the reduced network has (two blocks of 8 complex states: 32). All outputs are predicted from the inputs alone.
NRMSE is RMSE / standard deviation over all test frames. Checkpoints are selected on validation episodes.

    python benchmarks/flexjoint_table.py --first 5 --seeds 5 --out benchmarks/results/flexjoint_table.json

A killed run goes on: seeds that --out already holds for the same recipe are not trained again.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from _output import Rows, by_seed

from ssmith.devices.fingerprint import host_fingerprint
from ssmith.recipe import Recipe, ReduceSettings
from ssmith.train.baselines import free_run_errors
from ssmith.train.data import load
from ssmith.train.loop import train

NETWORKS = ("full", "reduced", "scratch")


def measure(recipe: Recipe, threads: int) -> dict[str, Any]:
    """All figures of one seed."""
    assert isinstance(recipe.reduce.order, int)
    no_cuts = recipe.model_copy(update={"reduce": ReduceSettings()})
    small = recipe.model.model_copy(update={"order": recipe.reduce.order})
    variants = {"full": no_cuts, "reduced": recipe, "scratch": no_cuts.model_copy(update={"model": small})}
    splits = load(recipe)
    row: dict[str, Any] = {"seed": recipe.seed}
    for name, one in variants.items():
        with tempfile.TemporaryDirectory() as folder:
            begin = time.process_time()
            result = train(one, splits, Path(folder), threads=threads)
        row |= {name: result.test_metric, f"{name}_orders": list(result.orders)}
        row[f"{name}_cpu_s"] = round(time.process_time() - begin, 1)
    real_order = 2 * sum(row["reduced_orders"])
    row["real_order"] = real_order
    return row | free_run_errors(splits.train, splits.test, real_order)


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Medians over the seeds with their spread, and each target beside what was measured."""
    names = [*NETWORKS, *(name for name in ("persistence", "arx", "output_error") if name in rows[0])]
    found: dict[str, Any] = {}
    for name in names:
        values = np.array([row[name] for row in rows])
        found[name] = {"median": float(np.median(values)), "min": values.min(), "max": values.max()}
    ratio = [row["reduced"] / row["full"] for row in rows]
    found["reduced_over_full"] = {"median": float(np.median(ratio)), "min": min(ratio), "max": max(ratio)}
    times = [row["reduced_cpu_s"] / row["full_cpu_s"] for row in rows]
    found["time_reduced_over_full"] = {
        "median": float(np.median(times)),
        "min": min(times),
        "max": max(times),
    }
    median = {name: found[name]["median"] for name in names}
    found["targets"] = {
        "full <= 0.45": median["full"] <= 0.45,
        "reduced within 10 % of full": found["reduced_over_full"]["median"] <= 1.1,
        "reduced better than ARX of the same real order": median["reduced"] < median["arx"],
        "reduced better than persistence": median["reduced"] < median["persistence"],
    }
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--first", type=int, default=5, help="first seed; 0 to 4 were used to tune the recipe"
    )
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    recipe = Recipe.load("flexjoint")
    key = {"recipe_sha256": recipe.digest(), "threads": options.threads}

    def measure_seed(seed: int) -> dict[str, Any]:
        return measure(recipe.model_copy(update={"seed": seed}), options.threads)

    def document(rows: Rows) -> dict[str, Any]:
        return {
            "benchmark": "flexjoint_table",
            "command": " ".join(["python", *sys.argv]),
            "machine": host_fingerprint(),
            "versions": {name: version(name) for name in ("ssmith", "torch", "numpy")},
            "summary": summary(rows),
        }

    by_seed(range(options.first, options.first + options.seeds), measure_seed, document, key, options.out)


if __name__ == "__main__":
    main()
