"""What does a layer of independent channels cost in C? Without its zeros, and with them.

One SSM of H channels with n modes each and a feedthrough, H values in and out, in float32 and int8 (16-bit
activations): as exported, and the same matrices with ``channels`` left out, which is what a layer where every
mode hears every input costs. On ``emulated:cortex-m4`` instructions per step, bytes of weights, and code; on
this machine ns per step of single frames and of blocks of 16.

    taskset -c 1 python benchmarks/channels.py --out benchmarks/results/channels.json
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from _native import noise, of_model, processor, time_all
from _output import publish

from ssmith.bundle import Bundle, BundleMeta, Signal
from ssmith.compiler import compiler_version
from ssmith.devices.bench import bench
from ssmith.devices.emulated import open_target
from ssmith.export import c99
from ssmith.export.manifest import write_manifest
from ssmith.ops import SSM
from ssmith.runtime.calibrate import calibrate
from ssmith.system import channel_mask

SIZES = [(H, n) for H in (16, 32) for n in (4, 8)]
BLOCK = 16
STEMS = {"float32": "layer", "int8": "layer_int8"}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    rows = []
    for H, n in SIZES:
        with tempfile.TemporaryDirectory() as root:
            folders = {}
            for form, own in (("channels", (n,) * H), ("whole", None)):
                folders[form] = Path(root) / form
                folders[form].mkdir()
                exported(H, n, own, folders[form])
            for precision in STEMS:
                row = {"H": H, "n": n, "precision": precision}
                row |= {form: counted(folder, precision) for form, folder in folders.items()}
                row["host"] = timed(layer(H, n, None), folders, STEMS[precision], options.rounds)
                rows.append(row)
                print(json.dumps(row), file=sys.stderr, flush=True)
    host = {"processor": processor()["name"], "compiler": compiler_version(["gcc"])}
    publish({**host, "rows": rows}, options.out)


def layer(H: int, n: int, channels: tuple[int, ...] | None) -> Bundle:
    """One calibrated SSM; the same numbers with and without ``channels``."""
    rng = np.random.default_rng(0)
    N = H * n
    inside = np.tile(channel_mask((n,) * H), (2, 1))
    poles = rng.uniform(0.8, 0.999, N) * np.exp(1j * rng.uniform(0, np.pi, N))
    tensors = {
        "lam": np.stack([poles.real, poles.imag]),
        "b": rng.standard_normal((2 * N, H)) * inside * 0.1,
        "c": (rng.standard_normal((2 * N, H)) * inside).T * n**-0.5,
        "d": rng.standard_normal(H),
    }
    op = SSM(name="ssm", lam="lam", B="b", C="c", D="d", state="state", channels=channels)
    meta = BundleMeta(
        name="layer",
        task="regression",
        inputs=tuple(Signal(name=f"in_{k}") for k in range(H)),
        outputs=tuple(Signal(name=f"out_{k}") for k in range(H)),
        ops=(op,),
    )
    bundle = Bundle(meta, {name: array.astype(np.float32) for name, array in tensors.items()})
    return calibrate(bundle, [noise(400, H)])


def exported(H: int, n: int, channels: tuple[int, ...] | None, folder: Path) -> None:
    """The artifact folder of a layer."""
    bundle = layer(H, n, channels)
    write_manifest(bundle, folder, c99.lower(bundle, folder))


def counted(folder: Path, precision: str) -> dict[str, Any]:
    """Instructions, flash of the weights, code and RAM on the emulated core."""
    (found,) = bench(folder, open_target("cortex-m4"), backends=["native"], precisions=[precision])
    return {
        "instructions_per_step": found.instructions_per_step,
        "weights_bytes": found.flash_bytes,
        "code_bytes": found.code_bytes,
        "ram_bytes": found.ram_bytes,
    }


def timed(bundle: Bundle, folders: dict[str, Path], stem: str, rounds: int) -> dict[str, Any]:
    """Nanoseconds a frame here: both forms in turns, single steps and blocks."""
    candidates = [
        of_model(
            f"{form}, {frames}",
            bundle,
            folder,
            "gcc",
            ("-march=native", f"-D{stem.upper()}_BLOCK={frames}"),
            frames=frames,
            stem=stem,
        )
        for frames in (1, BLOCK)
        for form, folder in folders.items()
    ]
    return {
        row["name"]: {key: row[key] for key in ("ns_min", "ns_median", "ratio")}
        for row in time_all(candidates, rounds)
    }


if __name__ == "__main__":
    main()
