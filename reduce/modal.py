"""Back to diagonal form: the modes of a real system, each conjugate pair stored once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ssmith.reduce.planar import input_matrix
from ssmith.system import Complex, Real, System


@dataclass(frozen=True, eq=False)
class DiagonalForm:
    r"""z = Re(right w), w = left z, with w_k = Λ w_{k-1} + b u_k and y_k = Re(c w_k).

    Attributes:
        lam: poles, shape (r,): one of each conjugate pair (Im > 0), then the real ones.
        b: input matrix, shape (r, U).
        c: output matrix, shape (Y, r); pairs carry the factor 2.
        right: modes in the coordinates z, shape (q, r).
        left: its dual, shape (r, q).
        real_poles: how many of the r modes are real; q = 2r - real_poles.
        condition: 1-norm condition number of the eigenvectors.
    """

    lam: Complex
    b: Complex
    c: Complex
    right: Complex
    left: Complex
    real_poles: int
    condition: float


def diagonal_form(a: Real, b: Real, c: Real) -> DiagonalForm | None:
    """Diagonalise z_k = a z_{k-1} + b u_k, y_k = c z_k of real order q; a (q, q), b (q, U), c (Y, q).

    A real pole takes a whole complex slot, its imaginary half unused. None where the eigenvectors are
    dependent to working precision (a defective matrix has no diagonal form).
    """
    poles, vectors = np.linalg.eig(a)  # exact conjugate pairs: `a` is real
    poles, vectors = poles.astype(np.complex128), vectors.astype(np.complex128)
    try:
        inverse = np.linalg.solve(vectors, np.eye(a.shape[0]))
    except np.linalg.LinAlgError:
        return None
    condition = max(1.0, float(np.linalg.norm(vectors, 1) * np.linalg.norm(inverse, 1)))
    if not condition * np.finfo(np.float64).eps < 1.0:
        return None
    upper, real = poles.imag > 0.0, poles.imag == 0.0
    right: Complex = np.concatenate([2.0 * vectors[:, upper], vectors[:, real].real], axis=1)
    left: Complex = np.concatenate([inverse[upper], inverse[real].real], axis=0)
    return DiagonalForm(
        lam=np.concatenate([poles[upper], poles[real]]),
        b=left @ b,
        c=c @ right,
        right=right,
        left=left,
        real_poles=int(real.sum()),
        condition=condition,
    )


def input_output_ratio(system: System) -> float:
    """Median over modes of (‖b_i‖ / γ_i) / ‖c_i‖, γ = sqrt(1 - |λ|²); 1 where no mode has both."""
    gain = np.sqrt(1.0 - np.abs(system.lam) ** 2)
    b = np.linalg.norm(input_matrix(system).reshape(2, system.order, -1), axis=(0, 2)) / gain
    c = np.linalg.norm(system.C, axis=0)
    both = (b > 0.0) & (c > 0.0)
    return float(np.median(b[both] / c[both])) if both.any() else 1.0


def normalised(form: DiagonalForm, ratio: float) -> DiagonalForm:
    """Fix what a diagonal form leaves free: one complex factor a mode, which changes no output.

    The modulus makes (‖b_i‖ / γ_i) / ‖c_i‖ equal `ratio`, so that a trained layer keeps the balance between
    its input and output weights; the phase makes the largest entry of b_i real and positive. A real pole
    keeps real weights.
    """
    gain = np.sqrt(np.maximum(1.0 - np.abs(form.lam) ** 2, np.finfo(np.float64).eps))
    b, c = np.linalg.norm(form.b, axis=1), np.linalg.norm(form.c, axis=0)
    both = (b > 0.0) & (c > 0.0)
    modulus = np.sqrt(ratio * gain * np.where(both, c, 1.0) / np.where(both, b, ratio * gain))
    largest = np.take_along_axis(form.b, np.abs(form.b).argmax(axis=1)[:, None], axis=1)[:, 0]
    phase = np.where(b > 0.0, largest.conj() / np.where(b > 0.0, np.abs(largest), 1.0), 1.0)
    factor = modulus * phase
    return DiagonalForm(
        lam=form.lam,
        b=form.b * factor[:, None],
        c=form.c / factor[None, :],
        right=form.right / factor[None, :],
        left=form.left * factor[:, None],
        real_poles=form.real_poles,
        condition=form.condition,
    )
