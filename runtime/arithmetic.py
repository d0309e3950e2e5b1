"""The few functions beyond + − × ÷ that a model needs, in float64 and as the C engine computes them.

The float32 versions mirror ``runtime/c/ssm_kernels.h`` operation by operation: IEEE single
precision, no fused multiply-add, selection on bit patterns. NumPy's elementwise ufuncs round each
operation once, so both sides give the same bits on every machine.

Accuracy of the float32 versions against float64 (``tests/runtime/test_arithmetic.py`` holds them):
exp: 1e-7 relative on [-87, 0] · sigmoid: 1e-7 absolute, 2e-7 relative on [-64, 64] · gelu:
4e-7 absolute for |x| ≤ 1e12 · rsqrt: 1.2e-7 relative on normal numbers.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ssmith.ops import Float32

Float64 = NDArray[np.float64]
Real = NDArray[np.floating]

LANES = 8  # partial sums of a long sum, see row_sum

_ONE = np.float32(1.0)
_HALF = np.float32(0.5)
_ROUND = np.float32(12582912.0)  # 1.5 * 2**23: adding it rounds to an integer, nearest even
_MAGNITUDE = np.int32(0x7FFFFFFF)
_MAGNITUDE32 = np.uint32(0x7FFFFFFF)
_FLUSH_BELOW = np.uint32(0x0F800000)  # bits of 2**-96
_EXP_CLAMP = np.int32(0x42800000)  # 64.0f
_GELU_CLAMP = np.int32(0x41200000)  # 10.0f
_EXP_TERMS = [
    np.float32(c)
    for c in (1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 0.5)
]
_TAIL_TERMS = [
    np.float32(c) for c in (0.4986349, -0.83388255, 0.90696872, -0.33407783, 0.18933958, 0.07301721)
]


def row_sum(rows: Real) -> Real:
    """Sum over the last axis in eight interleaved partial sums, then pairwise: (T, H) → (T, 1).

    Lane j adds elements j, j+8, … in order; lanes then fold 8 → 4 → 2 → 1. A fixed order that a
    compiler can vectorise without being allowed to reorder sums.
    """
    frames, width = rows.shape
    lanes = np.zeros((frames, LANES), rows.dtype)
    for start in range(0, width, LANES):
        part = rows[:, start : start + LANES]
        lanes[:, : part.shape[1]] += part
    for half in (4, 2, 1):
        lanes = lanes[:, :half] + lanes[:, half:]
    return lanes


def exp_negative(x: Float32) -> Float32:
    """exp(x) for x in [-87, 0]: Cody–Waite reduction x = n ln 2 + r, degree-6 polynomial in r."""
    shifted = x * np.float32(1.44269504) + _ROUND
    n = shifted - _ROUND
    r = x - n * np.float32(0.693359375)
    r = r + n * np.float32(2.12194440e-4)
    r2 = r * r
    p = _in_pairs(_EXP_TERMS, r, r2) * r2 + r + _ONE
    power = (shifted.view(np.uint32) + np.uint32(127)) << np.uint32(23)  # bits of 2**n
    y: Float32 = p * power.view(np.float32)
    return y


def sigmoid32(x: Float32) -> Float32:
    """1 / (1 + exp(-x)), with e = exp(-|x|): 1 / (1 + e) or e / (1 + e)."""
    e = exp_negative(-_clamped_magnitude(x, _EXP_CLAMP))
    y: Float32 = np.where(np.signbit(x), e, _ONE) / (_ONE + e)
    return y


def gelu32(x: Float32) -> Float32:
    r"""GELU: x Φ(x); the tail Φ(-a) = e^{-a²/2} q P(q), q = 1 / (1 + 0.21 a), a = |x|, P of degree 5.

    P is a minimax fit of our own, the form is that of Abramowitz and Stegun 7.1.26; its error in
    x Φ(x) is 5e-8, the rest is rounding.
    """
    a = _clamped_magnitude(x, _GELU_CLAMP)
    q = _ONE / (_ONE + np.float32(0.21) * a)
    tail = _in_pairs(_TAIL_TERMS, q, q * q) * q * exp_negative(-(a * a * _HALF))
    return x * np.where(np.signbit(x), tail, _ONE - tail)


def rsqrt32(x: Float32) -> Float32:
    """1 / √x for x ≥ 0: a guess from the exponent bits, then four Newton steps."""
    y = (np.int32(0x5F3759DF) - (x.view(np.int32) >> 1)).view(np.float32)
    half = _HALF * x
    for _ in range(4):
        y = y * (np.float32(1.5) - half * y * y)
    return y


def flush32(x: Float32) -> Float32:
    """x, or +0 where |x| < 2⁻⁹⁶, as bits: a decaying state never becomes subnormal. NaN passes."""
    bits = x.view(np.uint32)
    small = ((bits & _MAGNITUDE32) - _FLUSH_BELOW) >> np.uint32(31)  # 1 where the difference is negative
    kept: Float32 = (bits & (small - np.uint32(1))).view(np.float32)
    return kept


def multiply_add(a: Real, b: Real, c: Real) -> Real:
    """Sum a b + c, the product and the sum each rounded."""
    return a * b + c


def fma32(a: Float32, b: Float32, c: Float32) -> Float32:
    """Sum a b + c, rounded once, as ``fmaf`` does it; the arguments broadcast.

    The product of two float32 is exact in float64. The sum is rounded to odd there (what is not exact
    gets an odd last bit), after which rounding to float32 gives what rounding the exact sum gives.
    """
    with np.errstate(invalid="ignore"):  # infinities
        product, addend = np.multiply(a, b, dtype=np.float64), c.astype(np.float64)
        total = product + addend
        part = total - product
        rest = (product - (total - part)) + (addend - part)  # exactly what the sum lost
        bits = total.view(np.int64)
        inexact = ((rest > 0) | (rest < 0)) & (bits & 1 == 0)
        away = np.where((rest > 0) == (total > 0), 1, -1)  # of zero, where what was lost has the sum's sign
        with np.errstate(over="ignore"):
            fused: Float32 = (bits + inexact * away).view(np.float64).astype(np.float32)
    return fused


def flush64(x: Float64) -> Float64:
    """The input: float64 has no threshold."""
    return x


def sigmoid64(x: Float64) -> Float64:
    """1 / (1 + exp(-x)) without overflow."""
    e = np.exp(-np.abs(x))
    return np.where(x < 0, e, 1.0) / (1.0 + e)


def gelu64(x: Float64) -> Float64:
    """GELU: x Φ(x) = x erfc(-x / √2) / 2."""
    erfc = np.asarray(np.frompyfunc(math.erfc, 1, 1)(-x / math.sqrt(2.0)), np.float64)
    return 0.5 * x * erfc


def rsqrt64(x: Float64) -> Float64:
    """1 / √x."""
    return 1.0 / np.sqrt(x)


def _in_pairs(terms: list[np.float32], x: Float32, x2: Float32) -> Float32:
    """c0 x⁵ + … + c5 as ((c0 x + c1) x² + (c2 x + c3)) x² + (c4 x + c5): short chains of operations."""
    high, middle, low = (x * a + b for a, b in zip(terms[::2], terms[1::2], strict=True))
    value: Float32 = (high * x2 + middle) * x2 + low
    return value


def _clamped_magnitude(x: Float32, limit: np.int32) -> Float32:
    """min(|x|, limit) on bit patterns: for non-negative floats, integer order is float order."""
    bits: Float32 = np.minimum(x.view(np.int32) & _MAGNITUDE, limit).view(np.float32)
    return bits


@dataclass(frozen=True)
class Arithmetic:
    """One precision's number type and functions, so that the ops are written once."""

    dtype: type[np.floating]
    sigmoid: Callable[..., Real]
    gelu: Callable[..., Real]
    rsqrt: Callable[..., Real]
    flush: Callable[..., Real]
    multiply_add: Callable[..., Real]  # of matrix products


ARITHMETIC = {
    "float64": Arithmetic(np.float64, sigmoid64, gelu64, rsqrt64, flush64, multiply_add),
    "float32": Arithmetic(np.float32, sigmoid32, gelu32, rsqrt32, flush32, multiply_add),
    "float32-fma": Arithmetic(np.float32, sigmoid32, gelu32, rsqrt32, flush32, fma32),
}
