"""Square-root balanced truncation of a diagonal system, with its certificate.

The real system of order 2N is balanced, not the complex one: σ^R_{2r+1} ≤ σ^C_{r+1}, so for the same r
stored modes its bound is never the larger one. Method: [Moore1981, Laub1987, TombsPostlethwaite1987].
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from ssmith.errors import InputError
from ssmith.reduce.cut import Balanced, Cut, balance, find_cut, modes_needed
from ssmith.reduce.factors import gramian_factors
from ssmith.reduce.hankel import order_for_tolerance, tails
from ssmith.reduce.modal import input_output_ratio, normalised
from ssmith.system import Real, System


@dataclass(frozen=True, eq=False)
class Reduction:
    """A reduced system and what is known about it.

    Attributes:
        system: the reduced system (the input itself, the same object, where nothing was cut).
        order: stored complex modes r, padding included.
        real_order: order q of the real system that was kept; q ≤ 2r.
        singular_values: σ of the input, descending, shape (2N,).
        error_bound: 2 Σ_{i>q} σ_i, an upper bound of the H∞ error [AlSaggafFranklin1987], plus the
            rounding of those σ (about 1e-13 of the largest gain, more where modes cancel); nan where a given
            Gramian or a moved pole voids it. Any later change of the system voids it too. The rounding of
            the reduced poles themselves, about eps / (1 - |λ|) of the gain, is not in it.
        tail: Σ_{i>q} σ_i, what was dropped.
        spent: the dropped fraction in the measure that a tolerance limits: of Σσ with exact Gramians, of
            Σσ² otherwise.
        basis: planar states from reduced ones, x_R ≈ basis @ z_R, shape (2N, 2r).
        dual_basis: reduced states from full ones, z_R = dual_basis @ x_R, shape (2r, 2N). The product
            dual_basis @ basis is the identity, except for zeros on the diagonal at the unused imaginary
            halves of real poles and at padding.
        stable: every pole of the truncated system was inside the unit circle by itself.
        clamped: how many poles were not, and were moved to |λ| = 1 - 1e-5.
        condition: 1-norm condition number of the eigenvectors behind the diagonal form.
        notes: what a reader should know: nothing cut and why, lowered order, padding, moved poles.
    """

    system: System
    order: int
    real_order: int
    singular_values: Real
    error_bound: float
    tail: float
    spent: float
    basis: Real
    dual_basis: Real
    stable: bool
    clamped: int
    condition: float
    notes: tuple[str, ...]


def balanced_truncation(
    system: System,
    *,
    order: int | None = None,
    tolerance: float | None = None,
    controllability: ArrayLike | None = None,
    observability: ArrayLike | None = None,
    min_order: int = 1,
    multiple: int = 1,
) -> Reduction:
    r"""Reduce a system to fewer modes by balanced truncation.

    With factors P = L_P L_Pᵀ, Q = L_Q L_Qᵀ of the planar Gramians and L_Qᵀ L_P = U S Vᵀ,

    .. math:: T_R = L_P V_q S_q^{-1/2}, \quad T_L = L_Q U_q S_q^{-1/2}, \quad
              A_q = T_L^T A_R T_R, \; B_q = T_L^T B_R, \; C_q = C_R T_R

    which is then brought back to diagonal form. A conjugate pair takes one mode, a real pole a whole one,
    so q is the largest real order ≤ 2r whose pairs and real poles fit into r modes. No cut is made between
    equal σ, nor where the diagonal form would not survive float32; lower orders are tried then, and if none
    will do, the input comes back with a note. D and dt_s are carried over.

    Args:
        system: one system (no leading dimensions) of N modes.
        order: how many modes to keep at most. N or more returns the input itself.
        tolerance: instead of order: the fraction of the spectrum that may be dropped, of Σσ with exact
            Gramians, of Σσ² as soon as one is given. 0 drops what is rounding only.
        controllability: planar Gramian of the states, shape (2N, 2N), or None for the exact one.
        observability: the same for the outputs' sensitivity to the states.
        min_order: keep at least so many slots.
        multiple: round the number of slots up to a multiple of this (for vector kernels).

    Modes that the system does not have are padded with λ = b = c = 0; `order` counts them, a note says so.

    Raises:
        InputError: not exactly one of order and tolerance, a value out of its range, leading dimensions,
            or a matrix that is not a Gramian of this system's states.
    """
    _check(order, tolerance, min_order, multiple)
    balanced = balance(system, *gramian_factors(system, controllability, observability))
    exact = controllability is None and observability is None

    def slots(modes: int) -> int:
        return -(-max(modes, min_order) // multiple) * multiple

    if order is not None:
        lowest, budget = 1, slots(int(order))
    else:
        assert tolerance is not None  # _check has seen to it
        wanted = order_for_tolerance(balanced.sigma, tolerance, 1 if exact else 2)
        needed = modes_needed(balanced, wanted)
        if needed is None:
            return _unchanged(system, balanced, "skipped: no truncation of this system has a diagonal form")
        lowest, budget = needed[0], slots(needed[1])
    if budget >= system.order:
        return _unchanged(system, balanced, f"nothing to cut: {budget} of {system.order} modes stay")
    cut = find_cut(balanced, lowest, budget)
    if cut is None:
        return _unchanged(
            system,
            balanced,
            f"skipped: no order up to {budget} modes both falls between unequal singular values and has a "
            "diagonal form that float32 can store",
        )
    return _assemble(system, balanced, cut, exact, slots(cut.form.lam.shape[0]), budget)


def _check(order: int | None, tolerance: float | None, min_order: int, multiple: int) -> None:
    if (order is None) == (tolerance is None):
        raise InputError(
            f"order = {order} and tolerance = {tolerance}; one of them decides the cut: give exactly one"
        )
    for name, value in (("order", order), ("min_order", min_order), ("multiple", multiple)):
        whole = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
        if value is not None and not (whole and value >= 1):
            raise InputError(f"{name} = {value}; it counts modes, so write a whole number from 1")


def _unchanged(system: System, balanced: Balanced, note: str) -> Reduction:
    identity = np.eye(2 * system.order)
    return Reduction(
        system=system,
        order=system.order,
        real_order=2 * system.order,
        singular_values=balanced.sigma,
        error_bound=0.0,
        tail=0.0,
        spent=0.0,
        basis=identity,
        dual_basis=identity.copy(),
        stable=True,
        clamped=0,
        condition=1.0,
        notes=(note,),
    )


def _assemble(
    system: System, balanced: Balanced, cut: Cut, exact: bool, slots: int, budget: int
) -> Reduction:
    q, form = cut.real_order, normalised(cut.form, input_output_ratio(system))
    modes = form.lam.shape[0]
    padding = (0, slots - modes)
    right = np.pad(balanced.to_full[:, :q] @ form.right, ((0, 0), padding))
    left = np.pad(form.left @ balanced.to_reduced[:q], (padding, (0, 0)))
    tail, weight = float(tails(balanced.sigma)[q]), tails(balanced.sigma, 1 if exact else 2)
    bound = 2.0 * (tail + (balanced.sigma.size - q) * balanced.rounding)
    notes = []
    if modes < budget:
        notes.append(f"{modes} of {budget} modes used: the system has no more, or no larger order is sound")
    if slots > modes:
        notes.append(f"padding: {slots - modes} of {slots} slots")
    if cut.clamped:
        notes.append(f"poles outside the unit circle, moved to |λ| = 1 - 1e-5: {cut.clamped}")
    return Reduction(
        system=System(
            lam=np.pad(form.lam, padding),
            B=np.pad(form.b, (padding, (0, 0))),
            C=np.pad(form.c, ((0, 0), padding)),
            D=system.D,
            dt_s=system.dt_s,
        ),
        order=slots,
        real_order=q,
        singular_values=balanced.sigma,
        error_bound=bound if exact and not cut.clamped else math.nan,
        tail=tail,
        spent=float(weight[q] / weight[0]) if weight[0] > 0.0 else 0.0,
        basis=np.concatenate([right.real, -right.imag], axis=1),
        dual_basis=np.concatenate([left.real, left.imag], axis=0),
        stable=cut.clamped == 0,
        clamped=cut.clamped,
        condition=form.condition,
        notes=tuple(notes),
    )
