"""Does damage to a file ever break our code? 10,000 damaged files of every format through Session.open.

    python benchmarks/fuzz.py --cases 10000 --out benchmarks/results/fuzz.json

Every file is damaged as it is, and .onnx and .pte files again with their checksum made right, so that their
own parsers read the damage. What dies in their code is counted as theirs; a "case" in the result is ours.
Two minutes a thousand cases or less; tests/fuzzing.py holds the damage, tests/test_fuzz.py runs 200 of it.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

import numpy as np
from _output import publish

sys.path.insert(0, str(Path(__file__).parents[1]))  # tests/fuzzing.py does the damage

from ssmith.export import executorch
from ssmith.files import seal
from ssmith.lowering import lower
from ssmith.recipe import ExportSettings
from tests.bundles import random_bundle
from tests.calibrated import calibrated
from tests.test_fuzz import FILES


def outcomes(file: Path, cases: int, *options: str) -> dict[str, int]:
    """Outcome → how often."""
    command = [sys.executable, "-m", "tests.fuzzing", str(file), "--cases", str(cases), *options]
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=Path(__file__).parents[1])
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cases", type=int, default=10_000)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        bundle = calibrated(random_bundle(np.random.default_rng(3), orders=(4,), width=4))
        lower(bundle, folder, ExportSettings(formats=("onnx", "c99")))
        (folder / "net.step.pte").write_bytes(seal(executorch.to_program(bundle, "step").data))
        bundle.write(folder / "net.ssm")
        for name in FILES:
            ways = [(), ("--repaired",)] if name.endswith((".onnx", ".pte")) else [()]
            for way in ways:
                found = outcomes(folder / name, options.cases, *way)
                rows.append({"file": name, "repaired": bool(way), "outcomes": found})
                print(rows[-1], file=sys.stderr, flush=True)
    ours = sum(n for row in rows for outcome, n in row["outcomes"].items() if outcome.startswith("case"))
    document = {
        "question": "Does damage to a file ever break our code?",
        "machine": platform.processor() or platform.machine(),
        "versions": {name: version(name) for name in ("onnxruntime", "executorch", "safetensors")},
        "cases": options.cases,
        "broke_our_code": ours,
        "rows": rows,
    }
    publish(document, options.out)


if __name__ == "__main__":
    main()
