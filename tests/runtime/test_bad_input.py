"""What every backend refuses in the same way: other models' files and states, bad frames, damaged files."""

import importlib.util

import numpy as np
import onnx
import pytest

from ssmith.bundle import Bundle
from ssmith.compiler import find_compiler
from ssmith.errors import InputError, SsmithError
from ssmith.export import c99
from ssmith.export.manifest import write_manifest
from ssmith.export.onnx import lower
from ssmith.files import seal
from ssmith.runtime.artifacts import verified
from ssmith.runtime.parity import check_file
from ssmith.runtime.session import Session
from tests.bundles import kept_modes, random_bundle
from tests.calibrated import calibrated
from tests.unsealed import save_unsealed

pytestmark = pytest.mark.usefixtures("library_cache")
EXECUTORCH = importlib.util.find_spec("executorch") is not None
NATIVE = ("net.c", "net.ssmc", "net_int8.c", "net_int8.ssmc")
PROGRAMS = ("net.step.pte", "net.stream.pte", "net.sequence.pte", "net.portable.pte")
FILES = ("net.ssm", "net.step.onnx", "net.sequence.onnx", "net_int8.step.onnx", *NATIVE)
BLOCK = np.random.default_rng(3).standard_normal((6, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return calibrated(random_bundle(np.random.default_rng(0), orders=(4,), width=4, golden_frames=(20,)))


@pytest.fixture(scope="module")
def folder(bundle, tmp_path_factory):
    folder = tmp_path_factory.mktemp("artifacts")
    bundle.write(folder / "net.ssm")
    lower(bundle, folder, precisions=("float32", "int8"))
    c99.lower(bundle, folder)
    return folder


@pytest.fixture(scope="module")
def programs(bundle, tmp_path_factory):
    from ssmith.export.executorch import to_program

    folder = tmp_path_factory.mktemp("programs")
    for name in PROGRAMS:
        (folder / name).write_bytes(seal(to_program(bundle, name.split(".")[1]).data))
    return folder


@pytest.fixture(params=[*FILES, *(pytest.param(name, marks=pytest.mark.slow) for name in PROGRAMS)])
def path(request, folder):
    name = request.param
    if name in NATIVE and find_compiler() is None:
        pytest.skip("needs a C compiler")
    if name in PROGRAMS:
        if not EXECUTORCH:
            pytest.skip("needs executorch")
        return request.getfixturevalue("programs") / name
    return folder / name


@pytest.fixture
def session(path):
    """In the middle of a stream."""
    session = Session.open(path)
    session.process(BLOCK)
    return session


def goes_on(session, path):
    """The stream goes on as if nothing had been asked."""
    undisturbed = Session.open(path)
    undisturbed.process(BLOCK)
    np.testing.assert_array_equal(session.process(BLOCK[::-1]), undisturbed.process(BLOCK[::-1]))


BAD_FRAMES = {
    "rank 0": 1.0,
    "a value too many": np.zeros(4, np.float32),
    "rank 2": np.zeros((1, 3), np.float32),
    "ragged": [[1.0], [1.0, 2.0], [0.0]],
    "complex": np.zeros(3, complex),
    "text": ["1", "2", "3"],
    "nothing": None,
    "not finite": [0.0, np.inf, 0.0],
    "beyond float32": [0.0, 1e39, 0.0],
}


def test_bad_frames_change_nothing(session, path):
    for name, values in BAD_FRAMES.items():
        with pytest.raises(InputError, match=r"^u|Nothing was computed"):
            session.step(values)
            pytest.fail(name)
        block = [values, values] if name != "rank 2" else np.zeros((1, 2, 3), np.float32)
        with pytest.raises(InputError, match=r"^block|Nothing was computed"):
            session.process(block)
            pytest.fail(name)
    goes_on(session, path)


def bad_states(saved, other):
    """Name → states that are not this model's."""
    first = next(iter(saved))
    value = saved[first]
    number = np.zeros(len(value), np.int64 if value.dtype.kind == "f" else np.float32)
    found = {
        "missing": {name: v for name, v in saved.items() if name != first},
        "unknown": saved | {"h": value},
        "of another order": saved | {first: other[first]},
        "rank 2": saved | {first: value[None]},
        "rank 0": saved | {first: 1.0},
        "other numbers": saved | {first: number},
        "complex": saved | {first: value.astype(complex)},
        "text": saved | {first: ["a"] * len(value)},
        "ragged": saved | {first: [[1.0], [1.0, 2.0]]},
        "nothing": saved | {first: None},
    }
    if value.dtype.kind == "f":
        found["not finite"] = saved | {first: np.full_like(value, np.nan)}
    return found


def test_states_of_other_models_change_nothing(session, path, bundle):
    small = kept_modes(bundle.without_calibration(), 2)
    other = {name: np.zeros(shape, np.float32) for name, shape in small.states.items()}
    saved = session.state_get()
    kinds = bad_states(saved, {name: v.astype(saved[name].dtype) for name, v in other.items()})
    for name, states in kinds.items():
        with pytest.raises(InputError, match="give back"):
            session.state_set(states)
            pytest.fail(name)
    for name, value in session.state_get().items():
        np.testing.assert_array_equal(value, saved[name])
    goes_on(session, path)


def test_an_artifact_of_another_model_is_refused_and_both_are_named(path):
    other = random_bundle(np.random.default_rng(1), name="other", orders=(4,), width=4, golden_frames=(20,))
    with pytest.raises(InputError, match=r"made from another model \('net'.*'other'"):
        check_file(other, path)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.99])
def test_the_beginning_of_a_file_is_refused(path, tmp_path, share):
    cut = copied(path, tmp_path)
    data = cut.read_bytes()
    cut.write_bytes(data[: int(share * len(data))])
    with pytest.raises(SsmithError if path.suffix == ".c" else InputError):  # C is refused by the compiler
        Session.open(cut)


@pytest.mark.parametrize("at", [0.2, 0.7])
def test_one_changed_bit_is_refused(path, bundle, folder, tmp_path, at):
    """C sources alone have no checksum; their folder's manifest has."""
    changed = copied(path, tmp_path)
    if path.suffix == ".c":
        (row,) = write_manifest(bundle, tmp_path, [changed]).files
    data = bytearray(changed.read_bytes())
    data[int(at * len(data))] ^= 4
    changed.write_bytes(data)
    if path.suffix == ".c":
        with pytest.raises(InputError, match=r"is not the file that manifest\.json describes"):
            verified(tmp_path, row)
        return
    with pytest.raises(InputError):
        Session.open(changed)
        # A bundle may be edited: it is then another model, and no artifact of the old one is taken for its.
        check_file(Bundle.read(changed), folder / "net.step.onnx")


def copied(path, folder):
    """The file, with what it needs beside it."""
    if path.suffix == ".c":
        for other in path.parent.glob("*.h"):
            (folder / other.name).write_bytes(other.read_bytes())
    (folder / path.name).write_bytes(path.read_bytes())
    return folder / path.name


@pytest.mark.parametrize("form", ["step", "sequence"])
@pytest.mark.parametrize("change", ["missing", "type", "rank", "order"])
def test_a_graph_whose_state_is_another_is_refused(folder, tmp_path, form, change):
    """onnxruntime itself would start it, and read the state as zeros or fail in the first frame."""
    model = onnx.load(folder / f"net.{form}.onnx")
    [port] = [port for port in model.graph.input if port.name == "state_0"]
    dims = port.type.tensor_type.shape.dim
    if change == "missing":
        model.graph.input.remove(port)
        size = dims[1].dim_value
        zeros = onnx.numpy_helper.from_array(np.zeros((1, size), np.float32), "state_0")
        model.graph.initializer.append(zeros)
    if change == "type":
        port.type.tensor_type.elem_type = onnx.TensorProto.DOUBLE
        cast = onnx.helper.make_node("Cast", ["state_0"], ["/state_0"], to=onnx.TensorProto.FLOAT)
        for node in model.graph.node:
            for i, name in enumerate(node.input):
                node.input[i] = "/state_0" if name == "state_0" else name
        model.graph.node.insert(0, cast)
    if change == "rank":
        del dims[0]
    if change == "order":
        dims[1].dim_value -= 2
    save_unsealed(model, tmp_path / "net.onnx")
    with pytest.raises(InputError, match=r"state_0|cannot open"):
        Session.open(tmp_path / "net.onnx")
