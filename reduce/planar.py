r"""The real system of order 2N behind a diagonal one, in planar coordinates [Re x | Im x].

.. math::
    A_R = \begin{pmatrix} \mathrm{Re}Λ & -\mathrm{Im}Λ \\ \mathrm{Im}Λ & \mathrm{Re}Λ \end{pmatrix},
    \quad B_R = \begin{pmatrix} \mathrm{Re}B \\ \mathrm{Im}B \end{pmatrix},
    \quad C_R = (\mathrm{Re}C, \; -\mathrm{Im}C), \quad y = C_R x_R + D u
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ssmith.errors import InputError
from ssmith.system import Complex, Real, System


def require_single(system: System) -> None:
    """Refuse a stack of systems: each has its own order after a reduction, so a stack cannot stay one.

    Raises:
        InputError: the system has leading dimensions.
    """
    if system.lam.ndim != 1:
        raise InputError(
            f"the system has leading dimensions {system.lam.shape[:-1]}; each system in a stack gets its "
            "own order, so loop over them: System(lam[i], B[i], C[i], D[i]) for every index i"
        )


def input_matrix(system: System) -> Real:
    """B_R, shape (2N, U)."""
    return np.concatenate([system.B.real, system.B.imag], axis=0)


def output_matrix(system: System) -> Real:
    """C_R, shape (Y, 2N)."""
    return np.concatenate([system.C.real, -system.C.imag], axis=1)


def feedthrough(system: System) -> Real:
    """D as a full matrix, shape (Y, U), also where the system stores a diagonal."""
    return np.diag(system.D) if system.D.ndim == 1 else system.D


def advance(lam: Complex, x: Real) -> Real:
    """A_R x for states x in the columns, shape (2N, k), without forming A_R."""
    n = lam.shape[0]
    re, im = lam.real[:, None], lam.imag[:, None]
    top, bottom = x[:n], x[n:]
    return np.concatenate([re * top - im * bottom, im * top + re * bottom], axis=0)


def channel_rows(channels: Sequence[int], channel: int, order: int) -> NDArray[np.intp]:
    """Places of a channel's modes in planar coordinates of the whole system, of so many modes; (2n,)."""
    own = np.arange(channels[channel]) + sum(channels[:channel])
    return np.concatenate([own, own + order])


def block_of(moment: Real | None, system: System, channel: int) -> Real | None:
    """A channel's part of a planar second moment (2N, 2N), (2n, 2n): what channels share is left out."""
    if moment is None or system.channels is None or moment.shape != (2 * system.order,) * 2:
        return moment  # of a wrong shape: refused where it is read
    rows = channel_rows(system.channels, channel, system.order)
    return np.asarray(moment)[np.ix_(rows, rows)]
