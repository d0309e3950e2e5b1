"""Held-out data through artifacts: every output, the metric, and what is told about both."""

import numpy as np
import pytest

from ssmith.compiler import find_compiler
from ssmith.export import c99
from ssmith.export.onnx import lower
from ssmith.runtime import parity_validation
from ssmith.runtime.oracle import QUICK, run_sequences
from ssmith.runtime.parity import verify
from ssmith.runtime.parity_validation import Validation
from tests.bundles import random_bundle
from tests.calibrated import calibrated


@pytest.fixture(scope="module")
def bundle():
    return calibrated(random_bundle(np.random.default_rng(0), golden_frames=(30,), orders=(4,)))


@pytest.fixture(scope="module")
def sequences():
    rng = np.random.default_rng(1)
    return [rng.standard_normal((n, 3)).astype(np.float32) for n in (20, 33, 1, 20)]


def mean_output(outputs):
    """A metric that any error of an output moves."""
    return float(np.mean([y.mean() for y in outputs]))


def rows_of(bundle, paths, sequences, score=mean_output, metric="nrmse"):
    data = Validation.of(sequences, "made-up sequences", metric, score)
    rows = verify(paths, bundle, data=data, plan=QUICK)
    assert all(row.ran for row in rows)
    return {row.artifact: row for row in rows if row.check == "validation"}


@pytest.mark.skipif(find_compiler() is None, reason="no C compiler")
def test_every_artifact_has_a_row_with_its_metric_and_the_change(bundle, sequences, tmp_path, library_cache):
    files = lower(bundle, tmp_path, precisions=("float32", "int8")) + [
        path
        for path in c99.lower(bundle, tmp_path)
        if path.suffix in (".c", ".ssmc") and "ssm." not in path.name
    ]
    found = rows_of(bundle, files, sequences)
    assert set(found) == {path.name for path in files} and len(found) == 8
    exact = mean_output(run_sequences(bundle, sequences))
    for row in found.values():
        assert row.passed and row.metric == "nrmse"
        assert row.metric_delta == pytest.approx(row.metric_value - exact, abs=1e-7)
        assert "4 made-up sequences, 74 frames" in row.reason
        rounded = row.precision == "int8"
        assert (abs(row.metric_delta) > 1e-6) == rounded
    assert found["net_int8.c"].tolerance == found["net_int8.c"].max_abs == 0
    assert found["net.step.onnx"].tolerance == 2e-6
    assert found["net_int8.c"].metric_value == found["net_int8.ssmc"].metric_value


def test_the_worst_step_is_told_within_its_sequence(bundle, sequences, tmp_path, monkeypatch):
    paths = lower(bundle, tmp_path)[:1]
    wrong = run_sequences(bundle, sequences)
    wrong[1][7] += 1.0
    monkeypatch.setattr(parity_validation, "run_sequences", lambda *_: wrong)
    monkeypatch.setattr("ssmith.runtime.parity_float.run_sequences", lambda *_: wrong)
    row = rows_of(bundle, paths, sequences)["net.step.onnx"]
    assert not row.passed
    assert (row.case, row.worst_step) == ("validation/sequence_1", 7)


def test_without_targets_outputs_still_count(bundle, sequences, tmp_path):
    def never(outputs):
        raise AssertionError("there is no metric")

    row = rows_of(bundle, lower(bundle, tmp_path)[:1], sequences, never, None)["net.step.onnx"]
    assert row.passed and row.metric is row.metric_value is row.metric_delta is None
    unknown = rows_of(bundle, lower(bundle, tmp_path)[:1], sequences, lambda outputs: None)["net.step.onnx"]
    assert unknown.passed and unknown.metric_value is None


def test_a_large_set_is_cut_and_that_is_told(monkeypatch, sequences):
    monkeypatch.setattr(parity_validation, "MOST_FRAMES", 54)
    data = Validation.of(sequences, "sequences", None, lambda _: None)
    assert [len(x) for x in data.inputs] == [20, 33, 1]
    assert data.words == "the first 3 of 4 sequences, 54 frames"
    monkeypatch.setattr(parity_validation, "MOST_FRAMES", 5)
    assert len(Validation.of(sequences, "sequences", None, lambda _: None).inputs) == 1
