"""Every format that a session opens, damaged 200 times at random places (10,000: benchmarks/fuzz.py)."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys

import numpy as np
import pytest

from ssmith.compiler import find_compiler
from ssmith.files import seal
from ssmith.lowering import lower
from ssmith.recipe import ExportSettings
from tests.bundles import random_bundle
from tests.calibrated import calibrated
from tests.fuzzing import damaged, repaired

CASES = 200
FILES = {  # file -> what opening it needs
    "net.ssm": "",
    "manifest.json": "",
    "net.ssmc": "compiler",
    "net_int8.ssmc": "compiler",
    "net.step.onnx": "onnxruntime",
    "net.sequence.onnx": "onnxruntime",
    "net.step.pte": "executorch",
    "channels/channels.ssm": "",
    "channels/channels.ssmc": "compiler",
    "channels/channels_int8.ssmc": "compiler",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("artifacts")
    bundle = calibrated(random_bundle(np.random.default_rng(3), orders=(4,), width=4))
    lower(bundle, folder, ExportSettings(formats=("onnx", "c99")))
    if importlib.util.find_spec("executorch"):
        from ssmith.export.executorch import to_program

        (folder / "net.step.pte").write_bytes(seal(to_program(bundle, "step").data))
    bundle.write(folder / "net.ssm")
    rng = np.random.default_rng(4)
    channels = calibrated(random_bundle(rng, name="channels", width=4, channels=[(2, 0, 1, 3)]))
    lower(channels, folder / "channels", ExportSettings(formats=("c99",)))
    channels.write(folder / "channels" / "channels.ssm")
    return folder


def outcomes(path, *options):
    command = [sys.executable, "-m", "tests.fuzzing", str(path), "--cases", str(CASES), *options]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert sum(found.values()) == CASES
    return found


def needs(name):
    tool = FILES[name]
    if tool == "compiler" and find_compiler() is None:
        pytest.skip("needs a C compiler")
    if tool not in ("", "compiler") and importlib.util.find_spec(tool) is None:
        pytest.skip(f"needs {tool}")


@pytest.mark.slow
@pytest.mark.parametrize("name", FILES)
def test_damage_is_refused_before_anything_breaks(folder, name):
    needs(name)
    found = outcomes(folder / name)
    assert not [outcome for outcome in found if outcome.startswith(("surprise", "case", "crash"))], found
    # What is opened all the same says nothing else than before (spaces and free text of a manifest, the mark
    # of a seal): damage almost always shows.
    assert found["refused"] >= 0.9 * CASES


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in FILES if name.endswith((".onnx", ".pte"))])
def test_damage_behind_a_right_checksum_never_breaks_our_code(folder, name, record_property):
    """What the other package's parser does with it is its own affair, and told."""
    needs(name)
    found = outcomes(folder / name, "--repaired")
    assert not [outcome for outcome in found if outcome.startswith(("surprise", "case"))], found
    for outcome, count in found.items():
        if outcome.startswith("crash"):
            record_property(f"{name}: {outcome}", count)
            print(f"{name}: {count} of {CASES}: {outcome}")


def test_damage_and_repair_do_what_they_say(folder):
    data = (folder / "net.step.onnx").read_bytes()
    assert repaired(data) == data
    changed = [damaged(data, np.random.default_rng((0, case))) for case in range(50)]
    assert len(set(changed)) == 50
    assert sum(other != data for other in changed) >= 49
    assert changed[7] == damaged(data, np.random.default_rng((0, 7)))
    flipped = data[:200] + bytes([data[200] ^ 1]) + data[201:]
    assert repaired(flipped) not in (data, flipped)
