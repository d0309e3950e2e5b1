"""Where to cut a balanced system: the largest order that fits and has a sound diagonal form."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from ssmith.reduce.guard import sound
from ssmith.reduce.hankel import resolved, separated, tails
from ssmith.reduce.modal import DiagonalForm, diagonal_form
from ssmith.reduce.planar import advance, input_matrix, output_matrix
from ssmith.reduce.spectrum import spectrum
from ssmith.system import Real, System

# Poles on or outside the circle (possible with a measured observability Gramian only) are put here, the
# largest modulus that training allows.
LARGEST_MODULUS = 1.0 - 1e-5
# How many real orders that fit are tried, downwards, until one has a sound diagonal form.
CANDIDATES = 5
# Up to this real order no order that could fit is passed over; to count a larger one's poles takes a second.
EVERY_ORDER = 1024
# So many coordinates are made together while the smallest order that can be cut is looked for.
STRIDE = 32


@dataclass(frozen=True, eq=False)
class Leading:
    """The leading q balanced coordinates z, x_R ≈ to_full z, z = to_reduced x_R, and the system in them.

    Attributes:
        a, b, c: shapes (q, q), (q, U), (Y, q); every leading block is a truncation.
        to_full: T_R, shape (2N, q).
        to_reduced: T_Lᵀ, shape (q, 2N).
    """

    a: Real
    b: Real
    c: Real
    to_full: Real
    to_reduced: Real

    def modes(self, order: int) -> int:
        """How many modes a truncation to a real order takes: its pairs and its real poles."""
        poles = np.linalg.eigvals(self.a[:order, :order])
        return int(np.count_nonzero(poles.imag >= 0.0))

    def form(self, order: int) -> DiagonalForm | None:
        """Diagonal form of the truncation to a real order; None where there is none."""
        return diagonal_form(self.a[:order, :order], self.b[:order], self.c[:, :order])


@dataclass(frozen=True, eq=False)
class Balanced:
    """What is known of a balanced system before its coordinates are made.

    Attributes:
        sigma: singular values of the whole system, shape (2N,).
        rounding: how far each of them may be off.
        leading: q → the leading q coordinates, q up to the rank.
    """

    sigma: Real
    rounding: float
    leading: Callable[[int], Leading]

    @property
    def rank(self) -> int:
        """Order of the balanced system: how many σ are above rounding."""
        return int(np.count_nonzero(self.sigma))


@dataclass(frozen=True, eq=False)
class Cut:
    """A truncation in diagonal form, every pole inside the circle; `clamped` of them were moved there.

    Attributes:
        to_full, to_reduced: the balanced coordinates behind the form, shapes (2N, q), (q, 2N).
    """

    real_order: int
    form: DiagonalForm
    clamped: int
    to_full: Real
    to_reduced: Real


def balance(system: System, reach: Real, see: Real) -> Balanced:
    r"""Balanced coordinates from Gramian factors P = L_P L_Pᵀ (2N, ·), Q = L_Q L_Qᵀ (2N, ·).

    .. math:: L_Q^T L_P = U S V^T, \quad T_R = L_P V S^{-1/2}, \quad T_L = L_Q U S^{-1/2}

    Only the directions above rounding are kept, so nothing is divided by zero [TombsPostlethwaite1987].
    """
    product = spectrum(see.T @ reach)
    sigma, rounding = resolved(product.values, reach, see)

    def leading(order: int) -> Leading:
        left, values, right = product.leading(order)
        scale = 1.0 / np.sqrt(values)
        to_full = (reach @ right.T) * scale
        to_reduced = scale[:, None] * (see @ left).T
        return Leading(
            a=to_reduced @ advance(system.lam, to_full),
            b=to_reduced @ input_matrix(system),
            c=output_matrix(system) @ to_full,
            to_full=to_full,
            to_reduced=to_reduced,
        )

    return Balanced(sigma, rounding + product.error, leading)


def modes_needed(balanced: Balanced, order: int) -> tuple[int, int] | None:
    """Smallest real order ≥ `order` that can be cut, and the modes it takes; None if there is none."""
    for start in range(min(order, balanced.rank), balanced.rank + 1, STRIDE):
        stop = min(start + STRIDE, balanced.rank + 1)
        leading = balanced.leading(stop - 1)
        for candidate in range(start, stop):
            form = leading.form(candidate) if separated(balanced.sigma, candidate) else None
            if form is not None:
                return candidate, form.lam.shape[0]
    return None


def find_cut(balanced: Balanced, lowest: int, modes: int) -> Cut | None:
    """Largest real order in [lowest, 2 modes] whose pairs and real poles fit into `modes` slots.

    Orders without a unique cut are passed over; of those that fit, up to five are tried until one is sound
    in float32. A state less rarely frees more than two slots, so an order that exceeds `modes` by e
    goes down by e // 2; a large one by e, as most free one at most: it may miss the largest by a few states.
    """
    weight = tails(balanced.sigma, 2)
    order, tried = min(2 * modes, balanced.rank), 0
    leading = balanced.leading(order)
    while order >= min(lowest, balanced.rank) and tried < CANDIDATES:
        step = 1
        if separated(balanced.sigma, order):
            excess = leading.modes(order) - modes
            form = leading.form(order) if excess <= 0 else None
            if form is not None and form.lam.shape[0] <= modes:
                tried += 1
                form, clamped = stabilised(form)
                allowance = 0.1 * math.sqrt(weight[order] / weight[0]) if weight[0] > 0.0 else 0.0
                if order == 0 or sound(System(form.lam, form.b, form.c), allowance):
                    return Cut(order, form, clamped, leading.to_full[:, :order], leading.to_reduced[:order])
            elif excess > 0:
                step = max(1, excess // 2 if order <= EVERY_ORDER else excess)
        order -= step
    return None


def stabilised(form: DiagonalForm) -> tuple[DiagonalForm, int]:
    """The form with poles of modulus ≥ 1 moved to 1 - 1e-5 along their radius, and how many those were."""
    modulus = np.abs(form.lam)
    outside = modulus >= 1.0
    if not outside.any():
        return form, 0
    lam = np.where(outside, form.lam / np.where(outside, modulus, 1.0) * LARGEST_MODULUS, form.lam)
    return replace(form, lam=lam), int(outside.sum())
