"""What must not lose digits in a recurrence: powers of the poles, and the products beside them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor


def wide(device: torch.device) -> torch.dtype:
    """The dtype for sums and powers on `device`: float64, or float32 on MPS, which has no other."""
    return torch.float32 if device.type == "mps" else torch.float64


def powers_of(lam: Tensor, highest: int) -> Tensor:
    """λ^0 … λ^highest of λ as given (2, N), by repeated doubling in float64, (highest + 1, N).

    Differentiable in lam, also at λ = 0. complex128; where the device has none, computed on the
    CPU and rounded to complex64.
    """
    exact = wide(lam.device) == torch.float64
    re, im = (lam if exact else lam.cpu()).double()
    base = torch.complex(re, im)
    powers, square = torch.ones_like(base)[None], base
    while powers.shape[0] <= highest:
        powers = torch.cat((powers, powers * square))
        square = square * square
    powers = powers[: highest + 1]
    return powers if exact else powers.to(lam.device, torch.complex64)


@contextmanager
def exact_products(device: torch.device) -> Iterator[None]:
    """No autocast and full float32 in matrix products (no TF32, no bfloat16) inside.

    A state carries its rounding errors on through time. Backward passes need this for themselves:
    autograd runs them after the forward pass has left it.
    """
    precision = torch.get_float32_matmul_precision()
    with torch.autocast(device.type, enabled=False):
        if precision != "highest":
            torch.set_float32_matmul_precision("highest")
        try:
            yield
        finally:
            if precision != "highest":
                torch.set_float32_matmul_precision(precision)
