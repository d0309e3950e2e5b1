"""Codes and int8 weights of one matrix product: how the ranges of its inputs are used best.

With u the real input and q its codes, u = step ∘ q + offset, so W u = (W step) q + W offset. The matrix
W · diag(step) is rounded to int8, one scale a row; the rest goes into a bias, together with the mean of
what the rounding of the weights makes of the inputs. How far each channel fills its codes is a free
choice, as long as each range is covered:

    step_i ∝ range_i^α / (max_o |W_oi|)^(1-α)

α = 1 serves the activations, whose codes are all filled; α = 0 serves the weights, whose columns are
all equally large. The α with the least noise at the output is taken.

Where training has got used to scales (``TrainedScales``), nothing is chosen: weights are rounded to
nearest with exactly those, and no mean is taken back, as training did not either.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ssmith.ops import Float32, Tensors
from ssmith.quant import CODE_LIMITS, PREFIX, SCALE_PARTS, SCALES, WEIGHT_LIMIT, Rounding
from ssmith.runtime.integer_model import Float64, Int8
from ssmith.runtime.integer_rounding import round_inside, round_rows

# How much more than calibration saw the codes cover. 16 bits have two to spare; for 8 bits, of 1.0 to 1.4
# this came out best on held-out data: below it saturation costs more, above it rounding.
HEADROOM = {16: 4.0, 8: 1.25}
ALPHAS = (0.0, 0.25, 0.5, 0.75, 1.0)
_FAR = 4  # 16-bit codes are centred on 0 unless that makes them this much wider
_NARROWEST = 1 / 256  # of the widest channel or of what it adds: below that, finer steps gain nothing
LARGEST_SUM = (1 << 30) - 1  # of an accumulator


@dataclass(frozen=True, eq=False)
class Seen:
    """What calibration saw of a vector, real: minimum, maximum, mean (K), covariance (K, K).

    Of more than 512 channels ``covariance`` holds the variances, (1, K).
    """

    low: Float64
    high: Float64
    mean: Float64
    covariance: Float64

    @classmethod
    def read(cls, tensors: Tensors, key: str) -> Seen:
        """From the tensors ``calibration.KEY`` and ``calibration.KEY.covariance`` of a bundle."""
        low, high, mean = tensors[f"{PREFIX}{key}"].astype(np.float64)
        return cls(low, high, mean, tensors[f"{PREFIX}{key}.covariance"].astype(np.float64))


@dataclass(frozen=True, eq=False)
class TrainedScales:
    """Scales of a product from training: step and offset of the inputs (K), row of the outputs (M).

    They are for codes of ``bits``, see ``ssmith.quant``.
    """

    step: Float64
    offset: Float64
    row: Float64
    bits: int

    @classmethod
    def read(cls, tensors: Tensors, key: str, rounding: Rounding | None) -> TrainedScales | None:
        """Those that a bundle has for the product ``key``; None where it has none."""
        if rounding is None:
            return None
        step, offset, row = (tensors[f"{SCALES}{key}.{part}"].astype(np.float64) for part in SCALE_PARTS)
        return cls(step, offset, row, rounding.activation_bits)


@dataclass(frozen=True, eq=False)
class Codes:
    """Codes of the input u of a product: q = round((u - shift) / step) + bias, so u = step ∘ q + offset.

    step, shift (K) real, bias (K) whole numbers; |q| ≤ limit. ``shift`` is what an affine op before the
    product adds to u; as it is not in the vector that is quantised, ``bias`` stands for it.
    """

    step: Float64
    shift: Float64
    bias: Float64
    limit: int

    @property
    def offset(self) -> Float64:
        """Real value of code 0."""
        return self.shift - self.step * self.bias


@dataclass(frozen=True, eq=False)
class Product:
    """W u ≈ scale ∘ (weight q) + bias with integer codes q of u.

    weight (M, K) int8; scale and bias (M) real.
    """

    codes: Codes
    weight: Int8
    scale: Float64
    bias: Float64
    noise: Float64  # predicted variance at each output from rounding weights and codes, (M)

    @property
    def row_sums(self) -> Float64:
        """Σ_i |weight_oi|: with the codes' limit, what bounds the accumulators."""
        sums: Float64 = np.abs(self.weight.astype(np.float64)).sum(1)
        return sums


def make_product(
    weight: Float32,
    seen: Seen,
    bits: int,
    *,
    shift: Float64 | None = None,
    importance: Float64 | None = None,
    floor: Float64 | float = 0.0,
    trained: TrainedScales | None = None,
    inside: NDArray[np.bool_] | None = None,
) -> Product:
    """The best codes and int8 weights for y = W u, or those that training has got used to.

    Args:
        weight: W (M, K).
        seen: what is known of u.
        bits: of the codes, 16 or 8.
        shift: what an affine op adds to u, see ``Codes``; none if None.
        importance: what a unit of variance at each output costs, (M); 1 if None.
        floor: steps are at least this, (K) or one for all.
        trained: scales to use as they are.
        inside: where W may differ from 0, (M, K); everywhere if None.
    """
    real = weight.astype(np.float64)
    shift = np.zeros(real.shape[1]) if shift is None else shift
    if trained is not None:
        return _trained_product(real, seen, bits, shift, floor, trained)
    products = [_product(real, seen, bits, shift, floor, alpha, inside) for alpha in ALPHAS]
    cost = [float(p.noise @ (np.ones(len(real)) if importance is None else importance)) for p in products]
    return products[int(np.argmin(cost))]


def _product(
    weight: Float64,
    seen: Seen,
    bits: int,
    shift: Float64,
    floor: Float64 | float,
    alpha: float,
    inside: NDArray[np.bool_] | None,
) -> Product:
    centre, half = _covered(seen.low, seen.high, bits)
    widest = half.max() if half.max() > 0 else max(float(np.abs(seen.mean).max()), 1.0) * 1e-3
    column = np.abs(weight).max(0)
    most = float((half * column).max())  # at the outputs: small values may have large weights
    least = np.minimum(widest, most / np.maximum(column, 1e-30)) if most > 0 else widest
    half = np.maximum(half, least * _NARROWEST)
    column = np.maximum(column, max(float(column.max()), 1e-30) * _NARROWEST)
    cover = half**alpha / column ** (1 - alpha)
    cover *= (half / cover).max()
    limit = CODE_LIMITS[bits]
    while True:
        step = np.maximum(cover / limit, floor)
        covariance = _of_codes(seen.covariance, step)
        if inside is None:
            rows, scale, noise = round_rows(weight * step, covariance)
        else:
            rows, scale, noise = round_inside(weight * step, covariance, inside)
        fits = largest_limit(rows)
        if limit <= fits:
            break
        limit = fits
    codes = Codes(step, shift, np.rint((shift - centre) / step), limit)
    rounded = scale[:, None] * rows
    bias = weight @ codes.offset + (weight * step - rounded) @ ((seen.mean - codes.offset) / step)
    return Product(codes, rows, scale, bias, noise + (rounded**2).sum(1) / 12)


def _trained_product(
    weight: Float64, seen: Seen, bits: int, shift: Float64, floor: Float64 | float, trained: TrainedScales
) -> Product:
    """The product as trained; for codes of other bits, or coarser ones, all steps grow or shrink alike.

    Then W ∘ step and the rows' scales do too, so that the int8 weights are the trained ones in any case.
    """
    rows = np.clip(np.rint(weight * trained.step / trained.row[:, None]), -WEIGHT_LIMIT, WEIGHT_LIMIT)
    fits = largest_limit(rows)
    limit = min(CODE_LIMITS[bits], fits)
    ratio = min(CODE_LIMITS[trained.bits], fits) / limit * (HEADROOM[bits] / HEADROOM[trained.bits])
    ratio = max(ratio, float((floor / trained.step).max()))
    step, scale = trained.step * ratio, trained.row * ratio
    codes = Codes(step, shift, np.rint((shift - trained.offset) / step), limit)
    rounded = scale[:, None] * rows
    error, covariance = weight * step - rounded, _of_codes(seen.covariance, step)
    full = len(covariance) == len(step)
    noise = ((error @ covariance) * error if full else error**2 * covariance).sum(1)
    bias = rounded @ (codes.offset / step)
    return Product(codes, rows.astype(np.int8), scale, bias, noise + (rounded**2).sum(1) / 12)


def largest_limit(rows: Float64 | Int8) -> int:
    """The largest |code| with which no sum of int8 rows (M, K) times codes leaves 30 bits."""
    return int(LARGEST_SUM // max(int(np.abs(rows.astype(np.int64)).sum(1).max()), 1))


def _of_codes(covariance: Float64, step: Float64) -> Float64:
    """Covariance (K, K), or variances (1, K), of codes: they are rounded, which adds 1/12 to each."""
    if covariance.shape[0] < covariance.shape[1]:
        return covariance / step**2 + 1 / 12
    return covariance / np.outer(step, step) + np.eye(len(step)) / 12


def _covered(low: Float64, high: Float64, bits: int) -> tuple[Float64, Float64]:
    """Middle and half width of what the codes of each channel cover.

    8-bit codes use their range best around the middle of the channel's. 16-bit codes have room to
    spare: around 0 they need no offsets, which are 4 bytes a channel in flash.
    """
    centre, half = (low + high) / 2, HEADROOM[bits] * (high - low) / 2
    around_zero = HEADROOM[bits] * np.maximum(-low, high)
    if bits == 16 and (around_zero <= _FAR * half).all():
        return np.zeros_like(half), around_zero
    return centre, half
