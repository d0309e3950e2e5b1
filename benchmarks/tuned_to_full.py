"""Can an eighth of the states reach the full network? Trained on for longer, or taught by it.

Digits, 64 states cut to 8 in one go after training, then trained on for a share of the full network's steps,
with and without the full network as teacher (distillation, weight 0.5, temperature 2). `full_longer` is the
full network trained on for as long, so that more training is not mistaken for a cut without loss.

    python benchmarks/tuned_to_full.py --seeds 5 --out benchmarks/results/tuned_to_full.json
"""

from __future__ import annotations

import statistics
from typing import Any

import torch
from _output import Rows, arguments, by_seed, versions
from _trained import CPU, cut_to, trained

from ssmith.train.distill import Teacher
from ssmith.train.evaluate import evaluate
from ssmith.train.finetune import fine_tune

ORDER = 8
SHARES = (0.1, 0.5, 1.0)


def measure(seed: int) -> dict[str, Any]:
    full = trained("digits", seed)
    row: dict[str, Any] = {"seed": seed, "full": full.result.test_metric}

    def test(network: torch.nn.Module) -> float:
        return evaluate(full.recipe, network, full.splits.test, CPU).metric

    row["one_shot"] = test(cut_to(full, ORDER))
    for share in SHARES:
        steps = round(share * full.recipe.train.steps)
        for name, network, teacher in (
            ("tuned", cut_to(full, ORDER), None),
            ("distilled", cut_to(full, ORDER), Teacher(full.network())),
            ("full_longer", full.network(), None),
        ):
            fine_tune(network, full.recipe, full.splits, steps, teacher=teacher)
            row[f"{name} {share:g}"] = test(network)
    return row


def document(rows: Rows) -> dict[str, Any]:
    names = [name for name in rows[0] if name != "seed"]
    table = {}
    for name in names:
        differences = [row[name] - row["full"] for row in rows]
        table[name] = {
            "test": statistics.fmean(row[name] for row in rows),
            "minus_full": statistics.fmean(differences),
            "minus_full_sd": statistics.stdev(differences) if len(rows) > 1 else None,
            "at_least_full": sum(difference >= 0 for difference in differences),
        }
    return {"table": table}


def main() -> None:
    options = arguments(__doc__, seeds=5)
    torch.set_num_threads(1)
    by_seed(range(options.seeds), measure, document, {"order": ORDER, "versions": versions()}, options.out)


if __name__ == "__main__":
    main()
