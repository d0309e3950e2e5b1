import sys

import numpy as np
import onnx
import pytest
from onnx import helper

from ssmith.bundle import Bundle
from ssmith.compiler import find_compiler
from ssmith.errors import InputError
from ssmith.export import c99
from ssmith.export.manifest import write_manifest
from ssmith.export.onnx import lower
from ssmith.runtime.oracle import QUICK, TARGETS, Plan
from ssmith.runtime.parity import NO_DATA, ParityReport, verify
from ssmith.runtime.stimuli import adversarial
from tests.bundles import random_bundle
from tests.unsealed import save_unsealed

ADVERSARIAL = ("random_0", "random_1", "zeros", "impulse", "full_scale", "denormals", "silence_step")
CHECKS = {
    "golden", "random", "zeros", "impulse", "full-scale", "denormals", "silence-step", "pieces", "state",
    "drift", "batch",
}  # fmt: skip


@pytest.fixture(scope="module")
def bundle():
    return random_bundle(np.random.default_rng(0), orders=(4, 3), golden_frames=(60, 1))


@pytest.fixture(scope="module")
def paths(bundle, tmp_path_factory):
    return lower(bundle, tmp_path_factory.mktemp("artifacts"))


@pytest.fixture(scope="module")
def rows(bundle, paths):
    return verify(paths, bundle, plan=QUICK)


def save_edited(path, tmp_path, edit):
    model = onnx.load(path)
    edit(model.graph)
    save_unsealed(model, tmp_path / path.name)
    return tmp_path / path.name


def failed(rows):
    return {row.case.split("/")[1] for row in rows if row.ran and not row.passed}


def test_everything_passes_and_what_is_left_out_is_seen(rows):
    [left_out] = [row for row in rows if not row.ran]
    assert (left_out.check, left_out.reason) == ("validation", f"not run: {NO_DATA}")
    assert not failed(rows), [row for row in rows if not row.passed]
    assert {row.artifact for row in rows} == {"net.ssm", "net.step.onnx", "net.sequence.onnx"}


def test_every_check_is_made_on_every_artifact(rows):
    for artifact in ("net.step.onnx", "net.sequence.onnx"):
        mine = [row for row in rows if row.artifact == artifact]
        assert {row.check for row in mine} == CHECKS
        ways = {"whole", "state", "recorded", "streamed", "steps", "pieces", "resumed", "reopened"}
        golden = {f"noise_{i}/{how}" for i in (0, 1) for how in ways}
        others = {f"{name}/{how}" for name in ADVERSARIAL for how in ("whole", "pieces", "batch")}
        assert {row.case for row in mine} == golden | others | {"drift/whole", "drift/state"}
        assert {(row.backend, row.precision) for row in mine} == {("onnx", "float32")}


def test_every_row_says_why_its_tolerance(rows):
    ran = [row for row in rows if row.ran]
    assert all(len(row.reason) > 20 for row in ran)
    assert all(0 < row.tolerance <= 1e-4 for row in ran)
    targets = [row for row in ran if row.case.endswith("/whole") and row.reason.startswith("target")]
    assert len(targets) > 10
    assert {row.tolerance for row in targets} == {TARGETS[0][1]}


def test_the_long_stream_is_as_long_as_the_plan_and_tells_the_poles(bundle, paths):
    rows = verify(paths[:1], bundle, plan=Plan(drift=3_000))
    drift = next(row for row in rows if row.case == "drift/whole")
    assert drift.passed and "3000 frames" in drift.reason
    lam = np.concatenate([np.hypot(*bundle.tensors[f"block{i}.ssm.lam"].astype(float)) for i in (0, 1)])
    assert f"|λ| = {lam.max():.6f}" in drift.reason


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
    rows = verify([step_model], bundle, plan=Plan(drift=10_000))
    assert not failed(rows), [row for row in rows if not row.passed]
    assert all(row.tolerance < 1e-3 for row in rows)


@pytest.mark.skipif(find_compiler() is None, reason="no C compiler: install gcc or clang")
def test_a_whole_folder_passes_and_the_c_engine_equals_the_reference_bit_for_bit(bundle, tmp_path):
    write_manifest(bundle, tmp_path, lower(bundle, tmp_path) + c99.lower(bundle, tmp_path))
    rows = verify(tmp_path, bundle, plan=QUICK)
    assert not failed(rows)
    native = [row for row in rows if row.backend == "native"]
    assert {row.artifact for row in native} == {"net.c", "net.ssmc"}
    assert {row.artifact for row in rows} - {"net.c", "net.ssmc"} == {
        "net.ssm",
        "net.step.onnx",
        "net.sequence.onnx",
    }
    same = {"bits", "steps", "pieces", "resumed", "reopened"}
    exact = [row for row in native if row.case.split("/")[1] in same]
    inputs = len(ADVERSARIAL) + 2
    assert len(exact) == 2 * (inputs + 1 + inputs + 3 * 2)  # bits of each, pieces of each, the rest of golden
    assert all(row.tolerance == 0 and row.max_abs == 0 for row in exact)


def test_a_file_changed_after_export_is_refused(bundle, tmp_path):
    write_manifest(bundle, tmp_path, lower(bundle, tmp_path))
    (tmp_path / "net.step.onnx").write_bytes(b"something else")
    with pytest.raises(InputError, match="is not the file that"):
        verify(tmp_path, bundle, plan=QUICK)


def test_the_same_arithmetic_must_give_the_same_bits_for_any_split(bundle, tmp_path):
    bundle.write(tmp_path / "net.ssm")
    rows = verify([tmp_path / "net.ssm"], bundle, plan=QUICK)
    assert not failed(rows)
    splits = [row for row in rows if row.check == "pieces" or row.case.endswith(("/resumed", "/reopened"))]
    assert len(splits) == len(ADVERSARIAL) + 2 * 4
    assert all(row.tolerance == 0 and row.max_abs == 0 for row in splits)


def test_a_model_without_states_has_no_state_rows(tmp_path):
    bundle = random_bundle(np.random.default_rng(0), orders=(), pool="none")
    rows = verify(lower(bundle, tmp_path), bundle, plan=QUICK)
    assert not failed(rows)
    assert "noise_0/state" not in {row.case for row in rows}
    assert "noise_0/pieces" in {row.case for row in rows}


def test_a_wrong_weight_fails(bundle, paths, tmp_path):
    def edit(graph):
        [weight] = [w for w in graph.initializer if w.name == "/head/bias"]
        values = onnx.numpy_helper.to_array(weight) + np.float32(2e-3)
        weight.CopyFrom(onnx.numpy_helper.from_array(values, weight.name))

    result = verify([save_edited(paths[0], tmp_path, edit)], bundle, plan=QUICK)
    assert failed(result) == {"whole", "recorded", "streamed"}
    assert not any(row.passed for row in result if row.case == "drift/whole")


def test_a_state_that_is_not_handed_on_fails(bundle, paths, tmp_path):
    """The sequence model alone, whole, looks right; only pieces show that it forgets."""

    def edit(graph):
        for node in graph.node:
            for i, name in enumerate(node.output):
                node.output[i] = "/lost" if name == "state_0_out" else name
        zero = helper.make_node("Sub", ["state_0", "state_0"], ["state_0_out"])
        graph.node.append(zero)

    result = verify([save_edited(paths[1], tmp_path, edit)], bundle, plan=QUICK)
    assert failed(result) == {"state", "steps", "pieces", "resumed", "reopened"}


def test_streams_of_a_batch_that_meet_fail(bundle, paths, tmp_path):
    """The mean over the batch is the state itself while there is one stream."""

    def edit(graph):
        for node in graph.node:
            for i, name in enumerate(node.output):
                node.output[i] = "/apart" if name == "state_0_out" else name
        mean = helper.make_node("ReduceMean", ["/apart", "/axes"], ["/together"], keepdims=1)
        size = helper.make_node("Shape", ["/apart"], ["/size"])
        graph.initializer.append(onnx.numpy_helper.from_array(np.array([0], np.int64), "/axes"))
        graph.node.extend([mean, size, helper.make_node("Expand", ["/together", "/size"], ["state_0_out"])])

    result = verify([save_edited(paths[0], tmp_path, edit)], bundle, plan=QUICK)
    assert failed(result) == {"batch"}
    assert sum(row.check == "batch" for row in result) == len(adversarial(bundle)) == 7


def test_a_wrong_recording_fails(bundle):
    tensors = dict(bundle.tensors)
    tensors["golden.noise_0.streamed"] = tensors["golden.noise_0.streamed"] + np.float32(0.01)
    rows = verify([], Bundle(bundle.meta, tensors), plan=QUICK)
    assert [row.case for row in rows if row.ran and not row.passed] == ["noise_0/streamed"]


def test_another_model_is_refused_and_both_are_named(bundle, paths):
    other = random_bundle(np.random.default_rng(1), name="other")
    with pytest.raises(InputError) as error:
        verify(paths, other, plan=QUICK)
    assert "'net'" in str(error.value)
    assert "'other'" in str(error.value)
    assert bundle.sha256[:12] in str(error.value)
    assert other.sha256[:12] in str(error.value)


def test_without_golden_vectors_there_is_nothing_to_prove():
    with pytest.raises(InputError, match="no golden vectors"):
        verify([], random_bundle(np.random.default_rng(0), golden_frames=()))


def test_a_missing_backend_is_a_visible_row(bundle, paths, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    rows = [row for row in verify(paths, bundle, plan=QUICK) if row.backend != "reference"]
    assert [row.artifact for row in rows] == [path.name for path in paths]
    assert not any(row.ran or row.passed for row in rows)
    assert all(row.reason.startswith("not run: ") and "pip install" in row.reason for row in rows)
    report = ParityReport(name="net", bundle_sha256=bundle.sha256, rows=tuple(rows))
    assert not report.passed  # nothing ran, so nothing is proved
