"""The float32 functions against float64, with the bounds that the header states."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ssmith.runtime.arithmetic import (
    exp_negative,
    flush32,
    fma32,
    gelu32,
    gelu64,
    row_sum,
    rsqrt32,
    rsqrt64,
    sigmoid32,
    sigmoid64,
)

COUNT = 400_001


def grid(low, high):
    return np.linspace(low, high, COUNT).astype(np.float32)


def test_exp():
    x = grid(-87, 0)
    assert np.abs(exp_negative(x) / np.exp(x.astype(np.float64)) - 1).max() < 1e-7


def test_sigmoid():
    x = grid(-64, 64)
    exact = sigmoid64(x.astype(np.float64))
    error = np.abs(sigmoid32(x) - exact)
    assert error.max() < 1e-7
    assert (error / exact).max() < 2e-7


def test_gelu():
    for x in (grid(-12, 12), np.concatenate([-np.geomspace(12, 1e12, COUNT), np.geomspace(12, 1e12, COUNT)])):
        x = x.astype(np.float32)
        exact = gelu64(x.astype(np.float64))
        assert (np.abs(gelu32(x) - exact) / np.maximum(1, np.abs(exact) / 12)).max() < 4e-7


def test_functions_hold_their_bounds_on_every_scale():
    x = np.arange(0, 0x7F800000, 4099, dtype=np.int32).view(np.float32)  # all exponents, subnormals too
    x = np.concatenate([-x[::-1], x])
    exact = x.astype(np.float64)
    assert np.abs(sigmoid32(x) - sigmoid64(exact)).max() < 2e-7
    moderate = np.abs(x) <= 12
    assert np.abs(gelu32(x) - gelu64(exact))[moderate].max() < 5e-7
    right = x > 12
    assert np.array_equal(gelu32(x)[right], x[right])


def test_rsqrt():
    x = np.exp(np.linspace(-86, 88, COUNT)).astype(np.float32)
    assert np.abs(rsqrt32(x) * np.sqrt(x.astype(np.float64)) - 1).max() < 1.2e-7


def test_float64_functions_agree_with_the_standard_library():
    x = np.linspace(-40, 40, 1001)
    assert gelu64(x) == pytest.approx([0.5 * v * math.erfc(-v / math.sqrt(2)) for v in x], abs=1e-15)
    assert sigmoid64(x) == pytest.approx([1 / (1 + math.exp(-v)) for v in x], rel=1e-14)
    assert np.isfinite(sigmoid64(np.array([-1e4, 1e4]))).all()
    assert rsqrt64(np.array([0.25])) == 2.0


@pytest.mark.parametrize("function", [sigmoid32, gelu32, exp_negative])
def test_float32_functions_stay_float32_and_leave_their_input(function):
    x = -np.abs(np.linspace(-30, 30, 101)).astype(np.float32)
    before = x.copy()
    assert function(x).dtype == np.float32
    assert np.array_equal(x, before)


def test_extremes_saturate():
    far = np.array([1e30, -1e30, 3e38, -3e38], np.float32)
    assert np.array_equal(sigmoid32(far) > 0.5, far > 0)
    assert np.array_equal(gelu32(far[::2]), far[::2])
    assert np.abs(gelu32(np.array([-20, -1000], np.float32))).max() < 1e-20
    assert np.isfinite(rsqrt32(np.array([0.0, 1e-38], np.float32))).all()


@given(st.integers(1, 70), st.integers(1, 5), st.integers(0, 2**32 - 1))
def test_row_sum_is_the_sum(width, frames, seed):
    rows = np.random.default_rng(seed).standard_normal((frames, width))
    assert row_sum(rows).shape == (frames, 1)
    assert row_sum(rows)[:, 0] == pytest.approx(rows.sum(1), abs=1e-12)


def test_flush_cuts_at_two_to_the_minus_96():
    edge = np.float32(2.0**-96)
    below, above = np.nextafter(edge, np.float32(0)), np.nextafter(edge, np.float32(1))
    x = np.array([0.0, 1e-45, below, edge, above, 1.0, 3e38, np.inf], np.float32)
    kept = np.where(x < edge, np.float32(0), x)
    assert np.array_equal(flush32(x), kept)
    assert np.array_equal(flush32(-x), -kept)
    assert not np.signbit(flush32(-x[:3])).any()
    assert np.isnan(flush32(np.array([np.nan, -np.nan], np.float32))).all()


def rounded(exact):
    """The float32 next to a fraction, ties to even; by comparing exact distances."""
    near = np.float32(float(exact))
    candidates = [np.nextafter(near, np.float32(-np.inf)), near, np.nextafter(near, np.float32(np.inf))]

    def distance(x):
        return abs(Fraction(float(x)) - exact), int(x.view(np.uint32)) & 1

    return min((x for x in candidates if np.isfinite(x)), key=distance)


floats = st.floats(-(2.0**60), 2.0**60, width=32)


@given(floats, floats, floats)
def test_fma_rounds_the_exact_sum_once(a, b, c):
    got = fma32(*(np.array([x], np.float32) for x in (a, b, c)))[0]
    exact = Fraction(a) * Fraction(b) + Fraction(c)
    assert got == rounded(exact)


@given(st.integers(0, 2**23 - 1), st.integers(0, 2**23 - 1), st.integers(-60, 60), st.booleans())
def test_fma_rounds_once_near_a_tie(i, j, shift, negative):
    # the product has up to 48 bits, the sum with c needs more than float64's 53: rounding twice errs
    a, b = np.float32(1 + i * 2.0**-23), np.float32(1 + j * 2.0**-23)
    c = np.float32((-1 if negative else 1) * 2.0**shift)
    exact = Fraction(float(a)) * Fraction(float(b)) + Fraction(float(c))
    assert fma32(np.array([a]), np.array([b]), np.array([c]))[0] == rounded(exact)


def test_fma_of_infinities_and_overflow():
    inf, big = np.float32(np.inf), np.float32(3e38)
    a, b = np.array([inf, big, -big, 1], np.float32), np.array([1, big, big, 1], np.float32)
    assert np.array_equal(fma32(a, b, np.array([0, 0, 0, -inf], np.float32)), [inf, inf, -inf, -inf])
    assert np.isnan(fma32(np.array([inf]), np.array([1], np.float32), np.array([-inf]))).all()
