"""Modal truncation: keep the modes that can do most, rotate nothing. The cheap baseline."""

from __future__ import annotations

import numpy as np

from ssmith.reduce.extent import Extent
from ssmith.reduce.hankel import dropped
from ssmith.reduce.modal import DiagonalForm
from ssmith.reduce.planar import require_single
from ssmith.reduce.reduction import Reduction, reduced, unchanged
from ssmith.system import Complex, Real, System


def mode_gains(system: System) -> Real:
    r"""What each mode can add to the output at most, shape (N,).

    .. math:: s_i = \frac{\|b_i\| \|c_i\|}{1 - |λ_i|} \ge \|G_i\|_\infty, \quad
              G_i(z) = \frac{c_i b_i}{2 (1 - λ_i/z)} + \frac{\bar c_i \bar b_i}{2 (1 - \bar λ_i/z)}

    Raises:
        InputError: leading dimensions.
    """
    require_single(system)
    gains: Real = np.linalg.norm(system.B, axis=1) * np.linalg.norm(system.C, axis=0)
    return gains / (1.0 - np.abs(system.lam))


def modal_truncation(system: System, extent: Extent) -> Reduction:
    r"""Keep the r modes of the largest gain s_i as they are: λ, B, C, and whatever is stored beside them.

    Stable, as no pole moves. The triangle inequality gives ‖G - G_r‖∞ ≤ Σ s_i of the dropped modes, usually
    far above the error. A mode is one complex pole and stands for a conjugate pair, so no pair is split.
    Equal gains: the earlier mode stays.

    Raises:
        InputError: leading dimensions.
    """
    gains = mode_gains(system)
    ranked = np.argsort(-gains, kind="stable")
    sigma = 0.5 * np.repeat(gains[ranked], 2)
    slots = extent.slots(extent.modes(system, sigma, 0.0))
    if slots >= system.order:
        return unchanged(system, sigma, f"nothing to cut: {slots} of {system.order} modes stay")
    kept = np.sort(ranked[:slots])
    tail, spent = dropped(sigma, 2 * slots, 1)
    return reduced(
        system,
        _selected(system, kept),
        slots,
        real_order=2 * slots,
        singular_values=sigma,
        error_bound=tail,
        tail=tail,
        spent=spent,
    )


def _selected(system: System, kept: np.ndarray[tuple[int], np.dtype[np.intp]]) -> DiagonalForm:
    """The modes with these indices, in planar coordinates of the whole system."""
    picked: Complex = np.eye(system.order, dtype=np.complex128)[kept]
    return DiagonalForm(
        lam=system.lam[kept],
        b=system.B[kept],
        c=system.C[:, kept],
        right=np.concatenate([picked.T, -1j * picked.T], axis=0),
        left=np.concatenate([picked, 1j * picked], axis=1),
        real_poles=0,
        condition=1.0,
    )
