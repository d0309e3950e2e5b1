"""The products are those of the integer model, and what is made of their codes is what it computes."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ssmith.errors import InputError
from ssmith.quant import product_weights
from ssmith.runtime.integer import run_integer
from ssmith.runtime.integer_lower import lower_integer
from ssmith.runtime.integer_model import LinearOp, SsmOp
from ssmith.runtime.products import codes_of, rounded_products
from ssmith.runtime.reference import run
from ssmith.runtime.simulate import roundings, run_simulated
from tests.bundles import random_bundle
from tests.calibrated import calibrated
from tests.op_lists import any_bundle, frames


@given(st.integers(0, 10_000), st.sampled_from([16, 8]))
@settings(max_examples=25, deadline=None)
def test_weights_are_those_of_the_integer_model(seed, bits):
    bundle = calibrated(any_bundle(seed))
    products = rounded_products(bundle, bits)
    assert list(products) == list(product_weights(bundle.meta.ops))
    for op in lower_integer(bundle, bits).ops:
        if isinstance(op, LinearOp):
            assert np.array_equal(op.weight, products[op.name].weight)
            assert op.quantize.limit == products[op.name].codes.limit
        elif isinstance(op, SsmOp):
            assert np.array_equal(op.B, products[f"{op.name}.B"].weight)
            assert np.array_equal(op.C, products[f"{op.name}.C"].weight)


@pytest.mark.parametrize("bits", [16, 8])
def test_a_product_tells_its_input_to_half_a_step_where_codes_reach(bits):
    bundle = calibrated(random_bundle(np.random.default_rng(3)))
    for product in rounded_products(bundle, bits).values():
        codes = product.codes
        rng = np.random.default_rng(0)
        u = codes.offset + codes.step * rng.uniform(-codes.limit, codes.limit, (50, len(codes.step)))
        q = codes_of(u, codes)
        assert (np.abs(q * codes.step + codes.offset - u) <= codes.step * 0.5 * (1 + 1e-9)).all()
        assert (np.abs(codes_of(1e9 * u, codes)) <= codes.limit).all()


@pytest.mark.parametrize("bits", [16, 8])
@pytest.mark.parametrize("norm", ["layer", "affine"])
def test_the_integer_reference_is_the_simulation_but_for_less_than_the_rounding_itself(bits, norm):
    """What differs: the input's 16 bits, poles, tables, int32 vectors; less than the products' noise."""
    bundle = calibrated(random_bundle(np.random.default_rng(1), norm=norm, orders=(6, 4)), 400)
    block = frames(bundle, 400, 5)
    exact, _ = run(bundle.meta.ops, bundle.tensors, block)
    simulated, _ = run_simulated(bundle, roundings(bundle, "int8", bits, "c99"), block)
    model = lower_integer(bundle, bits)
    integer = model.decode(run_integer(model, model.encode(block))[0])
    between = 10 * math.log10(((simulated - exact) ** 2).sum() / ((integer - simulated) ** 2).sum())
    assert between > 3
    alike = ((integer - exact) ** 2).sum() / ((simulated - exact) ** 2).sum()
    assert 0.5 < alike < 2


def test_no_ranges_no_products():
    with pytest.raises(InputError, match="no calibration"):
        rounded_products(random_bundle(np.random.default_rng(0)), 8)
