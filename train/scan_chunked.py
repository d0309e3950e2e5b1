r"""The LRU sequence map in chunks of L steps, all real GEMMs (the "SSD" form) [Dao2024].

With chunk inputs :math:`U_c \in \mathbb{R}^{LU}`, the kernel :math:`K_l = C A^l B` and the state
:math:`x_c` before chunk c,

.. math:: Y_c = U_c G + x_c W_{out}, \qquad x_{c+1} = \lambda^L x_c + U_c W_{in},

where G is block Toeplitz (:math:`K_{t-s}` for t ≥ s), :math:`W_{in}[s] = \lambda^{L-1-s} B` and
:math:`W_{out}[t] = C \lambda^{t+1}`. No (batch, T, 2N) array exists, which pays when N ≫ U, Y.
The heavy products have a hand-written adjoint; the small operators are left to autograd.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ssmith.train.exact import exact_products, powers_of
from ssmith.train.recurrence import Recurrence


def chunked(
    u: Tensor,
    lam: Tensor,
    B: Tensor,
    C: Tensor,
    x0: Tensor,
    recurrence: Recurrence,
    length: int,
) -> tuple[Tensor, Tensor]:
    """Outputs (batch, T, Y) and last state (batch, 2N); differentiable in u, lam, B, C and x0.

    Args:
        u: inputs, (batch, T, U).
        lam: poles [re, im], (2, N).
        B: planar input matrix, (2N, U).
        C: planar output matrix, (Y, 2N).
        x0: state before the first step, (batch, 2N).
        recurrence: carries the state from chunk to chunk.
        length: steps a chunk, L; what T leaves over is one shorter chunk.
    """
    batch, steps, inputs = u.shape
    length = min(length, steps)
    outputs = C.shape[0]
    powers = powers_of(lam, length)
    w_in, w_out, toeplitz = _operators(powers[:-1], powers[1:], B, C)
    whole = steps // length * length
    parts, state, k = [], x0, 0
    for end, part in ((whole, length), (steps, steps - whole)):
        if part == 0:
            continue
        # A shorter chunk's operators are corners of the whole one's.
        flat = u[:, k:end].reshape(batch, (end - k) // part, part * inputs)
        pole = powers[part]
        y, state = _Chunks.apply(  # type: ignore[no-untyped-call]
            flat,
            torch.stack((pole.real, pole.imag)),
            w_in[(length - part) * inputs :],
            w_out[:, : part * outputs],
            toeplitz[: part * inputs, : part * outputs],
            state,
            recurrence,
        )
        parts.append(y.reshape(batch, end - k, outputs))
        k = end
    return (parts[0] if len(parts) == 1 else torch.cat(parts, 1)), state


def _operators(powers: Tensor, next_powers: Tensor, B: Tensor, C: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """W_in (L·U, 2N), W_out (2N, L·Y) and G (L·U, L·Y).

    powers λ^0 … λ^{L-1} and next_powers λ^1 … λ^L are (L, N) complex128. The kernel is a product
    in float64, which no precision setting touches, not in autograd's backward pass either.
    """
    length, n = powers.shape
    dtype = torch.complex128 if B.dtype == torch.float64 else torch.complex64
    b = torch.complex(B[:n], B[n:]).t()  # (U, N)
    c = torch.complex(C[:, :n], -C[:, n:]).t()  # (N, Y)
    inputs, outputs = b.shape[0], c.shape[1]
    p, q = powers.to(dtype), next_powers.to(dtype)
    w_in = (p.flip(0)[:, None] * b).reshape(length * inputs, n)
    w_out = (q.t()[:, :, None] * c[:, None]).reshape(n, length * outputs)
    cb = (b.t()[:, :, None] * c[:, None]).reshape(n, inputs * outputs)
    cb = cb.to(powers.dtype)
    kernel = (powers.real @ cb.real - powers.imag @ cb.imag).to(B.dtype)  # K_l, (L, U·Y)
    return (
        torch.cat((w_in.real, w_in.imag), 1),
        torch.cat((w_out.real, -w_out.imag), 0),
        _block_toeplitz(kernel.view(length, inputs, outputs)),
    )


def _block_toeplitz(kernel: Tensor) -> Tensor:
    """G (L·U, L·Y) with G[s, t] = K_{t-s} for t ≥ s, else 0, from K (L, U, Y).

    Rows of [K, 0] of length 2L, laid end to end and read again in rows of 2L - 1, shift by one
    from row to row; no index is gathered, and the adjoint is a plain sum.
    """
    length, inputs, outputs = kernel.shape
    row = torch.cat((kernel, torch.zeros_like(kernel)))
    laid = row.expand(length, 2 * length, inputs, outputs).reshape(-1, inputs, outputs)
    read = laid[: length * (2 * length - 1)].view(length, 2 * length - 1, inputs, outputs)
    return read[:, :length].permute(0, 2, 1, 3).reshape(length * inputs, length * outputs)


class _Chunks(torch.autograd.Function):
    """The map of whole chunks; u (batch, chunks, L·U) → y (batch, chunks, L·Y), last state."""

    @staticmethod
    def forward(
        ctx: Any,
        u: Tensor,
        pole: Tensor,
        w_in: Tensor,
        w_out: Tensor,
        toeplitz: Tensor,
        x0: Tensor,
        recurrence: Recurrence,
    ) -> tuple[Tensor, Tensor]:
        batch, chunks, _ = u.shape
        rows = u.reshape(batch * chunks, -1)
        # The carry runs in pole's float64: a rounded λ^L would act T/L times in the same direction.
        after = torch.mm(rows, w_in).view(batch, chunks, -1).to(pole.dtype)
        last = x0.to(pole.dtype, copy=True, memory_format=torch.contiguous_format)
        recurrence.forward(after, pole, last)
        before = torch.cat((x0[:, None], after[:, :-1].to(x0.dtype)), 1)
        y = torch.mm(rows, toeplitz).addmm_(before.view(batch * chunks, -1), w_out)
        ctx.save_for_backward(rows, pole, w_in, w_out, toeplitz, before)
        ctx.recurrence = recurrence
        return y.view(batch, chunks, -1), last.to(x0.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gy: Tensor, glast: Tensor) -> tuple[Tensor | None, ...]:
        with exact_products(gy.device):
            rows, pole, w_in, w_out, toeplitz, before = ctx.saved_tensors
            batch, chunks, n2 = before.shape
            gy_rows = gy.reshape(batch * chunks, -1)
            g_before = torch.mm(gy_rows, w_out.t()).view(batch, chunks, n2)
            # The state after chunk c is the state before chunk c + 1.
            g_after = torch.cat((g_before[:, 1:], glast[:, None]), 1).to(pole.dtype)
            g_x0 = torch.zeros_like(g_after[:, 0], memory_format=torch.contiguous_format)
            g_pole = torch.zeros(batch, n2, dtype=pole.dtype, device=pole.device)
            # states[c] is the state after chunk c; the last is never asked for.
            states = torch.cat((before[:, 1:], before[:, :1]), 1).to(pole.dtype)
            ctx.recurrence.backward(
                g_after, pole, g_x0, states, before[:, 0].to(pole.dtype).contiguous(), g_pole
            )
            g_rows = g_after.to(rows.dtype).view(batch * chunks, n2)
            gu = None
            if ctx.needs_input_grad[0]:
                gu = torch.mm(gy_rows, toeplitz.t()).addmm_(g_rows, w_in.t())
                gu = gu.view(batch, chunks, -1)
            return (
                gu,
                g_pole.sum(0).view(2, -1),
                torch.mm(rows.t(), g_rows),
                torch.mm(before.view(batch * chunks, n2).t(), gy_rows),
                torch.mm(rows.t(), gy_rows),
                g_x0.to(rows.dtype) + g_before[:, 0],
                None,
            )
