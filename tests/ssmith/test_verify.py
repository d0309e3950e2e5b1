"""The verb verify on an artifact folder: its table, its data, and what a failed check says."""

import json

import numpy as np
import onnx
import pytest
from typer.testing import CliRunner

from ssmith import stages, standalone
from ssmith.bundle import Bundle
from ssmith.cli import app
from ssmith.cli_parity import cells, result
from ssmith.errors import InputError, SsmithError
from ssmith.export.manifest import write_manifest
from ssmith.export.onnx import lower
from ssmith.runtime import oracle
from tests.bundles import random_bundle
from tests.unsealed import save_unsealed


@pytest.fixture(scope="module")
def bundle():
    return random_bundle(np.random.default_rng(0), orders=(3,), width=4, golden_frames=(30,))


@pytest.fixture
def folder(bundle, tmp_path, monkeypatch):
    """Artifacts in ``made``, the bundle beside it; a proof goes as far as an exporter's."""
    monkeypatch.setattr(oracle, "FULL", oracle.QUICK)
    bundle.write(tmp_path / "net.ssm")
    write_manifest(bundle, tmp_path / "made", lower(bundle, tmp_path / "made"))
    return tmp_path / "made"


@pytest.fixture
def broken(bundle, folder):
    """The same, with a step model of a network whose head is another."""
    tensors = dict(bundle.tensors)
    tensors["head.bias"] = tensors["head.bias"] + np.float32(1e-3)
    other = Bundle(bundle.meta, tensors)
    model = onnx.load(lower(other, folder.parent / "other")[0])
    for entry in model.metadata_props:
        entry.value = entry.value.replace(other.sha256, bundle.sha256)
    files = [folder / "net.step.onnx", folder / "net.sequence.onnx"]
    save_unsealed(model, files[0])
    write_manifest(bundle, folder, files)
    return folder


def test_one_row_an_artifact_and_check(folder):
    facts = standalone.verify_artifacts(folder, folder.parent / "net.ssm")
    rows = facts[stages.TABLE]
    assert len({(row["artifact"], row["check"]) for row in rows}) == len(rows)
    for artifact in ("net.step.onnx", "net.sequence.onnx"):
        assert {row["check"] for row in rows if row["artifact"] == artifact} >= {"golden", "drift", "batch"}
    within = facts["float32 within its target"]
    assert within.partition(" of ")[0] <= within.partition(" of ")[2]
    assert any("no held-out data here" in line for line in facts["not run"])
    json.dumps(facts, allow_nan=False)


def test_the_table_is_printed_with_its_reasons_below(folder):
    done = CliRunner().invoke(app, ["verify", str(folder), "--bundle", str(folder.parent / "net.ssm")])
    assert done.exit_code == 0, done.output
    lines = done.output.splitlines()
    batch = next(line for line in lines if "net.step.onnx" in line and " batch " in line)
    assert "passed" in batch and "float32" in batch
    number = batch[batch.rindex("[") :].strip()
    reason = next(line for line in lines if line.startswith(number))
    assert "one of 7 streams at once" in reason
    assert any("not run [" in line and "validation" in line for line in lines)


def test_json_has_the_reasons_in_its_rows(folder):
    command = ["verify", str(folder), "--bundle", str(folder.parent / "net.ssm"), "--json"]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    assert all(row["reason"] for row in json.loads(done.output)[stages.TABLE])


def test_a_failed_check_is_an_error_of_the_work_and_names_the_worst(broken):
    with pytest.raises(SsmithError) as failed:
        standalone.verify_artifacts(broken, broken.parent / "net.ssm")
    assert failed.value.exit_code == 1
    words = str(failed.value)
    assert "parity checks failed: net.step.onnx on onnx, golden" in words and "more checks" in words
    assert "net.sequence.onnx" not in words


def test_data_that_do_not_fit_the_model_are_refused(folder):
    with pytest.raises(InputError, match="the model has 3 inputs"):
        standalone.verify_artifacts(folder, folder.parent / "net.ssm", "digits")


def test_a_run_takes_no_other_data(tmp_path):
    done = CliRunner().invoke(app, ["verify", str(tmp_path), "--data", "digits"])
    assert isinstance(done.exception, InputError) or done.exit_code == 2


def test_cells_of_numbers_that_are_not_there():
    row = {
        "artifact": "a.onnx", "backend": "onnx", "precision": "int8", "check": "validation", "max_abs": 0.5,
        "relative": None, "snr_db": 41.25, "worst_step": 1234, "metric_value": 0.9, "metric_delta": -0.01,
        "tolerance": 0.0, "passed": False, "reason": "x",
    }  # fmt: skip
    assert cells(row)[4:] == ["0.5", "", "41.2", "1,234", "0.9000 (-0.01)", "same bits"]
    assert result(row) == "FAILED"
    assert result(row | {"passed": True}) == "passed"
    assert result(row | {"reason": "not run: no compiler"}) == "not run"
