"""Hankel singular values of the real system, and the order they ask for.

All orders in this file are real orders (of the system with 2N real states); a conjugate pair costs two.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from ssmith.errors import InputError
from ssmith.reduce.factors import gramian_factors
from ssmith.reduce.planar import block_of
from ssmith.reduce.spectrum import singular_values
from ssmith.system import Real, System

# Neighbours closer than this fraction are one value met twice; a cut between them has no unique answer.
EQUAL = 1e-8


def hankel_singular_values(
    system: System,
    *,
    controllability: ArrayLike | None = None,
    observability: ArrayLike | None = None,
) -> Real:
    r"""Hankel singular values σ_i = sqrt(λ_i(PQ)), descending, shape (2N,) [Moore1981].

    Computed as the singular values of L_Qᵀ L_P [Laub1987]: the product PQ is never formed. (Above N = 1024
    from squares, where those resolve them all: see `spectrum.by_squares` for what that costs.)

    Args:
        system: one system (no leading dimensions).
        controllability: planar Gramian P (2N, 2N), or None for the exact one.
        observability: planar Gramian Q (2N, 2N), or None for the exact one.

    Raises:
        InputError: leading dimensions, or a given matrix that is not a Gramian of this system's states.
    """
    if system.channels is not None:
        given = [None if g is None else np.asarray(g) for g in (controllability, observability)]
        of_channels = [
            hankel_singular_values(
                part,
                controllability=block_of(given[0], system, h),
                observability=block_of(given[1], system, h),
            )
            for h, part in enumerate(system.split())
            if part is not None
        ]
        return np.sort(np.concatenate(of_channels))[::-1]
    reach, see = gramian_factors(system, controllability, observability)
    return resolved(singular_values(see.T @ reach), reach, see)[0]


def resolved(values: Real, reach: Real, see: Real) -> tuple[Real, float]:
    """Singular values of L_Qᵀ L_P padded to (2N,), those that are rounding set to zero; and that level.

    The product is exact to about eps |L_Q|ᵀ|L_P|, which cancelling modes make larger than eps σ_1.
    """
    level = float(np.finfo(np.float64).eps * np.linalg.norm(np.abs(see).T @ np.abs(reach)))
    kept = np.where(values > level, values, 0.0)
    return np.pad(kept, (0, reach.shape[0] - values.shape[0])), level


def separated(sigma: Real, order: int) -> bool:
    """Whether a cut after the first `order` values falls into a gap [PerneboSilverman1982].

    Only then has the cut one answer, and a stable one. The end of the spectrum always is a gap: what lies
    behind it is zero.
    """
    if order >= np.count_nonzero(sigma):
        return True
    rounding = sigma.shape[0] * np.finfo(np.float64).eps * sigma[0]
    return bool(sigma[order - 1] - sigma[order] > max(EQUAL * sigma[order - 1], rounding))


def tails(sigma: Real, power: int = 1) -> Real:
    """Σ_{i>q} σ_i^power for q = 0 … 2N, shape (2N + 1,); the smallest are added first."""
    return np.concatenate([np.cumsum(sigma[::-1] ** power)[::-1], [0.0]])


def dropped(sigma: Real, order: int, power: Literal[1, 2]) -> tuple[float, float]:
    """What a cut after the first `order` values leaves out: Σσ of it, and its share of the whole Σσ^power."""
    weight = tails(sigma, power)
    return float(tails(sigma)[order]), float(weight[order] / weight[0]) if weight[0] > 0.0 else 0.0


def order_for_tolerance(sigma: Real, tolerance: float, power: Literal[1, 2] = 1) -> int:
    r"""Smallest real order q that drops at most a fraction of the spectrum.

    .. math:: \sum_{i>q} σ_i^p \le \mathrm{tolerance} \cdot \sum_i σ_i^p

    Power 1 is the quantity of the error bound (exact Gramians). Power 2 is the expected squared change of
    what comes out where a Gramian was measured on data, as far as states and gradients are independent (see
    `ssmith.train.statistics`). At least 1.

    Raises:
        InputError: tolerance is not in [0, 1).
    """
    if not 0.0 <= tolerance < 1.0:
        raise InputError(
            f"tolerance = {tolerance}; it is the fraction of the spectrum that may be dropped, so write a "
            "number from 0 (cut nothing of weight) to below 1, for instance 0.001"
        )
    tail = tails(sigma, power)
    return max(1, int(np.argmax(tail <= tolerance * tail[0])))


def order_for_bound(sigma: Real, bound: float) -> int:
    r"""Smallest real order q with 2 Σ_{i>q} σ_i ≤ bound: the H∞ error stays below it [AlSaggafFranklin1987].

    Holds for the σ of exact Gramians only. At least 1.

    Raises:
        InputError: bound is negative or not a number.
    """
    if not bound >= 0.0:
        raise InputError(f"bound = {bound}; it limits the largest gain of the error, so write a number >= 0")
    return max(1, int(np.argmax(2.0 * tails(sigma) <= bound)))
