"""Without roundings the simulation is the reference; with them pieces and batches mean the same."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ssmith.bundle import Bundle
from ssmith.errors import InputError
from ssmith.quant import product_weights
from ssmith.runtime.reference import run
from ssmith.runtime.rounding import Dynamic, Static
from ssmith.runtime.simulate import planned, roundings, run_simulated, simulate
from tests.bundles import random_bundle
from tests.calibrated import calibrated
from tests.op_lists import any_bundle, frames

PRECISIONS = ("float16", "int8", "int8-dynamic", "int8-weights", "int4-weights")


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return calibrated(random_bundle(np.random.default_rng(0), orders=(6, 4)), 300)


def with_plan(bundle: Bundle, plan) -> Bundle:
    return Bundle(bundle.meta.model_copy(update={"plan": plan}), bundle.tensors)


@given(st.integers(0, 10_000), st.integers(0, 60))
@settings(max_examples=40, deadline=None)
def test_without_roundings_it_is_the_reference(seed, count):
    bundle = any_bundle(seed)
    block = frames(bundle, count, 1)
    expected, states = run(bundle.meta.ops, bundle.tensors, block)
    found, after = run_simulated(bundle, {}, block)
    scale = max(np.abs(expected).max(initial=0), 1)
    assert found.shape == expected.shape and np.abs(found - expected).max(initial=0) <= 1e-10 * scale
    assert list(after) == list(states)
    for name, value in states.items():
        assert np.allclose(after[name], value, rtol=1e-9, atol=1e-10)


@given(st.integers(0, 50), st.sampled_from(PRECISIONS))
@settings(deadline=None, max_examples=20)
def test_pieces_are_the_whole(bundle, cut, precision):
    rounded = roundings(bundle, precision, 16)
    block = frames(bundle, 50, 2)
    whole, after = run_simulated(bundle, rounded, block)
    first, state = run_simulated(bundle, rounded, block[:cut])
    second, end = run_simulated(bundle, rounded, block[cut:], state)
    # the scan sums in another order, which a code at its tie may show
    assert np.abs(np.concatenate([first, second]) - whole).max() <= 1e-2 * np.abs(whole).max()
    assert np.median(np.abs(np.concatenate([first, second]) - whole)) <= 1e-9
    assert all(np.allclose(end[name], after[name], atol=1e-2) for name in after)


def test_sequences_of_any_length_are_as_alone(bundle):
    sequences = [frames(bundle, count, count) for count in (7, 0, 40, 40, 13)]
    rounded = roundings(bundle, "int8", 8)
    for found, sequence in zip(simulate(bundle, rounded, sequences), sequences, strict=True):
        alone, _ = run_simulated(bundle, rounded, sequence)
        assert found.shape == alone.shape and np.allclose(found, alone, atol=1e-9)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_every_product_is_rounded_and_that_is_heard(bundle, precision):
    rounded = roundings(bundle, precision, 8)
    assert list(rounded) == list(product_weights(bundle.meta.ops))
    block = frames(bundle, 300, 0)  # what the ranges come from, so nothing saturates
    exact, _ = run_simulated(bundle, {}, block)
    found, _ = run_simulated(bundle, rounded, block)
    error = ((found - exact) ** 2).sum() / (exact**2).sum()
    assert 0 < error < (0.1 if precision == "int4-weights" else 0.02)


def test_each_format_has_its_own_rounding(bundle):
    assert roundings(bundle, "float32") == {} and roundings(bundle, "int8-all") is None
    limits = {
        format: {r.product.codes.limit for r in roundings(bundle, "int8", 16, format).values()}
        for format in ("onnx", "c99", "executorch")
    }
    assert limits == {"onnx": {32767}, "c99": {32767}, "executorch": {127}}
    kinds = {roundings(bundle, "int8-dynamic", 8, format)["head"].kind for format in ("onnx", "executorch")}
    assert kinds == {"onnx", "executorch"}


def test_a_plan_is_followed_and_executorch_has_no_16_bits(bundle):
    keys = list(product_weights(bundle.meta.ops))
    plan = dict.fromkeys(keys, "float32") | {keys[0]: "int8-a16", keys[1]: "int8-a8"}
    found = roundings(with_plan(bundle, plan), "mixed")
    assert set(found) == {keys[0], keys[1]}
    assert [found[key].product.codes.limit for key in keys[:2]] == [32767, 127]
    assert set(planned(bundle, plan, "executorch")) == {keys[1]}
    with pytest.raises(InputError, match="no plan"):
        roundings(bundle, "mixed")


def test_d_hears_the_codes_and_dynamic_does_not(bundle):
    d = next(op for op in bundle.meta.ops if op.op == "ssm")
    rounded = roundings(bundle, "int8", 8)
    assert isinstance(rounded[f"{d.name}.B"], Static)
    u = np.random.default_rng(0).standard_normal((5, 5))
    assert not np.array_equal(rounded[f"{d.name}.B"].heard(u), u)
    assert isinstance(roundings(bundle, "int8-dynamic")[f"{d.name}.B"], Dynamic)


def test_states_kept_in_codes_are_multiples_of_the_step(bundle):
    layer = next(op for op in bundle.meta.ops if op.op == "ssm")
    length = bundle.states[layer.state][0]
    block = frames(bundle, 60, 4)
    _, after = run_simulated(bundle, {}, block, state_steps={layer.name: np.full(length, 0.125)})
    assert np.array_equal(np.rint(after[layer.state] / 0.125) * 0.125, after[layer.state])
    exact, _ = run_simulated(bundle, {}, block)
    fine, _ = run_simulated(bundle, {}, block, state_steps={layer.name: np.full(length, 1e-12)})
    assert np.allclose(fine, exact, atol=1e-8)
