r"""Does the discarded tail Σσ² predict what a cut costs? Predicted against measured, three tasks.

With the task-aware criterion the outputs of a sequence of T steps should move, squared and summed, by about
T Σ_{i>q} σ_i² (train/statistics.py: to first order, with errors at different steps independent). One layer is
cut at a time, from 0.95 N states to N/16; measured are the outputs' squared change and the loss's rise on
validation.

    python benchmarks/predicted_loss.py --seeds 3 --out benchmarks/results/predicted_loss.json

draws benchmarks/results/predicted_loss.svg beside it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import scipy.stats
import torch
from _output import arguments, publish, versions
from _trained import CPU, TASKS, Trained, trained

from ssmith.reduce import reduce_system
from ssmith.train.evaluate import evaluate, in_batches, outputs_function
from ssmith.train.statistics import collect

SHARES = (0.95, 0.75, 0.5, 0.375, 0.25, 0.1875, 0.125, 0.0625)


def measure(task: str, seed: int) -> list[dict[str, Any]]:
    full = trained(task, seed)
    base, loss = (
        outputs(full, full.network()),
        evaluate(full.recipe, full.network(), full.splits.validation, CPU),
    )
    steps = float(full.splits.train.lengths.mean())
    rows = []
    for index in range(len(full.network().layers)):
        network = full.network()
        layer = network.layers[index]
        system = layer.system()
        batches = in_batches(full.splits.train, CPU, full.recipe.reduce.sequences)
        found = collect(network, {"": layer}, batches, outputs=outputs_function(full.recipe))[""]
        for share in SHARES:
            order = max(1, int(share * system.order))
            reduction = reduce_system(system, measured=found.measured, order=order)
            layer.load_system(reduction.system)
            after = evaluate(full.recipe, network, full.splits.validation, CPU)
            moved = (outputs(full, network) - base).square().sum() / len(full.splits.validation)
            tail = float((reduction.singular_values[reduction.real_order :] ** 2).sum())
            rows.append(
                {
                    "task": task,
                    "seed": seed,
                    "layer": index,
                    "order": order,
                    "predicted": steps * tail,
                    "measured": float(moved),
                    "loss_rise": after.loss - loss.loss,
                    "loss": loss.loss,
                }
            )
    return rows


@torch.no_grad()
def outputs(full: Trained, network: torch.nn.Module) -> torch.Tensor:
    """The outputs that count, of all validation sequences, one after the other."""
    of = outputs_function(full.recipe)
    parts = [of(network, batch).flatten().double() for batch in in_batches(full.splits.validation, CPU)]
    return torch.cat(parts)


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for task in dict.fromkeys(row["task"] for row in rows):
        some = [row for row in rows if row["task"] == task and row["predicted"] > 0 and row["measured"] > 0]
        predicted, measured = (np.array([row[key] for row in some]) for key in ("predicted", "measured"))
        ratio = measured / predicted
        rise = np.array([row["loss_rise"] for row in some])
        found[task] = {
            "rank_correlation_outputs": float(scipy.stats.spearmanr(predicted, measured).statistic),
            "rank_correlation_loss": float(scipy.stats.spearmanr(predicted, rise).statistic),
            "measured_over_predicted_median": float(np.median(ratio)),
            "measured_over_predicted_range": [float(ratio.min()), float(ratio.max())],
        }
    return found


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "ssmith"
    from matplotlib import pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4.5), layout="constrained")
    for task in dict.fromkeys(row["task"] for row in rows):
        some = [row for row in rows if row["task"] == task]
        predicted = [row["predicted"] for row in some]
        left.loglog(predicted, [row["measured"] for row in some], ".", label=task)
        right.loglog(predicted, [max(row["loss_rise"], 1e-7) for row in some], ".", label=task)
    limits = left.get_xlim()
    left.plot(limits, limits, "k-", linewidth=0.8, label="equal")
    left.set(xlabel="predicted: T Σσ² of what is dropped", ylabel="measured squared change of the outputs")
    right.set(xlabel="predicted: T Σσ² of what is dropped", ylabel="rise of the held-out loss (1e-7: none)")
    left.legend()
    figure.savefig(path, metadata={"Date": None})


def main() -> None:
    options = arguments(__doc__, seeds=3, tasks=list(TASKS))
    torch.set_num_threads(1)
    rows = [row for task in options.tasks for seed in range(options.seeds) for row in measure(task, seed)]
    publish({"versions": versions(), "found": summary(rows), "rows": rows}, options.out)
    if options.out is not None:
        draw(rows, options.out.with_suffix(".svg"))


if __name__ == "__main__":
    main()
