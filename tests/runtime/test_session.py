"""What a session promises whatever computes it: shapes, refusals, state, who is chosen."""

import ctypes
import shutil
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from ssmith.compiler import find_compiler
from ssmith.errors import InputError
from ssmith.export import c99, onnx
from ssmith.export.manifest import write_manifest
from ssmith.runtime import Session, choice
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
        monkeypatch.setattr(choice.importlib.util, "find_spec", lambda name: None)


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
        ("net.step.onnx", {"backend": "tpu"}, "write native, onnx, executorch or reference"),
        ("net.step.onnx", {"precision": "int3"}, "write float64, float32, .*int4-weights or mixed"),
        ("net.step.onnx", {"precision": "float64"}, "computes in float32"),
    ],
)
def test_opening_nonsense_is_refused(folder, name, arguments, words):
    with pytest.raises(InputError, match=words):
        Session.open(folder / name, **arguments)


@needs_compiler
def test_every_session_tells_its_precision(folder):
    assert Session.open(folder).precision == "float32"
    assert Session.open(folder, precision="float32").precision == "float32"
    assert Session.open(folder, backend="onnx").precision == "float32"
    assert Session.open(folder, backend="reference").precision == "float64"
    assert Session.open(folder, precision="float64").precision == "float64"  # only the reference can


@needs_compiler
@pytest.mark.parametrize(
    ("name", "arguments", "words"),
    [
        (
            "",
            {"precision": "int8"},
            r"native: the folder holds no \.c.*int8; onnx: the folder holds no .onnx file of precision int8",
        ),
        ("", {"precision": "float64", "backend": "native"}, "native: it does not compute in float64"),
        ("net.c", {"precision": "int8"}, "computes in float32, not in int8"),
        ("net.ssmc", {"precision": "int8-a8"}, "computes in float32, not in int8-a8"),
        (
            "net.c",
            {"precision": "float64"},
            "computes in float32 or float32-fma or int8 or int8-a8, not in float64",
        ),
    ],
)
def test_a_precision_that_is_not_there_is_refused(folder, tmp_path, name, arguments, words):
    copy = shutil.copytree(folder, tmp_path / "alone")  # without the bundle, that has every precision
    with pytest.raises(InputError, match=words):
        Session.open(copy / name, **arguments)


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


@needs_compiler
@pytest.mark.parametrize("backend", ["native", "onnx", "reference"])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_frame_that_is_not_finite_changes_nothing(folder, backend, bad):
    opened = Session.open(folder, backend=backend)
    block = np.random.default_rng(1).standard_normal((9, 3)).astype(np.float32)
    opened.process(block)
    before = opened.state_get()
    block[8, 2] = bad
    with pytest.raises(InputError, match=rf"block\[8, 2\] is {bad}.*Nothing was computed"):
        opened.process(block)
    with pytest.raises(InputError, match=rf"u\[2\] is {bad}"):
        opened.step(block[8])
    assert all(np.array_equal(before[name], value) for name, value in opened.state_get().items())


@needs_compiler
@pytest.mark.parametrize("backend", ["native", "onnx", "reference"])
def test_results_go_where_they_are_wanted(folder, backend):
    opened = Session.open(folder, backend=backend)
    block = np.random.default_rng(2).standard_normal((13, 3)).astype(np.float32)
    expected = opened.process(block)
    room = np.full((15, 2), 7, np.float32)
    opened.reset()
    assert opened.process(block, room[1:14]) is not None
    assert np.array_equal(room[1:14], expected)
    assert (room[0] == 7).all()
    assert (room[14] == 7).all()
    opened.reset()
    y = np.empty(2, np.float32)
    for u, row in zip(block, expected, strict=True):
        assert opened.step(u, out=y) is y
        assert np.allclose(y, row, rtol=0, atol=1e-5)
    empty = np.empty((0, 2), np.float32)
    assert opened.process(np.empty((0, 3), np.float32), empty) is empty


@needs_compiler
def test_blocks_are_neither_copied_nor_changed(folder, monkeypatch):
    """C reads the caller's memory and writes it, a read-only block too."""
    opened = Session.open(folder, backend="native")
    block = np.random.default_rng(3).standard_normal((13, 3)).astype(np.float32)
    out = np.empty((13, 2), np.float32)
    seen = []
    run = opened._backend._process
    monkeypatch.setattr(
        opened._backend, "_process", lambda *a: (seen.extend(map(ctypes.addressof, a[1:3])), run(*a))[1]
    )
    kept = block.copy()
    opened.process(block, out)
    assert seen == [block.ctypes.data, out.ctypes.data]
    assert np.array_equal(block, kept)
    block.flags.writeable = False
    opened.reset()
    assert np.array_equal(opened.process(block), out)
    assert seen[2] == block.ctypes.data


@needs_compiler
@pytest.mark.parametrize("shift", [0, 1, 5, 20])
def test_input_and_output_may_share_memory(folder, shift):
    opened = Session.open(folder, backend="native")
    memory = np.random.default_rng(4).standard_normal(60).astype(np.float32)
    block = memory[: 3 * 13].reshape(13, 3)
    expected = opened.process(block.copy())
    opened.reset()
    opened.process(block, memory[shift : shift + 2 * 13].reshape(13, 2))
    assert np.array_equal(memory[shift : shift + 26].reshape(13, 2), expected)


@pytest.mark.parametrize(
    ("out", "words"),
    [
        ([[0.0, 0.0]] * 4, "out is a list"),
        (np.empty((4, 3), np.float32), r"shape \(4, 3\).*np\.empty\(\(4, 2\), np\.float32\)"),
        (np.empty((4, 2)), "type float64"),
        (np.empty((4, 4), np.float32)[:, ::2], "not contiguous"),
        (np.frombuffer(bytes(32), np.float32).reshape(4, 2), "read-only"),
        (np.frombuffer(bytearray(33), np.float32, 8, 1).reshape(4, 2), "not aligned"),
    ],
)
def test_an_out_that_cannot_be_written_is_refused(reference, out, words):
    before = reference.state_get()
    with pytest.raises(InputError, match=words):
        reference.process(np.ones((4, 3)), out)
    assert all(np.array_equal(before[name], value) for name, value in reference.state_get().items())


@needs_compiler
def test_other_threads_run_while_c_computes(folder):
    """One thread sits in C, this one goes on counting: the interpreter's lock is free meanwhile."""
    opened = Session.open(folder, backend="native")
    block = np.zeros((400_000, 3), np.float32)
    running, counted = threading.Event(), 0

    def compute():
        running.set()
        opened.process(block)

    before = sys.getswitchinterval()
    sys.setswitchinterval(60)  # nobody gives the lock away unless he lets go of it himself
    try:
        thread = threading.Thread(target=compute)
        thread.start()
        running.wait()
        while thread.is_alive():
            counted += 1
            time.sleep(0)  # let go
    finally:
        sys.setswitchinterval(before)
    thread.join()
    assert counted > 100


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
