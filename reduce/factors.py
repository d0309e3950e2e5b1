"""Factors L with P = L Lᵀ of Gramians: of the exact ones without forming P, of given ones by Cholesky."""

from __future__ import annotations

import numpy as np
import scipy.linalg
from numpy.typing import ArrayLike
from scipy.linalg import lapack

from ssmith.errors import InputError
from ssmith.reduce.gramians import GIVEN_TOLERANCE, checked_gramian, circle_gap, stein_solution
from ssmith.reduce.planar import input_matrix, output_matrix, require_single
from ssmith.system import Complex, Real, System

EPS = float(np.finfo(np.float64).eps)
# The Cholesky factor of a matrix with unit diagonal reproduces it to this, else eigenvalues decide.
CHOLESKY_TOLERANCE = 1e-10
# A pivot is a variance: one of 1e-4 has lost four of its sixteen digits. Smaller ones want the other method.
SMALLEST_PIVOT = 1e-4


def gramian_factors(
    system: System, controllability: ArrayLike | None, observability: ArrayLike | None
) -> tuple[Real, Real]:
    """Factors (L_P, L_Q), each (2N, ·), of the given Gramians, or of the exact one where None is given.

    Raises:
        InputError: leading dimensions, or a given matrix that is not a Gramian of this system's states.
    """
    require_single(system)
    if controllability is None:
        reach = exact_factor(system.lam, input_matrix(system))
    else:
        name = "controllability"
        reach = factor(checked_gramian(controllability, system.order, name), name)
    if observability is None:
        see = exact_factor(system.lam.conj(), output_matrix(system).T)
    else:
        name = "observability"
        see = factor(checked_gramian(observability, system.order, name), name)
    return reach, see


def factor(gramian: Real, name: str = "the Gramian") -> Real:
    """L with P ≈ L Lᵀ by pivoted Cholesky [Higham1990], shape (2N, k), k the numerical rank of P.

    Where rounding has made the matrix indefinite, the factor comes from its eigenvalues with the negative
    ones removed. Directions with less than about 2N eps of a mode's variance are lost, as P itself holds
    no digits of them.

    Args:
        gramian: symmetric planar Gramian, shape (2N, 2N).
        name: how the message calls it.

    Raises:
        InputError: the matrix is indefinite by more than rounding.
    """
    scaled, scale = _scaled(gramian)
    unit, _ = _pivoted_cholesky(scaled)
    if float(np.abs(unit @ unit.T - scaled).max()) > CHOLESKY_TOLERANCE:
        unit = _factor_by_eigenvalues(scaled, name)
    factored: Real = unit * scale[:, None]
    return factored


def exact_factor(lam: Complex, source: Real) -> Real:
    """L with L Lᵀ = P, P = A_R P A_Rᵀ + S Sᵀ, for planar sources S (2N, U); shape (2N, k).

    A well-conditioned P is formed and factored. Otherwise its small directions would drown in the rounding
    of the large ones (σ is a square root: eps in P is 1e-8 in σ), and the factor is built from the sources.
    """
    scaled, scale = _scaled(stein_solution(lam, source))
    unit, smallest = _pivoted_cholesky(scaled)
    if smallest >= SMALLEST_PIVOT:
        factored: Real = unit * scale[:, None]
        return factored
    return _factor_from_source(lam, source)


def _scaled(gramian: Real) -> tuple[Real, Real]:
    """The Gramian with every mode's variance made 1, and the scales, shapes (2N, 2N) and (2N,).

    Re and Im of a mode share their scale: the rounding of P is relative to the mode, so a half that is zero
    in truth (a real pole) must stay small and not be blown up to 1.
    """
    half = gramian.shape[0] // 2
    diagonal = np.diag(gramian)
    mode = np.sqrt(np.maximum(diagonal[:half] + diagonal[half:], 0.0))
    scale = np.tile(np.where(mode > 0.0, mode, 1.0), 2)
    return gramian / scale[:, None] / scale[None, :], scale


def _pivoted_cholesky(scaled: Real) -> tuple[Real, float]:
    """Factor (2N, k) of a scaled Gramian, and its smallest pivot (0 if k < 2N)."""
    size = scaled.shape[0]
    lower, pivots, rank, _ = lapack.dpstrf(scaled, lower=1, tol=size * EPS)
    unit: Real = np.empty((size, rank))
    unit[pivots - 1] = np.tril(lower)[:, :rank]
    return unit, float(lower[-1, -1]) ** 2 if rank == size else 0.0


def _factor_by_eigenvalues(scaled: Real, name: str) -> Real:
    values, vectors = np.linalg.eigh(scaled)
    if values[0] < -GIVEN_TOLERANCE * max(values[-1], 1.0):
        raise InputError(
            f"{name} is indefinite (eigenvalue {values[0]:.3g} after scaling its modes to 1); no state has "
            "a negative variance, so write a sum of x xᵀ over the data"
        )
    keep = values > values[-1] * scaled.shape[0] * EPS
    kept: Real = vectors[:, keep] * np.sqrt(values[keep])
    return kept


def _factor_from_source(lam: Complex, source: Real) -> Real:
    """The planar factor (2N, k) through `cauchy_factor` of the 2N poles (λ, conj λ) and rows (b, conj b).

    The real factor comes from a QR of [Re L, Im L], which has the same Gramian as L.
    """
    n = lam.shape[0]
    b = source[:n] + 1j * source[n:]
    lower = cauchy_factor(np.concatenate([lam, lam.conj()]), np.concatenate([b, b.conj()], axis=0))
    planar = 0.5 * np.concatenate([lower[:n] + lower[n:], -1j * (lower[:n] - lower[n:])], axis=0)
    stacked = np.concatenate([planar.real, planar.imag], axis=1)
    triangle: Real = scipy.linalg.qr(stacked.T, mode="r")[0][: 2 * n]
    return triangle.T


def cauchy_factor(mu: Complex, source: Complex) -> Complex:
    r"""Pivoted Cholesky of a Gramian through its source, never forming it [KailathSayed1995].

    For poles μ and source rows g the Gramian is P_jk = g_j g_k* / (1 - μ_j conj μ_k). Eliminating state i
    leaves a Gramian of the same kind, with

    .. math:: g_j \leftarrow g_j + (φ_j - 1)\, g_j v v^*, \quad v = g_i^* / \|g_i\|, \quad
              φ_j = \frac{μ_j - μ_i}{1 - μ_j \bar μ_i}

    where |φ| < 1, so nothing grows, and the factor is accurate to eps where one from P is to sqrt(eps).

    Args:
        mu: poles inside the unit circle, shape (n,).
        source: g, shape (n, U).

    Returns:
        L with L Lᴴ = P, shape (n, k).
    """
    size, g = mu.shape[0], source.copy()
    gap = circle_gap(mu)
    variance = _row_squares(g) / gap
    inverse = np.divide(1.0, variance, out=np.zeros(size), where=variance > 0.0) / gap
    columns: list[Complex] = []
    while len(columns) < size:
        left = _row_squares(g) * inverse  # what is left of each state's variance
        i = int(left.argmax())
        if left[i] <= (size * EPS) ** 2:
            break
        v = g[i].conj() / np.linalg.norm(g[i])
        along = g @ v
        denominator = gap[i] + (mu[i] - mu) * mu[i].conj()
        columns.append(along * np.sqrt(gap[i]) / denominator)
        blaschke = (mu - mu[i]) / denominator
        g += ((blaschke - 1.0) * along)[:, None] * v.conj()
        g[i] = 0.0
    return np.array(columns, dtype=np.complex128).reshape(-1, size).T


def _row_squares(g: Complex) -> Real:
    squares: Real = np.einsum("ij,ij->i", g.real, g.real) + np.einsum("ij,ij->i", g.imag, g.imag)
    return squares
