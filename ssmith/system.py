"""A diagonal state-space system, shapes checked once; everything downstream may rely on them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ssmith.errors import InputError

Complex = NDArray[np.complex128]
Real = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class System:
    r"""A stable discrete-time diagonal system with real output [Orvieto2023].

    .. math:: x_k = \Lambda x_{k-1} + B u_k, \qquad y_k = \mathrm{Re}(C x_k) + D u_k

    Note that x_k already holds u_k: the transfer function is z C (zI - Λ)⁻¹ B + D.
    The real system behind it has order 2N. Leading dimensions are independent systems.
    The arrays are copied and made read-only.

    Args:
        lam: poles Λ, shape (..., N), every |λ| < 1.
        B: input matrix (γ folded in), shape (..., N, U).
        C: output matrix, shape (..., Y, N).
        D: feedthrough, shape (..., Y, U), or (..., U) for a diagonal one (then Y = U); zero if None.
        dt_s: seconds per step, or None where time has no unit.

    Raises:
        InputError: a shape does not fit, a value is not finite, or a pole is not inside the unit circle.
    """

    lam: Complex
    B: Complex
    C: Complex
    D: Real
    dt_s: float | None = None

    def __init__(
        self,
        lam: ArrayLike,
        B: ArrayLike,
        C: ArrayLike,
        D: ArrayLike | None = None,
        dt_s: float | None = None,
    ) -> None:
        lam_, B_, C_ = (np.array(a, dtype=np.complex128) for a in (lam, B, C))
        if lam_.ndim < 1 or lam_.shape[-1] < 1:
            raise InputError(f"lam has shape {lam_.shape}; write at least one pole, shape (..., N)")
        lead, n = lam_.shape[:-1], lam_.shape[-1]
        if B_.ndim != lam_.ndim + 1 or B_.shape[:-1] != lam_.shape:
            raise InputError(f"B has shape {B_.shape}; lam has N = {n}, so write {(*lam_.shape, 'U')}")
        if C_.ndim != lam_.ndim + 1 or C_.shape[:-2] != lead or C_.shape[-1] != n:
            raise InputError(f"C has shape {C_.shape}; lam has N = {n}, so write {(*lead, 'Y', n)}")
        u, y = B_.shape[-1], C_.shape[-2]
        D_ = np.zeros((*lead, y, u)) if D is None else np.array(D, dtype=np.float64)
        if D_.shape != (*lead, y, u) and not (D_.shape == (*lead, u) and u == y):
            raise InputError(f"D has shape {D_.shape}; write {(*lead, y, u)}, or {(*lead, u)} if Y = U")
        for name, a in (("lam", lam_), ("B", B_), ("C", C_), ("D", D_)):
            if not np.isfinite(a).all():
                raise InputError(f"{name} holds a value that is not finite; no stage can use it")
            a.flags.writeable = False
        worst = float(np.abs(lam_).max())
        if worst >= 1.0:
            raise InputError(f"a pole has |λ| = {worst:.9g}; a stable system needs every |λ| < 1")
        if dt_s is not None and not (np.isfinite(dt_s) and dt_s > 0):
            raise InputError(f"dt_s = {dt_s}; write the seconds per step, a number above zero, or None")
        for name, value in (("lam", lam_), ("B", B_), ("C", C_), ("D", D_), ("dt_s", dt_s)):
            object.__setattr__(self, name, value)

    @property
    def order(self) -> int:
        """Stored complex modes N, what the paper's tables count."""
        return int(self.lam.shape[-1])

    @property
    def inputs(self) -> int:
        """Number of inputs U."""
        return int(self.B.shape[-1])

    @property
    def outputs(self) -> int:
        """Number of outputs Y."""
        return int(self.C.shape[-2])
