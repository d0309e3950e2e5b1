"""Poles and state scales of an SSM in integers."""

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ssmith.runtime.integer_ssm import decay_gap, quantize_poles


@given(st.floats(0.0, 0.9999999), st.floats(0, math.pi))
def test_poles_stay_inside_and_near(radius, angle):
    lam = np.array([[radius * math.cos(angle)], [radius * math.sin(angle)]], np.float32)
    gap = 1 - np.hypot(*lam.astype(np.float64))[0]
    if gap < 1e-8:
        return
    rounded, bits = quantize_poles("p", lam)
    assert decay_gap(rounded)[0] > 0
    moved = np.hypot(*(rounded / 2.0**31 - lam))[0]
    assert moved < (0.01 * gap if bits == 16 else 2.0**-31)
    assert bits == 32 or not (rounded & 0xFFFF).any()


def test_fast_poles_take_16_bits_and_slow_ones_32():
    assert quantize_poles("p", np.array([[0.9], [0.3]], np.float32))[1] == 16
    assert quantize_poles("p", np.array([[0.9998], [0.0]], np.float32))[1] == 32
    assert quantize_poles("p", np.array([[0.9, 0.9998], [0.3, 0.0]], np.float32))[1] == 32


@given(st.integers(-(2**31) + 1, 2**31 - 1), st.integers(-(2**31) + 1, 2**31 - 1))
def test_the_gap_to_the_unit_circle_is_exact_where_floats_would_cancel(re, im):
    gap = decay_gap(np.array([[re], [im]], np.int32))[0]
    below = 2**62 - re * re - im * im
    assert (gap > 0) == (below > 0)
    # 1 - |λ|² = gap (2 - gap), whatever the size
    assert math.isclose(gap * (2 - gap), below / 2**62, rel_tol=1e-12)
