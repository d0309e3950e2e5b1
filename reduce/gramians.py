"""Gramians of a diagonal system in closed form, and the checks a given one has to pass."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from ssmith.errors import InputError
from ssmith.reduce.planar import input_matrix, output_matrix, require_single
from ssmith.system import Complex, Real, System

# A given Gramian may come from float32 sums: asymmetry and negative eigenvalues up to this fraction are
# rounding, anything above is another matrix.
GIVEN_TOLERANCE = 1e-5


def stein_denominators(lam: Complex, mu: Complex) -> Complex:
    r"""1 - λ_i conj(μ_j), each entry with full relative precision, shape (N, M).

    .. math:: 1 - λ\bar μ = (1 - |μ|^2) + (μ - λ)\bar μ, \qquad 1 - |μ|^2 = -\mathrm{expm1}(2\log|μ|)

    Inside the unit circle neither summand exceeds a small multiple of the sum, so nothing cancels however
    near the circle or each other the poles are. (expm1(log λ_i + log conj μ_j) would lose what the rounding
    of two angles loses: about 1e-11 at 1 - |λ| = 1e-5.)
    """
    difference: Complex = mu[None, :] - lam[:, None]
    return circle_gap(mu)[None, :] + difference * mu.conj()[None, :]


def circle_gap(lam: Complex) -> Real:
    """1 - |λ|² with full relative precision, shape (N,)."""
    with np.errstate(divide="ignore"):  # a pole at zero: log 0 = -inf, and expm1 makes it 1, as it should be
        gap: Real = -np.expm1(2.0 * np.log(lam).real)
    return gap


def controllability_gramian(system: System) -> Real:
    r"""Exact controllability Gramian of the real system of order 2N, shape (2N, 2N).

    .. math:: P = A_R P A_R^T + B_R B_R^T

    With p_ij = (BB*)_ij / (1 - λ_i conj λ_j) and r_ij = (BBᵀ)_ij / (1 - λ_i λ_j), its quarters are
    ½ [[Re(p+r), Im(r-p)], [Im(p+r), Re(p-r)]].

    Raises:
        InputError: the system has leading dimensions.
    """
    require_single(system)
    return stein_solution(system.lam, input_matrix(system))


def observability_gramian(system: System) -> Real:
    r"""Exact observability Gramian of the real system of order 2N, shape (2N, 2N).

    .. math:: Q = A_R^T Q A_R + C_R^T C_R

    A_Rᵀ is A_R with conjugated poles, so this is the controllability Gramian of (conj Λ, C*).

    Raises:
        InputError: the system has leading dimensions.
    """
    require_single(system)
    return stein_solution(system.lam.conj(), output_matrix(system).T)


def stein_solution(lam: Complex, source: Real) -> Real:
    """Solve P = A_R P A_Rᵀ + S Sᵀ for planar sources S (2N, k); P has shape (2N, 2N)."""
    n = lam.shape[0]
    w = source @ source.T
    rr, ri, ir, ii = w[:n, :n], w[:n, n:], w[n:, :n], w[n:, n:]
    p = ((rr + ii) + 1j * (ir - ri)) / stein_denominators(lam, lam)
    r = ((rr - ii) + 1j * (ir + ri)) / stein_denominators(lam, lam.conj())
    gramian = np.empty((2 * n, 2 * n))
    gramian[:n, :n] = (p + r).real
    gramian[:n, n:] = (r - p).imag
    gramian[n:, :n] = (p + r).imag
    gramian[n:, n:] = (p - r).real
    symmetric: Real = 0.25 * (gramian + gramian.T)
    return symmetric


def checked_gramian(gramian: ArrayLike, order: int, name: str) -> Real:
    """Return a given planar Gramian as a symmetric float64 copy, shape (2N, 2N).

    Raises:
        InputError: the shape is not (2N, 2N), a value is not finite, or the matrix is not symmetric.
    """
    meaning = (
        f"the real system behind N = {order} modes has 2N states, so write the second moment of [Re x | Im x]"
    )
    return checked_moment(gramian, 2 * order, name, meaning)


def checked_moment(moment: ArrayLike, size: int, name: str, meaning: str) -> Real:
    """Return a given second moment as a symmetric float64 copy, shape (size, size).

    Args:
        moment: the matrix.
        size: what its sides should be.
        name: how messages call it.
        meaning: what should have been written, for the message about a wrong shape.

    Raises:
        InputError: another shape, a value that is not finite, or the matrix is not symmetric.
    """
    given = np.array(moment, dtype=np.float64)
    if given.shape != (size, size):
        raise InputError(f"{name} has shape {given.shape}; {meaning}, shape {(size, size)}")
    if not np.isfinite(given).all():
        raise InputError(f"{name} holds a value that is not finite; check the data it was summed over")
    asymmetry = float(np.abs(given - given.T).max())
    if asymmetry > GIVEN_TOLERANCE * float(np.abs(given).max()):
        raise InputError(
            f"{name} is not symmetric (entries differ by {asymmetry:.3g}); a Gramian is a sum of x xᵀ"
        )
    symmetric: Real = 0.5 * (given + given.T)
    return symmetric
