r"""Rounding inside a network that goes on learning: the numbers of int8, the gradients of what is rounded.

A ``FakeProduct`` does to one matrix product what the integer code does, in real numbers. With the
scales of ``ssmith.quant``, fixed for the moment,

.. math::

    q &= \mathrm{clip}(\lfloor (u - t) / \mathrm{step} + \tfrac12 \rfloor + z,\; \pm\mathrm{limit}), \qquad
    \hat u = \mathrm{step} \circ (q - z) + t \\
    r &= \mathrm{clip}(\mathrm{round}(W \circ \mathrm{step} / \mathrm{row}),\; \pm 127), \qquad
    \hat W = \mathrm{row} \circ r / \mathrm{step}

with t what an affine op adds to u, and the whole number z = round((t - offset) / step). Gradients pass a
rounding as if it were not there, and stop where a code is at its limit (a straight-through estimator).

Sums of products, states and what lies between ops are int32 in the integer code, with more digits than
float32 has; they are not rounded here.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ssmith.quant import CODE_LIMITS, WEIGHT_LIMIT
from ssmith.runtime.integer_weights import LARGEST_SUM, TrainedScales


class FakeProduct(nn.Module):
    """The rounding of one product y = W u: scales as buffers, so that they are kept with the weights.

    Args:
        scales: of the product; K inputs, M outputs.
    """

    step: Tensor  # (K)
    offset: Tensor  # (K)
    row: Tensor  # (M)

    def __init__(self, scales: TrainedScales) -> None:
        super().__init__()
        self.bits = scales.bits
        for name in ("step", "offset", "row"):
            values = torch.tensor(getattr(scales, name), dtype=torch.float64)
            self.register_buffer(name, values.to(torch.float32))

    def load(self, scales: TrainedScales) -> None:
        """Take other scales of the same shapes."""
        for name in ("step", "offset", "row"):
            buffer = getattr(self, name)
            buffer.copy_(torch.as_tensor(getattr(scales, name), dtype=torch.float64))

    def rounded(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Ŵ (M, K) of W, and the largest code that its sums leave room for, a scalar."""
        row, step = self.row.to(weight.dtype)[:, None], self.step.to(weight.dtype)
        scaled = weight * step / row
        codes = _Rounded.apply(scaled, float(WEIGHT_LIMIT))  # type: ignore[no-untyped-call]
        sums = codes.detach().abs().sum(1).max().clamp(min=1)
        limit = (LARGEST_SUM / sums).floor().clamp(max=CODE_LIMITS[self.bits])
        return codes * row / step, limit

    def codes(self, u: Tensor, limit: Tensor, shift: Tensor | None = None) -> Tensor:
        """û of inputs u (…, K).

        Args:
            u: real.
            limit: of the codes, as ``rounded`` returned it.
            shift: t, part of u, (K); none if None.
        """
        result: Tensor = _Codes.apply(  # type: ignore[no-untyped-call]
            u, self.step.to(u.dtype), self._zero(shift).to(u), limit.to(u.dtype)
        )
        return result

    def _zero(self, shift: Tensor | None) -> Tensor:
        """What code 0 stands for, t - step z: (K) in float64."""
        step, offset = self.step.cpu().double(), self.offset.cpu().double()
        t = torch.zeros_like(offset) if shift is None else shift.detach().cpu().double()
        return t - step * ((t - offset) / step).round()


def straight_through(exact: Tensor, rounded: Tensor) -> Tensor:
    """The values of ``rounded`` with the gradients of ``exact``; same shapes."""
    return exact + (rounded - exact).detach()


class _Rounded(torch.autograd.Function):
    """clip(round(x), ±limit); the gradient passes where |x| ≤ limit + ½."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, limit: float) -> Tensor:
        ctx.save_for_backward(x.abs() <= limit + 0.5)
        return x.round().clamp(-limit, limit)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (inside,) = ctx.saved_tensors
        return grads[0] * inside, None


class _Codes(torch.autograd.Function):
    """step q + zero with q = clip(⌊(u - zero) / step + ½⌋); the gradient passes where q is inside.

    (u - zero) / step = (u - t) / step + z, and z is a whole number, so both round alike.
    """

    @staticmethod
    def forward(ctx: Any, u: Tensor, step: Tensor, zero: Tensor, limit: Tensor) -> Tensor:
        q = ((u - zero) / step + 0.5).floor_()
        clipped = q.clamp(-limit, limit)
        ctx.save_for_backward(clipped == q)
        return clipped.mul_(step).add_(zero)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None]:
        (inside,) = ctx.saved_tensors
        return grads[0] * inside, None, None, None
