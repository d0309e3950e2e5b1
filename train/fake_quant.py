r"""Rounding inside a network that goes on learning: the numbers of int8, the gradients of what is rounded.

A ``FakeProduct`` does to one matrix product what the integer code does, in real numbers. With the
scales of ``ssmith.quant``, which do not learn,

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
        mean: added to its outputs, (M): what rounding after training takes back of the means.
        taken: steps in which the integers round, (K), where their multipliers have few digits; as ``step``
            if None.
    """

    step: Tensor  # (K)
    offset: Tensor  # (K)
    row: Tensor  # (M)
    taken: Tensor  # (K)
    mean: Tensor | None

    def __init__(
        self, scales: TrainedScales, mean: Tensor | None = None, taken: Tensor | None = None
    ) -> None:
        super().__init__()
        self.register_buffer("mean", mean)
        self.bits = scales.bits
        for name in ("step", "offset", "row"):
            values = torch.tensor(getattr(scales, name), dtype=torch.float64)
            self.register_buffer(name, values.to(torch.float32))
        self.register_buffer("taken", self.step.clone() if taken is None else taken)

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
        t = torch.zeros_like(self.offset) if shift is None else shift.detach()
        z = ((t.double() - self.offset.double()) / self.step.double()).round()
        fixed = (a.to(u.dtype) for a in (self.taken, self.step, t, z, limit))
        result: Tensor = _Codes.apply(u, *fixed)  # type: ignore[no-untyped-call]
        return result


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
    """step (q - z) + t, q = clip(⌊(u - t) / taken + ½⌋ + z); the gradient passes where q is inside."""

    @staticmethod
    def forward(
        ctx: Any, u: Tensor, taken: Tensor, step: Tensor, t: Tensor, z: Tensor, limit: Tensor
    ) -> Tensor:
        q = ((u - t) / taken + 0.5).floor_().add_(z)
        clipped = q.clamp(-limit, limit)
        ctx.save_for_backward(clipped == q)
        return clipped.sub_(z).mul_(step).add_(t)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None, None, None]:
        (inside,) = ctx.saved_tensors
        return grads[0] * inside, None, None, None, None, None
