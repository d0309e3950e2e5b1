"""Balanced truncation of the complex system, the treatment that CompreSSM publishes [Chahine2025].

Kept for comparison. The layer's output is Re(C x), so what is balanced here is a system with twice the
outputs and inputs that the layer has; `balanced_truncation` balances the real one instead.
"""

from __future__ import annotations

import numpy as np
import scipy.linalg

from ssmith.reduce.cut import stabilised
from ssmith.reduce.extent import Extent
from ssmith.reduce.factors import EPS, cauchy_factor
from ssmith.reduce.hankel import dropped
from ssmith.reduce.modal import DiagonalForm
from ssmith.reduce.planar import require_single
from ssmith.reduce.reduction import NOTHING_TO_BALANCE, Reduction, reduced, unchanged
from ssmith.system import Complex, System


def complex_truncation(system: System, extent: Extent) -> Reduction:
    r"""Balance (Λ, B, C) over the complex numbers, keep the leading r states, diagonalise.

    .. math:: P_{ij} = \frac{(BB^*)_{ij}}{1 - λ_i \bar λ_j}, \quad
              Q_{ij} = \frac{(C^*C)_{ij}}{1 - \bar λ_i λ_j}, \quad σ = \sqrt{\mathrm{eig}(PQ)}

    As published: a tolerance counts Σσ, any r may be cut at, the eigenvectors have unit norm and nothing is
    rescaled, nor is float32 storage looked at. Stable, and ‖G - G_r‖∞ ≤ 2 Σ_{j>r} σ_j also for the real
    part. The square-root method stands for the reference's matrix square roots and inverse: the same system.

    The result's `singular_values` hold each σ_j twice, as the real system of order 2N with all real and
    imaginary parts as inputs and outputs has them; `tail` is over those 2N values.

    Raises:
        InputError: leading dimensions.
    """
    require_single(system)
    reach = cauchy_factor(system.lam, system.B)
    see = cauchy_factor(system.lam.conj(), system.C.conj().T)
    left, values, right = scipy.linalg.svd(see.conj().T @ reach, full_matrices=False)
    rounding = float(EPS * np.linalg.norm(np.abs(see).T @ np.abs(reach)))
    rank = int(np.count_nonzero(values > rounding))
    sigma = np.repeat(np.pad(values[:rank], (0, system.order - rank)), 2)
    slots = extent.slots(extent.modes(system, sigma, 2.0 * system.order * rounding))
    if slots >= system.order:
        return unchanged(system, sigma, f"nothing to cut: {slots} of {system.order} modes stay")
    if rank == 0:
        return unchanged(system, sigma, NOTHING_TO_BALANCE)
    r = min(slots, rank)
    scale = 1.0 / np.sqrt(values[:r])
    form = _diagonal(system, reach @ right[:r].conj().T * scale, (see @ left[:, :r] * scale).conj().T)
    if form is None:
        return unchanged(system, sigma, f"skipped: the truncation to {r} modes has no diagonal form")
    form, clamped = stabilised(form)
    tail, spent = dropped(sigma, 2 * r, 1)
    return reduced(
        system,
        form,
        slots,
        real_order=2 * r,
        singular_values=sigma,
        error_bound=tail + 2.0 * (system.order - r) * rounding if not clamped else np.nan,
        tail=tail,
        spent=spent,
        clamped=clamped,
    )


def _diagonal(system: System, to_full: Complex, to_reduced: Complex) -> DiagonalForm | None:
    """Diagonal form of the projected system, T (N, r) and its dual (r, N); None for a defective one."""
    poles, vectors = np.linalg.eig(to_reduced @ (system.lam[:, None] * to_full))
    try:
        inverse = np.linalg.solve(vectors, np.eye(len(poles)))
    except np.linalg.LinAlgError:
        return None
    condition = float(np.linalg.norm(vectors, 1) * np.linalg.norm(inverse, 1))
    if not condition * EPS < 1.0:
        return None
    right: Complex = to_full @ vectors
    left: Complex = inverse @ to_reduced
    return DiagonalForm(
        lam=poles,
        b=left @ system.B,
        c=system.C @ right,
        right=np.concatenate([right, -1j * right], axis=0),
        left=np.concatenate([left, 1j * left], axis=1),
        real_poles=0,
        condition=max(1.0, condition),
    )
