"""Factors L with P = L Lᵀ of Gramians: of the exact ones without forming P, of given ones by Cholesky."""

from __future__ import annotations

import numpy as np
import scipy.linalg
from numpy.typing import ArrayLike, NDArray
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
# A factor from the sources of more poles than this eliminates several together: so many at most, of so many
# that have the largest variance left, down to this fraction of the largest.
BLOCKS_ABOVE = 2048
BLOCK = 64
CANDIDATES = 256
EVEN = 0.01


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
    eliminated = _one_by_one if size <= BLOCKS_ABOVE else _in_blocks
    columns = eliminated(mu, g, gap, inverse, (size * EPS) ** 2)
    return np.array(columns, dtype=np.complex128).reshape(-1, size).T


def _one_by_one(mu: Complex, g: Complex, gap: Real, inverse: Real, floor: float) -> list[Complex]:
    """Columns of the factor, each (n,), until no state has more than `floor` of its variance left."""
    columns: list[Complex] = []
    while len(columns) < len(mu):
        left = _row_squares(g) * inverse  # what is left of each state's variance
        i = int(left.argmax())
        if left[i] <= floor:
            break
        v = g[i].conj() / np.linalg.norm(g[i])
        along = g @ v
        blaschke, denominator = _blaschke(mu, gap[i], mu[i])
        columns.append(along * np.sqrt(gap[i]) / denominator)
        g += ((blaschke - 1.0) * along)[:, None] * v.conj()
        g[i] = 0.0
    return columns


def _in_blocks(mu: Complex, g: Complex, gap: Real, inverse: Real, floor: float) -> list[Complex]:
    """The same, up to 64 states at a time: chosen first, then eliminated from all others by matrix products.

    They are the pivots among the 256 states with the most variance left, as far as none has less than a
    hundredth of the largest. What rounding leaves in a row is eps of its size before the block, not before
    the step.
    """
    columns: list[Complex] = []
    while len(columns) < len(mu):
        left = _row_squares(g) * inverse
        candidates = np.argsort(-left, kind="stable")[:CANDIDATES]
        largest = float(left[candidates[0]])
        if largest <= floor:
            break
        chosen, v = _pivots(mu[candidates], g[candidates], inverse[candidates], max(floor, EVEN * largest))
        pivots = candidates[chosen]
        block, change = _eliminate(mu, gap, g @ v, v, pivots)
        g += change @ v.conj().T
        g[pivots] = 0.0
        columns.extend(block.T)
    return columns


def _pivots(mu: Complex, g: Complex, inverse: Real, least: float) -> tuple[list[int], Complex]:
    """Up to BLOCK states by complete pivoting while more than `least` is left; and their v, shape (U, k)."""
    gap = circle_gap(mu)
    chosen: list[int] = []
    directions: list[Complex] = []
    while len(chosen) < BLOCK:
        left = _row_squares(g) * inverse
        i = int(left.argmax())
        if left[i] <= least:
            break
        v = g[i].conj() / np.linalg.norm(g[i])
        g += ((_blaschke(mu, gap[i], mu[i])[0] - 1.0) * (g @ v))[:, None] * v.conj()
        g[i] = 0.0
        chosen.append(i)
        directions.append(v)
    return chosen, np.stack(directions, axis=1)


def _eliminate(
    mu: Complex, gap: Real, along: Complex, v: Complex, pivots: NDArray[np.intp]
) -> tuple[Complex, Complex]:
    """Columns of L (n, k) for pivots eliminated one after the other, and W with g ← g + W vᴴ afterwards.

    `along` is g v before any of them; what the earlier ones changed is added as the columns are made.
    """
    overlap = v.conj().T @ v
    columns, change = np.empty_like(along), np.empty_like(along)
    for k, i in enumerate(pivots):
        present = along[:, k] + change[:, :k] @ overlap[:k, k]
        blaschke, denominator = _blaschke(mu, gap[i], mu[i])
        columns[:, k] = present * np.sqrt(gap[i]) / denominator
        columns[pivots[:k], k] = 0.0
        change[:, k] = (blaschke - 1.0) * present
    return columns, change


def _blaschke(mu: Complex, gap: float, pole: complex) -> tuple[Complex, Complex]:
    """φ_j = (μ_j - μ_i) / (1 - μ_j conj μ_i) of all states against one, and the denominators, shapes (n,)."""
    denominator = gap + (pole - mu) * pole.conjugate()
    return (mu - pole) / denominator, denominator


def _row_squares(g: Complex) -> Real:
    squares: Real = np.einsum("ij,ij->i", g.real, g.real) + np.einsum("ij,ij->i", g.imag, g.imag)
    return squares
