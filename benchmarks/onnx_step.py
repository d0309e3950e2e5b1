"""Is our ONNX step model faster than the one torch.onnx.export makes of the same network? Over sizes.

The models are those of step_latency.py. Both files run alike in ONNX Runtime, one thread, on buffers and
states bound once, and have to compute the same numbers first. They take turns; a ratio is the median over
rounds of ours / theirs in the same round, with the middle 95 % of what rounds drawn anew give.

    python benchmarks/onnx_step.py --out benchmarks/results/onnx_step.json
"""

from __future__ import annotations

import argparse
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from _native import processor, times_of
from _output import publish
from _peers_torch import onnx_pair
from step_latency import SIZES

from ssmith.bundle import Bundle
from tests.bundles import random_bundle

DRAWS = 4000


def model(width: int, blocks: int) -> Bundle:
    """So many blocks with as many modes as channels, 40 inputs, 12 outputs, a folded BatchNorm in each."""
    return random_bundle(
        np.random.default_rng(0),
        name="ref",
        width=width,
        orders=(width,) * blocks,
        inputs=40,
        outputs=12,
        norm="affine",
        pool="none",
    )


def measure(size: str, rounds: int) -> dict[str, Any]:
    """Step times of both and their ratio."""
    bundle = model(*SIZES[size])
    weights = sum(t.nbytes for key, t in bundle.tensors.items() if not key.startswith("golden."))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        ours, theirs = onnx_pair(bundle, folder)
        times = times_of([ours, theirs], rounds)
        bytes_ours = (folder / "ref.step.onnx").stat().st_size
        bytes_theirs = (folder / "torch.onnx").stat().st_size
    ratios = times[:, 0] / times[:, 1]
    drawn = np.random.default_rng(0).choice(ratios, (DRAWS, rounds))
    low, high = np.quantile(np.median(drawn, 1), (0.025, 0.975))
    return {
        "size": size,
        "parameters": weights // 4,
        "ours_us": [round(float(value) / 1e3, 2) for value in (times[:, 0].min(), np.median(times[:, 0]))],
        "theirs_us": [round(float(value) / 1e3, 2) for value in (times[:, 1].min(), np.median(times[:, 1]))],
        "ratio": round(float(np.median(ratios)), 3),
        "ratio_interval": [round(float(low), 3), round(float(high), 3)],
        "bytes_to_weights": [round(size / weights, 3) for size in (bytes_ours, bytes_theirs)],
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    rows = [measure(size, options.rounds) for size in SIZES]
    packages = {name: version(name) for name in ("torch", "onnx", "onnxruntime", "onnxscript")}
    document = {
        "processor": processor()["name"],
        "rounds": options.rounds,
        "rows": rows,
        "versions": packages,
    }
    publish(document, options.out)


if __name__ == "__main__":
    main()
