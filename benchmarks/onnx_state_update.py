"""The state update of an exported step model: dense product or pairs, which is faster when.

``export/onnx_states.py`` turns the state λ x by one (2N, 2N) product up to DENSE_MODES modes and by
four elementwise nodes beyond. Both forms of the same model take turns here, 4 layers wide 64, one
thread; the answer is the N where the medians cross.

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
from ssmith.export import onnx, onnx_states
from ssmith.ops import SSM
from ssmith.runtime.onnx import OnnxBackend, open_backend

LAYERS, WIDTH = 4, 64
ORDERS = (12, 32, 64, 80, 96, 128, 256)
FORMS = {"dense": 10**6, "pairs": 0}
ROUNDS, STEPS = 60, 50


def stack(order: int) -> Bundle:
    """Four SSM layers and nothing else, so that their cost is what is seen."""
    rng = np.random.default_rng(0)
    tensors, ops = {}, []
    for i in range(LAYERS):
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
    chosen = onnx_states.DENSE_MODES
    onnx_states.DENSE_MODES = limit
    try:
        with tempfile.TemporaryDirectory() as folder:
            return open_backend(onnx.lower(bundle, Path(folder))[0])
    finally:
        onnx_states.DENSE_MODES = chosen


def measure(order: int) -> dict[str, float]:
    """Median and minimum step time of both forms in microseconds, in turns."""
    bundle = stack(order)
    backends = {form: opened(bundle, limit) for form, limit in FORMS.items()}
    times: dict[str, list[float]] = {form: [] for form in FORMS}
    u = np.ones(WIDTH, np.float32)
    for _ in range(ROUNDS):
        for form, backend in backends.items():
            for _ in range(STEPS):
                begin = time.perf_counter()
                backend.step(u)
                times[form].append((time.perf_counter() - begin) * 1e6)
    row = {"order": float(order)}
    for form, samples in times.items():
        row |= {f"{form}_p50_us": float(np.median(samples)), f"{form}_min_us": min(samples)}
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path)
    out = parser.parse_args().out
    rows = [measure(order) for order in ORDERS]
    for row in rows:
        print("  ".join(f"{name} {value:.1f}" for name, value in row.items()))
    keep({"layers": LAYERS, "width": WIDTH, "rows": rows}, out)


if __name__ == "__main__":
    main()
