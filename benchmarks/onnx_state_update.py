"""The state update of an exported step model: matrices or elements, which is faster when.

``export/onnx_turn.py`` turns the states λ x by one (2N, 2N) product a layer as long as all these matrices
together hold DENSE_NUMBERS, and beyond by a few nodes on the elements of all layers. Both forms of the same
model take turns here, one thread, layers of width 64; the answer is where the medians cross.

    python benchmarks/onnx_state_update.py --out benchmarks/results/onnx_state_update.json
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
from _output import keep

from ssmith.bundle import Bundle, BundleMeta, Signal
from ssmith.export import onnx, onnx_turn
from ssmith.ops import SSM
from ssmith.runtime.onnx import OnnxBackend, open_backend

WIDTH = 64
SIZES = ((1, 64), (1, 96), (1, 128), (2, 64), (2, 80), (4, 12), (4, 32), (4, 48), (4, 64), (4, 128), (8, 32))
FORMS = {"dense": 10**9, "elements": 0}
ROUNDS, STEPS = 60, 50


def stack(layers: int, order: int) -> Bundle:
    """SSM layers and nothing else, so that their cost is what is seen."""
    rng = np.random.default_rng(0)
    tensors, ops = {}, []
    for i in range(layers):
        lam = 0.9 * np.exp(1j * rng.uniform(0, np.pi, order))
        shapes = {"b": (2 * order, WIDTH), "c": (WIDTH, 2 * order), "d": (WIDTH,)}
        tensors[f"{i}.lam"] = np.stack([lam.real, lam.imag]).astype(np.float32)
        for name, shape in shapes.items():
            tensors[f"{i}.{name}"] = (0.05 * rng.standard_normal(shape)).astype(np.float32)
        names = {"lam": f"{i}.lam", "B": f"{i}.b", "C": f"{i}.c", "D": f"{i}.d"}
        ops.append(SSM(name=f"ssm{i}", state=f"state_{i}", **names))
    signals = tuple(Signal(name=f"channel_{i}") for i in range(WIDTH))
    meta = BundleMeta(name="stack", task="regression", inputs=signals, outputs=signals, ops=tuple(ops))
    return Bundle(meta, tensors)


def opened(bundle: Bundle, limit: int) -> OnnxBackend:
    chosen = onnx_turn.DENSE_NUMBERS
    onnx_turn.DENSE_NUMBERS = limit
    try:
        with tempfile.TemporaryDirectory() as folder:
            return open_backend(onnx.lower(bundle, Path(folder))[0])
    finally:
        onnx_turn.DENSE_NUMBERS = chosen


def measure(layers: int, order: int) -> dict[str, float]:
    """Median and minimum step time of both forms in microseconds, in turns."""
    bundle = stack(layers, order)
    backends = {form: opened(bundle, limit) for form, limit in FORMS.items()}
    times: dict[str, list[float]] = {form: [] for form in FORMS}
    u = np.ones(WIDTH, np.float32)
    for _ in range(ROUNDS):
        for form, backend in backends.items():
            for _ in range(STEPS):
                begin = time.perf_counter()
                backend.step(u)
                times[form].append((time.perf_counter() - begin) * 1e6)
    row = {"layers": float(layers), "order": float(order), "numbers": float(4 * layers * order**2)}
    for form, samples in times.items():
        row |= {f"{form}_p50_us": float(np.median(samples)), f"{form}_min_us": min(samples)}
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path)
    out = parser.parse_args().out
    rows = [measure(*size) for size in SIZES]
    for row in rows:
        print("  ".join(f"{name} {value:.1f}" for name, value in row.items()))
    keep({"width": WIDTH, "rows": rows}, out)


if __name__ == "__main__":
    main()
