"""Square-root balanced truncation of a diagonal system, with its certificate.

The real system of order 2N is balanced, not the complex one: σ^R_{2r+1} ≤ σ^C_{r+1} and Σ_{i>2r} σ^R ≤
Σ_{j>r} σ^C, so where r stored modes hold 2r real states (no real poles among them) its bound is never the
larger one. Method: [Moore1981, Laub1987, TombsPostlethwaite1987].
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from ssmith.errors import InputError
from ssmith.reduce.channels import reduce_channels
from ssmith.reduce.cut import Balanced, Cut, balance, find_cut, modes_needed
from ssmith.reduce.extent import Extent
from ssmith.reduce.factors import gramian_factors
from ssmith.reduce.hankel import dropped
from ssmith.reduce.modal import input_output_ratio, normalised
from ssmith.reduce.planar import block_of
from ssmith.reduce.reduction import Reduction as Reduction
from ssmith.reduce.reduction import reduced, unchanged
from ssmith.system import Real, System


def balanced_truncation(
    system: System,
    *,
    order: int | None = None,
    tolerance: float | None = None,
    bound: float | None = None,
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

    What is promised depends on the Gramians. Both exact: stable poles, and the error bound. One exact: stable
    poles (A_q is contractive in the norm that the exact side defines), no bound. None exact: neither; poles
    that leave the unit circle are moved back and counted in `clamped`.

    Args:
        system: one system (no leading dimensions) of N modes; channels are reduced each on its own, see
            `channels`.
        order: how many modes to keep at most. N or more returns the input itself.
        tolerance: instead of order: the fraction of the spectrum that may be dropped, of Σσ with exact
            Gramians, of Σσ² as soon as one is given. 0 drops what is rounding only.
        bound: instead of order, with exact Gramians: the a-priori error bound as a fraction of the largest
            gain, 2 Σ_{i>q} σ_i ≤ bound · ‖G‖∞.
        controllability: planar Gramian of the states, shape (2N, 2N), or None for the exact one.
        observability: the same for the outputs' sensitivity to the states.
        min_order: keep at least so many slots.
        multiple: round the number of slots up to a multiple of this (for vector kernels).

    Modes that the system does not have are padded with λ = b = c = 0; `order` counts them, a note says so.

    Raises:
        InputError: not exactly one of order, tolerance and bound, a value out of its range, a bound with a
            given Gramian, leading dimensions, or a matrix that is not a Gramian of this system's states.
    """
    extent = Extent(order, tolerance, bound, min_order, multiple)
    exact = controllability is None and observability is None
    if bound is not None and not exact:
        raise InputError(
            f"bound = {bound} with a given Gramian; the bound 2 Σσ holds for exact Gramians only, so leave "
            "controllability and observability out, or write a tolerance"
        )
    if system.channels is not None:
        given = [None if g is None else np.asarray(g) for g in (controllability, observability)]

        def one(channel: int, part: System, modes: int) -> Reduction:
            reach, see = (block_of(moment, system, channel) for moment in given)
            return balanced_truncation(part, order=modes, controllability=reach, observability=see)

        power: Literal[1, 2] = 1 if exact else 2
        return reduce_channels(system, extent, one, power=power, bound_factor=2.0 if exact else None)
    return truncated(system, gramian_factors(system, controllability, observability), extent, exact=exact)


def truncated(system: System, factors: tuple[Real, Real], extent: Extent, *, exact: bool) -> Reduction:
    """`balanced_truncation` from factors (L_P, L_Q), each (2N, ·); `exact` says whether both are exact."""
    balanced = balance(system, *factors)
    if extent.order is not None:
        lowest, budget = 1, extent.slots(int(extent.order))
    else:
        slack = 2.0 * balanced.sigma.size * balanced.rounding
        wanted = extent.real_order(system, balanced.sigma, 1 if exact else 2, 2.0, slack)
        needed = modes_needed(balanced, wanted)
        if needed is None:
            note = "skipped: no truncation of this system has a diagonal form"
            return unchanged(system, balanced.sigma, note)
        lowest, budget = needed[0], extent.slots(needed[1])
    if budget >= system.order:
        note = f"nothing to cut: {budget} of {system.order} modes stay"
        return unchanged(system, balanced.sigma, note)
    cut = find_cut(balanced, lowest, budget)
    if cut is None:
        return unchanged(
            system,
            balanced.sigma,
            f"skipped: no order up to {budget} modes both falls between unequal singular values and has a "
            "diagonal form that float32 can store",
        )
    return _assemble(system, balanced, cut, exact, extent.slots(cut.form.lam.shape[0]), budget)


def _assemble(
    system: System, balanced: Balanced, cut: Cut, exact: bool, slots: int, budget: int
) -> Reduction:
    q, form = cut.real_order, normalised(cut.form, input_output_ratio(system))
    modes = form.lam.shape[0]
    tail, spent = dropped(balanced.sigma, q, 1 if exact else 2)
    bound = 2.0 * (tail + (balanced.sigma.size - q) * balanced.rounding)
    few = f"{modes} of {budget} modes used: the system has no more, or no larger order is sound"
    return reduced(
        system,
        replace(
            form,
            right=cut.to_full @ form.right,
            left=form.left @ cut.to_reduced,
        ),
        slots,
        real_order=q,
        singular_values=balanced.sigma,
        error_bound=bound if exact and not cut.clamped else math.nan,
        tail=tail,
        spent=spent,
        clamped=cut.clamped,
        notes=(few,) if modes < budget else (),
    )
