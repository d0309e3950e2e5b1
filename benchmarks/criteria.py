"""Which criterion keeps the most when a trained network is cut? Seven criteria, three tasks, paired by seed.

Digits, flexjoint and sequential MNIST (N = 64, 1,000 steps). Per seed one full network; every criterion cuts
copies of it in one go, without training on (`one_shot`), with C refitted by ridge regression (`refit`), and
trained on for a tenth of the steps (`tuned`). The criterion is chosen by the validation figures (`chosen`),
the test figures are what is reported.

    ssmith fetch smnist
    python benchmarks/criteria.py --seeds 5 --out benchmarks/results/criteria.json

Killed, it goes on; full networks are kept in runs/benchmarks.
"""

from __future__ import annotations

import json
import statistics
import sys
from typing import Any

import torch
from _output import arguments, keep, publish, versions
from _trained import CPU, TASKS, Trained, cut_to, trained

from ssmith.reduce.criteria import CRITERIA
from ssmith.train.evaluate import evaluate
from ssmith.train.finetune import fine_tune

DIVISORS = (4, 8, 16)
REFITTED = ("task-aware", "empirical")
TUNED_DIVISOR, TUNED_SHARE = 8, 0.1


def measure(task: str, seed: int) -> list[dict[str, Any]]:
    """All cuts of one task's full network of one seed."""
    full = trained(task, seed)
    start = full.recipe.model.orders[0]
    base = evaluate(full.recipe, full.network(), full.splits.validation, CPU)
    rows = [row(task, seed, "full", "one_shot", start, base.metric, full.result.test_metric)]
    for criterion in CRITERIA:
        for divisor in DIVISORS:
            order = start // divisor
            ways = ("one_shot", "refit") if criterion in REFITTED else ("one_shot",)
            for way in ways:
                network = cut_to(full, order, criterion=criterion, refit=way == "refit")
                rows.append(row(task, seed, criterion, way, order, *metrics(full, network)))
                if divisor == TUNED_DIVISOR and way == "one_shot":
                    steps = round(TUNED_SHARE * full.recipe.train.steps)
                    fine_tune(network, full.recipe, full.splits, steps)
                    rows.append(row(task, seed, criterion, "tuned", order, *metrics(full, network)))
    return rows


def row(
    task: str, seed: int, criterion: str, way: str, order: int, validation: float, test: float
) -> dict[str, Any]:
    return {
        "task": task,
        "seed": seed,
        "criterion": criterion,
        "way": way,
        "order": order,
        "validation": validation,
        "test": test,
    }


def metrics(full: Trained, network: torch.nn.Module) -> tuple[float, float]:
    found = [evaluate(full.recipe, network, part, CPU) for part in (full.splits.validation, full.splits.test)]
    return found[0].metric, found[1].metric


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Mean and deviation of the test metric in every cell, and mean ranks of the criteria on validation."""
    cells: dict[tuple[str, str, int], dict[str, list[dict[str, Any]]]] = {}
    for one in rows:
        if one["criterion"] != "full":
            cell = cells.setdefault((one["task"], one["way"], one["order"]), {})
            cell.setdefault(one["criterion"], []).append(one)
    table, ranks = {}, {}
    for (task, way, order), found in cells.items():
        table[f"{task} {way} {order}"] = {
            criterion: {
                "test": statistics.fmean(one["test"] for one in many),
                "sd": statistics.stdev(one["test"] for one in many) if len(many) > 1 else None,
                "validation": statistics.fmean(one["validation"] for one in many),
            }
            for criterion, many in found.items()
        }
        if way != "refit":
            sign = -1 if TASK_HIGHER[task] else 1
            order_of = sorted(found, key=lambda c: sign * statistics.fmean(o["validation"] for o in found[c]))
            for rank, criterion in enumerate(order_of, 1):
                ranks.setdefault(criterion, []).append(rank)
    mean_ranks = {criterion: statistics.fmean(found) for criterion, found in ranks.items()}
    return {"table": table, "mean_rank": mean_ranks, "chosen": min(mean_ranks, key=mean_ranks.__getitem__)}


TASK_HIGHER = {"digits": True, "flexjoint": False, "smnist": True}


def main() -> None:
    options = arguments(__doc__, seeds=5, tasks=list(TASKS))
    torch.set_num_threads(1)
    key = {"versions": versions()}
    earlier = json.loads(options.out.read_text()) if options.out is not None and options.out.exists() else {}
    rows = earlier.get("rows", []) if earlier.items() >= key.items() else []
    for task in options.tasks:
        for seed in range(options.seeds):
            if all((one["task"], one["seed"]) != (task, seed) for one in rows):
                rows += measure(task, seed)
                print(task, seed, file=sys.stderr, flush=True)
                keep({**key, **summary(rows), "rows": rows}, options.out)
    publish({**key, **summary(rows), "rows": rows}, options.out)


if __name__ == "__main__":
    main()
