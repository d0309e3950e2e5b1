"""Every verb answers; every mistake gets one message and exit code 2, and costs nothing."""

from __future__ import annotations

import json
import resource
import signal
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from ssmith.bundle import Bundle
from ssmith.compiler import find_compiler
from ssmith.files import sha256
from tests.bundles import random_bundle
from tests.killing import SHORT, results, run_arguments

VERBS = ("new", "train", "freeze", "reduce", "quantize", "export", "verify", "bench", "report", "run",
         "inspect", "devices", "doctor", "recipes", "import", "rerate")  # fmt: skip
SHORT_RUN = [part for pair in SHORT for part in ("--set", pair)]


def ssmith(*arguments: str, full_disk_bytes: int | None = None, **environment: str):
    def limit() -> None:
        if full_disk_bytes is not None:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (full_disk_bytes, full_disk_bytes))

    import os

    return subprocess.run(
        [sys.executable, "-m", "ssmith.cli", *arguments],
        capture_output=True,
        text=True,
        preexec_fn=limit,
        env=os.environ | {"OMP_NUM_THREADS": "1", "COLUMNS": "200"} | environment,
    )


def refused(done, *words: str) -> None:
    """One message, exit code 2, no traceback, all the words in it."""
    assert done.returncode == 2, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.count("error:") == 1, done.stderr
    text = " ".join(done.stderr.split())
    for word in words:
        assert word in text, text


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    runs = tmp_path_factory.mktemp("runs")
    done = ssmith(*run_arguments(runs))
    assert done.returncode == 0, done.stderr
    return runs / "it"


def test_help_is_quick_and_names_every_verb():
    done = ssmith("--help")
    assert done.returncode == 0
    for verb in VERBS:
        assert f" {verb} " in done.stdout
    code = "import sys, ssmith.cli; print(sorted({m.partition('.')[0] for m in sys.modules}))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout
    for heavy in ("numpy", "torch", "scipy", "pydantic", "onnx", "matplotlib"):
        assert f"'{heavy}'" not in loaded


def test_run_prints_one_json_document_and_writes_the_report(finished):
    done = ssmith(*run_arguments(finished.parent))
    summary = json.loads(done.stdout)
    assert summary["order_before"] == [12]
    assert summary["order_after"] == [4]
    assert summary["parity_passed"] == summary["parity_run"] > 50
    assert Path(summary["report"]).exists()
    assert "http" not in (finished / "report.html").read_text().replace("http://www.w3.org", "")


def test_each_stage_can_be_called_on_the_run(finished):
    for verb in ("freeze", "quantize", "export", "verify", "bench", "report"):
        done = ssmith(verb, str(finished), "--json")
        assert done.returncode == 0, done.stderr
        json.loads(done.stdout)


def test_inspect_tells_what_is_in_the_bundle(finished):
    facts = json.loads(ssmith("inspect", str(finished / "digits.ssm"), "--json").stdout)
    assert facts["states"]["state_0"] == [8]
    assert [cut["order_after"] for cut in facts["cuts"]][-1] == 4
    text = ssmith("inspect", str(finished)).stdout
    assert facts["sha256"] in text
    assert "max |λ|" in text
    assert facts["calibration"]["frames"] > 1_000 and facts["int8"]["predicted_snr_db"] > 20
    assert "signal to error predicted" in text and "proven for every input" in text


def test_a_run_tells_what_int8_costs(finished):
    found = json.loads((finished / "quantization.json").read_text())
    assert found["measured_snr_db"] > 20 and found["metric"] == "accuracy"
    assert abs(found["metric_int8"] - found["metric_float"]) < 0.1
    summary = json.loads((finished / "report.json").read_text())["summary"]
    assert summary["int8_snr_db"] == found["measured_snr_db"]
    rows = json.loads((finished / "parity.json").read_text())["rows"]
    assert {"digits_int8.c", "digits_int8.ssmc"} < {row["artifact"] for row in rows}
    measured = json.loads((finished / "measurements.json").read_text())["measurements"]
    assert {(row["backend"], row["precision"]) for row in measured} == {
        ("native", "float32"), ("native", "int8"), ("onnx", "float32"), ("onnx", "int8"),
        ("reference", "float64"),
    }  # fmt: skip


def test_quantize_a_bundle_with_data_and_export_what_was_asked_for(finished, tmp_path):
    plain, ready = tmp_path / "plain.ssm", tmp_path / "ready.ssm"
    Bundle.read(finished / "digits.ssm").without_calibration().write(plain)
    folder = ["--out", str(tmp_path / "artifacts"), "--format", "onnx", "--format", "c99"]
    refused(ssmith("export", str(plain), "--precision", "int8", *folder), "ssmith quantize")
    for data in ("digits", str(finished)):
        done = ssmith("quantize", str(plain), "--data", data, "--out", str(ready), "--json")
        assert done.returncode == 0, done.stderr
        facts = json.loads(done.stdout)
        assert "validation sequences of digits" in facts["measured on"] and "accuracy" in facts
        assert Bundle.read(ready).sha256 == Bundle.read(finished / "digits.ssm").sha256
    done = ssmith("export", str(ready), "--precision", "int8", "--activation-bits", "8", *folder, "--json")
    assert done.returncode == 0, done.stderr
    files = json.loads((tmp_path / "artifacts" / "manifest.json").read_text())["files"]
    models = {f["path"]: (f["precision"], f["activation_bits"]) for f in files if f["kind"] == "c-source"}
    assert models == {"digits_int8.c": ("int8", 8)}


def test_reduce_a_bundle_with_data_and_without(finished, tmp_path):
    for extra in ([], ["--data", "digits"]):
        target = tmp_path / f"small{len(extra)}.ssm"
        done = ssmith(
            "reduce", str(finished / "digits.ssm"), "--order", "2", "--out", str(target), "--json", *extra
        )
        assert done.returncode == 0, done.stderr
        facts = json.loads(ssmith("inspect", str(target), "--json").stdout)
        assert facts["states"]["state_0"] == [4]
        assert "reduced_from" in facts["provenance"]


def test_export_and_verify_a_bundle_outside_a_run(tmp_path):
    path = tmp_path / "net.ssm"
    random_bundle(np.random.default_rng(1)).write(path)
    folder = tmp_path / "artifacts"
    formats = ["--format", "c99", *(["--format", "executorch"] if find_spec("executorch") else [])]
    assert ssmith("export", str(path), "--out", str(folder), "--json", *formats).returncode == 0
    assert (folder / "net.c").exists() and not list(folder.glob("*.onnx"))
    assert bool(list(folder.glob("*.pte"))) == ("executorch" in formats)
    done = ssmith("verify", str(folder), "--bundle", str(path), "--json")
    assert done.returncode == 0, done.stderr


def test_an_artifact_of_another_model_is_refused(finished, tmp_path):
    stranger, folder = tmp_path / "net.ssm", tmp_path / "artifacts"
    random_bundle(np.random.default_rng(2), name="digits").write(stranger)
    assert ssmith("export", str(stranger), "--out", str(folder), "--format", "c99").returncode == 0
    refused(ssmith("verify", str(folder), "--bundle", str(finished / "digits.ssm")), "digits")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run", "digitz"], ["cannot read recipe", "digits"]),
        (["run", "digits", "--set", "reduce.order=-1"], ["reduce", "1 or more"]),
        (["run", "digits", "--set", "reduce.ordre=3"], ["did you mean 'order'"]),
        (["inspect", "absent.ssm"], ["cannot read bundle"]),
        (["freeze", "absent"], ["no run folder"]),
        (["reduce", "absent.ssm"], ["--order", "--tolerance"]),
        (["reduce", "absent.ssm", "--order", "4", "--max-bytes", "9"], ["--order and --max-bytes"]),
        (["reduce", "absent.ssm", "--orders", "4,x"], ["--orders 4,x", "whole numbers"]),
        (["reduce", "absent.ssm", "--order", "4"], ["cannot read bundle"]),
        (["export", "absent.ssm"], ["cannot read bundle"]),
        (["quantize", "absent.ssm"], ["cannot read bundle"]),
        (["new", "--data", "absent.csv"], ["absent.csv"]),
        (["recipes", "absent"], ["cannot read recipe"]),
    ],
)
def test_mistakes(arguments, words, tmp_path):
    runs = ["--runs", str(tmp_path)] if arguments[0] == "run" else []
    refused(ssmith(*arguments, *runs), *words)
    assert list(tmp_path.iterdir()) == []


def test_mistakes_about_precisions(finished, tmp_path):
    bundle, out = str(finished / "digits.ssm"), ["--out", str(tmp_path / "artifacts")]
    refused(ssmith("export", bundle, "--precision", "int4", *out), "write float32, float16, int8, int8-all")
    refused(ssmith("export", bundle, "--format", "tflite", *out), "write onnx, executorch or c99")
    refused(ssmith("export", bundle, "--format", "c99", "--precision", "mixed", *out), "mixed is written as")
    refused(ssmith("export", bundle, "--opset", "11", *out), "20, or 18")
    refused(ssmith("export", bundle, "--activation-bits", "12", *out), "16 bits", "8 bits")
    refused(ssmith("quantize", bundle, "--out", str(tmp_path / "x.bin")), "end it in .ssm")
    refused(ssmith("quantize", bundle, "--data", "flexjoint", "--out", str(tmp_path / "x.ssm")), "inputs")
    refused(ssmith("export", str(finished), "--precision", "int8"), "--precision", "recipe")
    refused(ssmith("quantize", str(finished), "--data", "digits"), "--data", "recipe")
    assert list(tmp_path.iterdir()) == []


def test_a_file_where_the_run_folder_should_be(tmp_path):
    (tmp_path / "it").write_text("precious")
    refused(ssmith(*run_arguments(tmp_path)), "is a file")
    assert (tmp_path / "it").read_text() == "precious"


def test_somebody_elses_folder_is_left_alone(tmp_path):
    (tmp_path / "it").mkdir()
    (tmp_path / "it" / "letter.txt").write_text("precious")
    refused(ssmith(*run_arguments(tmp_path)), "no run of ssmith")
    assert [p.name for p in (tmp_path / "it").iterdir()] == ["letter.txt"]


def test_a_folder_of_another_recipe_is_refused(finished):
    refused(ssmith(*run_arguments(finished.parent), "--set", "train.batch=9"), "another recipe")


def test_a_run_that_never_started_does_not_keep_its_name(tmp_path):
    """The data is wrong, the recipe is mended, the same --name works."""
    recipe = tmp_path / "mine.toml"
    recipe.write_text(
        'name = "mine"\ntask = "regression"\n[data]\npath = "x.csv"\ninputs = ["u"]\ntargets = ["y"]\n'
    )
    (tmp_path / "x.csv").write_text("u,y\n" + "1,2\n" * 50)
    arguments = ["train", str(recipe), "--runs", str(tmp_path / "runs"), "--name", "it"]
    refused(ssmith(*arguments), "1 sequence cannot be split")
    refused(ssmith(*arguments, "--set", 'data.targets=["z"]'), "'z'")


def test_an_interrupt_says_how_to_go_on(tmp_path):
    import time

    arguments = ["train", "digits", "--runs", str(tmp_path), "--set", "train.steps=20000"]
    child = subprocess.Popen(
        [sys.executable, "-m", "ssmith.cli", *arguments],
        stderr=subprocess.PIPE,
        text=True,
        # A shell that runs the tests in the background has made us ignore it, and children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    while not list(tmp_path.glob("*/train/metrics.jsonl")):
        time.sleep(0.1)
    child.send_signal(signal.SIGINT)
    _, stderr = child.communicate(timeout=60)
    assert child.returncode == 130
    assert "goes on from what is done" in stderr
    assert "Traceback" not in stderr


def test_a_full_disk_keeps_what_was_there(finished, tmp_path):
    before = results(finished)
    done = ssmith("reduce", str(finished / "digits.ssm"), "--order", "2", "--out", str(tmp_path / "a.ssm"),
                  full_disk_bytes=4096)  # fmt: skip
    refused(done, "cannot write")
    assert list(tmp_path.iterdir()) == []
    refused(ssmith(*run_arguments(tmp_path), full_disk_bytes=2048), "space")
    assert results(finished) == before


def test_no_compiler_costs_only_the_native_backend(finished, tmp_path):
    """No compiler where $CC says: training falls back, exports are written, native says what to install."""
    no_tools = {"PATH": str(tmp_path), "CC": "absent", "XDG_CACHE_HOME": str(tmp_path / "cache")}
    done = ssmith(*run_arguments(tmp_path / "runs"), **no_tools)
    assert done.returncode == 0, done.stderr
    run = tmp_path / "runs" / "it"
    rows = json.loads((run / "parity.json").read_text())["rows"]
    reasons = {row["reason"] for row in rows if row["backend"] == "native"}
    assert any("not run" in reason and "gcc" in reason for reason in reasons), reasons
    measured = json.loads((run / "measurements.json").read_text())["measurements"]
    assert {row["backend"] for row in measured if row["error"] is None} == {"onnx", "reference"}
    assert all("no C compiler" in row["error"] for row in measured if row["backend"] == "native")


def test_a_damaged_bundle_stops_the_next_stage(finished, tmp_path):
    import shutil

    run = tmp_path / "it"
    shutil.copytree(finished, run)
    data = (run / "digits.ssm").read_bytes()
    (run / "digits.ssm").write_bytes(data[: len(data) // 2])
    refused(ssmith("export", str(run)), "digits.ssm", "damaged")


@pytest.mark.skipif(find_compiler() is None, reason="no C compiler")
def test_an_artifact_that_computes_something_else_is_exit_code_1(finished, tmp_path):
    import shutil

    run = tmp_path / "it"
    shutil.copytree(finished, run)
    weights, listed = run / "artifacts" / "digits_weights.h", run / "artifacts" / "manifest.json"
    text, before = weights.read_text(), sha256(weights)
    start = text.index("{", text.index("digits_head_weight")) + 1
    weights.write_text(text[:start] + "0.01f + " + text[start:])
    manifest = listed.read_text()
    assert before in manifest
    listed.write_text(manifest.replace(before, sha256(weights)))
    done = ssmith("verify", str(run))
    assert done.returncode == 1, done.stdout + done.stderr
    assert "parity checks failed: digits.c on native" in " ".join(done.stderr.split())
    rows = json.loads((run / "parity.json").read_text())["rows"]
    failed = [row for row in rows if not row["passed"]]
    assert {row["artifact"] for row in failed} == {"digits.c"}
    assert {"golden", "validation", "drift"} < {row["check"] for row in failed}
    moved = [row["metric_delta"] for row in rows if row["check"] == "validation"]
    assert len(moved) >= 6 and all(delta is not None for delta in moved)
    assert ssmith("report", str(run), "--json").returncode == 0
    assert "FAILED" in (run / "report.html").read_text()


def test_missing_stages_are_named(tmp_path):
    done = ssmith("train", "digits", "--runs", str(tmp_path), "--name", "it", *SHORT_RUN)
    assert done.returncode == 0, done.stderr
    refused(ssmith("export", str(tmp_path / "it")), "run freeze first")
