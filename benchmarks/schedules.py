"""When should the cuts happen? Schedules and windows, paired by seed, full training each.

    python benchmarks/schedules.py --seeds 3 --out benchmarks/results/schedules.json

For each task (digits to 8 of 64 states, flexjoint to 4 of 32 in 600 steps) and seed: the full network, and
the same training with every schedule. The default is chosen by the validation figures; test figures are
reported. Killed, it goes on.
"""

from __future__ import annotations

import statistics
from typing import Any

import torch
from _output import arguments, publish, versions
from _trained import trained

ORDERS = {"digits": 8, "flexjoint": 4}
SHORTER = {"flexjoint": {"train": {"steps": 600}}}
SCHEDULES: dict[str, dict[str, Any]] = {
    "window 0-10 %": {"schedule": "window", "window": [0.025, 0.1]},
    "window 10-40 %": {"schedule": "window", "window": [0.1, 0.4]},
    "window 30-60 %": {"schedule": "window", "window": [0.3, 0.6]},
    "once at 30 %": {"schedule": "once", "window": [0.3, 0.3]},
    "once at 60 %": {"schedule": "once", "window": [0.6, 0.6]},
    "gradual 10-40 %": {"schedule": "gradual", "window": [0.1, 0.4]},
    "gradual 30-60 %": {"schedule": "gradual", "window": [0.3, 0.6]},
    "plateau 10-60 %": {"schedule": "plateau", "window": [0.1, 0.6]},
}
NO_LIMIT = {"max_loss_increase": 1e9}


def measure(task: str, seed: int) -> dict[str, Any]:
    shorter = SHORTER.get(task, {})
    full = trained(task, seed, **shorter).result
    row: dict[str, Any] = {"task": task, "seed": seed}
    row["full"] = [full.validation_metric, full.test_metric, full.seconds]
    for name, settings in SCHEDULES.items():
        found = trained(task, seed, **shorter, reduce={"order": ORDERS[task], **settings, **NO_LIMIT}).result
        row[name] = [found.validation_metric, found.test_metric, found.seconds]
    return row


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    table: dict[str, Any] = {}
    for task in ORDERS:
        found = [row for row in rows if row["task"] == task]
        for name in ("full", *SCHEDULES):
            validation, test, seconds = zip(*(row[name] for row in found), strict=True)
            differences = [row[name][1] - row["full"][1] for row in found]
            table[f"{task}: {name}"] = {
                "validation": statistics.fmean(validation),
                "test": statistics.fmean(test),
                "test_minus_full": statistics.fmean(differences),
                "test_minus_full_sd": statistics.stdev(differences) if len(found) > 1 else None,
                "seconds": statistics.median(seconds),
            }
    return {"table": table}


def main() -> None:
    options = arguments(__doc__, seeds=3)
    torch.set_num_threads(1)
    rows = [measure(task, seed) for task in ORDERS for seed in range(options.seeds)]
    publish({"versions": versions(), **summary(rows), "rows": rows}, options.out)


if __name__ == "__main__":
    main()
