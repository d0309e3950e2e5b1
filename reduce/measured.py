"""Gramian factors of which a side, or both, was measured on data."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ssmith.errors import InputError
from ssmith.reduce.factors import exact_factor, factor
from ssmith.reduce.gramians import GIVEN_TOLERANCE, checked_gramian, checked_moment
from ssmith.reduce.planar import input_matrix, output_matrix
from ssmith.system import Real, System

# Added to each mode's measured variance, as a share of it, where there are fewer samples than states.
RIDGE = 1e-6


@dataclass(frozen=True, eq=False)
class Measured:
    """What was measured on data; a criterion reads what it needs.

    Attributes:
        controllability: P = E[x xᵀ] of the planar states [Re x | Im x], shape (2N, 2N).
        observability: Q = E[g gᵀ] of the gradients at the states, shape (2N, 2N).
        output_weight: W = E[e eᵀ] of the gradients at the layer's outputs, shape (Y, Y).
        samples: time steps behind them; with fewer than 2N the moments are regularised. None: enough.
    """

    controllability: Real | None = None
    observability: Real | None = None
    output_weight: Real | None = None
    samples: int | None = None


def weighted_observability_factor(system: System, weight: Real) -> Real:
    r"""L_Q of the exact observability Gramian with the outputs weighted, shape (2N, ·).

    .. math:: Q = A_R^T Q A_R + C_R^T W C_R

    which is the exact Gramian of a system with W^{1/2} C in place of C.

    Args:
        system: one system with Y outputs.
        weight: W, shape (Y, Y), symmetric and positive semidefinite.

    Raises:
        InputError: W has another shape, is not finite, not symmetric, or indefinite.
    """
    y = system.outputs
    meaning = f"it weights the {y} outputs, so write the second moment of the gradients there"
    values, vectors = np.linalg.eigh(checked_moment(weight, y, "output_weight", meaning))
    if values[0] < -GIVEN_TOLERANCE * values[-1]:
        raise InputError(
            f"output_weight is indefinite (eigenvalue {values[0]:.3g}); no direction has a negative weight, "
            "so write a sum of e eᵀ over the data"
        )
    root = vectors * np.sqrt(np.maximum(values, 0.0))
    return exact_factor(system.lam.conj(), output_matrix(system).T @ root)


def measured_factors(
    system: System, measured: Measured, criterion: str, *, states: bool, gradients: bool
) -> tuple[tuple[Real, Real], tuple[str, ...]]:
    """Factors (L_P, L_Q), each (2N, ·), and notes about what was measured.

    Args:
        system: one system.
        measured: what was measured.
        criterion: "weighted" takes W from it instead of Q; messages name it.
        states: P is measured, else exact.
        gradients: Q (or W) is measured, else exact.

    Raises:
        InputError: something needed is missing, or is no second moment of this system.
    """
    few = measured.samples is not None and measured.samples < 2 * system.order
    if states:
        reach = _measured_factor(system, measured.controllability, "controllability", criterion, few)
    else:
        reach = exact_factor(system.lam, input_matrix(system))
    if criterion == "weighted":
        see = weighted_observability_factor(
            system, _given(measured.output_weight, "output_weight", criterion)
        )
    elif gradients:
        see = _measured_factor(system, measured.observability, "observability", criterion, few)
    else:
        see = exact_factor(system.lam.conj(), output_matrix(system).T)
    if not few or not (states or gradients):
        return (reach, see), ()
    note = (
        f"measured on {measured.samples} time steps, fewer than the {2 * system.order} real states: "
        f"{RIDGE:g} of its variance added to each mode; more data would tell more"
    )
    return (reach, see), (note,)


def _measured_factor(system: System, moment: Real | None, name: str, criterion: str, few: bool) -> Real:
    """Factor of a measured Gramian, with few samples of P + 1e-6 diag(the modes' own variances).

    The addition makes P definite on all states that moved, and scales with each mode, so that it does not
    depend on how a mode is scaled.
    """
    gramian = checked_gramian(_given(moment, name, criterion), system.order, name)
    if few:
        variance = np.diag(gramian).reshape(2, -1).mean(axis=0)
        gramian = gramian + RIDGE * np.diag(np.tile(variance, 2))
    return factor(gramian, name)


def _given(moment: Real | None, name: str, criterion: str) -> Real:
    if moment is None:
        raise InputError(
            f"criterion {criterion!r} needs {name} measured on data; pass measured=Measured({name}=…), or "
            "choose exact, modal or complex, which need no data"
        )
    return moment
