"""`pip install ssmith` alone opens and runs a finished model: only the base dependencies are there."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np

from ssmith.bundle import Bundle
from tests.bundles import random_bundle

# Everything that only an extra brings; importing one of these must not be needed.
EXTRAS = (
    "torch",
    "lightning_fabric",
    "scipy",
    "sklearn",
    "onnx",
    "onnxruntime",
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


CLI = "from ssmith.cli import main\nsys.argv[0] = 'ssmith'\nmain()"


def run(code: str, *arguments: str, installed: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    blocked = BLOCKED.replace(repr(EXTRAS), repr(tuple(name for name in EXTRAS if name not in installed)))
    return subprocess.run([sys.executable, "-c", blocked + code, *arguments], capture_output=True, text=True)


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
        done = run(CLI, *arguments)
        assert done.returncode == 0, done.stderr


def test_training_says_what_to_install(tmp_path):
    done = run(CLI, "train", "digits", "--runs", str(tmp_path / "runs"))
    assert done.returncode == 2, done.stderr
    assert "ssmith[train]" in done.stderr
    assert "Traceback" not in done.stderr


def test_export_writes_c_and_says_what_onnx_needs(tmp_path):
    path, folder = tmp_path / "net.ssm", tmp_path / "artifacts"
    random_bundle(np.random.default_rng(0)).write(path)
    done = run(CLI, "export", str(path), "--out", str(folder), "--json")
    assert done.returncode == 0, done.stderr
    notes = json.loads(done.stdout)["not written"]
    assert "ssmith[export]" in notes[0] and "ssmith[executorch]" in notes[1] and "ssmith quantize" in notes[2]
    assert (folder / "net.c").exists() and not list(folder.glob("*.onnx"))


def test_a_bundle_becomes_ready_for_int8(tmp_path):
    path, ready, folder = (tmp_path / name for name in ("net.ssm", "net-quantized.ssm", "artifacts"))
    random_bundle(np.random.default_rng(0)).write(path)
    done = run(CLI, "quantize", str(path), "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["signal to error, measured"].endswith("dB")
    done = run(CLI, "export", str(ready), "--out", str(folder), "--precision", "int8", "--json")
    assert done.returncode == 0, done.stderr
    assert (folder / "net_int8.c").exists() and not (folder / "net.c").exists()


def test_data_and_records_of_cuts_need_no_torch():
    done = run(
        "import ssmith.train.data, ssmith.train.model_data, ssmith.train.cuts\n"
        "from ssmith.train import CutReport\nprint(CutReport(1, 1, ()).accepted)"
    )
    assert done.stdout.strip() == "False", done.stderr


def test_reduce_measures_states_with_the_reference_and_says_so(tmp_path):
    """With scipy only: on the golden inputs, and on a recipe's data that are read without torch."""
    path, target = tmp_path / "net.ssm", tmp_path / "small.ssm"
    random_bundle(np.random.default_rng(0), inputs=1, outputs=1, orders=(6, 5), golden_frames=(80,)).write(
        path
    )
    time = np.arange(600) / 100
    rows = [f"{t},{np.sin(t)},{np.cos(t)},{int(t)}" for t in time]
    (tmp_path / "x.csv").write_text("\n".join(["t,u,y,part", *rows]))
    (tmp_path / "mine.toml").write_text(
        'name = "mine"\ntask = "regression"\n[data]\npath = "x.csv"\ninputs = ["u"]\ntargets = ["y"]\n'
        'time = "t"\nsequence_id = "part"\n'
    )
    for extra, source in (([], "golden inputs"), (["--data", str(tmp_path / "mine.toml")], "of mine")):
        arguments = ["reduce", str(path), "--order", "3", "--out", str(target), "--json", *extra]
        done = run(CLI, *arguments, installed=("scipy",))
        assert done.returncode == 0, done.stderr
        facts = json.loads(done.stdout)
        assert facts["criterion"] == "empirical"
        assert source in facts["measured on"]
        assert "task-aware" in facts["note"] and "ssmith[train]" in facts["note"]
        assert [system.order for system in Bundle.read(target).systems()] == [3, 3]
    done = run(CLI, "reduce", str(path), "--orders", "4,2", "--out", str(target), installed=("scipy",))
    assert done.returncode == 0, done.stderr
    assert Bundle.read(target).orders == (4, 2)


def test_reduce_says_what_to_install(tmp_path):
    path = tmp_path / "net.ssm"
    random_bundle(np.random.default_rng(0)).write(path)
    wanted = {
        ("--order", "2"): "ssmith[reduce]",  # scipy is missing too
        ("--sweep",): "--sweep needs PyTorch",
        ("--order", "2", "--fine-tune", "5"): "--fine-tune needs PyTorch",
        ("--max-loss", "0.1"): "--max-loss needs PyTorch",
        ("--order", "2", "--criterion", "task-aware"): "criterion task-aware measures gradients",
    }
    for arguments, words in wanted.items():
        installed = () if "reduce]" in words else ("scipy",)
        done = run(CLI, "reduce", str(path), *arguments, installed=installed)
        assert done.returncode == 2, done.stdout
        assert words in " ".join(done.stderr.split())
        assert "Traceback" not in done.stderr
    assert [p.name for p in tmp_path.iterdir()] == ["net.ssm"]
