"""Products in int8 for XNNPACK: weights int8 with a scale a row, activations int8, results float32.

Import this module inside functions only: it needs torch. XNNPACK's kernels for int8 activations with
float32 results look for the range of each frame:

    lo = min(0, min u),  hi = max(0, max u),  q = round(u 255 / (hi - lo)) + zero point

``Dynamic`` leaves it at that. ``Static`` brings the codes that all other targets use, q = round((u -
offset) / step), and pins the range: two constants, -128 and 127, stand beside the codes and meet
weights 0, so that the kernel finds scale 1 and zero point 0 in every frame. The kernels for static
ranges are no choice: they round their results to 8 bits, too, with one scale for the whole vector.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.ao.quantization.fx._decomposed  # defines the operators quantized_decomposed
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from ssmith.export.executorch_layers import Product, constant
from ssmith.ops import Float32
from ssmith.quant import WEIGHT_LIMIT
from ssmith.runtime import integer_weights
from ssmith.runtime.integer_model import Float64

LOWEST, HIGHEST = -128, 127
# Tensors that are no buffers but these very objects are stored once, however many products use them.
_ENDS = torch.tensor([[float(LOWEST), float(HIGHEST)]])
# Adding and taking away 1.5 · 2²³ rounds float32 of up to 2²² to whole numbers, halves to even.
_ROUND = torch.tensor(12582912.0)


class _Int8(Product):
    """What both have: int8 weights (out, in), a scale a row, float32 bias."""

    weight: Tensor
    rows: Tensor
    zeros: Tensor
    bias: Tensor | None

    def __init__(self, weight: NDArray[np.int8], rows: Float64, bias: Float64 | None) -> None:
        super().__init__()
        self.register_buffer("weight", constant(weight, torch.int8))
        self.register_buffer("rows", constant(rows)[0].clone())
        self.register_buffer("zeros", torch.zeros(len(rows), dtype=torch.int64))
        self.register_buffer("bias", None if bias is None else constant(bias)[0].clone())

    def met(self, codes: Tensor) -> Tensor:
        """The codes, quantised frame by frame in the words that XNNPACK knows its kernel by."""
        ops = torch.ops.quantized_decomposed
        scale, zero = ops.choose_qparams.tensor(codes, LOWEST, HIGHEST, 1e-9, torch.int8)
        q = ops.quantize_per_tensor.tensor(codes, scale, zero, LOWEST, HIGHEST, torch.int8)
        met: Tensor = ops.dequantize_per_tensor.tensor(q, scale, zero, LOWEST, HIGHEST, torch.int8)
        return met

    def weighted(self, met: Tensor) -> Tensor:
        """Rows ∘ (weight · q) + bias."""
        weight = torch.ops.quantized_decomposed.dequantize_per_channel(
            self.weight, self.rows, self.zeros, 0, -WEIGHT_LIMIT, WEIGHT_LIMIT, torch.int8
        )
        return functional.linear(met, weight, self.bias)


class Dynamic(_Int8):
    """W u with a scale a frame; each row of W is scaled to ±127."""

    def __init__(self, weight: NDArray[np.int8], rows: Float64, bias: Float32 | None) -> None:
        super().__init__(weight, rows, None if bias is None else bias.astype(np.float64))


class Codes(nn.Module):
    """clip((u - offset) / step) of codes with fixed scales; ``before``: scale and shift of u itself."""

    slope: Tensor
    start: Tensor

    def __init__(self, codes: integer_weights.Codes, before: tuple[Float32, Float32] | None) -> None:
        super().__init__()
        step, offset = codes.step, codes.offset
        scale, shift = (np.ones_like(step), np.zeros_like(step)) if before is None else before
        self.register_buffer("slope", constant(scale.astype(np.float64) / step))
        self.register_buffer("start", constant((shift.astype(np.float64) - offset) / step))
        self.round, self.limit = _ROUND, float(codes.limit)

    def forward(self, u: Tensor, *, whole: bool) -> Tensor:
        """Codes as real numbers, which a kernel rounds, or, for ``whole``, two additions."""
        codes = functional.hardtanh(u * self.slope + self.start, -self.limit, self.limit)
        return (codes + self.round) - self.round if whole else codes


class Static(_Int8):
    """W u with the codes and the int8 weights of a rounded product.

    Args:
        product: codes of u, weights, scales, bias.
        extra: added to every output, (out): the op's own bias and what of D ∘ u is constant.
        before: scale and shift of an affine op that stands before and is computed here.
        frames: whether many frames come at once.
    """

    def __init__(
        self,
        product: integer_weights.Product,
        extra: Float64 | float = 0.0,
        before: tuple[Float32, Float32] | None = None,
        *,
        frames: bool = False,
    ) -> None:
        ends = np.zeros((len(product.scale), 2), np.int8)
        super().__init__(np.hstack([product.weight, ends]), product.scale, product.bias + extra)
        self.coder = Codes(product.codes, before)
        self.ends, self.frames = _ENDS, frames
        self.scale, self.shift = product.codes.step, product.codes.offset

    def codes(self, u: Tensor, *, whole: bool = False) -> Tensor:
        """See ``Codes``."""
        codes: Tensor = self.coder(u, whole=whole)
        return codes

    def met(self, codes: Tensor) -> Tensor:
        """The codes and the two ends of their range."""
        if not self.frames:
            return super().met(torch.cat([codes, self.ends], 1))
        # XNNPACK cannot repeat the ends for every frame, but pad.
        above = functional.pad(codes, (0, 1), value=float(HIGHEST))
        return super().met(functional.pad(above, (0, 1), value=float(LOWEST)))
