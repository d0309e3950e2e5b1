"""Singular value decomposition of a product of factors: all values, and as many vectors as are asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import scipy.linalg
from scipy.linalg import lapack

from ssmith.system import Real

EPS = float(np.finfo(np.float64).eps)
# Above so many columns (N = 1024 modes) the eigenvalues of MᵀM are tried first: five times less work.
SQUARES_ABOVE = 2048
# They are taken if all σ_i exceed this fraction of σ_1: then squaring moves none by more than one or two
# hundredths of itself (the bound below, up to N = 4096; seen at N = 2304: a thousandth of that).
RESOLVED = 1e-6

Vectors = tuple[Real, Real, Real]


@dataclass(frozen=True, eq=False)
class Spectrum:
    """M = U S Vᵀ.

    Attributes:
        values: all singular values, descending, shape (k,), k the smaller side of M.
        error: how far each may be off, beyond what an SVD's are (about eps σ_1).
        leading: q → U (·, q), the first q values, Vᵀ (q, ·).
    """

    values: Real
    error: float
    leading: Callable[[int], Vectors]


def spectrum(matrix: Real) -> Spectrum:
    """The decomposition of M (m, n), by squares where those will do and are worth it."""
    found = by_squares(matrix) if min(matrix.shape) > SQUARES_ABOVE else None
    return by_svd(matrix) if found is None else found


def singular_values(matrix: Real) -> Real:
    """The values alone, descending, as `spectrum` finds them."""
    found = by_squares(matrix) if min(matrix.shape) > SQUARES_ABOVE else None
    if found is not None:
        return found.values
    values: Real = scipy.linalg.svdvals(matrix)
    return values


def by_svd(matrix: Real) -> Spectrum:
    """The decomposition by LAPACK's SVD, all vectors at once."""
    try:
        left, values, right = scipy.linalg.svd(matrix, full_matrices=False)
    except np.linalg.LinAlgError:  # gesdd may fail to converge where the slower gesvd does not
        left, values, right = scipy.linalg.svd(matrix, full_matrices=False, lapack_driver="gesvd")
    return Spectrum(values, 0.0, lambda q: (left[:, :q], values[:q], right[:q]))


def by_squares(matrix: Real) -> Spectrum | None:
    r"""The decomposition through the eigenvalues of MᵀM; None where squaring has lost some of them.

    .. math:: |\tilde σ_i - σ_i| \le \sqrt{n}\, \mathrm{eps}\, σ_1^2 / σ_i

    One tridiagonal form of MᵀM gives all values; vectors are made for the first q only. These span V_q, and
    the SVD of M V_q (q columns) gives U, S and V within it: U and V are orthonormal and UᵀMV = S to rounding
    whatever the squares have lost. What remains of their loss is that M couples U to the rest of V by at
    most the error above.
    """
    if matrix.shape[0] < matrix.shape[1]:
        turned = by_squares(matrix.T)
        if turned is None:
            return None

        def swapped(q: int) -> Vectors:
            left, values, right = turned.leading(q)
            return right.T, values, left.T

        return Spectrum(turned.values, turned.error, swapped)
    columns = np.linalg.norm(matrix, axis=0)  # σ_n is at most the shortest, σ_1 at least the longest
    if columns.min() <= RESOLVED * columns.max():
        return None
    squares = Tridiagonal.of(matrix.T @ matrix)
    values = squares.eigenvalues()[::-1]
    if not values[-1] > RESOLVED**2 * values[0]:
        return None
    values = np.sqrt(values)

    def leading(q: int) -> Vectors:
        vectors = squares.leading_eigenvectors(q)
        left, core = scipy.linalg.qr(matrix @ vectors, mode="economic")
        inner_left, inner_values, inner_right = scipy.linalg.svd(core)
        return left @ inner_left, inner_values, inner_right @ vectors.T

    return Spectrum(values, float(np.sqrt(len(values)) * EPS * values[0] ** 2 / values[-1]), leading)


@dataclass(frozen=True, eq=False)
class Tridiagonal:
    """A symmetric matrix as Q T Qᵀ, T tridiagonal, Q as LAPACK's Householder reflectors."""

    diagonal: Real
    beside: Real
    reflectors: Real
    scales: Real

    @classmethod
    def of(cls, symmetric: Real) -> Tridiagonal:
        """Reduce a symmetric matrix (n, n), n ≥ 2, which is overwritten."""
        work, _ = lapack.dsytrd_lwork(len(symmetric), lower=1)
        reflectors, diagonal, beside, scales, _ = lapack.dsytrd(
            symmetric.T, lower=1, lwork=int(work), overwrite_a=1
        )
        return cls(diagonal, beside, reflectors, scales)

    def eigenvalues(self) -> Real:
        """All of them, ascending."""
        values: Real = scipy.linalg.eigvalsh_tridiagonal(self.diagonal, self.beside)
        return values

    def leading_eigenvectors(self, count: int) -> Real:
        """Orthonormal eigenvectors (n, count) of the largest eigenvalues, largest first."""
        size = len(self.diagonal)
        if count == 0:
            return np.empty((size, 0))
        _, inner = scipy.linalg.eigh_tridiagonal(
            self.diagonal, self.beside, select="i", select_range=(size - count, size - 1)
        )
        # Q leaves the first entry alone; on the others it is a product of reflectors stored as a QR's are.
        reflectors, rest = self.reflectors[1:, :-1], np.asfortranarray(inner[1:, ::-1])
        _, work, _ = lapack.dormqr("L", "N", reflectors, self.scales, rest, -1)
        turned, _, _ = lapack.dormqr("L", "N", reflectors, self.scales, rest, int(work[0]), overwrite_c=1)
        return np.concatenate([inner[:1, ::-1], turned])
