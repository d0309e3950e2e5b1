r"""How fast is one step of a model in C? The machine's limit and other engines beside it.

Model of reference (4 blocks, H = N = 64, 40 → 12) and two small ones. Builds of the generated form take
turns with the loadable engine, with a plain stream over as many bytes, and with other engines:
RTNeural with as many multiply-adds, ONNX Runtime and ExecuTorch with the same model. With --runs also
trained networks, the reduced one against the full one.

    python benchmarks/native_step.py --rtneural RTNeural --eigen /usr/include/eigen3 \
        --runs runs --out benchmarks/results/native_step.json

"silence" feeds zeros after noise, so that states decay: subnormal numbers would make it slower than noise.
"by the compiler" leaves out what is written for one kind of processor (-DSSM_PLAIN).
"""

from __future__ import annotations

import argparse
import importlib.util
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from _native import (
    ZIG,
    Candidate,
    of_engine,
    of_model,
    processor,
    ratio_of,
    reference_model,
    small_model,
    stream_limit,
    table,
    time_all,
)
from _output import publish
from _peers import GRU16, GRU64X4, LSTM8, Network, Sources, onnx_runtime, rtneural
from _peers_executorch import executorch
from _runs import TASKS, full_and_reduced

from ssmith.export import c99

NATIVE = ("-march=native",)
AVX2, SSE2 = ("-march=x86-64-v3",), ("-march=x86-64", "-DSSM_NO_DISPATCH")
LIMIT = "stream limit"
Build = tuple[str, str, tuple[str, ...]]


def builds() -> Iterator[Build]:
    """(name, compiler, flags) of every build, the one that ratios refer to first."""
    x86 = "sse2" in processor()["flags"]
    yield "gcc", "gcc", NATIVE
    yield "gcc, fma", "gcc", (*NATIVE, "-DSSM_FMA")
    if x86:
        yield "gcc, AVX2", "gcc", AVX2
        yield "gcc, SSE2", "gcc", SSE2
        yield "gcc, any x86-64, level found at run time", "gcc", ()
    yield "gcc, by the compiler", "gcc", (*NATIVE, "-DSSM_PLAIN")
    if importlib.util.find_spec("ziglang"):
        yield "zig", ZIG, NATIVE
        yield "zig, fma", ZIG, (*NATIVE, "-DSSM_FMA")
        if x86:
            yield "zig, AVX2", ZIG, ("-mcpu=x86_64_v3",)
            yield "zig, SSE2", ZIG, ("-mcpu=x86_64", "-DSSM_NO_DISPATCH")
        yield "zig, by the compiler", ZIG, (*NATIVE, "-DSSM_PLAIN")
    if shutil.which("clang"):
        yield "clang", "clang", ("-march=x86-64-v4",) if x86 else NATIVE


def measure_reference(rounds: int, sources: Sources) -> dict[str, Any]:
    """The model of reference: builds, precisions, the limit, peers."""
    bundle = reference_model()
    weight_bytes = sum(
        t.nbytes for key, t in bundle.tensors.items() if not key.startswith(("golden.", "calibration."))
    )
    with tempfile.TemporaryDirectory() as name:
        folder, eight = Path(name), Path(name) / "a8"
        c99.lower(bundle, folder)
        c99.lower(bundle, eight, ["int8"], activation_bits=8)
        candidates = [of_model(label, bundle, folder, cc, flags) for label, cc, flags in builds()]
        candidates += [
            of_model("gcc, silence", bundle, folder, "gcc", NATIVE, silent=True),
            of_engine("gcc, loadable engine", bundle, folder, "gcc", NATIVE),
            of_model("gcc, int8, 16-bit activations", bundle, folder, "gcc", NATIVE, stem="ref_int8"),
            of_model("gcc, int8, 8-bit activations", bundle, eight, "gcc", NATIVE, stem="ref_int8"),
            stream_limit(weight_bytes),
            *rtneural(GRU64X4, sources, folder),
            *onnx_runtime(bundle, folder),
            *executorch(bundle, folder),
        ]
        rows = time_all(candidates, rounds)
    against_limit = {name: ratio_of(rows, name, LIMIT) for name, *_ in builds()}
    return {"weight_bytes": weight_bytes, "rows": rows, "times_the_stream_limit": against_limit}


def measure_small(width: int, rounds: int, sources: Sources, peers: Sequence[Network]) -> dict[str, Any]:
    """One block, H = N = width."""
    bundle = small_model(width)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        c99.lower(bundle, folder)
        candidates = [of_model(label, bundle, folder, cc, flags) for label, cc, flags in builds()]
        others: list[Candidate] = []
        for peer in peers:
            others += rtneural(peer, sources, folder)
        return {"width": width, "rows": time_all([*candidates, *others], rounds)}


def measure_trained(runs: Path, task: str, rounds: int) -> dict[str, Any]:
    """What truncation saved: a trained network at its reduced order against the full one."""
    bundles = dict(zip(("full", "reduced"), full_and_reduced(runs, task), strict=True))
    with tempfile.TemporaryDirectory() as name:
        candidates = []
        for label, bundle in bundles.items():
            folder = Path(name) / label
            c99.lower(bundle, folder)
            candidates += [
                of_model(label, bundle, folder, "gcc", NATIVE),
                of_model(f"{label}, int8", bundle, folder, "gcc", NATIVE, stem=f"{task}_int8"),
            ]
        orders = {label: bundle.order for label, bundle in bundles.items()}
        return {"task": task, "orders": orders, "rows": time_all(candidates, rounds)}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--rtneural", type=Path, help="a checkout of RTNeural")
    parser.add_argument("--eigen", type=Path, help="the folder that holds Eigen/")
    parser.add_argument("--runs", type=Path, help="finished runs of `ssmith run digits` and `flexjoint`")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    sources = Sources(options.rtneural, options.eigen)
    reference = measure_reference(options.rounds, sources)
    table(reference["rows"])
    small = []
    for width, peers in ((16, [GRU16]), (8, [LSTM8])):
        small.append(measure_small(width, options.rounds, sources, peers))
        table(small[-1]["rows"])
    trained = (
        [] if options.runs is None else [measure_trained(options.runs, t, options.rounds) for t in TASKS]
    )
    for measured in trained:
        table(measured["rows"])
    document = {
        "processor": processor()["name"],
        "numpy": np.__version__,
        "rounds": options.rounds,
        "reference": reference,
        "small": small,
        "trained": trained,
    }
    publish(document, options.out)


if __name__ == "__main__":
    main()
