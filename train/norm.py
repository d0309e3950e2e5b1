"""What opens a block: per-frame LayerNorm, masked BatchNorm, a fixed affine map, or nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from ssmith.errors import InputError

EPS = 1e-5


class LayerNorm(nn.Module):
    """y = scale ∘ (v - mean v) / sqrt(var v + eps) + shift, over the H features of each frame."""

    def __init__(self, width: int, eps: float = EPS) -> None:
        super().__init__()
        self.scale, self.shift = nn.Parameter(torch.ones(width)), nn.Parameter(torch.zeros(width))
        self.eps = eps

    def forward(self, v: Tensor, mask: Tensor | None = None) -> Tensor:
        """Frames v (…, H) → (…, H); the mask is not needed."""
        return nn.functional.layer_norm(v, self.scale.shape, self.scale, self.shift, self.eps)


class Affine(nn.Module):
    """y = scale ∘ v + shift: what a folded BatchNorm thaws to."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.scale, self.shift = nn.Parameter(torch.ones(width)), nn.Parameter(torch.zeros(width))

    def forward(self, v: Tensor, mask: Tensor | None = None) -> Tensor:
        """Frames v (…, H) → (…, H); the mask is not needed."""
        return self.scale * v + self.shift


class NoNorm(nn.Module):
    """y = v."""

    def forward(self, v: Tensor, mask: Tensor | None = None) -> Tensor:
        """Frames v (…, H) → the same."""
        return v


class BatchNorm(nn.Module):
    r"""y = scale ∘ (v - μ) / sqrt(σ² + eps) + shift; μ, σ² over the valid frames of a batch.

    In training, μ and σ² (biased) are the batch's own, and the running estimates follow with
    ``momentum`` (σ² unbiased there). In evaluation the running estimates are used, so that a frame's
    output depends on nothing but the frame.
    """

    running_mean: Tensor  # (H,)
    running_var: Tensor  # (H,)

    def __init__(self, width: int, eps: float = EPS, momentum: float = 0.1) -> None:
        super().__init__()
        self.scale, self.shift = nn.Parameter(torch.ones(width)), nn.Parameter(torch.zeros(width))
        self.register_buffer("running_mean", torch.zeros(width))
        self.register_buffer("running_var", torch.ones(width))
        self.eps, self.momentum = eps, momentum
        self.tally: _Tally | None = None  # set while ``recalibrate`` runs

    def forward(self, v: Tensor, mask: Tensor | None = None) -> Tensor:
        """Frames v (batch, T, H), mask (batch, T) True where valid, or None → (batch, T, H)."""
        if not self.training:
            return self._apply_moments(v, self.running_mean, self.running_var)
        frames = v.numel() // v.shape[-1]
        if mask is None and self.tally is None and frames > 1:  # torch refuses a single frame
            return self._unmasked(v)
        count, mean, var = _moments(v, mask)
        with torch.no_grad():
            if self.tally is not None:
                self.tally.add(count, mean, var)
            else:
                self._follow(mean, var * count / (count - 1).clamp(min=1))
        return self._apply_moments(v, mean, var)

    def _unmasked(self, v: Tensor) -> Tensor:
        """The same in torch's own kernel, which knows no masks but runs once through memory."""
        flat = nn.functional.batch_norm(
            v.flatten(0, -2),
            self.running_mean,
            self.running_var,
            self.scale,
            self.shift,
            training=True,
            momentum=self.momentum,
            eps=self.eps,
        )
        return flat.view_as(v)

    def _apply_moments(self, v: Tensor, mean: Tensor, var: Tensor) -> Tensor:
        return (v - mean) * (self.scale * torch.rsqrt(var + self.eps)) + self.shift

    def _follow(self, mean: Tensor, var: Tensor) -> None:
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), self.momentum)
        self.running_var.lerp_(var.to(self.running_var.dtype), self.momentum)


class _Tally:
    """Moments pooled over batches, in float64 on the CPU."""

    def __init__(self) -> None:
        self.count, self.sum, self.square = 0.0, torch.zeros(()), torch.zeros(())

    def add(self, count: Tensor, mean: Tensor, var: Tensor) -> None:
        n, mean, var = float(count), mean.cpu().double(), var.cpu().double()
        self.count += n
        self.sum = self.sum + n * mean
        self.square = self.square + n * (var + mean**2)

    def result(self) -> tuple[Tensor, Tensor]:
        mean = self.sum / self.count
        var = self.square / self.count - mean**2
        return mean, var.clamp(min=0) * self.count / max(self.count - 1, 1)


@torch.no_grad()
def recalibrate(
    module: nn.Module, batches: Iterable[Any], run: Callable[[Any], object] | None = None
) -> None:
    """Measure the running statistics of every ``BatchNorm`` in ``module`` anew, as a cut demands.

    Frames of all batches count alike. Dropout stays off; modes are as before afterwards.

    Args:
        module: anything that holds BatchNorm layers; without one, nothing happens.
        batches: what ``run`` takes, one after the other.
        run: feeds one batch through the module; ``module(*batch)`` if None.

    Raises:
        InputError: there are BatchNorm layers but no batch.
    """
    norms = [m for m in module.modules() if isinstance(m, BatchNorm)]
    if not norms:
        return
    modes = {m: m.training for m in module.modules()}
    module.eval()
    try:
        for norm in norms:
            norm.training, norm.tally = True, _Tally()
        for batch in batches:
            if run is None:
                module(*batch)
            else:
                run(batch)
        for norm in norms:
            if norm.tally is None or not norm.tally.count:
                raise InputError("recalibrating BatchNorm needs at least one batch; got none")
            mean, var = norm.tally.result()
            norm.running_mean.copy_(mean)
            norm.running_var.copy_(var)
    finally:
        for norm in norms:
            norm.tally = None
        for m, training in modes.items():
            m.training = training


def _moments(v: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """Valid frames, their mean (H,) and biased variance (H,)."""
    weight = v.new_ones(v.shape[:-1]) if mask is None else mask.to(v.dtype)
    flat, weight = v.flatten(0, -2), weight.flatten()
    count = weight.sum()
    mean = weight @ flat / count
    var = weight @ (flat - mean).square() / count
    return count, mean, var
