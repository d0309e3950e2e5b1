r"""Whether spectra have settled: what the schedule "plateau" waits for.

With the normalised spectrum s_i = σ_i / Σ σ_i at one measurement and s' at the one before,

.. math:: c = \tfrac12 \sum_i |s_i - s'_i|

is the share of Σσ that has moved, from 0 to 1. A layer has settled where c is below `SETTLED`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from ssmith.system import Real
from ssmith.train.cuts import Spectrum

SETTLED = 0.01  # of Σσ, between two measurements a hundredth of the training apart


def compared(spectra: Mapping[str, Real], before: Mapping[str, list[float]]) -> tuple[Spectrum, ...]:
    """Spectra by layer, (2N,) each, held against those of the measurement before; empty at first."""
    return tuple(
        Spectrum(name, len(sigma) // 2, tuple(sigma.tolist()), _change(sigma, before.get(name)))
        for name, sigma in spectra.items()
    )


def settled(spectra: tuple[Spectrum, ...]) -> bool:
    """Whether every layer's spectrum has come to rest; False at the first measurement."""
    return all(spectrum.change < SETTLED for spectrum in spectra)


def _change(sigma: Real, before: list[float] | None) -> float:
    if before is None or len(before) != len(sigma):
        return math.nan
    return float(0.5 * np.abs(_normalised(sigma) - _normalised(np.array(before))).sum())


def _normalised(sigma: Real) -> Real:
    total = sigma.sum()
    return sigma / total if total > 0 else sigma
