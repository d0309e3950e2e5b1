"""Step time of the sequence layer and of a whole network on a GPU, against this machine's CPU.

Forward and backward of one LRU layer by each method, and of a network of four blocks with its loss,
median over the rounds; the methods take turns, so that a clock that drifts meets all of them. Without
a CUDA device it says so and does nothing.

    python benchmarks/train_gpu.py --out benchmarks/results/train_gpu.json
"""

from __future__ import annotations

import argparse
import platform
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from _output import publish

from ssmith.recipe import ModelSettings
from ssmith.train.loss import classification_loss
from ssmith.train.model import build_network
from ssmith.train.scan import Method, lru_scan

# (batch, T, N, H), as in scan_against_jax.py, and a long one.
SIZES = [(50, 784, 256, 8), (50, 784, 28, 8), (16, 784, 256, 96), (4, 1024, 384, 512), (1, 16384, 256, 64)]
METHODS: tuple[Method, ...] = ("auto", "ssd", "fused")


def layer_step(size: tuple[int, int, int, int], method: Method, device: str) -> Callable[[], object]:
    """Forward and backward of one layer with random weights."""
    batch, steps, n, width = size
    generator = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator)

    radius, angle = (
        0.9 + 0.099 * torch.rand(n, generator=generator),
        6.28 * torch.rand(n, generator=generator),
    )
    lam = radius * torch.stack((angle.cos(), angle.sin()))
    leaves = [normal(batch, steps, width), lam, normal(2 * n, width), normal(width, 2 * n)]
    leaves = [leaf.to(device).requires_grad_() for leaf in leaves]
    weight = normal(batch, steps, width).to(device)

    def step() -> object:
        y, _ = lru_scan(*leaves, method=method)
        return torch.autograd.grad((weight * y).sum(), leaves)

    return step


def network_step(size: tuple[int, int, int, int], device: str) -> Callable[[], object]:
    """Forward, loss and backward of four blocks with ten classes."""
    batch, steps, n, width = size
    settings = ModelSettings(width=width, order=n, blocks=4)
    model = build_network(settings, 1, 10, pooling="ema", seed=0).to(device)
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(batch, steps, 1, generator=generator).to(device)
    labels = torch.randint(0, 10, (batch,), generator=generator).to(device)

    def step() -> object:
        return torch.autograd.grad(classification_loss(model(x), labels), list(model.parameters()))

    return step


def timed(steps: dict[str, Callable[[], object]], device: str, rounds: int) -> dict[str, float]:
    """Median milliseconds of each, in turns, three calls of warm-up left out."""

    def wait() -> None:
        if device != "cpu":
            torch.cuda.synchronize()

    times: dict[str, list[float]] = {name: [] for name in steps}
    for k in range(rounds + 3):
        for name, step in steps.items():
            wait()
            begin = time.perf_counter()
            step()
            wait()
            if k >= 3:
                times[name].append(1e3 * (time.perf_counter() - begin))
    return {name: statistics.median(values) for name, values in times.items()}


def measure(size: tuple[int, int, int, int], device: str, rounds: int) -> dict[str, float]:
    """Median milliseconds of the layer by each method that suits the size, and of the network."""
    methods = [m for m in METHODS if m != "ssd" or size[3] <= 32]
    steps = {f"layer_{method}": layer_step(size, method, device) for method in methods}
    return timed({**steps, "network": network_step(size, device)}, device, rounds)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--out", type=Path, help="write the JSON here too")
    options = parser.parse_args()
    if not torch.cuda.is_available():
        print("skipped: no CUDA device on this machine", file=sys.stderr)
        return 0
    rows = []
    for size in SIZES:
        torch.cuda.reset_peak_memory_stats()
        row: dict[str, object] = {"size": dict(zip(("batch", "T", "N", "H"), size, strict=True))}
        row["gpu_ms"] = measure(size, "cuda", options.rounds)
        row["gpu_peak_bytes"] = torch.cuda.max_memory_allocated()
        row["cpu_ms"] = measure(size, "cpu", max(3, options.rounds // 10))
        rows.append(row)
    report = {
        "question": "step time of the layer and of a network on a GPU and on the CPU",
        "command": [Path(sys.executable).name, *sys.argv],
        "gpu": torch.cuda.get_device_name(),
        "cpu_threads": torch.get_num_threads(),
        "system": platform.platform(),
        "torch": torch.__version__,
        "rounds": options.rounds,
        "rows": rows,
    }
    publish(report, options.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
