"""The integer arithmetic of a quantized model, to the bit; ``runtime/c/ssm_integer.h`` computes the same.

Everything is built of additions, shifts and three rounded products. ``>>`` of a negative number rounds
down (arithmetic shift). Arrays hold int64 here, so that nothing wraps while a 32-bit machine, given the
ranges stated with each function, would not wrap either; exporting a model proves those ranges.

    high_product(a, b)  = (a b + 2^31) >> 32
    requantize(a; m, s) = high_product(a << s, m)            1 ≤ s ≤ 30, |a << s| < 2^31
    rotate(x, l)        = (l x + 2^30) >> 31                 |x| < 2^30
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ssmith.runtime.integer_tables import (
    GELU_CURVE,
    GELU_SLOPE,
    GELU_VALUE,
    SEGMENTS,
    SIGMOID_CURVE,
    SIGMOID_SLOPE,
    SIGMOID_VALUE,
)

Int64 = NDArray[np.int64]

INT32_MAX = (1 << 31) - 1
POOL_LIMIT = 33  # a cumulative mean forgets from 2^33 frames on, so that its int64 sums hold for ever
_RSQRT_START = 2_290_047_076  # of 1/√u ≈ 2.1328 - 1.2187 u, within 8.6 % on [1/4, 1); units of 2^-30
_RSQRT_SLOPE = 1_308_598_328

_GELU = tuple(np.array(table, np.int64) for table in (GELU_VALUE, GELU_SLOPE, GELU_CURVE))
_SIGMOID = tuple(np.array(table, np.int64) for table in (SIGMOID_VALUE, SIGMOID_SLOPE, SIGMOID_CURVE))


def high_product(a: Int64, b: Int64 | int) -> Int64:
    """(a b + 2^31) >> 32: the rounded upper half of a 32 × 32 bit product; a and b are int32."""
    return (a * b + (1 << 31)) >> 32


def requantize(a: Int64, multiplier: Int64, shift: int) -> Int64:
    """Scale by multiplier · 2^(shift - 32), rounded: high_product(a << shift, multiplier).

    Args:
        a: accumulators, (..., M), with |a << shift| < 2^31.
        multiplier: int32, one a channel (M) or one for all (1).
        shift: 1 to 30.
    """
    return high_product(a << shift, multiplier)


def rotate(x: Int64, factor: Int64 | int) -> Int64:
    """Scale by factor / 2^31, rounded: (factor x + 2^30) >> 31; |x| < 2^30, factor in units of 2^-31."""
    return (factor * x + (1 << 30)) >> 31


def gelu(v: Int64, p: int) -> Int64:
    """GELU; one code is (5/32) / 2^p before and after; |v| < 2^30, 1 ≤ p ≤ 25.

    a = min(|v|, (32 << p) - 1); G = table(a) in units of (5/32) 2^-29;
    gelu(v) = max(v, 0) - ((G + 2^(28 - p)) >> (29 - p)).
    """
    tail = _segment(np.abs(v), p, _GELU)
    y: Int64 = np.maximum(v, 0) - ((tail + (1 << (28 - p))) >> (29 - p))
    return y


def sigmoid(v: Int64, p: int) -> Int64:
    """σ in units of 2^-30; one code of v is (1/3) / 2^p; |v| < 2^30, 1 ≤ p ≤ 25.

    y = table(min(|v|, (32 << p) - 1)); σ(v) = y for v ≥ 0, else 2^30 - y.
    """
    y = _segment(np.abs(v), p, _SIGMOID)
    return np.where(v < 0, (1 << 30) - y, y)


def _segment(a: Int64, p: int, table: tuple[Int64, ...]) -> Int64:
    """VALUE + high_product(F, SLOPE + high_product(F, CURVE)), F the place in the segment in 2^-31."""
    value, slope, curve = table
    a = np.minimum(a, (SEGMENTS << p) - 1)
    segment, place = a >> p, (a & ((1 << p) - 1)) << (31 - p)
    y: Int64 = value[segment] + high_product(place, slope[segment] + high_product(place, curve[segment]))
    return y


def gate(v: Int64, p: int) -> Int64:
    """v[:H] · σ(v[H:]): high_product(v_i << 2, sigmoid(v_{H+i}, p)); |v_i| < 2^29; (..., 2H) → (..., H)."""
    half = v.shape[-1] // 2
    return high_product(v[..., :half] << 2, sigmoid(v[..., half:], p))


def floor_log2(n: int) -> int:
    """floor(log2 n) for n ≥ 1: the place of the highest bit, 63 minus the leading zeros of 64 bits."""
    return n.bit_length() - 1


def reciprocal(w: int) -> int:
    """min(floor(2^62 / w), 2^31 - 1) for 2^31 ≤ w < 2^32: 1/w of a normalised uint32, in 32 fixed steps.

    In C a restoring division without a branch; what matters here is its value.
    """
    return min((1 << 62) // w, INT32_MAX)


def inverse_root(t: int) -> int:
    """1 / √(t / 2^32) in units of 2^-30, for 2^30 ≤ t < 2^32; within 6e-8 relative, never above 2^31 + 8.

    y0 = START - ((t SLOPE) >> 32), then three times
    p = (y y) >> 32; q = (p t) >> 32; y = (y (3·2^28 - q)) >> 29. All are unsigned, products of 64 bits.
    """
    y = _RSQRT_START - ((t * _RSQRT_SLOPE) >> 32)
    for _ in range(3):
        square = (y * y) >> 32
        y = (y * ((3 << 28) - ((square * t) >> 32))) >> 29
    return y


def layernorm(v: Int64, mean_shift: int, mean_factor: int, eps: int) -> Int64:
    """One frame of a layer norm before its scale and shift: (v - mean) / √(var + eps) / √H in 2^-29.

    Each line is one C statement; integers have 64 bits where not said.

        t = (Σ v) >> mean_shift                     floor(log2 H); |t| < 2^30
        d_i = v_i - rotate(t, mean_factor)          factor = min(round(2^(31 + mean_shift) / H), 2^31 - 1)
        m = max(max |d_i|, eps)                     1 ≤ m < 2^30
        z = 29 - floor_log2(m)
        D_i = d_i << z;  E = eps << z               |D_i|, E < 2^30
        e_i = D_i >> 16                             |e_i| ≤ 2^14: fits int16
        S = Σ e_i² + H ((E + 2^15) >> 16)²          2^26 ≤ S < 2^29 H
        g = (floor_log2(S) + 2) >> 1                14 ≤ g; 2^(2g - 2) ≤ S < 2^(2g)
        u = S << (32 - 2g)  or  S >> (2g - 32)      2^30 ≤ u < 2^32
        f = min(inverse_root(u) >> (g - 14), 2^31 - 1)
        n_i = high_product(D_i << 1, f)             |n_i| < 2^29 + 2^19

    Args:
        v: one frame, (H), |v| < 2^29.
        mean_shift: floor(log2 H).
        mean_factor: 2^mean_shift / H in units of 2^-31.
        eps: √eps in codes of v, 1 ≤ eps < 2^29.
    """
    total = int(v.sum()) >> mean_shift
    d = v - ((mean_factor * total + (1 << 30)) >> 31)
    largest = max(int(np.abs(d).max()), eps)
    z = 29 - floor_log2(largest)
    spread = d << z
    e = spread >> 16
    power = int((e * e).sum()) + len(v) * (((eps << z) + (1 << 15)) >> 16) ** 2
    g = (floor_log2(power) + 2) >> 1
    u = power << (32 - 2 * g) if g <= 16 else power >> (2 * g - 32)
    factor = min(inverse_root(u) >> (g - 14), INT32_MAX)
    return high_product(spread << 1, factor)


def mean_pool_step(total: Int64, count: int, v: Int64) -> tuple[Int64, int, Int64]:
    """One frame of a cumulative mean: (sums (H) int64, count int64, mean (H)); |v| < 2^29.

        full = (count >= 2^33)                      as 0 or 1
        S_i += v_i - full (S_i >> 33)               beyond 2^33 frames: an average over the last 2^33
        n = count + 1 - full
        e = floor_log2(n);  w = n << (31 - e)  or  n >> (e - 31)      2^31 ≤ w < 2^32
        y_i = rotate(S_i >> e, reciprocal(w))       |S_i >> e| < 2^30

    |S_i| ≤ 2^33 max|v| always, so the sums never leave int64.
    """
    full = int(count >= 1 << POOL_LIMIT)
    total = total + v - full * (total >> POOL_LIMIT)
    count = count + 1 - full
    e = floor_log2(count)
    w = count << (31 - e) if e <= 31 else count >> (e - 31)
    return total, count, rotate(total >> e, reciprocal(w))


def ema_pool_step(total: Int64, weight: int, v: Int64, gain: int) -> tuple[Int64, int, Int64]:
    """One frame of an exponential mean: (sums (H) int32, weight int32, mean (H)); |v| < 2^28.

    Sums and weight are kept times 1 - decay, so that they end where the mean does.

        s_i = rotate(s_i, 2^31 - gain) + rotate(v_i, gain)
        w = rotate(w, 2^31 - gain) + (gain >> 2)    in units of 2^-29; gain is a multiple of 4
        e = floor_log2(w)                           e ≤ 29
        y_i = high_product(s_i << (30 - e), reciprocal(w << (31 - e)))

    Args:
        total: s, zeros at the start.
        weight: w, 0 at the start.
        v: one frame, (H).
        gain: 1 - decay in units of 2^-31, 128 ≤ gain < 2^31, a multiple of 4.
    """
    keep = (1 << 31) - gain
    total = rotate(total, keep) + rotate(v, gain)
    weight = ((keep * weight + (1 << 30)) >> 31) + (gain >> 2)
    e = floor_log2(weight)
    return total, weight, high_product(total << (30 - e), reciprocal(weight << (31 - e)))
