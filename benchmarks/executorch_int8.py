"""Our int8 programs of ExecuTorch against those of torchao's PT2E: accuracy, bytes, CPU time of a step.

PT2E takes the exporter's own float32 step module, calibrates it on the frames that gave our ranges, and puts
XNNPACKQuantizer's choice of kernels into it: "dynamic" scales the inputs of products anew in every frame,
"static" rounds everything that XNNPACK has an int8 kernel for. The model is the one of reference (103k
parameters, random weights) and, with --runs, that of a finished `ssmith run digits`.
SNR is 10 log10(Σ y² / Σ (y - ŷ)²) against the float64 reference, on sequences that calibration did not see;
`files` are bytes over those of the float32 program, times are paired with it (see step_latency.py).

    python benchmarks/executorch_int8.py --runs runs --out benchmarks/results/executorch_int8.json
"""

from __future__ import annotations

import argparse
import math
import tempfile
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _native import noise, processor, reference_model, times_of
from _output import publish
from _peers_executorch import bare
from numpy.typing import NDArray
from step_latency import compared

from ssmith.bundle import Bundle
from ssmith.export.executorch import to_program
from ssmith.export.executorch_module import Network, Step
from ssmith.export.executorch_products import Products
from ssmith.export.executorch_program import Lowered, lowered
from ssmith.files import seal
from ssmith.quantization import calibrated
from ssmith.recipe import Recipe
from ssmith.runtime import Session, simulate
from ssmith.runtime.executorch_package import quiet
from ssmith.train.data import load

Float32 = NDArray[np.float32]
FLOAT = "float32"
MOST_FRAMES = 400  # that PT2E is calibrated on: its observers are slow
SEQUENCES = 100  # of a data set, for accuracy


def pt2e(bundle: Bundle, sequences: Sequence[Float32], metadata: str, kind: str) -> Lowered:
    """The step through prepare_pt2e, calibration with fed-back states, and convert_pt2e."""
    with quiet():
        from executorch.backends.xnnpack.quantizer.xnnpack_quantizer import (
            XNNPACKQuantizer,
            get_symmetric_quantization_config,
        )
        from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

        config = get_symmetric_quantization_config(is_per_channel=True, is_dynamic=kind == "dynamic")
        quantizer = XNNPACKQuantizer()
        quantizer.set_global(config)
        step = Step(Network(bundle, Products.of(bundle, FLOAT, frames=False), frames=False)).eval()
        fresh = [torch.zeros(1, *shape) for shape in bundle.states.values()]
        example = (torch.zeros(1, len(bundle.meta.inputs)), *fresh)
        with torch.no_grad():
            prepared = prepare_pt2e(torch.export.export(step, example, strict=False).module(), quantizer)
            seen = 0
            for sequence in sequences:
                states = fresh
                for frame in sequence[: max(0, MOST_FRAMES - seen)]:
                    _, *states = prepared(torch.from_numpy(frame[None].copy()), *states)
                    seen += 1
            converted = convert_pt2e(prepared)
            # The float32 weights that were folded into int8 stay behind, and would go into the file.
            used = {node.target for node in converted.graph.nodes if node.op == "get_attr"}
            for key in [key for key, _ in converted.named_buffers() if key not in used]:
                owner, _, leaf = key.rpartition(".")
                delattr(converted.get_submodule(owner), leaf)
            converted.eval = lambda: converted  # it is for inference already and refuses to be told so
    return lowered(converted, example, metadata)


def measure(
    name: str, bundle: Bundle, sequences: Sequence[Float32], held_out: Sequence[Float32], rounds: int
) -> dict[str, Any]:
    """Every variant of one model."""
    exact = simulate.simulate(bundle, {}, held_out)
    ours = {FLOAT: FLOAT, "int8": "int8", "int8-dynamic": "int8-dynamic"}
    programs = {label: to_program(bundle, "step", precision) for label, precision in ours.items()}  # type: ignore[arg-type]
    metadata = _metadata_of(bundle)
    for kind in ("dynamic", "static"):
        programs[f"PT2E {kind}"] = pt2e(bundle, sequences, metadata, kind)
    with tempfile.TemporaryDirectory() as folder:
        rows, candidates = [], []
        for number, (label, program) in enumerate(programs.items()):
            path = Path(folder) / f"{number}.step.pte"
            path.write_bytes(seal(program.data))
            rows.append(
                {
                    "name": label,
                    "bytes": path.stat().st_size,
                    "snr_db": snr(exact, fed(path, held_out)),
                    "delegates": program.delegates,
                    "outside": program.outside,
                }
            )
            candidates.append(bare(label, bundle, path))
        measured = times_of(candidates, rounds)
    times = {label: measured[:, k] for k, label in enumerate(programs)}
    for row in rows:
        row["files"] = round(row["bytes"] / rows[0]["bytes"], 4)
        row["time"] = compared(times, row["name"], FLOAT)
        row["ns_min"] = round(float(times[row["name"]].min()), 1)
    return {"model": name, "rows": rows}


def fed(path: Path, sequences: Sequence[Float32]) -> list[Float32]:
    """Outputs of each sequence from a fresh state."""
    session = Session.open(path)
    outputs = []
    for sequence in sequences:
        session.reset()
        outputs.append(session.process(np.asarray(sequence, np.float32)))
    return outputs


def snr(exact: Sequence[Any], found: Sequence[Float32]) -> float:
    """In dB, over all sequences."""
    signal = sum(float((y**2).sum()) for y in exact)
    error = sum(float(((a - b) ** 2).sum()) for a, b in zip(exact, found, strict=True))
    return round(10 * math.log10(signal / error), 1)


def _metadata_of(bundle: Bundle) -> str:
    """The description of a float32 step: what is compared is the network."""
    from ssmith.export.executorch import _metadata

    return _metadata(bundle, "step", FLOAT)


def main() -> None:
    """Print and keep the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--runs", type=Path, help="a finished run of `ssmith run digits`")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    unseen = np.random.default_rng(2).uniform(-2, 2, (1000, 40)).astype(np.float32)
    models = [measure("103k", reference_model(), [noise(400, 40)], [unseen], given.rounds)]
    if given.runs is not None:
        recipe = Recipe.load("digits")
        splits = load(recipe)
        bundle = Bundle.read(next(iter(sorted(given.runs.glob("digits*/digits.ssm")))))
        bundle = calibrated(bundle, splits.train.inputs)
        tests = list(splits.test.inputs[:SEQUENCES])
        models.append(measure("digits", bundle, list(splits.train.inputs), tests, given.rounds))
    packages = {name: version(name) for name in ("torch", "torchao", "executorch")}
    publish(
        {"processor": processor()["name"], "versions": packages, "rounds": given.rounds, "models": models},
        given.out,
    )


if __name__ == "__main__":
    main()
