"""How one matrix product is computed in each precision that artifacts come in, in float64 NumPy.

A ``Rounding`` takes the input u of a product, shape (…, K), and gives what stands for W u, (…, M), without
a Linear's bias. ``heard`` is what stands for u itself: D of an SSM multiplies that.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np

from ssmith.ops import Float32
from ssmith.quant import WEIGHT_LIMIT
from ssmith.runtime.arithmetic import Float64
from ssmith.runtime.integer_weights import Codes, Product
from ssmith.runtime.products import codes_of

DynamicKind = Literal["onnx", "executorch"]
LEAST_RANGE = 1e-30  # below it 255 / range is infinite in float32, and what XNNPACK makes of a frame is 0


class Rounding(Protocol):
    """One product, rounded somehow."""

    def __call__(self, u: Float64) -> Float64:
        """What stands for W u: (…, K) → (…, M)."""
        ...

    def heard(self, u: Float64) -> Float64:
        """What stands for u where D multiplies it: (…, K) → (…, K)."""
        ...


@dataclass(frozen=True, eq=False)
class Static:
    """Codes and int8 weights with fixed scales: scale ∘ (weight q) + bias, see ``rounded_products``."""

    product: Product

    def __call__(self, u: Float64) -> Float64:
        """See ``Rounding``."""
        p = self.product
        y: Float64 = (codes_of(u, p.codes) @ p.weight.T.astype(np.float64)) * p.scale + p.bias
        return y

    def heard(self, u: Float64) -> Float64:
        """See ``Rounding``."""
        return _told(u, self.product.codes)


@dataclass(frozen=True, eq=False)
class ActivationsOnly:
    """Exact weights, and the codes of the inputs: W (step ∘ q + offset). For ``sensitivity``."""

    weight: Float64
    codes: Codes

    def __call__(self, u: Float64) -> Float64:
        """See ``Rounding``."""
        y: Float64 = _told(u, self.codes) @ self.weight.T
        return y

    def heard(self, u: Float64) -> Float64:
        """See ``Rounding``."""
        return _told(u, self.codes)


@dataclass(frozen=True, eq=False)
class WeightsOnly:
    """Weights rounded, activations exact: ``weight`` (M, K) is real, and ``bias`` (M) what goes with it."""

    weight: Float64
    bias: Float64 | float = 0.0

    def __call__(self, u: Float64) -> Float64:
        """See ``Rounding``."""
        y: Float64 = u @ self.weight.T + self.bias
        return y

    def heard(self, u: Float64) -> Float64:
        """See ``Rounding``."""
        return u


@dataclass(frozen=True, eq=False)
class Dynamic:
    """int8 weights, a scale a row; 8-bit activations whose scale and zero point each frame has for itself.

    ``onnx`` is what DynamicQuantizeLinear says, ``executorch`` XNNPACK's qd8. Both compute scales in float32,
    and so does this.
    """

    rows: Float64  # int8 weights, (M, K)
    scale: Float64  # of the rows, (M)
    kind: DynamicKind

    @classmethod
    def of(cls, weight: Float64, kind: DynamicKind) -> Dynamic:
        """Weights (M, K) rounded to nearest, the largest of each row to 127."""
        rows, scale = rounded_rows(weight)
        return cls(rows, scale, kind)

    def __call__(self, u: Float64) -> Float64:
        """See ``Rounding``."""
        q, step = _onnx_codes(u) if self.kind == "onnx" else _xnnpack_codes(u)
        y: Float64 = (q @ self.rows.T) * self.scale * step
        return y

    def heard(self, u: Float64) -> Float64:
        """See ``Rounding``."""
        return u


def rounded_rows(weight: Float64, limit: int = WEIGHT_LIMIT) -> tuple[Float64, Float64]:
    """Whole numbers (M, K) up to ``limit`` and a float32 scale for each row (M), nearest to the weights.

    A row whose scale would be no normal float32 is zeros.
    """
    scale = np.abs(weight).max(1) / limit
    scale = np.where(scale >= np.finfo(np.float32).tiny, scale, 1.0 / limit)
    scale = scale.astype(np.float32).astype(np.float64)
    return np.clip(np.rint(weight / scale[:, None]), -limit, limit), scale


def halved(weight: Float64) -> Float64:
    """Each value rounded to float16; what is beyond its range, ±65504, becomes infinite."""
    with np.errstate(over="ignore"):
        rounded: Float64 = weight.astype(np.float16).astype(np.float64)
    return rounded


def _told(u: Float64, codes: Codes) -> Float64:
    """Real values that the codes of u stand for."""
    return codes_of(u, codes) * codes.step + codes.offset


def _onnx_codes(u: Float64) -> tuple[Float64, Float64]:
    """DynamicQuantizeLinear over each frame: codes less their zero point (…, K), real value of one (…, 1)."""
    x, low, high = _range(u)
    step = (high - low) / np.float32(255)
    step = np.where(step > 0, step, np.float32(1))
    zero = np.rint(np.clip(-low / step, 0, 255))
    q = np.clip(np.rint(x / step) + zero, 0, 255) - zero
    return q.astype(np.float64), step.astype(np.float64)


def _xnnpack_codes(u: Float64) -> tuple[Float64, Float64]:
    """XNNPACK's qd8 over each frame: codes less their zero point (…, K), real value of one (…, 1).

    Frames of almost nothing come out as almost nothing; in XNNPACK as 0.
    """
    x, low, high = _range(u)
    least = np.float32(LEAST_RANGE)
    low, high = np.minimum(low, -least), np.maximum(high, least)
    factor = np.float32(255) / (high - low)
    step = 1.0 / factor.astype(np.float64)
    factor = np.where(np.isfinite(factor), factor, np.float32(0))
    bottom, top = low * factor, high * factor
    free = np.where((-128 + bottom) + (127 + top) > 0, -128 - bottom, 127 - top)
    zero = np.rint(np.clip(free, -128, 127))
    q = np.clip(np.rint(x * factor) + zero, -128, 127) - zero
    return q.astype(np.float64), step


def _range(u: Float64) -> tuple[Float32, Float32, Float32]:
    """The input in float32, with the minimum and the maximum of each frame, 0 always inside."""
    x = u.astype(np.float32)
    low: Float32 = np.minimum(x.min(-1, keepdims=True), np.float32(0))
    high: Float32 = np.maximum(x.max(-1, keepdims=True), np.float32(0))
    return x, low, high
