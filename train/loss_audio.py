r"""Losses and the metric of audio models: error-to-signal ratio and multi-resolution STFT.

.. math::
    \mathrm{ESR} = \frac{\sum_k (h * (y - t))_k^2}{\sum_k (h * t)_k^2}, \qquad (h * e)_k = e_k - a e_{k-1}

over the counted steps of a batch, one ratio an output, then their mean [Wright2020]. h is the pre-emphasis
filter; before the first step of a sequence, or of a chunk of one, it sees silence. The STFT loss is that of
auraloss [Steinmetz2020]: spectral convergence and the distance of log magnitudes, over several windows.

Padding changes neither. ESR is a ratio of sums, so chunks do not add up to the whole: each batch is measured
by its own energy. The STFT of a chunk sees no frame across its edges, and mirrors the signal there.
"""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import Tensor, nn

from ssmith.errors import InputError, MissingToolError
from ssmith.recipe import TrainSettings
from ssmith.train.loss import Objective, counted_steps
from ssmith.train.splits import Int64

SILENCE = 1e-8  # mean square of a target below which ESR does not divide by less
HOP = 4  # a window moves by this fraction of its length


def audio_objective(settings: TrainSettings, ignore_first: int | Tensor = 0) -> Objective:
    """The loss that ``settings.loss`` names: (outputs (batch, T, Y), targets, lengths or None) → scalar.

    Args:
        settings: loss, pre_emphasis and stft_windows.
        ignore_first: steps at the start that do not count, for all or of each sequence (batch,).
    """
    parts = settings.loss.split("+")

    def loss(outputs: Tensor, targets: Tensor, lengths: Tensor | None) -> Tensor:
        total = outputs.new_zeros(())
        if "esr" in parts:
            total = total + esr_loss(
                outputs, targets, lengths, pre_emphasis=settings.pre_emphasis, ignore_first=ignore_first
            )
        if "stft" in parts:
            total = total + stft_loss(
                outputs, targets, lengths, windows=settings.stft_windows, ignore_first=ignore_first
            )
        return total

    return loss


def esr_loss(
    outputs: Tensor,
    targets: Tensor,
    lengths: Tensor | None = None,
    *,
    pre_emphasis: float = 0.95,
    ignore_first: int | Tensor = 0,
) -> Tensor:
    """ESR of a batch, a scalar; 0 is perfect, 1 as good as silence.

    Args:
        outputs: (batch, T, Y).
        targets: (batch, T, Y).
        lengths: valid steps, (batch,); all if None.
        pre_emphasis: a in [0, 1).
        ignore_first: steps at the start that do not count, for all or of each sequence (batch,).

    Raises:
        InputError: no step is left to count.
    """
    mask = counted_steps(outputs, lengths, ignore_first)[..., None]
    valid = counted_steps(outputs, lengths, 0)[..., None]  # what is ignored is still heard by the filter
    error, signal = (
        torch.where(mask, _emphasised(torch.where(valid, a, 0.0), pre_emphasis), 0.0).square().sum((0, 1))
        for a in (outputs.float() - targets, targets)
    )
    return (error / (signal + SILENCE * mask.sum().clamp(min=1))).mean()


def stft_loss(
    outputs: Tensor,
    targets: Tensor,
    lengths: Tensor | None = None,
    *,
    windows: tuple[int, ...],
    ignore_first: int | Tensor = 0,
) -> Tensor:
    """Mean over sequences of auraloss's multi-resolution STFT loss, a scalar.

    Each sequence is transformed on its own, without padding. One that has fewer counted steps than the
    longest window, as the rest of a recording behind its last whole chunk may, does not count.

    Args:
        outputs: (batch, T, Y).
        targets: (batch, T, Y).
        lengths: valid steps, (batch,); all if None.
        windows: lengths in steps, also of the FFT; the hop is a quarter.
        ignore_first: steps at the start that do not count, for all or of each sequence (batch,).

    Raises:
        InputError: no step is left to count.
        MissingToolError: auraloss is not installed.
    """
    criterion = _auraloss(windows)
    mask = counted_steps(outputs, lengths, ignore_first)
    losses = [
        criterion(y[own].float().T[None], t[own].float().T[None])
        for y, t, own in zip(outputs, targets, mask, strict=True)
        if int(own.sum()) >= max(windows)
    ]
    return torch.stack(losses).mean() if losses else outputs.float().sum() * 0.0


class Esr:
    """ESR over all counted steps of a set, without pre-emphasis; the mean over outputs."""

    name, higher_is_better = "esr", False

    def __init__(self, *, ignore_first: int = 0) -> None:
        self.ignore_first = ignore_first
        self.error = self.signal = torch.zeros((), dtype=torch.float64)

    def add(self, outputs: Tensor, targets: Tensor, lengths: Tensor | None = None) -> None:
        """Count a batch in: outputs and targets (batch, T, Y), lengths (batch,)."""
        mask = counted_steps(outputs, lengths, self.ignore_first)
        y, t = (a.detach()[mask].cpu().double() for a in (outputs, targets))
        self.error = self.error + (y - t).square().sum(0)
        self.signal = self.signal + t.square().sum(0)

    def value(self) -> float:
        """At least 0; infinite where a silent target is missed, NaN before the first batch."""
        if not self.error.ndim:
            return float("nan")
        return float(torch.where(self.error == 0, 0.0, self.error / self.signal).mean())


def check_windows(lengths: Int64, windows: tuple[int, ...], ignore_first: int) -> None:
    """Refuse sequences that the longest window does not fit into.

    Raises:
        InputError: the longest sequence is shorter.
    """
    longest = int(lengths.max()) - ignore_first
    if longest < max(windows):
        raise InputError(
            f"the longest training sequence has {longest} steps to count, fewer than the longest window of"
            f" train.stft_windows ({max(windows)}), so the loss would be zero; write shorter windows or give"
            " longer sequences"
        )


def _emphasised(x: Tensor, a: float) -> Tensor:
    """x_k - a x_{k-1} over time; x (batch, T, Y)."""
    return x - a * nn.functional.pad(x, (0, 0, 1, 0))[:, :-1] if a else x


@functools.lru_cache(maxsize=8)
def _auraloss(windows: tuple[int, ...]) -> Any:
    try:
        from auraloss.freq import MultiResolutionSTFTLoss
    except ImportError as error:
        raise MissingToolError("train.loss with stft needs auraloss; run pip install auraloss") from error
    return MultiResolutionSTFTLoss(
        fft_sizes=list(windows), hop_sizes=[max(1, n // HOP) for n in windows], win_lengths=list(windows)
    )
