"""`pip install ssmith` alone opens and runs a finished model: only the base dependencies are there."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np

from tests.bundles import random_bundle

# Everything that only an extra brings; importing one of these must not be needed.
EXTRAS = (
    "torch",
    "lightning_fabric",
    "scipy",
    "sklearn",
    "onnx",
    "onnxruntime",
    "psutil",
    "jinja2",
    "matplotlib",
)
# As if not installed: the import system finds no file for these names.
BLOCKED = f"""
import importlib.machinery, sys
real = importlib.machinery.PathFinder.find_spec
def find_spec(name, path=None, target=None):
    return None if name.partition(".")[0] in {EXTRAS!r} else real(name, path, target)
importlib.machinery.PathFinder.find_spec = find_spec
"""


def run(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", BLOCKED + code, *arguments], capture_output=True, text=True)


def test_a_bundle_opens_and_streams(tmp_path):
    path = tmp_path / "net.ssm"
    bundle = random_bundle(np.random.default_rng(0))
    bundle.write(path)
    done = run(
        "import numpy as np\nfrom ssmith.runtime import Session\n"
        "s = Session.open(sys.argv[1])\ny = s.process(np.ones((5, s.inputs), np.float32))\nprint(y.shape)",
        str(path),
    )
    assert done.stdout.strip() == "(5, 2)", done.stderr


def test_inspect_and_doctor_and_help_work(tmp_path):
    path = tmp_path / "net.ssm"
    random_bundle(np.random.default_rng(0)).write(path)
    for arguments in (["inspect", str(path)], ["doctor"], ["--help"], ["recipes"], ["devices"]):
        done = run("from ssmith.cli import main\nsys.argv[0] = 'ssmith'\nmain()", *arguments)
        assert done.returncode == 0, done.stderr


def test_training_says_what_to_install(tmp_path):
    done = run("from ssmith.cli import main\nmain()", "train", "digits", "--runs", str(tmp_path / "runs"))
    assert done.returncode == 2, done.stderr
    assert "ssmith[train]" in done.stderr
    assert "Traceback" not in done.stderr


def test_export_writes_c_and_says_what_onnx_needs(tmp_path):
    path, folder = tmp_path / "net.ssm", tmp_path / "artifacts"
    random_bundle(np.random.default_rng(0)).write(path)
    done = run("from ssmith.cli import main\nmain()", "export", str(path), "--out", str(folder), "--json")
    assert done.returncode == 0, done.stderr
    assert "ssmith[export]" in json.loads(done.stdout)["not written"]
    assert (folder / "net.c").exists() and not list(folder.glob("*.onnx"))


def test_data_and_records_of_cuts_need_no_torch():
    done = run(
        "import ssmith.train.data, ssmith.train.model_data, ssmith.train.cuts\n"
        "from ssmith.train import CutReport\nprint(CutReport(1, 1, ()).accepted)"
    )
    assert done.stdout.strip() == "False", done.stderr
