"""The built wheel carries everything: it runs the demo recipe outside the checkout."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SHORT = ("train.steps=24", "train.evaluate_every=8", "model.order=12", "reduce.order=4", "bench.seconds=0.2",
         "bench.steps=200", "reduce.sequences=8", "reduce.max_loss_increase=9")  # fmt: skip


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """A folder that holds the wheel's content and nothing else."""
    work = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "build", "--wheel", "--outdir", str(work), str(ROOT)]
    done = subprocess.run(build, capture_output=True, text=True, cwd=work)
    assert done.returncode == 0, done.stdout + done.stderr
    target = work / "site"
    with zipfile.ZipFile(next(work.glob("*.whl"))) as wheel:
        wheel.extractall(target)
    return target


def test_the_wheel_holds_our_package_and_nothing_else(installed):
    top = {p.name for p in installed.iterdir() if not p.name.endswith(".dist-info")}
    assert top == {"ssmith"}
    files = {str(p.relative_to(installed)) for p in installed.rglob("*") if p.is_file()}
    assert {"ssmith/recipes/digits.toml", "ssmith/py.typed", "ssmith/runtime/c/ssm.h"} <= files
    assert not [name for name in files if "test" in name]


def test_the_wheel_runs_the_demo_recipe(installed, tmp_path):
    overrides = [part for pair in SHORT for part in ("--set", pair)]
    command = [sys.executable, "-m", "ssmith.cli", "run", "digits", "--json", *overrides]
    environment = {"PYTHONPATH": str(installed), "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
    where = [sys.executable, "-c", "import ssmith; print(ssmith.__file__)"]
    found = subprocess.run(where, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert found.stdout.startswith(str(installed))
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert (tmp_path / summary["report"]).stat().st_size > 10_000
