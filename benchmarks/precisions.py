"""What does each precision of the exports cost, in accuracy and in bytes? By task, format and precision.

The models are those of finished runs (`ssmith run digits`, `ssmith run flexjoint`). Their ranges come from
training sequences, the plan of `mixed` from validation sequences; figures are of whole validation and test
sets: the recipe's metric of the float64 reference, of the simulation, and of the exported files run by their
runtimes. SNR is 10 log10(Σ y² / Σ (y - ŷ)²) against the reference. `weights` are the bytes of the matrices
with their scales over those of float32, `files` the bytes of what a device gets: the step model of ONNX and
ExecuTorch, the loadable file of C. `kept` is whether the metric loses no more than W8A8 may.

    python benchmarks/precisions.py --runs runs --out benchmarks/results/precisions.json
"""

from __future__ import annotations

import argparse
import math
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from _output import publish, versions
from _runs import TASKS

from ssmith.bundle import Bundle
from ssmith.errors import SsmithError
from ssmith.export import c99, onnx
from ssmith.export.manifest import write_manifest
from ssmith.quantization import HeldOut, calibrated, metric_of
from ssmith.quantization_plan import with_plan
from ssmith.quantization_rows import weight_bytes
from ssmith.recipe import WRITES, Recipe
from ssmith.runtime import Session
from ssmith.runtime.simulate import roundings, simulate
from ssmith.train.data import load

BACKENDS = {"onnx": "onnx", "executorch": "executorch", "c99": "native"}
DEPLOYED = {"onnx": "*.step.onnx", "executorch": "*.step.pte", "c99": "*.ssmc"}
MOST_LOST = {"digits": 0.005, "flexjoint": 0.03}  # accuracy in points / 100; NRMSE relative


def cases() -> Iterator[tuple[str, str, int]]:
    """Format, precision, activation bits."""
    for format, precisions in WRITES.items():
        for precision in precisions:
            for bits in (16, 8) if precision == "int8" and format != "executorch" else (8,):
                yield format, precision, bits


def measure(task: str, runs: Path) -> list[dict[str, Any]]:
    """All rows of a task."""
    recipe = Recipe.load(task)
    splits = load(recipe)
    model = Bundle.read(next(iter(sorted(runs.glob(f"{task}-*/{task}.ssm")))))
    model = calibrated(model if model.meta.rounding else model.without_calibration(), splits.train.inputs)
    bundle = with_plan(model, HeldOut.of(recipe, splits), recipe.quantize.loss_budget)
    sets = {
        name: HeldOut(part.inputs, name, part, recipe)
        for name, part in (("validation", splits.validation), ("test", splits.test))
    }
    exact = {name: simulate(bundle, {}, held_out.inputs) for name, held_out in sets.items()}
    rows = []
    for format, precision, bits in cases():
        row: dict[str, Any] = {
            "task": task,
            "format": format,
            "precision": precision,
            "activation_bits": bits,
        }
        row["weights"] = round(weight_bytes(bundle, precision, format) / weight_bytes(bundle, "float32"), 3)
        rounded = roundings(bundle, precision, bits, format)
        if rounded is not None:
            found = {name: simulate(bundle, rounded, held_out.inputs) for name, held_out in sets.items()}
            row["simulated"] = figures(sets, exact, found)
        row |= exported(bundle, sets, exact, format, precision, bits)
        if "exported" in row:
            row["kept"] = {name: kept(task, one) for name, one in row["exported"].items()}
        rows.append(row)
    return rows


def exported(
    bundle: Bundle,
    sets: dict[str, HeldOut],
    exact: dict[str, list[Any]],
    format: str,
    precision: str,
    bits: int,
) -> dict[str, Any]:
    """Figures of the written files on their runtime, and their bytes; why not, where there are none."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        try:
            files = lowered(bundle, folder, format, precision, bits)
            write_manifest(bundle, folder, files, activation_bits=bits)
            opened = "int8-a8" if (precision, bits) == ("int8", 8) else precision
            session = Session.open(folder, backend=BACKENDS[format], precision=opened)
            found = {name: fed(session, held_out.inputs) for name, held_out in sets.items()}
        except (SsmithError, ImportError) as error:
            return {"not exported": str(error)}
        size = sum(path.stat().st_size for path in folder.glob(DEPLOYED[format]))
        return {"exported": figures(sets, exact, found), "files": size}


def lowered(bundle: Bundle, folder: Path, format: str, precision: str, bits: int) -> list[Path]:
    """One precision in one format."""
    if format == "onnx":
        return onnx.lower(bundle, folder, precisions=(precision,), activation_bits=bits)
    if format == "c99":
        return c99.lower(bundle, folder, (precision,), bits)
    from ssmith.export import executorch

    return executorch.lower(bundle, folder, (precision,))


def fed(session: Session, sequences: Sequence[Any]) -> list[Any]:
    """Outputs of each sequence from a fresh state."""
    outputs = []
    for sequence in sequences:
        session.reset()
        outputs.append(session.process(sequence).astype(np.float64))
    return outputs


def figures(
    sets: dict[str, HeldOut], exact: dict[str, list[Any]], found: dict[str, list[Any]]
) -> dict[str, Any]:
    """Metric of both and SNR, by set."""
    result = {}
    for name, held_out in sets.items():
        signal = sum(float((y**2).sum()) for y in exact[name])
        noise = sum(float(((a - b) ** 2).sum()) for a, b in zip(exact[name], found[name], strict=True))
        result[name] = {
            "metric_float": metric_of(held_out, [y.astype(np.float32) for y in exact[name]]),
            "metric": metric_of(held_out, [y.astype(np.float32) for y in found[name]]),
            "snr_db": round(10 * math.log10(signal / noise), 2) if noise else None,
        }
    return result


def kept(task: str, one: dict[str, Any]) -> bool:
    """Whether the metric is within what W8A8 may lose."""
    if task == "digits":
        return bool(one["metric"] >= one["metric_float"] - MOST_LOST[task])
    return bool(one["metric"] <= one["metric_float"] * (1 + MOST_LOST[task]))


def main() -> None:
    """Print and keep the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    parser.add_argument("--tasks", nargs="*", default=list(TASKS))
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    rows = [row for task in given.tasks for row in measure(task, given.runs)]
    publish({"allowed_loss": MOST_LOST, "rows": rows, "versions": versions()}, given.out)


if __name__ == "__main__":
    main()
