"""What a reduction gives back: the smaller system, the change of coordinates, what is known about both."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ssmith.reduce.modal import DiagonalForm
from ssmith.system import Real, System

NOTHING_TO_BALANCE = "skipped: no state is both reached and of any effect on the outputs; nothing to balance"


@dataclass(frozen=True, eq=False)
class Reduction:
    """A reduced system and what is known about it.

    Attributes:
        system: the reduced system (the input itself, the same object, where nothing was cut).
        order: stored complex modes r, padding included.
        real_order: order q of the real system that was kept; q ≤ 2r.
        singular_values: σ of the input, descending, shape (2N,): two a mode, one a real state. The complex
            criterion has one value a complex state, which stands here twice; the modal one has scores, half
            of a mode's largest gain in each of its two places.
        error_bound: an upper bound of the H∞ error, or nan where none holds (a given Gramian, a moved pole).
            With exact Gramians 2 Σ_{i>q} σ_i [AlSaggafFranklin1987], each complex σ counted once, plus the
            rounding of those σ (about 1e-13 of the largest gain, more where modes cancel); for the modal
            criterion Σ_{i>q} σ_i. Any later change of the system voids it. The rounding of the reduced
            poles themselves, about eps / (1 - |λ|) of the gain, is not in it.
        tail: Σ_{i>q} σ_i, what was dropped.
        spent: the dropped fraction in the measure that a tolerance limits: of Σσ with exact Gramians and
            of the modal scores, of Σσ² otherwise.
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


def unchanged(system: System, singular_values: Real, note: str) -> Reduction:
    """The system itself, and why it was not cut."""
    identity = np.eye(2 * system.order)
    return Reduction(
        system=system,
        order=system.order,
        real_order=2 * system.order,
        singular_values=singular_values,
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


def reduced(
    system: System,
    form: DiagonalForm,
    slots: int,
    *,
    real_order: int,
    singular_values: Real,
    error_bound: float,
    tail: float,
    spent: float,
    clamped: int = 0,
    notes: tuple[str, ...] = (),
) -> Reduction:
    """A diagonal form of r modes, padded with λ = b = c = 0 to `slots` of them; D and dt_s of the system.

    Args:
        system: what was reduced.
        form: with `right` (2N, r) and `left` (r, 2N) in planar coordinates of the system, x_R = Re(right w).
        slots: modes to store, at least r.
        real_order: see `Reduction`, as for all that follow.
        singular_values: σ of the system.
        error_bound: of the H∞ error.
        tail: what was dropped.
        spent: its share.
        clamped: moved poles.
        notes: for the reader; those on padding and moved poles are added.
    """
    modes = form.lam.shape[0]
    padding = (0, slots - modes)
    right = np.pad(form.right, ((0, 0), padding))
    left = np.pad(form.left, (padding, (0, 0)))
    if slots > modes:
        notes = (*notes, f"padding: {slots - modes} of {slots} slots")
    if clamped:
        notes = (*notes, f"poles outside the unit circle, moved to |λ| = 1 - 1e-5: {clamped}")
    return Reduction(
        system=System(
            lam=np.pad(form.lam, padding),
            B=np.pad(form.b, (padding, (0, 0))),
            C=np.pad(form.c, ((0, 0), padding)),
            D=system.D,
            dt_s=system.dt_s,
        ),
        order=slots,
        real_order=real_order,
        singular_values=singular_values,
        error_bound=error_bound,
        tail=tail,
        spent=spent,
        basis=np.concatenate([right.real, -right.imag], axis=1),
        dual_basis=np.concatenate([left.real, left.imag], axis=0),
        stable=clamped == 0,
        clamped=clamped,
        condition=form.condition,
        notes=notes,
    )
