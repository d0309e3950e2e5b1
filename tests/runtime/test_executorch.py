"""The executorch backend on real programs: states, splits, threads, and files that it refuses."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ssmith.errors import InputError, MissingToolError
from ssmith.export.executorch import MAX_FRAMES, lower, to_program
from ssmith.export.manifest import write_manifest
from ssmith.files import seal
from ssmith.runtime import simulate
from ssmith.runtime.artifacts import artifact_stem
from ssmith.runtime.executorch import ExecutorchBackend, open_backend
from ssmith.runtime.reference import describe, run
from ssmith.runtime.session import Session
from tests.bundles import random_bundle
from tests.calibrated import calibrated
from tests.fuzzing import repaired

torch = pytest.importorskip("torch")
pytest.importorskip("executorch")

pytestmark = pytest.mark.slow  # a program takes seconds to lower
FORMS = ("step", "stream", "sequence", "portable")


@pytest.fixture(scope="module")
def bundle():
    return calibrated(random_bundle(np.random.default_rng(0), orders=(4, 3), golden_frames=(60,)))


@pytest.fixture(scope="module")
def folder(bundle, tmp_path_factory):
    """An artifact folder with every float32 program, two rounded ones and a manifest."""
    folder = tmp_path_factory.mktemp("artifacts")
    files = lower(bundle, folder)
    for precision in ("int8", "int8-dynamic"):
        files.append(folder / f"{artifact_stem('net', precision)}.step.pte")
        files[-1].write_bytes(seal(to_program(bundle, "step", precision).data))
    write_manifest(bundle, folder, files)
    return folder


def path_of(folder, form):
    return folder / f"net.{form}.pte"


@pytest.fixture(params=["folder", *FORMS])
def backend(request, folder) -> ExecutorchBackend:
    return open_backend(folder if request.param == "folder" else path_of(folder, request.param))


def edited(folder, form, tmp_path, old, new):
    """A copy of a program whose description says something else, of the same length."""
    assert len(old) == len(new)
    data = path_of(folder, form).read_bytes()
    assert data.count(old) == 1
    path = tmp_path / f"edited.{form}.pte"
    path.write_bytes(repaired(data.replace(old, new)))
    return path


def test_it_says_what_the_bundle_says(backend, bundle):
    expected = {**describe(bundle), "precision": "float32", "activation_bits": None}
    assert json.loads(json.dumps(backend.meta)) == json.loads(json.dumps(expected))
    assert (backend.inputs, backend.outputs, backend.period_s) == (3, 2, 0.01)
    assert {name: value.shape for name, value in backend.state_get().items()} == bundle.states


def test_output_and_states_equal_the_reference(backend, bundle):
    block = bundle.golden()[0].input
    expected, states = run(bundle.meta.ops, bundle.tensors, block)
    assert np.abs(backend.process(block) - expected).max() < 2e-6
    for name, value in backend.state_get().items():
        assert np.abs(value - states[name]).max() < 2e-6 * max(1, np.abs(states[name]).max())


@pytest.mark.parametrize(("asked", "found"), [("int8", "int8-a8"), ("int8-dynamic", "int8-dynamic")])
def test_a_folder_holds_several_precisions(folder, bundle, asked, found):
    session = Session.open(folder, "executorch", asked)
    assert (session.backend, session.precision) == ("executorch", found)
    block = bundle.golden()[0].input
    expected, _ = simulate.run_simulated(bundle, simulate.roundings(bundle, asked, 8, "executorch"), block)
    assert np.abs(session.process(block) - expected).max() < 2e-5 * np.abs(expected).max()


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


@pytest.mark.parametrize("length", [1, MAX_FRAMES, MAX_FRAMES + 1, 2 * MAX_FRAMES + 7])
def test_blocks_longer_than_the_program_takes(folder, bundle, length):
    block = np.random.default_rng(length).standard_normal((length, 3)).astype(np.float32)
    block.flags.writeable = False
    expected, _ = run(bundle.meta.ops, bundle.tensors, block)
    got = Session.open(path_of(folder, "sequence")).process(block)
    assert np.abs(got - expected).max() < 4e-6 * np.abs(expected).max()


def test_a_stream_goes_on_where_it_was_saved(backend, bundle):
    block = bundle.golden()[0].input
    whole = backend.process(block)
    backend.reset()
    backend.process(block[:25])
    saved = backend.state_get()
    backend.process(block[:7])  # another stream in between
    backend.state_set(saved)
    np.testing.assert_allclose(backend.process(block[25:]), whole[25:], rtol=0, atol=2e-6)


def test_reset_forgets_everything_even_what_is_not_finite(backend, bundle):
    block = bundle.golden()[0].input
    fresh = backend.process(block)
    backend.step(block[0])
    backend.state_set({name: np.full_like(v, np.nan) for name, v in backend.state_get().items()})
    backend.reset()
    assert not any(value.any() for value in backend.state_get().values())
    np.testing.assert_array_equal(backend.process(block), fresh)


def test_what_it_returned_does_not_change_later(backend, bundle):
    block = bundle.golden()[0].input
    y, saved, rows = backend.step(block[0]), backend.state_get(), backend.process(block[:3])
    copies = y.copy(), {name: value.copy() for name, value in saved.items()}, rows.copy()
    backend.process(block)
    backend.step(block[1])
    np.testing.assert_array_equal(y, copies[0])
    np.testing.assert_array_equal(rows, copies[2])
    for name, value in saved.items():
        np.testing.assert_array_equal(value, copies[1][name])


def test_two_sessions_do_not_share_state(folder, bundle):
    block = bundle.golden()[0].input
    one, other = open_backend(folder), open_backend(folder)
    expected = one.process(block)
    one.reset()
    results = [(one.step(u), other.step(v)) for u, v in zip(block, block[::-1], strict=True)]
    np.testing.assert_allclose(np.stack([a for a, _ in results]), expected, rtol=0, atol=2e-6)


def test_one_thread_and_no_word_on_stderr(folder, bundle):
    """In a process of its own: a process has one pool of threads."""
    code = f"""
import sys
import numpy as np, pytest
from ssmith.errors import InputError
from ssmith.runtime.session import Session
path = {str(path_of(folder, "step"))!r}
session = Session.open(path)
assert "executorch.exir" not in sys.modules  # what lowers takes three times as long to import as torch
from executorch.extension.pybindings import _C as package
assert package._threadpool_get_thread_count() == 1
with pytest.raises(InputError, match="write threads=1"):
    Session.open(path, threads=2)
y = session.step(np.ones(3))
del session
two = Session.open(path, threads=2)
assert package._threadpool_get_thread_count() == 2
np.testing.assert_array_equal(two.step(np.ones(3)), y)
"""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_foreign_program_is_refused(tmp_path):
    from ssmith.runtime.executorch_package import quiet

    with quiet():
        from executorch.exir import to_edge

        exported = torch.export.export(torch.nn.ReLU(), (torch.zeros(1, 3),))
        data = to_edge(exported).to_executorch().buffer
    (tmp_path / "x.pte").write_bytes(data)
    with pytest.raises(InputError, match=r"carries no seal|no method 'ssmith'"):
        open_backend(tmp_path / "x.pte")
    (tmp_path / "y.pte").write_bytes(b"no program at all")
    with pytest.raises(InputError, match=r"y\.pte"):
        open_backend(tmp_path / "y.pte")


@pytest.mark.parametrize(
    ("form", "old", "new", "words"),
    [
        ("step", b'["state_0", 8]', b'["state_0", 9]', "inputs should be float32"),
        ("stream", b'["state_0", 8]', b'["state_0", 9]', "state 'state_0' should lie inside"),
        ("stream", b'["state_1", 6]', b'["state_2", 6]', "state 'state_2' should lie inside"),
        ("sequence", b'"max_frames": 1024', b'"max_frames": 1023', "should be float32"),
        ("step", b'"form": "step"', b'"form": "stop"', "damaged description"),
        ("step", b'"form": "step"', b'"form": "ste}"', "damaged description"),
    ],
)
def test_a_description_that_lies_is_refused(folder, tmp_path, form, old, new, words):
    with pytest.raises(InputError, match=words):
        open_backend(edited(folder, form, tmp_path, old, new))


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.99])
def test_a_truncated_file_is_refused(folder, tmp_path, share):
    data = path_of(folder, "step").read_bytes()
    path = tmp_path / "cut.pte"
    path.write_bytes(data[: int(share * len(data))])
    with pytest.raises(InputError, match=r"cut\.pte"):
        open_backend(path)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(InputError, match="cannot read"):
        open_backend(tmp_path / "none.pte")


def test_another_precision_is_refused(folder):
    with pytest.raises(InputError, match="computes in int8-a8, not in float32"):
        Session.open(folder / "net_int8.step.pte", precision="float32")
    with pytest.raises(InputError, match="does not compute in float64"):
        Session.open(folder, "executorch", "float64")


def test_programs_of_two_models_are_refused(folder, bundle, tmp_path):
    other = random_bundle(np.random.default_rng(9), orders=(4, 3))
    files = [path_of(tmp_path, form) for form in ("stream", "sequence")]
    files[0].write_bytes(seal(to_program(other, "stream").data))
    files[1].write_bytes(path_of(folder, "sequence").read_bytes())
    write_manifest(bundle, tmp_path, files)
    with pytest.raises(InputError, match="different models"):
        open_backend(tmp_path)


def test_a_folder_without_programs_is_refused(bundle, tmp_path):
    write_manifest(bundle, tmp_path, [])
    with pytest.raises(InputError, match="holds no ExecuTorch program"):
        open_backend(tmp_path)


def test_without_executorch_the_message_says_what_to_install(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "executorch.extension.pybindings", None)
    with pytest.raises(MissingToolError, match=r"ssmith\[executorch\]"):
        open_backend(path_of(folder, "step"))
