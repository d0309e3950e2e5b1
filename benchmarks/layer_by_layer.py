"""Cut layers one by one, with fresh statistics, or all at once? Trained digits networks, paired by seed.

Digits with 2 and 4 blocks of 64 states, cut after training to 16, 8 and 4 states a layer, not trained on.

    python benchmarks/layer_by_layer.py --seeds 3 --out benchmarks/results/layer_by_layer.json
"""

from __future__ import annotations

import statistics
from typing import Any

import torch
from _output import Rows, arguments, by_seed, versions
from _trained import CPU, Trained, cut_to, trained

from ssmith.reduce import reduce_system
from ssmith.train.evaluate import evaluate, in_batches, outputs_function
from ssmith.train.model import Network
from ssmith.train.statistics import collect

DEPTHS, ORDERS = (2, 4), (16, 8, 4)


def at_once(full: Trained, order: int) -> Network:
    """Every layer cut with statistics of the uncut network."""
    network = full.network()
    layers = {str(i): layer for i, layer in enumerate(network.layers)}
    batches = in_batches(full.splits.train, CPU, full.recipe.reduce.sequences)
    found = collect(network, layers, batches, outputs=outputs_function(full.recipe))
    for name, layer in layers.items():
        reduction = reduce_system(layer.system(), measured=found[name].measured, order=order)
        layer.load_system(reduction.system)
    return network


def measure(seed: int) -> dict[str, Any]:
    row: dict[str, Any] = {"seed": seed}
    for blocks in DEPTHS:
        full = trained("digits", seed, model={"blocks": blocks})
        row[f"{blocks} full"] = full.result.test_metric
        for order in ORDERS:
            for name, cut in (("fresh", cut_to), ("at_once", at_once)):
                network = cut(full, order)
                row[f"{blocks} {name} {order}"] = evaluate(full.recipe, network, full.splits.test, CPU).metric
    return row


def document(rows: Rows) -> dict[str, Any]:
    table = {}
    for name in rows[0]:
        if name != "seed":
            tests = [row[name] for row in rows]
            table[name] = {"test": statistics.fmean(tests), "sd": statistics.pstdev(tests)}
    wins = {
        f"{blocks} blocks, order {order}": [
            row[f"{blocks} fresh {order}"] - row[f"{blocks} at_once {order}"] for row in rows
        ]
        for blocks in DEPTHS
        for order in ORDERS
    }
    return {"table": table, "fresh_minus_at_once": wins}


def main() -> None:
    options = arguments(__doc__, seeds=3)
    torch.set_num_threads(1)
    by_seed(range(options.seeds), measure, document, {"versions": versions()}, options.out)


if __name__ == "__main__":
    main()
