"""The loops of kernels/scan.c for numba; imported only where there is no C compiler."""

from __future__ import annotations

from typing import Any

import numba


@numba.njit(fastmath=True, nogil=True)  # type: ignore[untyped-decorator]
def forward(x: Any, lam: Any, state: Any) -> None:
    """In place x_k = λ x_{k-1} + v_k: x (batch, steps, 2N), lam (2, N), state (batch, 2N)."""
    batch, steps, _ = x.shape
    n = lam.shape[1]
    re, im = lam[0], lam[1]
    for i in range(batch):
        before = state[i]
        for k in range(steps):
            row = x[i, k]
            for j in range(n):
                r = re[j] * before[j] - im[j] * before[n + j] + row[j]
                row[n + j] += re[j] * before[n + j] + im[j] * before[j]
                row[j] = r
            before = row
        state[i] = before.copy()


@numba.njit(fastmath=True, nogil=True)  # type: ignore[untyped-decorator]
def backward(g: Any, lam: Any, adjoint: Any, x: Any, x0: Any, dlam: Any) -> None:
    """In place g_k = e_k + conj(λ) g_{k+1}; dlam += Σ g_k conj(x_{k-1}) unless x has no steps."""
    batch, steps, _ = g.shape
    n = lam.shape[1]
    re, im = lam[0], lam[1]
    for i in range(batch):
        carry = adjoint[i]
        for k in range(steps - 1, -1, -1):
            row = g[i, k]
            for j in range(n):
                r, m = row[j] + carry[j], row[n + j] + carry[n + j]
                row[j], row[n + j] = r, m
                carry[j] = re[j] * r + im[j] * m
                carry[n + j] = re[j] * m - im[j] * r
            if x.shape[1] > 0:
                before = x[i, k - 1] if k > 0 else x0[i]
                for j in range(n):
                    dlam[i, j] += row[j] * before[j] + row[n + j] * before[n + j]
                    dlam[i, n + j] += row[n + j] * before[j] - row[j] * before[n + j]
