"""Programs of an earlier release without torch: their descriptions anywhere, runs where the runtime is."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

from ssmith.bundle import Bundle
from ssmith.errors import InputError, MissingToolError
from ssmith.runtime import simulate
from ssmith.runtime.executorch import ExecutorchBackend
from ssmith.runtime.executorch_numpy import PACKAGE, NumpyProgram, read_meta
from ssmith.runtime.reference import describe, initial_state, run
from ssmith.runtime.session import Session
from tests.fuzzing import repaired

FOLDER = Path(__file__).parents[1] / "data" / "compat" / "0.1.0"
HERE = importlib.util.find_spec(PACKAGE) is not None
runs = pytest.mark.skipif(not HERE, reason=f"{PACKAGE} is not installed (Python 3.12 and newer)")


@pytest.fixture(scope="module")
def bundle():
    return Bundle.read(FOLDER / "digits.ssm")


@pytest.fixture(scope="module")
def block(bundle):
    return np.random.default_rng(0).standard_normal((50, len(bundle.meta.inputs))).astype(np.float32)


def opened(*names):
    return ExecutorchBackend([NumpyProgram(FOLDER / name, 1) for name in names])


def expected(bundle, block):
    ops, tensors = bundle.meta.ops, bundle.tensors
    return run(ops, tensors, block, initial_state(ops, tensors, block.shape[1], np.float64))[0]


def close(found, wanted, relative=2e-6):
    return np.abs(found - wanted).max() <= relative * np.abs(wanted).max()


@pytest.mark.parametrize("name", ["digits.step.pte", "digits.stream.pte", "digits.sequence.pte"])
def test_the_description_is_read_without_running_anything(bundle, name):
    meta = read_meta((FOLDER / name).read_bytes(), FOLDER / name)
    assert meta.form == name.split(".")[1]
    assert describe(bundle).items() <= meta.model_dump(mode="json").items()
    if importlib.util.find_spec("executorch"):
        from ssmith.runtime.executorch_program import Program

        assert Program(FOLDER / name, 1).meta == meta


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (b'{"activation_bits"', b'{"deactivated_bit"', "was not written by"),
        (b'"form": "step"', b'"form": "stop"', "damaged description: form"),
        (b'"how_to_use": ', b'"how_to_use"; ', "damaged description"),
    ],
)
def test_a_damaged_description_is_refused(tmp_path, old, new, words):
    data = (FOLDER / "digits.step.pte").read_bytes()
    assert old in data
    path = tmp_path / "net.step.pte"
    path.write_bytes(repaired(data.replace(old, new)))
    with pytest.raises(InputError, match=words):
        NumpyProgram(path, 1)


def test_a_stream_is_refused_as_its_states_are_out_of_reach():
    with pytest.raises(InputError, match=r"open digits\.step\.pte"):
        NumpyProgram(FOLDER / "digits.stream.pte", 1)


def test_threads_cannot_be_set():
    with pytest.raises(InputError, match="threads is 2"):
        NumpyProgram(FOLDER / "digits.step.pte", 2)


@pytest.mark.skipif(HERE, reason="the runtime is installed")
def test_a_missing_runtime_is_named():
    with pytest.raises(MissingToolError, match="executorch-numpy-runtime"):
        NumpyProgram(FOLDER / "digits.step.pte", 1)


@runs
@pytest.mark.parametrize("names", [["step"], ["sequence"], ["step", "sequence"]])
def test_any_split_gives_the_reference(bundle, block, names):
    backend = opened(*(f"digits.{name}.pte" for name in names))
    found = np.concatenate([backend.process(piece) for piece in np.split(block, [1, 3, 4, 30])])
    assert close(found, expected(bundle, block))


@runs
def test_states_are_saved_set_and_reset(block):
    backend = opened("digits.step.pte")
    first = backend.process(block)
    saved = backend.state_get()
    rest = backend.process(block)
    backend.state_set(saved)
    np.testing.assert_array_equal(backend.process(block), rest)
    backend.reset()
    np.testing.assert_array_equal(backend.process(block), first)


@runs
@pytest.mark.skipif(importlib.util.find_spec("executorch") is not None, reason="executorch goes first")
def test_a_session_takes_it_where_executorch_is_missing(bundle, block):
    session = Session.open(FOLDER / "digits.step.pte")
    assert (session.backend, "torch" in sys.modules) == ("executorch", False)
    assert close(session.process(block), expected(bundle, block))


@runs
def test_int8_is_what_the_simulation_says(bundle, block):
    backend = opened("digits_int8.step.pte")
    assert backend.precision == "int8-a8"
    rounded = simulate.roundings(bundle, "int8", 8, "executorch")
    wanted = simulate.run_simulated(bundle, rounded, block)[0]
    assert close(backend.process(block), wanted, 2e-5)


@runs
def test_a_cut_program_is_refused(tmp_path):
    path = tmp_path / "net.step.pte"
    data = (FOLDER / "digits.step.pte").read_bytes()
    path.write_bytes(repaired(data[: len(data) * 2 // 3]))  # in the weights, behind the description
    with pytest.raises(InputError, match="cannot open"):
        NumpyProgram(path, 1)
