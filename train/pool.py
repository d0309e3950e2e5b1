"""Causal pooling over time: the mean so far, or an exponential average without start-up bias."""

from __future__ import annotations

import functools
import math

import numpy as np
import torch
from torch import Tensor, nn

from ssmith.errors import InputError


class Pool(nn.Module):
    r"""s_k = d s_{k-1} + v_k, \; w_k = d w_{k-1} + 1, \; y_k = s_k / w_k, from zero.

    d = 1 is the cumulative mean. The sequence form gives what stepping gives (up to float32 rounding).

    Args:
        decay: d in (0, 1]; rounded to float32 once, so that every backend multiplies by the same number.

    Raises:
        InputError: decay is outside (0, 1].
    """

    def __init__(self, decay: float = 1.0) -> None:
        super().__init__()
        if not 0 < decay <= 1:
            raise InputError(f"pool decay = {decay}; write a number above 0 and at most 1 (1 is the mean)")
        self.decay = float(np.float32(decay))

    def forward(self, v: Tensor) -> Tensor:
        """Frames v (batch, T, H) → y (batch, T, H)."""
        total, weight = self._sums(v)
        return total / weight[:, None]

    def process(
        self, v: Tensor, state: tuple[Tensor, Tensor] | None = None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """A piece of a sequence: v (batch, T, H), state as of ``step`` → y (batch, T, H), next state."""
        total, weight = self._sums(v)
        weight = weight.expand(len(v), -1)
        if state is not None:
            fade = _like(self.decay ** torch.arange(1, v.shape[1] + 1, dtype=torch.float64), v)
            total, weight = total + fade[:, None] * state[0][:, None], weight + fade * state[1]
        return total / weight[..., None], (total[:, -1], weight[:, -1:])

    def _sums(self, v: Tensor) -> tuple[Tensor, Tensor]:
        """The s_k (batch, T, H) and w_k (T,) from zero."""
        total = torch.cumsum(v, 1) if self.decay == 1 else decayed_sum(v, self.decay)
        return total, _like(_weights(v.shape[1], self.decay), v)

    def last(self, v: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Only y at the last valid step: frames v (batch, T, H), lengths (batch,) or None → (batch, 1, H)."""
        steps = torch.arange(v.shape[1], device=v.device)
        age = steps.flip(0)[None] if lengths is None else lengths[:, None] - 1 - steps  # (1 or batch, T)
        weight = torch.where(age >= 0, self.decay ** age.clamp(min=0).to(v.dtype), 0.0)
        mean: Tensor = (weight / weight.sum(1, keepdim=True))[:, None] @ v
        return mean

    def step(
        self, v: Tensor, state: tuple[Tensor, Tensor] | None = None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """One frame: v (batch, H), state (s (batch, H), w (batch, 1)) or None if fresh → y, next state."""
        total, count = (torch.zeros_like(v), torch.zeros_like(v[:, :1])) if state is None else state
        total, count = self.decay * total + v, self.decay * count + 1
        return total / count, (total, count)


def decayed_sum(v: Tensor, decay: float) -> Tensor:
    """s_k = Σ_{j≤k} decay^(k-j) v_j over time; v (batch, T, H) → (batch, T, H).

    Two levels of triangular matrices of powers (inside chunks of √T steps, and between chunks): no loop
    over time, no division by small powers, O(T^1.5) work.
    """
    batch, steps, width = v.shape
    size = max(1, math.isqrt(steps))
    chunks = -(-steps // size)
    padded = nn.functional.pad(v, (0, 0, 0, chunks * size - steps))
    inside = _like(_powers(size, decay), v) @ padded.reshape(batch, chunks, size, width)
    ends = inside[:, :, -1]  # (batch, chunks, H): what each chunk adds by its end
    carried = nn.functional.pad(_like(_powers(chunks, decay**size), v) @ ends, (0, 0, 1, 0))[:, :-1]
    fade = _like(decay ** torch.arange(1, size + 1, dtype=torch.float64), v)[:, None]
    return (inside + fade * carried[:, :, None]).reshape(batch, -1, width)[:, :steps]


@functools.lru_cache(maxsize=32)
def _powers(size: int, base: float) -> Tensor:
    """Lower triangle of base^(i-j), shape (size, size), float64."""
    gap = torch.arange(size)[:, None] - torch.arange(size)
    return torch.where(gap >= 0, torch.tensor(base, dtype=torch.float64) ** gap.clamp(min=0), 0.0)


@functools.lru_cache(maxsize=32)
def _weights(steps: int, decay: float) -> Tensor:
    """w_k for k < steps in closed form, shape (steps,), float64."""
    count = torch.arange(1, steps + 1, dtype=torch.float64)
    if decay == 1:
        return count
    return -torch.expm1(count * math.log(decay)) / (1 - decay)


def _like(table: Tensor, v: Tensor) -> Tensor:
    """``table`` in v's type, then on v's device: not every device knows float64."""
    return table.to(v.dtype).to(v.device)
