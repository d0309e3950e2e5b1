r"""The linear recurrence of an LRU layer over time, and which algorithm runs when.

.. math:: x_k = \Lambda x_{k-1} + B u_k, \qquad y_k = \mathrm{Re}(C x_k)

on planar real arrays: a state is [Re x (N) | Im x (N)], B is [Re B; Im B] (2N, U), C is
[Re C, -Im C] (Y, 2N), so y = C x. Powers of λ are taken in float64 of the float32 λ.

Two forms. The *chunked* one (`scan_chunked`) needs no array of states and wins where N is several
times the width; the *fused* one (`scan_fused`) streams the states through the recurrence, tile by
tile. Against `jax.lax.associative_scan`: benchmarks/scan_against_jax.py.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from ssmith.errors import InputError
from ssmith.train.exact import exact_products
from ssmith.train.recurrence import Recurrence, pick
from ssmith.train.scan_chunked import chunked
from ssmith.train.scan_fused import Plan, fused

Method = Literal["auto", "ssd", "fused", "torch"]

# One tile of states; with its adjoint it stays in a core's share of the cache.
_TILE_BYTES = 1 << 20
# States of more bytes than this are computed again in the backward pass, whatever the width.
_KEEP_BYTES = 1 << 29


def lru_scan(
    u: Tensor,
    lam: Tensor,
    B: Tensor,
    C: Tensor,
    x0: Tensor | None = None,
    *,
    method: Method = "auto",
) -> tuple[Tensor, Tensor]:
    """Outputs of the whole sequence and the state after it.

    Differentiable once in u, lam, B, C and x0, through both results. Feeding a sequence in pieces
    (x0 of a piece = last state of the one before) gives the same numbers to rounding.

    Args:
        u: inputs, (batch, T, U).
        lam: poles [re, im], (2, N), |λ| < 1; its dtype is the arithmetic's.
        B: planar input matrix, γ folded in, (2N, U).
        C: planar output matrix, (Y, 2N).
        x0: state before the first step, (batch, 2N); zero if None.
        method: "auto" chooses; "ssd" is the chunked form, "fused" GEMM-recurrence-GEMM, "torch"
            whichever suits in plain PyTorch on any device.

    Returns:
        y (batch, T, Y) and the last state (batch, 2N).

    Raises:
        InputError: shapes do not fit, something is empty, or dtype or method are unknown.
    """
    if method not in ("auto", "ssd", "fused", "torch"):
        raise InputError(f"method = {method!r} is no scan; write auto, ssd, fused or torch")
    _check(u, lam, B, C, x0, lam.dtype)
    batch, steps, inputs = u.shape
    n = lam.shape[1]
    with exact_products(u.device):
        u = u.to(lam.dtype)
        start = u.new_zeros(batch, 2 * n) if x0 is None else x0.to(lam.dtype)
        recurrence = pick(u.device, plain=method == "torch")
        plain = recurrence.name == "torch"
        width, rows = max(inputs, C.shape[0]), batch * steps
        if method == "ssd" or (method != "fused" and _chunks_pay(n, width, rows, plain=plain)):
            return chunked(u, lam, B, C, start, recurrence, _chunk_length(n, width))
        plan = _plan(recurrence, rows, 2 * n * lam.element_size(), narrow=width <= 32)
        return fused(u, lam, B, C, start, plan)


def scan_states(u: Tensor, lam: Tensor, B: Tensor, x0: Tensor | None = None) -> Tensor:
    """All states x (batch, T, 2N) of inputs u (batch, T, U), without gradients, in u's dtype.

    Args:
        u: inputs, (batch, T, U), float32 or float64.
        lam: poles [re, im], (2, N).
        B: planar input matrix, (2N, U).
        x0: state before the first step, (batch, 2N); zero if None.

    Raises:
        InputError: shapes do not fit, something is empty, or the dtype is another.
    """
    _check(u, lam, B, None, x0, u.dtype)
    with torch.no_grad(), exact_products(u.device):
        lam, B = lam.to(u.dtype).contiguous(), B.to(u.dtype)
        state = u.new_zeros(u.shape[0], B.shape[0])
        if x0 is not None:
            state.copy_(x0)
        x = torch.matmul(u, B.t()).contiguous()
        pick(u.device).forward(x, lam, state)
        return x


def adjoint_states(e: Tensor, lam: Tensor, C: Tensor) -> Tensor:
    """Gradients g (batch, T, 2N) reaching the states: g_k = Cᵀ e_k + A_Rᵀ g_{k+1}, in e's dtype.

    Args:
        e: gradients of the outputs, (batch, T, Y), float32 or float64.
        lam: poles [re, im], (2, N).
        C: planar output matrix, (Y, 2N).

    Raises:
        InputError: shapes do not fit, something is empty, or the dtype is another.
    """
    _check(e, lam, C.t(), None, None, e.dtype)
    with torch.no_grad(), exact_products(e.device):
        g = torch.matmul(e, C.to(e.dtype)).contiguous()
        adjoint = e.new_zeros(e.shape[0], C.shape[1])
        pick(e.device).backward(g, lam.to(e.dtype).contiguous(), adjoint)
        return g


def _check(
    u: Tensor, lam: Tensor, B: Tensor, C: Tensor | None, x0: Tensor | None, dtype: torch.dtype
) -> None:
    """Refuse what does not fit together; one message, with what to write instead."""
    if dtype not in (torch.float32, torch.float64):
        raise InputError(f"a recurrence in {dtype} loses its state to rounding; write float32 or float64")
    if u.dim() != 3 or 0 in u.shape:
        raise InputError(f"a sequence has shape {tuple(u.shape)}; write (batch, T, U), each at least 1")
    if lam.dim() != 2 or lam.shape[0] != 2 or lam.shape[1] == 0:
        raise InputError(f"lam has shape {tuple(lam.shape)}; write (2, N), rows [Re; Im]")
    n2 = 2 * lam.shape[1]
    wanted = [("B", B, (n2, u.shape[2])), ("x0", x0, (u.shape[0], n2))]
    if C is not None:
        wanted.append(("C", C, (C.shape[0], n2)))
    for name, given, shape in wanted:
        if given is not None and tuple(given.shape) != shape:
            raise InputError(
                f"{name} has shape {tuple(given.shape)}; with N = {n2 // 2} planar modes write {shape}"
            )


def _chunks_pay(n: int, width: int, rows: int, *, plain: bool) -> bool:
    """Whether the chunked form is the faster one, by measurement.

    It trades the traffic of N states a step for a Toeplitz block of width² a step, plus a fixed
    cost per call for its operators. Without a compiled recurrence the traffic is dearer.
    """
    if width > 32 or n < 3 * width:
        return False
    return plain or (3 * n >= width * width and rows >= 1 << 14)


def _chunk_length(n: int, width: int) -> int:
    """Steps a chunk: the power of two at or below N/H, within 8 to 32."""
    length = 8
    while length < 32 and 2 * length * width <= n:
        length *= 2
    return length


def _plan(recurrence: Recurrence, rows: int, row_bytes: int, *, narrow: bool) -> Plan:
    """How the fused form runs over `rows` states of `row_bytes` each; narrow is a width ≤ 32.

    Where the layer is narrow, computing the states again is cheaper than fetching them from
    memory, once they have left the cache. Plain PyTorch counts launches, not cache misses.
    """
    if recurrence.name == "torch":
        return Plan(recurrence, rows, recompute=False)
    limit = _cache_bytes() if narrow else _KEEP_BYTES
    return Plan(recurrence, max(32, _TILE_BYTES // row_bytes), recompute=rows * row_bytes > limit)


@functools.cache
def _cache_bytes() -> int:
    """The last-level cache of this machine; 32 MiB where the system does not tell."""
    found = Path("/sys/devices/system/cpu/cpu0/cache/index3/size")
    try:
        return int(found.read_text().strip().removesuffix("K")) << 10
    except (OSError, ValueError):
        return 32 << 20
