"""Where to cut a balanced system: the largest order that fits and has a sound diagonal form."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import scipy.linalg

from ssmith.reduce.guard import sound
from ssmith.reduce.hankel import resolved, separated, tails
from ssmith.reduce.modal import DiagonalForm, diagonal_form
from ssmith.reduce.planar import advance, input_matrix, output_matrix
from ssmith.system import Real, System

# Poles on or outside the circle (possible with a measured observability Gramian only) are put here, the
# largest modulus that training allows.
LARGEST_MODULUS = 1.0 - 1e-5
# How many real orders that fit are tried, downwards, until one has a sound diagonal form.
CANDIDATES = 5


@dataclass(frozen=True, eq=False)
class Balanced:
    """The real system in balanced coordinates z, x_R = to_full z, z = to_reduced x_R.

    Attributes:
        a, b, c: shapes (k, k), (k, U), (Y, k), k the numerical rank; every leading block is a truncation.
        to_full: T_R, shape (2N, k).
        to_reduced: T_Lᵀ, shape (k, 2N).
        sigma: singular values of the whole system, shape (2N,).
        rounding: how far each of them may be off.
    """

    a: Real
    b: Real
    c: Real
    to_full: Real
    to_reduced: Real
    sigma: Real
    rounding: float

    @property
    def rank(self) -> int:
        """Order k of the balanced system."""
        return len(self.a)

    def form(self, order: int) -> DiagonalForm | None:
        """Diagonal form of the truncation to a real order; None where the cut or the form is not unique."""
        if not separated(self.sigma, order):
            return None
        return diagonal_form(self.a[:order, :order], self.b[:order], self.c[:, :order])


@dataclass(frozen=True, eq=False)
class Cut:
    """A truncation in diagonal form, every pole inside the circle; `clamped` of them were moved there."""

    real_order: int
    form: DiagonalForm
    clamped: int


def balance(system: System, reach: Real, see: Real) -> Balanced:
    r"""Balanced coordinates from Gramian factors P = L_P L_Pᵀ (2N, ·), Q = L_Q L_Qᵀ (2N, ·).

    .. math:: L_Q^T L_P = U S V^T, \quad T_R = L_P V S^{-1/2}, \quad T_L = L_Q U S^{-1/2}

    Only the directions above rounding are kept, so nothing is divided by zero [TombsPostlethwaite1987].
    """
    cross = see.T @ reach
    try:
        left, values, right = scipy.linalg.svd(cross, full_matrices=False)
    except np.linalg.LinAlgError:  # gesdd may fail to converge where the slower gesvd does not
        left, values, right = scipy.linalg.svd(cross, full_matrices=False, lapack_driver="gesvd")
    sigma, rounding = resolved(values, reach, see)
    rank = int(np.count_nonzero(sigma))
    scale = 1.0 / np.sqrt(sigma[:rank])
    to_full = (reach @ right[:rank].T) * scale
    to_reduced = scale[:, None] * (see @ left[:, :rank]).T
    return Balanced(
        a=to_reduced @ advance(system.lam, to_full),
        b=to_reduced @ input_matrix(system),
        c=output_matrix(system) @ to_full,
        to_full=to_full,
        to_reduced=to_reduced,
        sigma=sigma,
        rounding=rounding,
    )


def modes_needed(balanced: Balanced, order: int) -> tuple[int, int] | None:
    """Smallest real order ≥ `order` that can be cut, and the modes it takes; None if there is none."""
    for candidate in range(min(order, balanced.rank), balanced.rank + 1):
        form = balanced.form(candidate)
        if form is not None:
            return candidate, form.lam.shape[0]
    return None


def find_cut(balanced: Balanced, lowest: int, modes: int) -> Cut | None:
    """Largest real order in [lowest, 2 modes] whose pairs and real poles fit into `modes` slots.

    Orders without a unique cut are passed over; of those that fit, up to five are tried until one is sound
    in float32. A state less rarely frees more than two slots, so an order that exceeds `modes` by e
    goes down by e // 2.
    """
    weight = tails(balanced.sigma, 2)
    order, tried = min(2 * modes, balanced.rank), 0
    while order >= min(lowest, balanced.rank) and tried < CANDIDATES:
        form = balanced.form(order)
        excess = 0 if form is None else form.lam.shape[0] - modes
        if form is not None and excess <= 0:
            tried += 1
            form, clamped = stabilised(form)
            allowance = 0.1 * math.sqrt(weight[order] / weight[0]) if weight[0] > 0.0 else 0.0
            if order == 0 or sound(System(form.lam, form.b, form.c), allowance):
                return Cut(order, form, clamped)
        order -= max(1, excess // 2)
    return None


def stabilised(form: DiagonalForm) -> tuple[DiagonalForm, int]:
    """The form with poles of modulus ≥ 1 moved to 1 - 1e-5 along their radius, and how many those were."""
    modulus = np.abs(form.lam)
    outside = modulus >= 1.0
    if not outside.any():
        return form, 0
    lam = np.where(outside, form.lam / np.where(outside, modulus, 1.0) * LARGEST_MODULUS, form.lam)
    return replace(form, lam=lam), int(outside.sum())
