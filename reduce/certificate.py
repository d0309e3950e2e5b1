"""What a cut did to a layer as it is stored: the bound it keeps, and its error measured."""

from __future__ import annotations

import math

from ssmith.reduce.accuracy import h2_error, hinf_error, hinf_norm, rounding_bound
from ssmith.reduce.reduction import Reduction
from ssmith.system import System

GRID = 128  # frequencies besides those at the poles


def certificate(full: System, reduction: Reduction, stored: System) -> dict[str, float]:
    r"""Figures of one cut, under the names that records of cuts give them.

    - error_bound: :math:`\|G - \hat G\|_\infty \le` the reduction's bound + what storing it moved; nan where
      the reduction has none.
    - h2_error: :math:`\|G - \hat G\|_2 / \|G\|_2`, in closed form.
    - hinf_error: :math:`\|G - \hat G\|_\infty / \|G\|_\infty`, from a grid; nan for a layer without a gain.
    - gain: :math:`\|G\|_\infty`, from that grid.

    Args:
        full: G, the layer before the cut.
        reduction: of it.
        stored: Ĝ, the reduced layer in float32.
    """
    error, gain = hinf_error(full, stored, points=GRID), hinf_norm(full, points=GRID)
    return {
        "error_bound": reduction.error_bound + rounding_bound(reduction.system, stored),
        "h2_error": h2_error(full, stored, relative=True),
        "hinf_error": error / gain if gain > 0 else math.nan,
        "gain": gain,
    }
