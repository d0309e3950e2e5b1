"""Diagonal systems in continuous time, how they become discrete ones, and discrete ones at another rate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike

from ssmith.errors import InputError
from ssmith.system import Complex, Real, System

Discretization = Literal["zoh", "bilinear"]
_SERIES_BELOW = 1e-8  # |λ Δ| under which (e^{λΔ} - 1) / λΔ is 1 to the last bit


@dataclass(frozen=True, eq=False)
class ContinuousSystem:
    r"""A stable continuous-time diagonal system with real output.

    .. math:: \dot x = \Lambda x + B u, \qquad y = \mathrm{Re}(C x) + D u

    The arrays are copied and made read-only.

    Args:
        lam: poles Λ in rad/s, shape (N,), every Re λ < 0.
        B: input matrix, shape (N, U).
        C: output matrix, shape (Y, N).
        D: feedthrough, (Y, U), or (U,) for a diagonal one; zero if None.
        channels: as of ``System``.

    Raises:
        InputError: a shape does not fit, a value is not finite, a pole is not in the left half-plane, or
            channels are mixed.
    """

    lam: Complex
    B: Complex
    C: Complex
    D: Real
    channels: tuple[int, ...] | None = None

    def __init__(
        self,
        lam: ArrayLike,
        B: ArrayLike,
        C: ArrayLike,
        D: ArrayLike | None = None,
        channels: Sequence[int] | None = None,
    ) -> None:
        poles = np.array(lam, dtype=np.complex128)
        if poles.ndim != 1:
            raise InputError(f"lam has shape {poles.shape}; write the poles of one system, shape (N,)")
        # Every other shape and value is what a discrete system demands too.
        checked = System(np.zeros_like(poles), B, C, D, channels=channels)
        if not np.isfinite(poles).all():
            raise InputError("lam holds a value that is not finite; no stage can use it")
        worst = float(poles.real.max())
        if worst >= 0:
            raise InputError(f"a pole has Re λ = {worst:.9g} rad/s; a stable system needs every Re λ < 0")
        poles.flags.writeable = False
        for name, value in (("lam", poles), ("B", checked.B), ("C", checked.C), ("D", checked.D)):
            object.__setattr__(self, name, value)
        object.__setattr__(self, "channels", checked.channels)

    def discretise(self, dt_s: ArrayLike, method: Discretization = "zoh") -> System:
        r"""The discrete system whose state x_k already holds u_k.

        .. math::
            \text{zoh:} \quad \bar\Lambda = e^{\Lambda\Delta}, \quad \bar B = \Lambda^{-1}(\bar\Lambda - I) B
            \qquad
            \text{bilinear:} \quad \bar\Lambda = \frac{1 + \Lambda\Delta/2}{1 - \Lambda\Delta/2}, \quad
            \bar B = \frac{\Delta}{1 - \Lambda\Delta/2} B

        The formulas of S4D and S5 [Gu2022] [Smith2023]. "zoh" holds the input over the step that ends at
        x_k: u_k acts from (k-1)Δ to kΔ. Both keep the gain at zero frequency of C Λ⁻¹ B, and stability.

        Args:
            dt_s: Δ, seconds per step; one for all modes, or one for each, shape (N,): what S4D and S5 learn.
            method: "zoh" or "bilinear".

        Returns:
            The system; its ``dt_s`` is Δ where there is one for all modes, else None.

        Raises:
            InputError: Δ is not above zero or has another shape, an unknown method, or a pole so slow
                or Δ so small that |λ̄| rounds to 1.
        """
        step = np.asarray(dt_s, dtype=np.float64)
        if step.shape not in ((), self.lam.shape):
            raise InputError(
                f"dt_s has shape {step.shape}; write one number, or one a mode, {self.lam.shape}"
            )
        if not (np.isfinite(step).all() and (step > 0).all()):
            raise InputError(f"dt_s = {float(step.min()):g}; write the seconds per step, above zero")
        lam, gain = discretised(self.lam, step, method)
        dt = float(step) if step.ndim == 0 else None
        return System(lam, gain[:, None] * self.B, self.C, self.D, dt, self.channels)


def discretised(lam: Complex, step: Real, method: Discretization) -> tuple[Complex, Complex]:
    """Λ̄ and what it multiplies B with, for poles Λ and steps Δ; see ``ContinuousSystem.discretise``.

    Raises:
        InputError: an unknown method.
    """
    turned = lam * step
    if method == "zoh":
        return np.exp(turned), step * zoh_gain(turned)
    if method == "bilinear":
        return (1 + turned / 2) / (1 - turned / 2), step / (1 - turned / 2)
    known = " or ".join(map(repr, get_args(Discretization)))
    raise InputError(f"discretization {method!r} is unknown; write {known}")


def zoh_gain(turned: Complex) -> Complex:
    """(e^z - 1) / z without loss of digits, 1 at z = 0."""
    small = np.abs(turned) < _SERIES_BELOW
    safe = np.where(small, 1.0, turned)
    gain: Complex = np.where(small, 1.0 + turned / 2, np.expm1(safe) / safe)
    return gain


def at_rate(system: System, ratio: float, dt_s: float | None = None) -> System:
    r"""The system at another rate, for an input that is held constant over each of the old steps.

    .. math:: \lambda' = \lambda^{\,r}, \qquad B' = \frac{\lambda' - 1}{\lambda - 1} B, \qquad
              r = \frac{f_\mathrm{old}}{f_\mathrm{new}}

    with the power on the principal branch: the zero-order-hold discretisation of the same continuous system,
    log(λ) / Δ. Each mode keeps its gain at zero frequency, and where 1 / r is whole the states agree at
    common instants to rounding. λ = 0 is a wire and stays one.

    Args:
        system: no leading dimensions.
        ratio: r, old rate over new rate.
        dt_s: of the result.

    Raises:
        InputError: a ratio that is not above zero, or a pole that comes to lie on the unit circle.
    """
    if not (np.isfinite(ratio) and ratio > 0):
        raise InputError(f"the ratio of the rates is {ratio}; write a number above zero")
    wire = system.lam == 0
    safe = np.where(wire, 0.5, system.lam)
    turned = ratio * np.log(safe)
    lam = np.where(wire, 0.0, np.exp(turned))
    gain = np.where(wire, 1.0, np.expm1(turned) / (safe - 1))
    return System(lam, gain[:, None] * system.B, system.C, system.D, dt_s, system.channels)
