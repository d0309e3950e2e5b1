"""Does cutting while training hold up in other networks? Dropout, norms, depth, more states; by seed.

Digits, each network trained full, cut to an eighth of its states while training (the recipe's two early
cuts), and from scratch at that size; paired by seed.

    python benchmarks/networks.py --seeds 3 --out benchmarks/results/networks.json
"""

from __future__ import annotations

import statistics
from typing import Any

import torch
from _output import Rows, arguments, by_seed, versions
from _trained import trained

NETWORKS: dict[str, dict[str, Any]] = {
    "batch norm": {},
    "layer norm": {"norm": "layer"},
    "batch norm, dropout 0.1": {"dropout": 0.1},
    "batch norm, dropout 0.3": {"dropout": 0.3},
    "2 blocks": {"blocks": 2},
    "4 blocks": {"blocks": 4},
    "128 states": {"order": 128},
    "256 states": {"order": 256},
}
CUTS = {"cuts": 2, "window": [0.1, 0.2], "max_loss_increase": 1e9}


def measure(seed: int) -> dict[str, Any]:
    row: dict[str, Any] = {"seed": seed}
    for name, model in NETWORKS.items():
        order = model.get("order", 64) // 8
        row[name] = {
            "full": trained("digits", seed, model=model).result.test_metric,
            "reduced": trained(
                "digits", seed, model=model, reduce={"order": order, **CUTS}
            ).result.test_metric,
            "scratch": trained("digits", seed, model={**model, "order": order}).result.test_metric,
        }
    return row


def document(rows: Rows) -> dict[str, Any]:
    table = {}
    for name in NETWORKS:
        arms = {arm: [row[name][arm] for row in rows] for arm in ("full", "reduced", "scratch")}
        table[name] = {arm: statistics.fmean(found) for arm, found in arms.items()}
        for other in ("full", "scratch"):
            differences = [a - b for a, b in zip(arms["reduced"], arms[other], strict=True)]
            table[name][f"reduced_minus_{other}"] = statistics.fmean(differences)
    return {"table": table}


def main() -> None:
    options = arguments(__doc__, seeds=3)
    torch.set_num_threads(1)
    by_seed(range(options.seeds), measure, document, {"versions": versions()}, options.out)


if __name__ == "__main__":
    main()
