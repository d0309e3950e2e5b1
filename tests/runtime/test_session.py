"""What a session promises whatever computes it: shapes, refusals, state, who is chosen."""

import subprocess
import sys

import numpy as np
import pytest

from ssmith.compiler import find_compiler
from ssmith.errors import InputError
from ssmith.export import c99, onnx
from ssmith.export.manifest import write_manifest
from ssmith.runtime import Session, session
from tests.bundles import random_bundle

pytestmark = pytest.mark.usefixtures("library_cache")
needs_compiler = pytest.mark.skipif(find_compiler() is None, reason="no C compiler")


@pytest.fixture(scope="module")
def bundle():
    return random_bundle(np.random.default_rng(0), golden_frames=(30,))


@pytest.fixture(scope="module")
def folder(bundle, tmp_path_factory):
    """An artifact folder with the bundle beside it."""
    run = tmp_path_factory.mktemp("run")
    bundle.write(run / "net.ssm")
    artifacts = run / "artifacts"
    paths = [*c99.lower(bundle, artifacts), *onnx.lower(bundle, artifacts)]
    write_manifest(bundle, artifacts, paths)
    return artifacts


@pytest.fixture
def reference(folder):
    return Session.open(folder, backend="reference")


def without(monkeypatch, *names):
    """As if these tools were not installed."""
    if "compiler" in names:
        monkeypatch.setattr("ssmith.compiler.find_compiler", lambda: None)
    if "onnxruntime" in names:
        monkeypatch.setattr(session.importlib.util, "find_spec", lambda name: None)


@needs_compiler
@pytest.mark.parametrize("backend", ["native", "onnx", "reference"])
def test_every_backend_computes_the_model(bundle, folder, backend):
    case = bundle.golden()[0]
    opened = Session.open(folder, backend=backend)
    assert opened.backend == backend
    assert (opened.inputs, opened.outputs, opened.period_s) == (3, 2, 0.01)
    assert opened.meta["bundle_sha256"] == bundle.sha256
    whole = opened.process(case.input)
    assert whole.dtype == np.float32
    assert np.abs(whole - case.output).max() < 1e-5 * case.scale
    opened.reset()
    steps = np.stack([opened.step(u) for u in case.input])
    assert np.abs(steps - whole).max() < 1e-5 * case.scale


@needs_compiler
def test_states_move_between_backends(bundle, folder):
    block = bundle.golden()[0].input
    first, second = (Session.open(folder, backend=name) for name in ("native", "reference"))
    expected = first.process(block)[15:]
    first.reset()
    first.process(block[:15])
    second.state_set(first.state_get())
    assert np.abs(second.process(block[15:]) - expected).max() < 1e-5


@needs_compiler
def test_a_folder_takes_the_fastest_backend_there_is(folder, monkeypatch):
    assert Session.open(folder).backend == "native"
    without(monkeypatch, "compiler")
    assert Session.open(folder).backend == "onnx"
    without(monkeypatch, "compiler", "onnxruntime")
    assert Session.open(folder).backend == "reference"


def test_nothing_possible_lists_every_reason(bundle, tmp_path, monkeypatch):
    write_manifest(bundle, tmp_path, c99.lower(bundle, tmp_path))
    without(monkeypatch, "compiler")
    with pytest.raises(InputError, match=r"native: no C compiler.*onnx: .*no \.onnx.*reference: net\.ssm"):
        Session.open(tmp_path)


def test_the_file_names_its_backend(folder):
    assert Session.open(folder / "net.step.onnx").backend == "onnx"
    assert Session.open(folder.parent / "net.ssm").backend == "reference"
    with pytest.raises(InputError, match="opened by the onnx backend"):
        Session.open(folder / "net.step.onnx", backend="native")


@pytest.mark.parametrize(
    ("name", "arguments", "words"),
    [
        ("gone.onnx", {}, "does not exist"),
        ("manifest.json", {}, "is no artifact"),
        ("net.step.onnx", {"backend": "tpu"}, "write native, onnx or reference"),
        ("net.step.onnx", {"precision": "float16"}, "write float64 or float32"),
        ("net.step.onnx", {"precision": "float64"}, "computes in float32"),
    ],
)
def test_opening_nonsense_is_refused(folder, name, arguments, words):
    with pytest.raises(InputError, match=words):
        Session.open(folder / name, **arguments)


def test_precision_of_the_reference(bundle, folder):
    block = bundle.golden()[0].input
    a, b = (
        Session.open(folder.parent / "net.ssm", precision=p).process(block) for p in ("float64", "float32")
    )
    assert 0 < np.abs(a - b).max() < 1e-5


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (np.zeros(2), r"takes \(3,\)"),
        (np.zeros((1, 3)), r"takes \(3,\)"),
        ([0, np.nan, 0], r"u\[1\] is nan"),
        ([0, 0, np.inf], r"u\[2\] is inf"),
        ([0, 0, 1e300], r"u\[2\] is 1e\+300"),
        (["a", "b", "c"], "real numbers"),
        ([1j, 0, 0], "real numbers"),
    ],
)
def test_a_bad_frame_is_refused_and_changes_nothing(reference, values, words):
    before = reference.state_get()
    with pytest.raises(InputError, match=words):
        reference.step(values)
    assert all(np.array_equal(before[name], value) for name, value in reference.state_get().items())


def test_a_bad_block_names_the_place(reference):
    block = np.zeros((5, 3))
    block[3, 1] = np.nan
    with pytest.raises(InputError, match=r"block\[3, 1\] is nan"):
        reference.process(block)
    with pytest.raises(InputError, match=r"takes \(T, 3\)"):
        reference.process(np.zeros((5, 4)))


def test_what_converts_is_taken(reference):
    assert reference.step([1, 2, 3]).shape == (2,)
    assert reference.process(np.ones((4, 6), np.int8)[:, ::2]).shape == (4, 2)
    assert reference.process(np.zeros((0, 3))).shape == (0, 2)


@pytest.mark.parametrize("change", ["missing", "unknown", "shape", "nan", "integers"])
def test_a_bad_state_is_refused_and_changes_nothing(reference, change):
    reference.step([1, 2, 3])
    saved = reference.state_get()
    bad = dict(saved)
    if change == "missing":
        bad.pop("pool_sum")
    if change == "unknown":
        bad["state_9"] = np.zeros(1)
    if change == "shape":
        bad["state_0"] = np.zeros(3)
    if change == "nan":
        bad["state_1"] = np.full_like(saved["state_1"], np.nan)
    if change == "integers":
        bad["state_1"] = np.zeros(len(saved["state_1"]), int)
    with pytest.raises(InputError, match="give back"):
        reference.state_set(bad)
    assert all(np.array_equal(saved[name], value) for name, value in reference.state_get().items())


def test_torch_is_never_imported(folder):
    code = (
        "import sys; from ssmith.runtime import Session\n"
        f"s = Session.open({str(folder.parent / 'net.ssm')!r}); s.step([0, 0, 0])\n"
        f"s = Session.open({str(folder)!r}); s.step([0, 0, 0])\n"
        "heavy = {'torch', 'scipy', 'onnx', 'sklearn', 'matplotlib'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
