r"""The LRU sequence map as GEMM, recurrence in place, GEMM; adjoint by the reversed recurrence.

.. math:: v = B u, \quad x_k = \lambda x_{k-1} + v_k, \quad y = C x

with adjoint :math:`g_k = C^\top \bar y_k + \bar\lambda g_{k+1}`, :math:`\bar u = B^\top g`,
:math:`\bar B = \sum g u^\top`, :math:`\bar C = \sum \bar y x^\top`,
:math:`\bar\lambda = \sum g_k \overline{x_{k-1}}`. The work goes tile by tile, so that a tile's
states stay in the processor's cache between the three passes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ssmith.train.exact import exact_products, wide
from ssmith.train.recurrence import Recurrence


@dataclass(frozen=True)
class Tile:
    """Whole sequences i0..i1, or steps k0..k1 of the single sequence i0."""

    i0: int
    i1: int
    k0: int
    k1: int

    @property
    def rows(self) -> int:
        """Steps in the tile, over its sequences."""
        return (self.i1 - self.i0) * (self.k1 - self.k0)

    def of(self, a: Tensor) -> Tensor:
        """The tile of a contiguous (batch, T, n) array as a view (sequences, steps, n)."""
        return a[self.i0 : self.i1, self.k0 : self.k1]

    def flat(self, a: Tensor) -> Tensor:
        """The tile of a contiguous (batch, T, n) array as a view (rows, n)."""
        return self.of(a).view(self.rows, a.shape[-1])


def tiles(batch: int, steps: int, rows: int) -> list[Tile]:
    """Cut (batch, steps) into tiles of about `rows` steps, each contiguous in memory, in order."""
    group = max(1, rows // steps)
    if group > 1 or steps <= 2 * rows:
        return [Tile(i, min(i + group, batch), 0, steps) for i in range(0, batch, group)]
    return [Tile(i, i + 1, k, min(k + rows, steps)) for i in range(batch) for k in range(0, steps, rows)]


@dataclass(frozen=True)
class Plan:
    """How the fused form runs: which recurrence, how many steps a tile, what is kept.

    With `recompute` only the states between tiles are kept for the backward pass.
    """

    recurrence: Recurrence
    rows: int
    recompute: bool


def fused(u: Tensor, lam: Tensor, B: Tensor, C: Tensor, x0: Tensor, plan: Plan) -> tuple[Tensor, Tensor]:
    """Outputs (batch, T, Y) and last state (batch, 2N); differentiable in u, lam, B, C and x0.

    Args:
        u: inputs, (batch, T, U).
        lam: poles [re, im], (2, N).
        B: planar input matrix, (2N, U).
        C: planar output matrix, (Y, 2N).
        x0: state before the first step, (batch, 2N).
        plan: how to run.
    """
    track = torch.is_grad_enabled() and any(a.requires_grad for a in (u, lam, B, C, x0))
    y, last = _Fused.apply(u, lam, B, C, x0, plan, track)  # type: ignore[no-untyped-call]
    return y, last


class _Fused(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        u: Tensor,
        lam: Tensor,
        B: Tensor,
        C: Tensor,
        x0: Tensor,
        plan: Plan,
        track: bool,
    ) -> tuple[Tensor, Tensor]:
        batch, steps, _ = u.shape
        u, lam, C, x0 = (a.contiguous() for a in (u, lam, C, x0))
        Bt = B.t().contiguous()
        plan_tiles = tiles(batch, steps, plan.rows)
        keep = track and not plan.recompute
        y = u.new_empty(batch, steps, C.shape[0])
        x = u.new_empty((batch, steps, C.shape[1]) if keep else (0,))
        scratch = _scratch(u, plan_tiles, 0 if keep else C.shape[1])
        starts = []
        state = x0.clone()
        for tile in plan_tiles:
            if track:
                starts.append(state[tile.i0 : tile.i1].clone())
            rows = tile.flat(x) if keep else scratch[: tile.rows]
            _states(tile, u, lam, Bt, state[tile.i0 : tile.i1], rows, plan.recurrence)
            torch.mm(rows, C.t(), out=tile.flat(y))
        ctx.save_for_backward(u, lam, Bt, C, x, *starts)
        ctx.plan, ctx.tiles = plan, plan_tiles
        return y, state

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gy: Tensor, glast: Tensor) -> tuple[Tensor | None, ...]:
        with exact_products(gy.device):
            u, lam, Bt, C, x, *starts = ctx.saved_tensors
            recurrence = ctx.plan.recurrence
            batch, n2 = u.shape[0], C.shape[1]
            gy, adjoint = gy.contiguous(), glast.clone(memory_format=torch.contiguous_format)
            gu = torch.empty_like(u) if ctx.needs_input_grad[0] else None
            gBt, gC = torch.zeros_like(Bt), torch.zeros_like(C)
            dlam = torch.zeros(batch, n2, dtype=wide(u.device), device=u.device)
            kept = x.numel() > 0
            states, adjoints = (_scratch(u, ctx.tiles, n) for n in (0 if kept else n2, n2))
            for tile, start in zip(reversed(ctx.tiles), reversed(starts), strict=True):
                shape = (tile.i1 - tile.i0, tile.k1 - tile.k0, n2)
                rows, g = (tile.flat(x) if kept else states[: tile.rows]), adjoints[: tile.rows]
                if not kept:
                    _states(tile, u, lam, Bt, start.clone(), rows, recurrence)
                gy_rows = tile.flat(gy)
                gC.addmm_(gy_rows.t(), rows)
                torch.mm(gy_rows, C, out=g)
                here = slice(tile.i0, tile.i1)
                recurrence.backward(g.view(shape), lam, adjoint[here], rows.view(shape), start, dlam[here])
                gBt.addmm_(tile.flat(u).t(), g)
                if gu is not None:
                    torch.mm(g, Bt.t(), out=tile.flat(gu))
            glam = dlam.sum(0).view(2, -1).to(lam.dtype)
            return gu, glam, gBt.t(), gC, adjoint, None, None


def _scratch(like: Tensor, plan_tiles: list[Tile], n: int) -> Tensor:
    """Room for the largest tile, (rows, n)."""
    return like.new_empty(max(tile.rows for tile in plan_tiles), n)


def _states(
    tile: Tile, u: Tensor, lam: Tensor, Bt: Tensor, state: Tensor, out: Tensor, recurrence: Recurrence
) -> None:
    """Fill out (rows, 2N) with the tile's states; state (sequences, 2N) is moved to its end."""
    torch.mm(tile.flat(u), Bt, out=out)
    recurrence.forward(out.view(tile.i1 - tile.i0, tile.k1 - tile.k0, -1), lam, state)
