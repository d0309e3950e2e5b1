"""Whether a diagonal form is fit to be stored in float32."""

from __future__ import annotations

import math

import numpy as np

from ssmith.reduce.accuracy import h2_error, modal_products
from ssmith.system import System

# Storing a diagonal form in float32 may cost this fraction of its H2 norm …
ROUNDING_LIMIT = 1e-3
# … unless its modes do not cancel: the rounding is then that of the poles alone, whatever the form.
HARMLESS_CANCELLATION = 10.0
# Beyond this the closed-form norms hold no digits (their squares cancel to 1e-8) and nothing can be told.
HOPELESS_CANCELLATION = 1e4


def cancellation(system: System) -> float:
    r"""How much larger the modes are than their sum, in H2; 1 for orthogonal modes, inf beyond 1e4.

    .. math:: κ = \sqrt{\textstyle\sum_i \|G_i\|_2^2} \, / \, \|G\|_2

    Near-defective poles show here: two nearly equal modes with large opposite residues.
    """
    products = modal_products(system)
    total, apart = float(products.sum()), float(products.trace())
    if apart == 0.0:
        return 1.0
    if total * HOPELESS_CANCELLATION**2 <= apart:
        return math.inf
    return math.sqrt(apart / total)


def rounded(system: System) -> System | None:
    """The system with λ, B, C as float32 stores them, without D; None where a pole rounds onto the circle."""
    lam, b, c = (a.astype(np.complex64) for a in (system.lam, system.B, system.C))
    if float(np.abs(lam.astype(np.complex128)).max()) >= 1.0:
        return None
    return System(lam, b, c, np.zeros_like(system.D), channels=system.channels)


def sound(system: System, allowance: float = 0.0) -> bool:
    """Whether float32 storage of λ, B, C costs at most max(1e-3, allowance) of the H2 norm.

    A form without cancellation (κ ≤ 10) passes in any case: its rounding comes from how near its poles are
    to the circle, and no other diagonal form would do better.
    """
    kappa = cancellation(system)
    if kappa <= HARMLESS_CANCELLATION:
        return True
    stored = rounded(system)
    if stored is None or not math.isfinite(kappa):
        return False
    plain = System(system.lam, system.B, system.C)
    return h2_error(plain, stored, relative=True) <= max(ROUNDING_LIMIT, allowance)
