"""The best output matrix for states that are given: least squares with a little ridge."""

from __future__ import annotations

import numpy as np
import scipy.linalg
from numpy.typing import ArrayLike

from ssmith.errors import InputError
from ssmith.reduce.gramians import checked_moment
from ssmith.system import Complex


def refit_output(states_gram: ArrayLike, cross: ArrayLike, ridge: float = 1e-6) -> Complex:
    r"""C (Y, r) that makes Re(C z) closest to given outputs y, in the mean square over data.

    .. math:: V = X (G + ρ \tfrac{\mathrm{tr} G}{2r} I)^{-1}, \quad
              G = \mathrm{E}[z_R z_R^T], \; X = \mathrm{E}[y z_R^T], \; z_R = (\mathrm{Re} z, \mathrm{Im} z)

    and C = V_1 - i V_2 for V = (V_1, V_2), as Re(C z) = Re C Re z - Im C Im z. A refit voids the a-priori
    bound of the reduction before it.

    Args:
        states_gram: G, second moment of the reduced states, planar, shape (2r, 2r).
        cross: X, of the outputs to be met with these states, shape (Y, 2r).
        ridge: ρ > 0, the share of the mean variance that is added to every state.

    Raises:
        InputError: shapes that do not fit, values that are not finite, or a ridge that is not above 0.
    """
    x = np.array(cross, dtype=np.float64)
    if x.ndim != 2 or x.shape[1] % 2 or 0 in x.shape:
        raise InputError(
            f"cross has shape {x.shape}; write the mean of y [Re z | Im z]ᵀ over the data, shape (Y, 2r)"
        )
    if not np.isfinite(x).all():
        raise InputError("cross holds a value that is not finite; check the data it was summed over")
    if not 0.0 < ridge < np.inf:
        raise InputError(
            f"ridge = {ridge}; unused states make the moment singular, so write one above 0, say 1e-6"
        )
    size = x.shape[1]
    gram = checked_moment(states_gram, size, "states_gram", "cross has as many columns as there are states")
    level = ridge * float(np.trace(gram)) / size
    if level <= 0.0:  # states that never moved: every C does as well, and none is smaller
        return np.zeros((x.shape[0], size // 2), dtype=np.complex128)
    v = scipy.linalg.solve(gram + level * np.eye(size), x.T, assume_a="pos").T
    c: Complex = v[:, : size // 2] - 1j * v[:, size // 2 :]
    return c
