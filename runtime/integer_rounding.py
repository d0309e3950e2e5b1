"""Weights to int8 such that what their rounding does to the outputs is small for the inputs there are.

For a row w and codes q with covariance H, rounding to s r (s the row's scale, r int8) adds the error
variance (w - s r)ᵀ H (w - s r). Rounding each weight to its nearest ignores that inputs go together. Here
weights are rounded one after the other, and what is left over is taken up by those still to come, along
the best linear prediction: with H⁻¹ = Uᵀ U, U upper triangular,

    r_i = round(w_i / s);   w_j ← w_j - (w_i - s r_i) U_ij / U_ii   for j > i,

the columns with the largest variance first (Frantar et al., GPTQ, 2023). The scale of each row is the
best of a few.
"""

from __future__ import annotations

import numpy as np

from ssmith.quant import WEIGHT_LIMIT
from ssmith.runtime.integer_model import Float64, Int8

CLIPS = (1.0, 0.95, 0.9, 0.85, 0.8)  # the largest weight of a row over what 127 stands for
_DAMPING = 1e-6  # of the mean variance: float32 covariances are no more exact


def round_rows(matrix: Float64, covariance: Float64) -> tuple[Int8, Float64, Float64]:
    """int8 rows, their scales and the error variance of each row: matrix ≈ scale ∘ rows.

    Args:
        matrix: weights on codes, (M, K).
        covariance: of the codes, (K, K); variances that rounding to float32 made negative count as 0.
    """
    variance = covariance.diagonal()
    order = np.argsort(-variance, kind="stable")
    values, basis = np.linalg.eigh(covariance[np.ix_(order, order)])
    damped = np.maximum(values, 0.0) + _DAMPING * max(float(variance.mean()), 1e-30)
    inverse = (basis / damped) @ basis.T
    spread: Float64 = np.linalg.cholesky((inverse + inverse.T) / 2).T  # U
    full: Float64 = np.abs(matrix).max(1) / WEIGHT_LIMIT
    full[full == 0] = full[full > 0].min(initial=1.0)  # rows of zeros ask for nothing of their own
    chosen, scales, noise = np.zeros(matrix.shape), full, np.full(len(matrix), np.inf)
    for clip in CLIPS:
        scale: Float64 = clip * full
        rows = np.empty(matrix.shape)
        rows[:, order] = _compensated(matrix[:, order], scale, spread)
        error = matrix - scale[:, None] * rows
        variances = np.einsum("oi,oi->o", error @ covariance, error)
        better = variances < noise
        chosen = np.where(better[:, None], rows, chosen)
        scales, noise = np.where(better, scale, scales), np.where(better, variances, noise)
    return chosen.astype(np.int8), scales, noise


def _compensated(matrix: Float64, scale: Float64, spread: Float64) -> Float64:
    """Whole numbers of all rows, column after column; (M, K)."""
    left = matrix.copy()
    rows = np.empty(matrix.shape)
    for i in range(matrix.shape[1]):
        rows[:, i] = np.clip(np.rint(left[:, i] / scale), -WEIGHT_LIMIT, WEIGHT_LIMIT)
        error = (left[:, i] - scale * rows[:, i]) / spread[i, i]
        left[:, i + 1 :] -= error[:, None] * spread[i, i + 1 :]
    return rows
