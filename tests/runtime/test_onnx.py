import json
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from ssmith.errors import InputError, MissingToolError
from ssmith.export.manifest import write_manifest
from ssmith.export.onnx import lower
from ssmith.runtime.onnx import SHORT, OnnxBackend, open_backend
from ssmith.runtime.reference import describe, run
from ssmith.runtime.session import Session
from tests.bundles import random_bundle
from tests.unsealed import save_unsealed

FORMS = ("step", "sequence")


@pytest.fixture(scope="module")
def bundle():
    return random_bundle(np.random.default_rng(0), orders=(4, 3), golden_frames=(60,))


@pytest.fixture(scope="module")
def folder(bundle, tmp_path_factory):
    """An artifact folder with both forms and a manifest."""
    folder = tmp_path_factory.mktemp("artifacts")
    write_manifest(bundle, folder, lower(bundle, folder))
    return folder


def path_of(folder, form):
    return folder / f"net.{form}.onnx"


@pytest.fixture(params=["folder", *FORMS])
def backend(request, folder) -> OnnxBackend:
    return open_backend(folder if request.param == "folder" else path_of(folder, request.param))


def edited(folder, form, tmp_path, edit):
    """A copy of a model after ``edit(model)``."""
    model = onnx.load(path_of(folder, form))
    edit(model)
    path = tmp_path / f"edited.{form}.onnx"
    save_unsealed(model, path)
    return path


def test_it_says_what_the_bundle_says(backend, bundle):
    document = describe(bundle)
    expected = {**document, "precision": "float32", "activation_bits": None}
    assert json.loads(json.dumps(backend.meta)) == json.loads(json.dumps(expected))
    assert (backend.inputs, backend.outputs) == (3, 2)
    assert backend.period_s == 0.01
    assert {name: value.shape for name, value in backend.state_get().items()} == bundle.states


def test_output_and_states_equal_the_reference(backend, bundle):
    block = bundle.golden()[0].input
    expected, states = run(bundle.meta.ops, bundle.tensors, block)
    assert np.abs(backend.process(block) - expected).max() < 2e-6
    for name, value in backend.state_get().items():
        assert np.abs(value - states[name]).max() < 2e-6 * max(1, np.abs(states[name]).max())


@settings(max_examples=20, deadline=None)
@given(cuts=st.lists(st.integers(0, 60), max_size=8).map(sorted), stepped=st.integers(0, 60))
def test_fed_in_pieces_equals_fed_whole(folder, bundle, cuts, stepped):
    block = bundle.golden()[0].input
    session = Session(open_backend(folder))
    whole = session.process(block)
    session.reset()
    first = [session.step(u) for u in block[:stepped]]
    rest = np.split(block[stepped:], [max(c - stepped, 0) for c in cuts])
    pieces = np.concatenate([np.reshape(first, (stepped, 2)), *(session.process(p) for p in rest)])
    np.testing.assert_allclose(pieces, whole, rtol=0, atol=2e-6)


def test_a_stream_goes_on_where_it_was_saved(backend, bundle):
    block = bundle.golden()[0].input
    whole = backend.process(block)
    backend.reset()
    backend.process(block[:25])
    saved = backend.state_get()
    backend.process(block[:7])  # another stream in between
    backend.state_set(saved)
    np.testing.assert_allclose(backend.process(block[25:]), whole[25:], rtol=0, atol=2e-6)


def test_reset_forgets_everything(backend, bundle):
    block = bundle.golden()[0].input
    fresh = backend.process(block)
    backend.process(block)
    backend.step(block[0])
    backend.reset()
    assert not any(value.any() for value in backend.state_get().values())
    np.testing.assert_array_equal(backend.process(block), fresh)


def test_what_it_returned_does_not_change_later(backend, bundle):
    block = bundle.golden()[0].input
    y, saved = backend.step(block[0]), backend.state_get()
    copies = y.copy(), {name: value.copy() for name, value in saved.items()}
    backend.process(block)
    backend.step(block[1])
    np.testing.assert_array_equal(y, copies[0])
    for name, value in saved.items():
        np.testing.assert_array_equal(value, copies[1][name])


def test_two_sessions_do_not_share_state(folder, bundle):
    block = bundle.golden()[0].input
    one, other = open_backend(folder), open_backend(folder)
    expected = one.process(block)
    one.reset()
    results = [(one.step(u), other.step(v)) for u, v in zip(block, block[::-1], strict=True)]
    np.testing.assert_allclose(np.stack([a for a, _ in results]), expected, rtol=0, atol=2e-6)


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads /proc/self/statm (Linux)")
def test_memory_stays_where_it_was_after_warm_up(folder, bundle):
    backend, u = open_backend(folder), bundle.golden()[0].input[0]

    def resident_kib():
        return int(Path("/proc/self/statm").read_text().split()[1]) * 4

    for _ in range(2_000):
        backend.step(u)
    before = resident_kib()
    for _ in range(20_000):
        backend.step(u)
    assert resident_kib() - before < 256


def test_a_foreign_model_is_refused(tmp_path):
    ports = [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["b", 3]) for n in ("x", "y")]
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", ports[:1], ports[1:])
    opset = helper.make_opsetid("", 20)
    save_unsealed(helper.make_model(graph, opset_imports=[opset], ir_version=9), tmp_path / "x.onnx")
    with pytest.raises(InputError, match="carries no 'ssmith' metadata"):
        open_backend(tmp_path / "x.onnx")


@pytest.mark.parametrize("form", FORMS)
def test_a_state_under_another_name_is_refused(folder, form, tmp_path):
    """Read under a wrong name a state would be zeros for ever, and nothing would fail."""

    def rename(model):
        for port in model.graph.output:
            port.name = "h_out" if port.name == "state_0_out" else port.name
        for node in model.graph.node:
            for i, name in enumerate(node.output):
                node.output[i] = "h_out" if name == "state_0_out" else name
            for i, name in enumerate(node.input):
                node.input[i] = "h_out" if name == "state_0_out" else name

    with pytest.raises(InputError, match="output 'h_out' should be"):
        open_backend(edited(folder, form, tmp_path, rename))


@pytest.mark.parametrize(
    ("key", "value"),
    [("bundle_sha256", "abc"), ("form", "block"), ("states", [["state_0", 9]]), ("inputs", [])],
)
def test_wrong_metadata_is_refused(folder, tmp_path, key, value):
    def change(model):
        for entry in model.metadata_props:
            if entry.key == "ssmith":
                entry.value = json.dumps(json.loads(entry.value) | {key: value})

    with pytest.raises(InputError, match=r"metadata|should be"):
        open_backend(edited(folder, "step", tmp_path, change))


def test_metadata_that_is_no_json_is_refused(folder, tmp_path):
    def change(model):
        for entry in model.metadata_props:
            entry.value = "{"

    with pytest.raises(InputError, match="damaged 'ssmith' metadata"):
        open_backend(edited(folder, "step", tmp_path, change))


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.99])
def test_a_truncated_file_is_refused(folder, tmp_path, share):
    data = path_of(folder, "step").read_bytes()
    path = tmp_path / "cut.onnx"
    path.write_bytes(data[: int(share * len(data))])
    with pytest.raises(InputError, match=r"cut\.onnx"):
        open_backend(path)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(InputError, match="cannot read"):
        open_backend(tmp_path / "none.onnx")


def test_a_folder_with_two_models_is_refused(bundle, tmp_path):
    lower(bundle, tmp_path)
    data = path_of(tmp_path, "step").read_bytes()
    paths = lower(random_bundle(np.random.default_rng(9)), tmp_path)
    path_of(tmp_path, "step").write_bytes(data)
    write_manifest(bundle, tmp_path, paths)
    with pytest.raises(InputError, match="different models"):
        open_backend(tmp_path)


def test_a_folder_without_onnx_is_refused(bundle, tmp_path):
    write_manifest(bundle, tmp_path, [])
    with pytest.raises(InputError, match="holds no ONNX model"):
        open_backend(tmp_path)


def test_an_unknown_provider_is_refused(folder):
    with pytest.raises(InputError, match="no 'AbacusExecutionProvider'"):
        open_backend(path_of(folder, "step"), providers=["AbacusExecutionProvider"])


def test_without_onnxruntime_the_message_says_what_to_install(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingToolError, match=r"ssmith\[onnx\]"):
        open_backend(path_of(folder, "step"))


def test_threads_and_providers_reach_the_runtime(folder):
    session = Session.open(
        path_of(folder, "step"), threads=2, providers=["CPUExecutionProvider"]
    )._backend._step._session
    assert session.get_session_options().intra_op_num_threads == 2
    assert session.get_session_options().inter_op_num_threads == 1
    assert session.get_providers() == ["CPUExecutionProvider"]


def test_a_few_frames_are_stepped_and_more_go_through_the_sequence(folder, bundle, monkeypatch):
    backend, ran = open_backend(folder), []
    for name in FORMS:
        model = getattr(backend, f"_{name}")
        monkeypatch.setattr(model, "run", lambda b, f=model.run, n=name: (ran.append(n), f(b))[1])
    block = bundle.golden()[0].input
    backend.process(block[: SHORT - 1])
    assert ran == ["step"] * (SHORT - 1)
    ran.clear()
    backend.process(block[:SHORT])
    assert ran == ["sequence"]
