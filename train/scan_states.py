r"""The states of the recurrence with their gradients, for a network that rounds them before it reads them.

.. math:: x_k = \lambda x_{k-1} + v_k, \qquad
          \bar v_k = \bar x_k + \bar\lambda \bar v_{k+1}, \qquad
          \bar\lambda = \sum_k \bar v_k \overline{x_{k-1}}

Whole sequences at once, in the same compiled recurrence as ``scan_fused``; all states are kept.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ssmith.train.exact import wide
from ssmith.train.recurrence import pick


def driven_states(v: Tensor, lam: Tensor, x0: Tensor | None = None) -> Tensor:
    """All states of a diagonal recurrence; differentiable once in v, lam and x0.

    Args:
        v: what drives it, planar, (batch, T, 2N), float32 or float64.
        lam: poles [re, im], (2, N), of v's type.
        x0: state before the first step, (batch, 2N); zero if None.

    Returns:
        x (batch, T, 2N).
    """
    start = v.new_zeros(len(v), v.shape[-1]) if x0 is None else x0.to(v.dtype)
    states: Tensor = _States.apply(v, lam, start)  # type: ignore[no-untyped-call]
    return states


class _States(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, v: Tensor, lam: Tensor, x0: Tensor) -> Tensor:
        x = v.clone(memory_format=torch.contiguous_format)
        lam, x0 = lam.contiguous(), x0.contiguous()
        pick(v.device).forward(x, lam, x0.clone())
        ctx.save_for_backward(lam, x, x0)
        return x

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gx: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        lam, x, x0 = ctx.saved_tensors
        g = gx.clone(memory_format=torch.contiguous_format)
        adjoint = torch.zeros_like(x0)
        dlam = torch.zeros(x0.shape, dtype=wide(x.device), device=x.device)
        pick(x.device).backward(g, lam, adjoint, x, x0, dlam)
        return g, dlam.sum(0).view(2, -1).to(lam.dtype), adjoint
