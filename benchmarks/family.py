"""Does every layer keep every promise? A table: layer x export x target, with the parity error.

Each layer (LRU, S4D, S5) is trained on digits by `ssmith run`, cut to 12 modes on the way, frozen, written in
every format in float32 and int8, verified, and run on this machine and on emulated ones. A row is one export
of one layer: the largest relative error of its checks in `verify`, the lowest signal to error ratio, and its
cost on every target that runs it. Float formats are checked against the float64 reference, rounded ones
against their own arithmetic and, for the ratio, against float64.

    python benchmarks/family.py --out benchmarks/results/family.json

Accuracies are of one seed and a short training: they show that the models work, not which layer is better.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from _output import publish, versions

from ssmith.devices.fingerprint import host_fingerprint

LAYERS = ("lru", "s4d", "s5")
TARGETS = ("host", "emulated:cortex-m4", "emulated:aarch64", "wasm")
Rows = list[dict[str, Any]]


def run(layer: str, folder: Path, steps: int) -> tuple[Path, str]:
    """A whole run of digits with this layer; the run folder, and the command that made it."""
    targets = json.dumps(TARGETS)
    settings = [f"model.layer={layer}", f"train.steps={steps}", f"bench.targets={targets}"]
    settings += ["compare.full=false", "compare.scratch=false", "bench.steps=2000", "bench.seconds=1"]
    command = ["ssmith", "run", "digits", "--name", layer, *(f"--set={setting}" for setting in settings)]
    program = Path(sys.executable).with_name("ssmith")
    subprocess.run([program, *command[1:]], cwd=folder, check=True, stdout=sys.stderr)
    return folder / "runs" / layer, " ".join(command)


def rows_of(layer: str, run_folder: Path) -> Rows:
    """One row a backend and precision of a run."""
    parity = json.loads((run_folder / "parity.json").read_text("utf-8"))["rows"]
    measured = json.loads((run_folder / "measurements.json").read_text("utf-8"))["measurements"]
    keys = dict.fromkeys(
        (row["backend"], row["precision"]) for row in parity if row["backend"] != "reference"
    )
    rows = []
    for backend, precision in keys:
        own = [row for row in parity if (row["backend"], row["precision"]) == (backend, precision)]
        errors = [row["relative"] for row in own if row["relative"] is not None]
        ratios = [row["snr_db"] for row in own if row["snr_db"] is not None]
        rows.append(
            {
                "layer": layer,
                "export": backend,
                "precision": precision,
                "checks": len(own),
                "passed": sum(row["passed"] for row in own),
                "largest_relative_error": max(errors, default=None),
                "lowest_snr_db": min(ratios, default=None),
                "targets": {
                    m["target"]: cost(m)
                    for m in measured
                    if m["backend"] == backend and precision in (m["precision"], f"{m['precision']}-a8")
                },
            }
        )
    return rows


def cost(measurement: dict[str, Any]) -> dict[str, Any]:
    """What a step costs on a target, and whether the golden frames came out."""
    golden, timing = measurement["golden"], measurement["timing"]
    return {
        "step_p50_us": None if timing is None else timing["p50_us"],
        "count": measurement["instructions_per_step"],
        "unit": measurement["count_unit"],
        "flash_bytes": measurement["flash_bytes"],
        "ram_bytes": measurement["ram_bytes"],
        "golden_passed": None if golden is None else golden["passed"],
        "golden_max_abs": None if golden is None else golden["max_abs"],
        "error": measurement["error"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--layers", nargs="*", default=list(LAYERS))
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    rows: Rows = []
    models = {}
    with tempfile.TemporaryDirectory() as name:
        for layer in options.layers:
            folder, command = run(layer, Path(name), options.steps)
            rows += rows_of(layer, folder)
            report = json.loads((folder / "report.json").read_text("utf-8"))
            models[layer] = {"command": command, "summary": report["summary"]}
    document = {
        "question": "does every layer keep every promise?",
        "machine": host_fingerprint(),
        "versions": versions(),
        "steps": options.steps,
        "models": models,
        "all_passed": all(row["passed"] == row["checks"] for row in rows),
        "rows": rows,
    }
    publish(document, options.out)


if __name__ == "__main__":
    main()
