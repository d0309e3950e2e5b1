"""The integer reference behind a session."""

import numpy as np
import pytest

from ssmith.errors import InputError
from ssmith.runtime.calibrate import calibrate
from ssmith.runtime.integer import run_integer
from ssmith.runtime.integer_lower import lower_integer
from ssmith.runtime.session import Session
from tests.bundles import kept_modes, random_bundle

FRAMES = np.random.default_rng(7).standard_normal((30, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    main = random_bundle(np.random.default_rng(0), orders=(4, 4), pool="mean")
    bundle = calibrate(main.with_variants([kept_modes(main, 2)]), [FRAMES])
    path = tmp_path_factory.mktemp("integers") / "net.ssm"
    bundle.write(path)
    return path, bundle


@pytest.mark.parametrize(("precision", "bits"), [("int8", 16), ("int8-a8", 8)])
def test_a_session_is_the_integer_reference(path, precision, bits):
    file, bundle = path
    session = Session.open(file, precision=precision)
    model = lower_integer(bundle, bits)
    expected = model.decode(run_integer(model, model.encode(FRAMES))[0])
    assert session.precision == precision
    assert np.array_equal(session.process(FRAMES), expected)
    session.reset()
    assert np.array_equal([session.step(u) for u in FRAMES], expected)


def test_a_saved_state_goes_on_and_keeps_its_types(path):
    session = Session.open(path[0], precision="int8")
    first = session.process(FRAMES[:11])
    saved = session.state_get()
    rest = session.process(FRAMES[11:])
    assert {name: v.dtype.name for name, v in saved.items()} == {
        "state_0": "int32",
        "state_1": "int32",
        "pool_sum": "int64",
        "pool_count": "int64",
    }
    session.reset()
    assert np.array_equal(session.process(FRAMES[:11]), first)
    session.state_set(saved)
    assert np.array_equal(session.process(FRAMES[11:]), rest)


def test_a_state_that_does_not_fit_changes_nothing(path):
    session = Session.open(path[0], precision="int8")
    session.process(FRAMES)
    before = session.state_get()
    wrong = before | {"state_0": np.full(8, 2**30 + 1)}
    with pytest.raises(InputError, match="no model reaches"):
        session.state_set(wrong)
    assert all(np.array_equal(v, before[name]) for name, v in session.state_get().items())


def test_variants_open_by_order(path):
    session = Session.open(path[0], precision="int8", order=2)
    assert session.state_get()["state_0"].shape == (4,)


def test_a_bundle_without_calibration_is_refused(tmp_path):
    random_bundle(np.random.default_rng(0)).write(tmp_path / "net.ssm")
    with pytest.raises(InputError, match="no calibration"):
        Session.open(tmp_path / "net.ssm", precision="int8")
