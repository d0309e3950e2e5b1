"""The integer functions against real arithmetic: tables, rounded products, norms and means."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ssmith.runtime import integer_tables as tables
from ssmith.runtime.arithmetic import gelu64, sigmoid64
from ssmith.runtime.integer_functions import (
    INT32_MAX,
    POOL_LIMIT,
    ema_pool_step,
    gate,
    gelu,
    high_product,
    inverse_root,
    layernorm,
    mean_pool_step,
    reciprocal,
    requantize,
    rotate,
    sigmoid,
)

INT32 = st.integers(-INT32_MAX, INT32_MAX)


def quadratics(f: Callable[[float], float], h: float, unit: float) -> list[tuple[int, int, int]]:
    """Through the ends and the middle of each segment, as the head of the tables says."""
    rows = []
    for s in range(tables.SEGMENTS):
        start, middle, end = (f(h * (s + part)) for part in (0, 0.5, 1))
        slope, curve = -3 * start + 4 * middle - end, 2 * start - 4 * middle + 2 * end
        rows.append((round(start * unit), round(2 * slope * unit), round(4 * curve * unit)))
    return rows


def test_the_tables_are_what_their_head_says():
    tail = quadratics(lambda a: a * math.erfc(a / math.sqrt(2)) / 2, 5 / 32, 2**29 / (5 / 32))
    assert tail == list(zip(tables.GELU_VALUE, tables.GELU_SLOPE, tables.GELU_CURVE, strict=True))
    curve = quadratics(lambda t: 1 / (1 + math.exp(-t)), 1 / 3, 2**30)
    assert curve == list(zip(tables.SIGMOID_VALUE, tables.SIGMOID_SLOPE, tables.SIGMOID_CURVE, strict=True))


@given(INT32, INT32)
def test_products_round_to_nearest(a, b):
    found = int(high_product(np.array([a]), np.array([b]))[0])
    assert found == math.floor(Fraction(a * b, 2**32) + Fraction(1, 2))


@given(st.integers(-(2**30) + 1, 2**30 - 1), INT32)
def test_rotation_rounds_to_nearest(x, factor):
    found = int(rotate(np.array([x]), factor)[0])
    assert found == math.floor(Fraction(x * factor, 2**31) + Fraction(1, 2))


@given(st.integers(1, 30), INT32, st.data())
def test_requantizing_is_a_product_in_a_range(shift, multiplier, data):
    limit = (1 << (31 - shift)) - 1
    a = data.draw(st.integers(-limit, limit))
    found = int(requantize(np.array([a]), np.array([multiplier]), shift)[0])
    assert abs(found - Fraction(a * multiplier * 2**shift, 2**32)) <= Fraction(1, 2)
    largest = requantize(np.array([limit]), np.array([abs(multiplier)]), shift)
    assert abs(found) <= int(largest[0])  # what the proofs of ``integer_ledger`` rest on


@pytest.mark.parametrize("p", [1, 5, 12, 20, 25])
def test_gelu_is_close_and_zero_at_zero(p):
    unit = 5 / 32 / 2**p
    top = min(2**30 - 1, int(14 / unit))
    v = np.unique(np.concatenate([np.linspace(-top, top, 40_001).astype(np.int64), np.arange(-3, 4)]))
    assert np.abs(gelu(v, p) * unit - gelu64(v * unit)).max() <= 2.4e-5 + unit
    assert gelu(np.zeros(1, np.int64), p)[0] == 0
    assert np.abs(gelu(np.array([2**30 - 1, -(2**30) + 1]), p)).max() < 2**30


@pytest.mark.parametrize("p", [1, 5, 12, 20, 25])
def test_sigmoid_is_close_and_symmetric(p):
    unit = 1 / 3 / 2**p
    top = min(2**30 - 1, int(14 / unit))
    v = np.unique(np.concatenate([np.linspace(-top, top, 40_001).astype(np.int64), np.arange(-3, 4)]))
    y = sigmoid(v, p)
    assert np.abs(y / 2**30 - sigmoid64(v * unit)).max() <= 3.7e-5
    moved = v != 0
    assert (y[moved] + sigmoid(-v[moved], p) == 2**30).all()
    assert y.min() >= 0


@given(st.integers(0, 2**32 - 1))
def test_gate_never_grows(seed):
    rng = np.random.default_rng(seed)
    v = rng.integers(-(2**29) + 1, 2**29, (3, 10))
    assert (np.abs(gate(v, int(rng.integers(1, 26)))) <= np.abs(v[:, :5]) + 1).all()


@given(st.integers(2**30, 2**32 - 1))
def test_inverse_root(t):
    y = inverse_root(t)
    assert abs(y / 2**30 * math.sqrt(t / 2**32) - 1) < 6e-8
    assert y <= 2**31


@given(st.integers(2**31, 2**32 - 1))
def test_reciprocal(w):
    r = reciprocal(w)
    assert 0 <= Fraction(2**62, w) - r <= 1 and r <= INT32_MAX


def norm_of(v, eps: int) -> np.ndarray:
    width = len(v)
    mean_shift = width.bit_length() - 1
    factor = min(round((1 << (31 + mean_shift)) / width), INT32_MAX)
    return layernorm(v, mean_shift, factor, eps)


@given(st.integers(1, 70), st.integers(1, 2**29 - 1), st.integers(1, 2**20), st.integers(0, 2**32 - 1))
def test_layer_norm_is_close(width, magnitude, eps, seed):
    v = np.random.default_rng(seed).integers(-magnitude, magnitude + 1, width)
    exact = (v - v.mean()) / np.sqrt(v.var() + float(eps) ** 2) / math.sqrt(width)
    found = norm_of(v, eps)
    # the mean is off by up to two codes, and half of the first 2^-13 is lost where e_i is cut off
    deviation = math.sqrt(v.var() + float(eps) ** 2)
    assert np.abs(found / 2**29 - exact).max() <= 2**-12 + 2 / deviation
    assert np.abs(found).max() < 2**29 + 2**19


@pytest.mark.parametrize("width", [1, 2, 3, 64, 255])
def test_layer_norm_of_the_largest_frames(width):
    top = 2**29 - 1
    signs = np.where(np.arange(width) % 2, -1, 1)
    for v in (np.full(width, top), np.full(width, -top), signs * top, np.eye(1, width)[0].astype(int) * top):
        assert np.abs(norm_of(v.astype(np.int64), 1)).max() < 2**29 + 2**19


@given(st.integers(0, 2**34), st.integers(0, 2**32 - 1))
def test_a_cumulative_mean_is_exact_to_two_codes(count, seed):
    """From any count, far beyond what float32 counts (2^24)."""
    rng = np.random.default_rng(seed)
    top = 2**29 - 1
    count = min(count, 2**POOL_LIMIT)
    mean = rng.integers(-top, top + 1, 6)
    total, v = mean * count, rng.integers(-top, top + 1, 6)
    after, n, y = mean_pool_step(total, count, v)
    assert n == min(count + 1, 2**POOL_LIMIT)
    assert (np.abs(after) <= top * n).all()
    for s, found in zip(after.tolist(), y.tolist(), strict=True):
        assert abs(found - Fraction(s, n)) <= 2


def test_a_cumulative_mean_never_leaves_int64():
    top = 2**29 - 1
    total, count = np.array([top, -top]) * 2**POOL_LIMIT, 2**POOL_LIMIT
    for _ in range(100):
        total, count, y = mean_pool_step(total, count, np.array([top, -top]))
        assert count == 2**POOL_LIMIT
        assert (np.abs(total) <= top * 2**POOL_LIMIT).all() and (np.abs(y) <= top + 2).all()


@given(st.integers(32, 2**29 - 1), st.integers(0, 2**32 - 1))
def test_an_exponential_mean_is_close(quarter, seed):
    gain = 4 * quarter
    rng = np.random.default_rng(seed)
    top = 2**28 - 1
    total, weight = np.zeros(4, np.int64), 0
    exact, share = np.zeros(4), 0.0
    for _ in range(60):
        v = rng.integers(-top, top + 1, 4)
        total, weight, y = ema_pool_step(total, weight, v, gain)
        keep = 1 - gain / 2**31
        exact, share = keep * exact + v, keep * share + 1
        # one code a frame, remembered 2^31 / gain frames, and as much of the weight
        assert np.abs(y - exact / share).max() <= 2 * 2**31 / gain + 2
        assert weight < 2**30 and np.abs(y).max() < 2**30
