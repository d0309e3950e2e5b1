import sys

import numpy as np
import onnx
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from onnx import helper

from ssmith.bundle import Bundle
from ssmith.compiler import find_compiler
from ssmith.errors import InputError
from ssmith.export import c99
from ssmith.export.manifest import write_manifest
from ssmith.export.onnx import lower
from ssmith.runtime import oracle
from ssmith.runtime.parity import ParityReport, compare, verify
from tests.bundles import plain_run, random_bundle
from tests.unsealed import save_unsealed

WHERE = {"backend": "onnx", "artifact": "net.step.onnx", "case": "noise_0/whole"}


@pytest.fixture(scope="module")
def bundle():
    return random_bundle(np.random.default_rng(0), orders=(4, 3), golden_frames=(60, 1))


@pytest.fixture(scope="module")
def paths(bundle, tmp_path_factory):
    return lower(bundle, tmp_path_factory.mktemp("artifacts"))


@pytest.fixture(scope="module")
def rows(bundle, paths):
    return verify(paths, bundle)


@pytest.fixture
def short(monkeypatch):
    """For tests in which the length of the long stream plays no part."""
    monkeypatch.setattr(oracle, "LONG_FRAMES", 300)


def save_edited(path, tmp_path, edit):
    model = onnx.load(path)
    edit(model.graph)
    save_unsealed(model, tmp_path / path.name)
    return tmp_path / path.name


def failed(rows):
    return {row.case.split("/")[1] for row in rows if not row.passed}


def test_everything_passes_and_nothing_is_skipped(rows):
    assert all(row.passed and row.ran for row in rows), [row for row in rows if not row.passed]
    assert {row.artifact for row in rows} == {"net.ssm", "net.step.onnx", "net.sequence.onnx"}
    cases = {row.case for row in rows if row.artifact == "net.step.onnx"}
    hows = {"whole", "state", "steps", "pieces", "resumed"}
    golden = {f"noise_{i}/{how}" for i in (0, 1) for how in hows | {"recorded", "streamed"}}
    assert cases == golden | {f"long/{how}" for how in hows}


def test_every_row_says_why_its_tolerance(rows):
    assert all(len(row.reason) > 20 for row in rows)
    assert all(0 < row.tolerance <= 1e-4 for row in rows)


def test_the_oracle_is_the_op_list_in_float64(bundle):
    *golden, long = oracle.expectations(bundle)
    for e in golden:
        assert np.abs(e.output - plain_run(bundle.meta.ops, bundle.tensors, e.input)).max() < 1e-12
        assert np.abs(e.float32 - e.output).max() < 1e-5
    assert len(long.input) == oracle.LONG_FRAMES
    assert long.golden is None


@pytest.mark.parametrize(
    "memory",
    [{"decay": 1 - 1 / 784}, {"pool": "mean"}, {"radius": (0.999, 1 - 1e-5), "pool": "none"}],
    ids=["slow average", "mean", "slow poles"],
)
def test_a_long_memory_is_no_false_alarm(memory, tmp_path):
    """Rounding errors stay as long as the state remembers; what float32 cannot hold is no fault."""
    bundle = random_bundle(
        np.random.default_rng(0), orders=(4,), golden_frames=(60,), tolerance=2e-5, **memory
    )
    step_model = lower(bundle, tmp_path)[0]
    rows = verify([step_model], bundle)
    assert not failed(rows), [row for row in rows if not row.passed]
    assert all(row.tolerance < 1e-3 for row in rows)


@pytest.mark.skipif(find_compiler() is None, reason="no C compiler: install gcc or clang")
def test_a_whole_folder_passes_and_the_c_engine_equals_the_reference_bit_for_bit(short, bundle, tmp_path):
    write_manifest(bundle, tmp_path, lower(bundle, tmp_path) + c99.lower(bundle, tmp_path))
    rows = verify(tmp_path, bundle)
    assert not failed(rows)
    native = [row for row in rows if row.backend == "native"]
    assert {row.artifact for row in native} == {"net.c", "net.ssmc"}
    assert {row.artifact for row in rows} - {"net.c", "net.ssmc"} == {
        "net.ssm",
        "net.step.onnx",
        "net.sequence.onnx",
    }
    exact = [row for row in native if row.case.split("/")[1] in {"bits", "steps", "pieces", "resumed"}]
    assert len(exact) == 2 * 3 * 4
    assert all(row.tolerance == 0 and row.max_abs == 0 for row in exact)


def test_a_file_changed_after_export_is_refused(bundle, tmp_path):
    write_manifest(bundle, tmp_path, lower(bundle, tmp_path))
    (tmp_path / "net.step.onnx").write_bytes(b"something else")
    with pytest.raises(InputError, match="is not the file that"):
        verify(tmp_path, bundle)


def test_the_same_arithmetic_must_give_the_same_bits_for_any_split(short, bundle, tmp_path):
    bundle.write(tmp_path / "net.ssm")
    rows = verify([tmp_path / "net.ssm"], bundle)
    assert not failed(rows)
    splits = [row for row in rows if row.case.split("/")[1] in {"steps", "pieces", "resumed"}]
    assert len(splits) == 9
    assert all(row.tolerance == 0 and row.max_abs == 0 for row in splits)


def test_a_model_without_states_has_no_state_rows(short, tmp_path):
    bundle = random_bundle(np.random.default_rng(0), orders=(), pool="none")
    rows = verify(lower(bundle, tmp_path), bundle)
    assert not failed(rows)
    assert "noise_0/state" not in {row.case for row in rows}
    assert "noise_0/pieces" in {row.case for row in rows}


def test_a_wrong_weight_fails(short, bundle, paths, tmp_path):
    def edit(graph):
        [weight] = [w for w in graph.initializer if w.name == "/head/bias"]
        values = onnx.numpy_helper.to_array(weight) + np.float32(2e-3)
        weight.CopyFrom(onnx.numpy_helper.from_array(values, weight.name))

    result = verify([save_edited(paths[0], tmp_path, edit)], bundle)
    assert failed(result) == {"whole", "recorded", "streamed"}


def test_a_state_that_is_not_handed_on_fails(short, bundle, paths, tmp_path):
    """The sequence model alone, whole, looks right; only pieces show that it forgets."""

    def edit(graph):
        for node in graph.node:
            for i, name in enumerate(node.output):
                node.output[i] = "/lost" if name == "state_0_out" else name
        zero = helper.make_node("Sub", ["state_0", "state_0"], ["state_0_out"])
        graph.node.append(zero)

    result = verify([save_edited(paths[1], tmp_path, edit)], bundle)
    assert failed(result) == {"state", "steps", "pieces", "resumed"}


def test_a_wrong_recording_fails(short, bundle):
    tensors = dict(bundle.tensors)
    tensors["golden.noise_0.streamed"] = tensors["golden.noise_0.streamed"] + np.float32(0.01)
    rows = verify([], Bundle(bundle.meta, tensors))
    assert [row.case for row in rows if not row.passed] == ["noise_0/streamed"]


def test_another_model_is_refused_and_both_are_named(short, bundle, paths):
    other = random_bundle(np.random.default_rng(1), name="other")
    with pytest.raises(InputError) as error:
        verify(paths, other)
    assert "'net'" in str(error.value)
    assert "'other'" in str(error.value)
    assert bundle.sha256[:12] in str(error.value)
    assert other.sha256[:12] in str(error.value)


def test_without_golden_vectors_there_is_nothing_to_prove():
    with pytest.raises(InputError, match="no golden vectors"):
        verify([], random_bundle(np.random.default_rng(0), golden_frames=()))


def test_a_missing_backend_is_a_visible_row(short, bundle, paths, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    rows = [row for row in verify(paths, bundle) if row.backend != "reference"]
    assert [row.artifact for row in rows] == [path.name for path in paths]
    assert not any(row.ran or row.passed for row in rows)
    assert all(row.reason.startswith("not run: ") and "pip install" in row.reason for row in rows)
    report = ParityReport(name="net", bundle_sha256=bundle.sha256, rows=tuple(rows))
    assert not report.passed  # nothing ran, so nothing is proved


def test_a_report_round_trips_and_fails_with_one_row(rows, bundle, tmp_path):
    report = ParityReport(name=bundle.name, bundle_sha256=bundle.sha256, rows=tuple(rows))
    report.write(tmp_path / "parity.json")
    assert ParityReport.read(tmp_path / "parity.json") == report
    assert report.passed
    bad = rows[-1].model_copy(update={"passed": False})
    assert not report.model_copy(update={"rows": (*rows, bad)}).passed


@pytest.mark.parametrize("text", ["", "{", "[]", '{"version": 2, "name": "net"}'])
def test_a_damaged_report_is_refused(tmp_path, text):
    (tmp_path / "parity.json").write_text(text)
    with pytest.raises(InputError, match="ssmith verify"):
        ParityReport.read(tmp_path / "parity.json")


def test_a_missing_report_is_refused(tmp_path):
    with pytest.raises(InputError, match="cannot read"):
        ParityReport.read(tmp_path / "parity.json")


signals = arrays(np.float64, (5, 2), elements=st.floats(-1e3, 1e3, width=32))


@given(signals, signals, st.integers(-8, 8))
def test_relative_and_snr_do_not_depend_on_the_unit(expected, error, power):
    unit = 2.0**power  # exact, so both rows must be equal
    assume(np.abs(expected).max() > 1e-3)
    rows = [compare(k * (expected + error), k * expected, 1e-3, "why", **WHERE) for k in (1.0, unit)]
    assert rows[0].relative == rows[1].relative
    assert rows[0].worst_step == rows[1].worst_step
    assert rows[0].passed == rows[1].passed == (rows[0].relative <= 1e-3)
    assert rows[1].max_abs == rows[0].max_abs * unit
    if rows[0].snr_db is not None and rows[1].snr_db is not None:
        assert rows[0].snr_db == pytest.approx(rows[1].snr_db)


def test_compare_finds_the_worst_step():
    expected = np.ones((6, 2))
    got = expected.copy()
    got[4, 1] += 0.5
    row = compare(got, expected, 0.4, "why", **WHERE)
    assert (row.max_abs, row.relative, row.worst_step, row.passed) == (0.5, 0.5, 4, False)
    assert row.snr_db == pytest.approx(10 * np.log10(12 / 0.25))


def test_equal_bits_pass_a_tolerance_of_zero_and_one_bit_does_not():
    expected = np.ones((3, 1), np.float32)
    assert compare(expected, expected, 0.0, "why", **WHERE).passed
    assert compare(expected, expected, 0.0, "why", **WHERE).snr_db is None
    assert not compare(np.nextafter(expected, np.float32(2)), expected, 0.0, "why", **WHERE).passed


def test_a_nan_fails_whatever_the_tolerance():
    got = np.zeros((4, 1))
    got[2] = np.nan
    row = compare(got, np.zeros((4, 1)), 1.0, "why", **WHERE)
    assert (row.passed, row.worst_step, row.max_abs) == (False, 2, None)
    assert "not finite from frame 2" in row.reason
