"""Weights to int8 such that what their rounding does to the outputs is small for the inputs there are.

For a row w and codes q with covariance H, rounding to s r (s the row's scale, r int8) adds the error
variance (w - s r)ᵀ H (w - s r). Rounding each weight to its nearest ignores that inputs go together. Here
weights are rounded one after the other, and what is left over is taken up by those still to come, along
the best linear prediction: with H⁻¹ = Uᵀ U, U upper triangular,

    r_i = round(w_i / s);   w_j ← w_j - (w_i - s r_i) U_ij / U_ii   for j > i,

the columns with the largest variance first (Frantar et al., GPTQ, 2023). Where only variances are known
nothing predicts anything, and each weight is rounded to its nearest. The scale of each row is the best of
a few.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ssmith.quant import WEIGHT_LIMIT
from ssmith.runtime.integer_model import Float64, Int8

CLIPS = (1.0, 0.95, 0.9, 0.85, 0.8)  # the largest weight of a row over what 127 stands for
_BLOCK = 32  # columns
_DAMPING = 1e-6  # of the mean variance: float32 covariances are no more exact


def round_rows(matrix: Float64, covariance: Float64) -> tuple[Int8, Float64, Float64]:
    """int8 rows, their scales and the error variance of each row: matrix ≈ scale ∘ rows.

    Args:
        matrix: weights on codes, (M, K).
        covariance: of the codes, (K, K), or their variances, (1, K); eigenvalues that rounding to float32
            made negative count as 0.
    """
    full: Float64 = np.abs(matrix).max(1) / WEIGHT_LIMIT
    full[full == 0] = full[full > 0].min(initial=1.0)  # rows of zeros ask for nothing of their own
    scales = np.outer(CLIPS, full).ravel()  # every row at every clip, one walk over the columns for all
    tried = np.tile(matrix, (len(CLIPS), 1))
    if len(covariance) < covariance.shape[1]:
        rows = np.clip(np.rint(tried / scales[:, None]), -WEIGHT_LIMIT, WEIGHT_LIMIT)
        error = tried - scales[:, None] * rows
        noise = (error**2 * covariance).sum(1)
    else:
        order, spread = _prediction(covariance)
        rows = np.empty(tried.shape)
        rows[:, order] = _compensated(tried[:, order], scales, spread)
        error = tried - scales[:, None] * rows
        noise = np.einsum("oi,oi->o", error @ covariance, error)
    best = noise.reshape(len(CLIPS), -1).argmin(0) * len(matrix) + np.arange(len(matrix))
    return rows[best].astype(np.int8), scales[best], noise[best]


def round_inside(
    matrix: Float64, covariance: Float64, inside: NDArray[np.bool_]
) -> tuple[Int8, Float64, Float64]:
    """``round_rows`` where a row reads some of the inputs only: outside, weights are 0 and stay 0.

    Args:
        matrix: as for ``round_rows``.
        covariance: as for ``round_rows``.
        inside: what each row reads, (M, K); rows that read the same are rounded together.
    """
    rows, noise = np.zeros(matrix.shape, np.int8), np.zeros(len(matrix))
    scale = np.zeros(len(matrix))
    patterns, owner = np.unique(inside, axis=0, return_inverse=True)
    for k, pattern in enumerate(patterns):
        own, columns = np.flatnonzero(owner.ravel() == k), np.flatnonzero(pattern)
        if len(columns):
            full = len(covariance) == covariance.shape[1]
            part = covariance[np.ix_(columns, columns)] if full else covariance[:, columns]
            found, scale[own], noise[own] = round_rows(matrix[np.ix_(own, columns)], part)
            rows[np.ix_(own, columns)] = found
    silent = ~matrix.any(1)  # rows of zeros ask for no scale of their own
    scale[silent] = scale[~silent].min(initial=1.0)
    return rows, scale, noise


def _prediction(covariance: Float64) -> tuple[NDArray[np.intp], Float64]:
    """Columns, the largest variance first, and U of H⁻¹ = Uᵀ U in that order."""
    variance = covariance.diagonal()
    order = np.argsort(-variance, kind="stable")
    values, basis = np.linalg.eigh(covariance[np.ix_(order, order)])
    damped = np.maximum(values, 0.0) + _DAMPING * max(float(variance.mean()), 1e-30)
    inverse = (basis / damped) @ basis.T
    return order, np.linalg.cholesky((inverse + inverse.T) / 2).T


def _compensated(matrix: Float64, scale: Float64, spread: Float64) -> Float64:
    """Whole numbers of all rows, column after column; (M, K).

    What a block of columns leaves over reaches the later ones in one product, which is quick.
    """
    left = matrix.copy()
    rows = np.empty(matrix.shape)
    for start in range(0, matrix.shape[1], _BLOCK):
        end = min(start + _BLOCK, matrix.shape[1])
        errors = np.empty((len(matrix), end - start))
        for i in range(start, end):
            rows[:, i] = np.clip(np.rint(left[:, i] / scale), -WEIGHT_LIMIT, WEIGHT_LIMIT)
            errors[:, i - start] = (left[:, i] - scale * rows[:, i]) / spread[i, i]
            left[:, i + 1 : end] -= errors[:, i - start, None] * spread[i, i + 1 : end]
        left[:, end:] -= errors @ spread[start:end, end:]
    return rows
