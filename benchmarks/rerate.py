"""What does a model lose at another sample rate? Against the device itself at that rate.

The compressor is defined in continuous time and its dry signals are band-limited, so the same test recordings
exist at every rate with what the device makes of them there. The model of a finished run (`ssmith run
compressor`) is re-rated from 48 kHz and runs on them, beside what a user has without re-rating: the same
numbers at the wrong rate. ESR here is the mean over recordings of |error|² / |target|².

    python benchmarks/rerate.py --runs runs --out benchmarks/results/rerate.json
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np
from _output import publish, versions

from ssmith.bundle import Bundle
from ssmith.devices.fingerprint import host_fingerprint
from ssmith.recipe import Recipe
from ssmith.rerating import rerated
from ssmith.runtime.reference import run
from ssmith.train.data import load

RATES_HZ = (44_100.0, 48_000.0, 96_000.0)


def measure(bundle: Bundle, seed: int) -> list[dict[str, Any]]:
    """A row a rate."""
    rows = []
    for rate in RATES_HZ:
        splits = load(Recipe.load("compressor", (f"data.rate_hz={rate}", f"seed={seed}")))
        moved, _ = rerated(bundle, rate)
        row: dict[str, Any] = {"rate_hz": rate, "recordings": len(splits.test)}
        for name, model in (("rerated", moved), ("unchanged", bundle)):
            ratios = []
            for u, y in zip(splits.test.inputs, splits.test.targets, strict=True):
                output, _ = run(model.meta.ops, model.tensors, u)
                ratios.append(np.square(output - y).sum() / np.square(y).sum())
            row[f"{name}_esr"] = float(np.mean(ratios))
        rows.append(row)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    parser.add_argument("--seed", type=int, default=0, help="of the run: whose test recordings are used")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    bundle = Bundle.read(next(iter(sorted(options.runs.glob("compressor-*/compressor.ssm")))))
    document = {
        "benchmark": "rerate",
        "command": " ".join(["python", *sys.argv]),
        "machine": host_fingerprint(),
        "versions": versions(),
        "rows": measure(bundle, options.seed),
    }
    publish(document, options.out)


if __name__ == "__main__":
    main()
