"""How long does one step take in C, ONNX Runtime, ExecuTorch and torch? Over sizes of the model.

Models of 5, 30, 103 and 503 thousand parameters, random weights, 40 inputs and 12 outputs; every peer gets
the same one and has to compute the same numbers before it is timed. Then all take turns on one core with one
thread: a round runs each of them once. A figure is CPU time of the thread per step. A ratio is the median
over rounds of both times in the same round, so that what a neighbour does to the machine hits both; its
interval is the middle 95 % of what rounds drawn anew give (bootstrap). A target is met when its whole
interval is.

    python benchmarks/step_latency.py --out benchmarks/results/step_latency.json

"our step" and "torch.onnx.export" are the same network run alike, on buffers bound once; a Session is what a
user of ssmith calls, with its checks. "step" programs of ExecuTorch hand states in and out; "stream"
programs, which a Session takes where a folder has them, keep them inside.
"""

from __future__ import annotations

import argparse
import platform
import sys
import tempfile
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from _native import (
    FRAMES,
    Candidate,
    noise,
    of_engine,
    of_model,
    processor,
    reference_model,
    table,
    times_of,
)
from _output import keep, publish
from _peers import PYTHON_FRAMES, onnx_runtime
from _peers_executorch import executorch
from _peers_torch import in_torch, onnx_pair
from numpy.typing import NDArray

from ssmith.bundle import Bundle
from ssmith.export import c99
from ssmith.ops import Float32
from ssmith.runtime import reference
from tests.bundles import random_bundle

NATIVE = ("-march=native",)
REFERENCE = "103k"
FASTEST = "C, generated"
# Name: width and number of blocks; 103k is native_step.py's model of reference.
SIZES = {"5k": (24, 1), "30k": (48, 2), REFERENCE: (64, 4), "503k": (128, 5)}
TOLERANCE = 1e-5  # of the largest output: float32 in another order, after 32 steps of a stack of blocks
DRAWS = 4000
PACKAGES = ("numpy", "torch", "onnx", "onnxruntime", "onnxscript", "executorch")


@dataclass(frozen=True)
class Target:
    """``name`` takes at most ``limit`` times as long as ``other``."""

    name: str
    other: str
    limit: float


TARGETS = (
    Target("ONNX Runtime, our step", "ONNX Runtime, torch.onnx.export", 0.7),
    Target("ExecuTorch, Session, stream", "ONNX Runtime, Session", 1.0),
    Target("ExecuTorch, Session, step", "ONNX Runtime, Session", 1.0),
    Target("ExecuTorch, Python, step", "ONNX Runtime, our step", 1.0),
    Target("ExecuTorch, C++, step", "ONNX Runtime, our step", 1.0),
)


def model_of(size: str) -> Bundle:
    """A model of about so many parameters."""
    if size == REFERENCE:
        return reference_model()
    width, blocks = SIZES[size]
    rng = np.random.default_rng(0)
    return random_bundle(
        rng,
        name=f"m{size}",
        width=width,
        orders=(width,) * blocks,
        inputs=40,
        outputs=12,
        norm="affine",
        pool="none",
    )


def parameters(bundle: Bundle) -> int:
    """Numbers in the weights, without golden vectors and ranges."""
    kept = (t for key, t in bundle.tensors.items() if not key.startswith(("golden.", "calibration.")))
    return sum(tensor.size for tensor in kept)


def candidates_of(bundle: Bundle, folder: Path, *, compiled: bool) -> list[Candidate]:
    """Everyone that this machine has, C first."""
    c99.lower(bundle, folder)
    return [
        of_model(FASTEST, bundle, folder, "cc", NATIVE),
        of_engine("C, loadable", bundle, folder, "cc", NATIVE),
        *onnx_runtime(bundle, folder, "ONNX Runtime, Session"),
        *onnx_pair(bundle, folder),
        *executorch(bundle, folder),
        *in_torch(bundle, compiled=compiled),
    ]


def expected(bundle: Bundle) -> Float32:
    """Outputs for the noise that candidates are fed from a fresh state, in float64: (frames, Y)."""
    block = noise(PYTHON_FRAMES, len(bundle.meta.inputs)).astype(np.float64)
    state = reference.initial_state(bundle.meta.ops, bundle.tensors, block.shape[1], np.float64)
    outputs, _ = reference.run(bundle.meta.ops, bundle.tensors, block, state)
    return outputs


def deviation(candidate: Candidate, outputs: Float32) -> float:
    """How far the output is from the float64 reference after the first call, of the largest output.

    Raises:
        RuntimeError: it is no other order of the same sums.
    """
    assert candidate.last is not None
    calls = max(1, FRAMES // candidate.frames)
    candidate.call(calls)
    found = candidate.last()
    error = float(np.abs(found - outputs[calls * candidate.frames - 1]).max() / np.abs(outputs).max())
    if not error <= TOLERANCE:
        raise RuntimeError(f"{candidate.name} is not the same network: it is off by {error:.1e}")
    return error


def bootstrap(ratios: NDArray[np.float64]) -> tuple[float, float]:
    """The middle 95 % of the medians of rounds drawn anew."""
    rng = np.random.default_rng(0)
    drawn = rng.integers(len(ratios), size=(DRAWS, len(ratios)))
    low, high = np.quantile(np.median(ratios[drawn], axis=1), (0.025, 0.975))
    return float(low), float(high)


def compared(times: dict[str, NDArray[np.float64]], name: str, other: str) -> dict[str, Any]:
    """Median and interval of one peer's time over another's."""
    ratios = times[name] / times[other]
    low, high = bootstrap(ratios)
    return {"ratio": round(float(np.median(ratios)), 4), "interval": [round(low, 4), round(high, 4)]}


def rows_of(
    candidates: list[Candidate], times: dict[str, NDArray[np.float64]], errors: dict[str, float]
) -> list[dict[str, Any]]:
    """A row a peer; its ratio is to the generated C."""
    rows = []
    for candidate in candidates:
        own = times[candidate.name]
        ratio = compared(times, candidate.name, FASTEST)
        rows.append(
            {
                "name": candidate.name,
                "ns_min": round(float(own.min()), 1),
                "ns_median": round(float(np.median(own)), 1),
                "ratio": ratio["ratio"],
                "ratio_interval": ratio["interval"],
                "deviation": float(f"{errors[candidate.name]:.1e}"),
                "build": candidate.build,
            }
        )
    return rows


def verdicts(times: dict[str, NDArray[np.float64]]) -> list[dict[str, Any]]:
    """Every target whose peers are here; ``met`` is whether all of the interval is."""
    found = []
    for target in TARGETS:
        if {target.name, target.other} <= times.keys():
            ratio = compared(times, target.name, target.other)
            met = ratio["interval"][1] <= target.limit
            found.append(
                {"what": target.name, "over": target.other, "at_most": target.limit, **ratio, "met": met}
            )
    return found


def measure(size: str, rounds: int, *, compiled: bool) -> dict[str, Any]:
    """All peers of one size."""
    bundle = model_of(size)
    outputs = expected(bundle)
    with tempfile.TemporaryDirectory() as name:
        candidates = candidates_of(bundle, Path(name), compiled=compiled)
        errors = {candidate.name: deviation(candidate, outputs) for candidate in candidates}
        measured = times_of(candidates, rounds)
    times = {candidate.name: measured[:, k] for k, candidate in enumerate(candidates)}
    return {
        "size": size,
        "parameters": parameters(bundle),
        "rows": rows_of(candidates, times, errors),
        "targets": verdicts(times),
    }


def versions() -> dict[str, str]:
    """Of the packages that are here."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def main() -> None:
    """Print and keep the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--sizes", nargs="*", choices=list(SIZES), default=list(SIZES))
    parser.add_argument(
        "--quick", action="store_true", help="the smallest model, three rounds, no torch.compile"
    )
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    sizes, rounds = (["5k"], 3) if given.quick else (given.sizes, given.rounds)
    document: dict[str, Any] = {
        "processor": processor()["name"],
        "versions": versions(),
        "rounds": rounds,
        "tolerance": TOLERANCE,
        "sizes": [],
    }
    for size in sizes:
        document["sizes"].append(measure(size, rounds, compiled=not given.quick))
        keep(document, given.out)
        print(size, file=sys.stderr)
        table(document["sizes"][-1]["rows"])
    publish(document, given.out)


if __name__ == "__main__":
    main()
