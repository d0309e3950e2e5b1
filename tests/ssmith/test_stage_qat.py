"""The stage qat: skipped without steps, else what freeze takes; killed anywhere, a rerun ends the same."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from ssmith.bundle import Bundle
from ssmith.errors import InputError
from ssmith.pipeline import run_stage, start
from ssmith.quantization import HeldOut, examine
from ssmith.train.data import load
from tests.killing import SHORT
from tests.train import finished

STEPS = "quantize.qat_steps=12"
CHANGES = [change for change in SHORT if not change.startswith(("model.", "reduce."))] + [
    "model.width=4",
    "model.order=6",
    "train.steps=60",
    "export.activation_bits=8",
    "quantize.qat_above=-1",
]
# Dies with -9 when something has happened so many times: MODULE FUNCTION COUNT RECIPE RUNS CHANGES…
CHILD = """
import importlib, os, signal, sys
from pathlib import Path
from ssmith.pipeline import run_stage, start
module, name, count, recipe, runs, *changes = sys.argv[1:]
home, left = importlib.import_module(module), [int(count)]
real = getattr(home, name)
def die(*args, **kwargs):
    left[0] -= 1
    if left[0] == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return real(*args, **kwargs)
setattr(home, name, die)
run_stage(start(recipe, changes, seed=0, runs=Path(runs), name="it"), "qat", quiet=True)
"""


def opened(runs, *changes):
    return start(str(finished.recipe_path()), [*CHANGES, *changes], seed=0, runs=runs, name="it")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run that nobody disturbed, up to its bundle."""
    run = opened(tmp_path_factory.mktemp("whole"), STEPS)
    facts = {name: run_stage(run, name, quiet=True) for name in ("train", "compare", "qat", "freeze")}
    return run, facts


def test_the_bundle_is_what_the_training_with_rounding_made(whole):
    run, facts = whole
    result = run.read_json("qat/result.json")
    assert run.bundle_path.read_bytes() == (run.folder / "qat" / "model.ssm").read_bytes()
    assert result["steps"] == 12 and result["activation_bits"] == 8
    assert (Bundle.read(run.bundle_path).meta.rounding is not None) == result["helped"]
    assert facts["qat"]["activation bits"] == 8
    assert {"orders", "best step"} <= set(facts["train"])


def test_the_integers_do_what_the_result_says(whole):
    run, _ = whole
    result, splits = run.read_json("qat/result.json"), load(run.recipe)
    found = examine(Bundle.read(run.bundle_path), HeldOut.of(run.recipe, splits), 8)
    one = 1 / len(splits.validation)
    assert found.metric_int8 == pytest.approx(result["rounded_after"]["metric"], abs=1.01 * one)
    assert found.metric_float == pytest.approx(result["float_after"]["metric"], abs=1.01 * one)


def test_it_is_done_once(whole):
    run, facts = whole
    before = (run.folder / "qat" / "model.ssm").stat().st_mtime_ns
    assert run_stage(run, "qat", quiet=True) == facts["qat"]
    assert (run.folder / "qat" / "model.ssm").stat().st_mtime_ns == before


def test_without_steps_there_is_nothing_to_do(tmp_path):
    run = opened(tmp_path)
    run_stage(run, "train", quiet=True)
    assert "qat_steps is 0" in run_stage(run, "qat", quiet=True)["skipped"]
    assert not (run.folder / "qat").exists()
    run_stage(run, "freeze", quiet=True)
    assert Bundle.read(run.bundle_path).meta.rounding is None


def test_freeze_asks_for_it(tmp_path):
    run = opened(tmp_path, STEPS)
    run_stage(run, "train", quiet=True)
    with pytest.raises(InputError, match=r"qat/model.ssm, which is not there yet: run qat first"):
        run_stage(run, "freeze", quiet=True)


@pytest.mark.parametrize(
    ("module", "function", "count"), [("ssmith.train.finetune", "seed_step", 7), ("os", "replace", 2)]
)
def test_killed_it_starts_again_and_ends_with_the_same_bytes(whole, tmp_path, module, function, count):
    run = opened(tmp_path, STEPS)
    run_stage(run, "train", quiet=True)
    arguments = [module, function, str(count), str(finished.recipe_path()), str(tmp_path), *CHANGES, STEPS]
    child = subprocess.run(
        [sys.executable, "-c", CHILD, *arguments], env=os.environ | {"OMP_NUM_THREADS": "1"}, check=False
    )
    assert child.returncode == -9
    assert not (run.folder / "stages" / "qat.json").exists()
    for name in ("qat", "freeze"):
        run_stage(run, name, quiet=True)
    undisturbed, _ = whole
    for name in ("qat/model.ssm", "qat/result.json"):
        assert (run.folder / name).read_bytes() == (undisturbed.folder / name).read_bytes()
    assert [p.name for p in (run.folder / "qat").iterdir() if p.name.startswith(".")] == []
