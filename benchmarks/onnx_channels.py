"""Products of independent channels in ONNX: matrices or elements, which is faster when.

``export/onnx_channels.py`` makes matrices with zeros of B and C when a file is opened, as long as one of
them holds MATRIX_NUMBERS numbers or fewer, and computes element by element beyond. Both forms of one layer,
and the same layer stored with its zeros, take turns here, one thread, in steps and in blocks; the answer is
where the medians cross.

    python benchmarks/onnx_channels.py --out benchmarks/results/onnx_channels.json
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from _native import processor
from _output import keep

from ssmith.bundle import Bundle, BundleMeta, Signal
from ssmith.export import onnx, onnx_channels
from ssmith.ops import SSM
from ssmith.runtime.onnx import open_backend
from ssmith.system import channel_mask

SIZES = ((8, 4), (16, 4), (16, 8), (16, 16), (16, 32), (24, 32), (32, 16), (32, 32), (64, 4), (64, 32))
FORMS = {"matrices": 10**9, "elements": 0, "stored whole": 0}
ROUNDS, STEPS, BLOCKS, FRAMES = 30, 50, 2, 256


def layer(width: int, modes: int, *, separate: bool) -> Bundle:
    """One layer and nothing else, so that its cost is what is seen."""
    rng = np.random.default_rng(0)
    channels = (modes,) * width
    inside = np.tile(channel_mask(channels), (2, 1))
    lam = 0.9 * np.exp(1j * rng.uniform(0, np.pi, width * modes))
    tensors = {
        "lam": np.stack([lam.real, lam.imag]).astype(np.float32),
        "b": (0.05 * rng.standard_normal(inside.shape) * inside).astype(np.float32),
        "c": (0.05 * rng.standard_normal(inside.T.shape) * inside.T).astype(np.float32),
        "d": np.ones(width, np.float32),
    }
    ssm = SSM(name="ssm", lam="lam", B="b", C="c", D="d", state="x", channels=channels if separate else None)
    signals = tuple(Signal(name=f"channel_{i}") for i in range(width))
    meta = BundleMeta(name="layer", task="regression", inputs=signals, outputs=signals, ops=(ssm,))
    return Bundle(meta, tensors)


def opened(width: int, modes: int, form: str) -> tuple[Callable[[], object], Callable[[], object], int]:
    """A step, a block, and the bytes of the step model."""
    chosen = onnx_channels.MATRIX_NUMBERS
    onnx_channels.MATRIX_NUMBERS = FORMS[form]
    try:
        with tempfile.TemporaryDirectory() as folder:
            bundle = layer(width, modes, separate=form != "stored whole")
            paths = onnx.lower(bundle, Path(folder))
            step, sequence = map(open_backend, paths)
            size = paths[0].stat().st_size
    finally:
        onnx_channels.MATRIX_NUMBERS = chosen
    frame, block = np.ones(width, np.float32), np.ones((FRAMES, width), np.float32)
    return lambda: step.step(frame), lambda: sequence.process(block), size


def measure(width: int, modes: int) -> dict[str, float]:
    """Medians of a step in µs and of a frame of a block in µs, and bytes, of each form, in turns."""
    forms = {form: opened(width, modes, form) for form in FORMS}
    times: dict[str, list[float]] = {f"{form}, {kind}": [] for form in forms for kind in ("step", "block")}
    for _ in range(ROUNDS):
        for form, (step, block, _) in forms.items():
            for kind, call, count in (("step", step, STEPS), ("block", block, BLOCKS)):
                for _ in range(count):
                    begin = time.perf_counter()
                    call()
                    times[f"{form}, {kind}"].append((time.perf_counter() - begin) * 1e6)
    row = {"channels": width, "modes": modes, "numbers": 2 * modes * width**2}
    for name, samples in times.items():
        row[f"{name} us"] = round(float(np.median(samples)) / (FRAMES if "block" in name else 1), 2)
    return row | {f"{form}, bytes": size for form, (*_, size) in forms.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path)
    out = parser.parse_args().out
    rows = [measure(*size) for size in SIZES]
    for row in rows:
        print("  ".join(f"{name} {value}" for name, value in row.items()))
    keep({"processor": processor()["name"], "frames": FRAMES, "rows": rows}, out)


if __name__ == "__main__":
    main()
