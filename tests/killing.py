"""Kill a run at chosen moments and look at what a rerun makes of it.

The product knows nothing of this: a child process wraps a few functions so that it sends itself
SIGKILL at the n-th time one of them is reached, or the parent kills it after some seconds.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

# A whole run in a few seconds: every stage, three cuts, several checkpoints.
SHORT = (
    "train.steps=30",
    "train.evaluate_every=6",
    "train.checkpoint_every=4",
    "train.batch=8",
    "model.order=12",
    "model.width=4",
    "model.dropout=0.1",
    "reduce.order=4",
    "reduce.cuts=3",
    "reduce.window=[0.3, 0.6]",
    "reduce.sequences=8",
    "reduce.max_loss_increase=9",
    "compare.full=false",
    "bench.steps=200",
    "bench.seconds=0.2",
    'bench.targets=["host"]',
    'export.formats=["onnx", "c99"]',  # a program of ExecuTorch takes seconds to make
)
MOMENTS = {
    "before a rename": ("os", "replace", "before"),
    "after a rename": ("os", "replace", "after"),
    "inside a write": ("os", "fsync", "before"),
    "inside a step": ("ssmith.train.loop", "seed_step", "after"),
    "inside a cut": ("ssmith.train.cutter", "exchange", "after"),
}
CHILD = """
import importlib, os, signal, sys
module, name, when, count = sys.argv[1:5]
sys.argv[1:5] = []
if module != "-":
    home = importlib.import_module(module)
    real, left = getattr(home, name), [int(count)]
    def die(*args, **kwargs):
        left[0] -= 1
        if when == "before" and left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        result = real(*args, **kwargs)
        if when == "after" and left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return result
    setattr(home, name, die)
from ssmith.cli import main
main()
"""


@dataclass(frozen=True)
class Ended:
    """How a child ended."""

    killed: bool
    code: int
    stderr: str


def run_verb(
    arguments: list[str], moment: str | None = None, count: int = 1, after_s: float | None = None
) -> Ended:
    """Run the command line in a child that dies at the ``count``-th ``moment`` or after some seconds."""
    where = MOMENTS[moment] if moment else ("-", "-", "-")
    command = [sys.executable, "-c", CHILD, *where, str(count), *arguments]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    child = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=environment
    )
    try:
        _, stderr = child.communicate(timeout=after_s)
    except subprocess.TimeoutExpired:
        child.kill()
        _, stderr = child.communicate()
    return Ended(child.returncode == -signal.SIGKILL, child.returncode, stderr)


def run_arguments(runs: Path) -> list[str]:
    """The command line of the short run."""
    overrides = [part for pair in SHORT for part in ("--set", pair)]
    return ["run", "digits", "--runs", str(runs), "--name", "it", "--json", *overrides]


def results(run: Path) -> dict[str, bytes]:
    """What must come out the same: weights, bundle, ONNX and C files."""
    names = ["train/best.safetensors", "train/last.safetensors", "train/metrics.jsonl", "train/cuts.json",
             "digits.ssm"]  # fmt: skip
    names += [f"artifacts/{p.name}" for p in sorted((run / "artifacts").iterdir())]
    return {name: (run / name).read_bytes() for name in names}


def leftovers(run: Path) -> list[str]:
    """Temporary files that a killed write has left and no rerun removed."""
    return sorted(str(p.relative_to(run)) for p in run.rglob(".*") if p.is_file() and p.name != ".lock")
