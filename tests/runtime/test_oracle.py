"""The references that artifacts are held against, computed once."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ssmith.runtime import oracle as module
from ssmith.runtime.oracle import TARGETS, Oracle, Plan, float_target, run_sequences
from ssmith.runtime.reference import run
from tests.bundles import plain_run, random_bundle


@pytest.fixture(scope="module")
def bundle():
    return random_bundle(np.random.default_rng(0), golden_frames=(60, 1))


@pytest.fixture(scope="module")
def oracle(bundle):
    return Oracle(bundle, Plan(drift=500, rounded_drift=200))


def test_it_is_the_op_list_in_float64(bundle, oracle):
    for s in (*oracle.golden, *oracle.adversarial, oracle.drift):
        expected = plain_run(bundle.meta.ops, bundle.tensors, s.frames)
        assert np.abs(oracle.exact(s).output - expected).max() < 1e-12 * max(np.abs(expected).max(), 1)
        assert 0 < oracle.own_error(s) < 1e-5


@pytest.mark.parametrize("precision", ["exact", "float32"])
def test_streams_at_once_have_the_bits_of_each_alone(bundle, oracle, precision):
    name = {"exact": "float64", "float32": "float32"}[precision]
    for s in oracle.adversarial:
        alone, _ = run(bundle.meta.ops, bundle.tensors, s.frames, precision=name)
        np.testing.assert_array_equal(getattr(oracle, precision)(s).output, alone)


def test_states_are_those_after_the_last_frame(bundle, oracle):
    s = oracle.golden[0]
    _, state = run(bundle.meta.ops, bundle.tensors, s.frames)
    assert oracle.exact(s).state.keys() == state.keys()
    assert all((oracle.exact(s).state[name] == value).all() for name, value in state.items())
    scaled = oracle.scaled(state, state)
    assert np.abs(scaled).max() == 1
    assert oracle.own_state_error(s) < 1e-5


def test_each_input_is_computed_once(bundle, monkeypatch):
    asked = []
    monkeypatch.setattr(module, "run", lambda *a, **k: asked.append("run") or run(*a, **k))
    streams = module.run_streams
    monkeypatch.setattr(module, "run_streams", lambda *a, **k: asked.append("streams") or streams(*a, **k))
    oracle = Oracle(bundle, Plan(drift=300))
    for _ in range(2):
        for s in (*oracle.golden, *oracle.adversarial, oracle.drift, oracle.drift.first(100)):
            oracle.exact(s)
    assert sorted(asked) == ["run"] * 3 + ["streams"]


def test_the_beginning_of_the_long_stream(oracle):
    first = oracle.drift.first(200)
    np.testing.assert_array_equal(oracle.exact(first).output, oracle.exact(oracle.drift).output[:200])
    assert oracle.exact(first).state == {}
    assert oracle.exact(oracle.drift).state


@given(st.integers(1, 10_000_000), st.integers(1, 10_000_000))
def test_the_target_grows_with_the_frames_between_its_ends(a, b):
    low, high = (float_target(n) for n in sorted((a, b)))
    assert TARGETS[0][1] <= low <= high <= TARGETS[1][1] * (1 + 1e-12)


def test_the_target_meets_its_ends():
    for frames, target in TARGETS:
        assert float_target(frames) == pytest.approx(target, rel=1e-12)
    assert float_target(10_000) == pytest.approx((2e-6 * 1e-4) ** 0.5)


@given(st.lists(st.integers(0, 40), max_size=6), st.integers(1, 60))
def test_sequences_at_once_have_the_bits_of_each_alone(lengths, together):
    bundle = random_bundle(np.random.default_rng(1), orders=(3,))
    rng = np.random.default_rng(0)
    sequences = [rng.standard_normal((n, 3)).astype(np.float32) for n in lengths]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "TOGETHER", together)
        found = run_sequences(bundle, sequences)
    assert [y.shape for y in found] == [(n, 2) for n in lengths]
    for x, y in zip(sequences, found, strict=True):
        np.testing.assert_array_equal(y, run(bundle.meta.ops, bundle.tensors, x)[0])
