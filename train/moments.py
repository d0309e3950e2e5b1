r"""Optimiser moments through a change of basis.

With x_R = X z and z = Y x_R (planar, 2N → 2r), B' = Y B and C' = C X, so gradients follow

.. math::
    m_{B'} = X^T m_B, \quad v_{B'} = (X^{∘2})^T v_B, \qquad m_{C'} = m_C Y^T, \quad v_{C'} = v_C (Y^{∘2})^T

(v as for independent entries). B is stored without γ, hence m_B/γ before and γ' m_{B'} after. Poles move in a
way that no linear map follows: ν, θ and log γ get m = 0 and the mean of their v. The step count is kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ssmith.errors import InputError

FIRST = ("exp_avg", "momentum_buffer", "grad_avg")  # linear in the gradient
SECOND = ("exp_avg_sq", "max_exp_avg_sq", "square_avg", "sum")  # quadratic in it

State = Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class Basis:
    """A layer's change of planar coordinates, float64.

    Attributes:
        to_full: X (2N, 2r), states of the old layer from those of the new one.
        to_reduced: Y (2r, 2N), the other way.
        gamma_old: γ of the old layer, (N,).
        gamma_new: γ of the new one, (r,).
    """

    to_full: Tensor
    to_reduced: Tensor
    gamma_old: Tensor
    gamma_new: Tensor


def carry(name: str, state: State, basis: Basis) -> dict[str, Any]:
    """The optimiser's state of one parameter of the layer after the cut.

    Args:
        name: nu_log, theta, gamma_log, B, C or D.
        state: as torch's optimisers keep it; scalars (the step count) are copied.
        basis: the change of coordinates.

    Raises:
        InputError: a tensor in the state whose meaning is not known.
    """
    return {key: _carry_one(name, key, value, basis) for key, value in state.items()}


def _carry_one(name: str, key: str, value: Any, basis: Basis) -> Any:
    if not isinstance(value, Tensor) or value.ndim == 0 or name == "D":
        return _copy(value)
    if key not in FIRST + SECOND:
        raise InputError(
            f"the optimiser keeps {key!r}, which this version cannot carry through a cut; "
            "write moments = 'keep' (its leading rows stay) or use AdamW"
        )
    square = key in SECOND
    old = value.detach().to("cpu", torch.float64)
    if name == "B":
        gamma_old, gamma_new = _rows(basis.gamma_old, square), _rows(basis.gamma_new, square)
        new = gamma_new * (_power(basis.to_full, square).T @ (old / gamma_old))
    elif name == "C":
        new = old @ _power(basis.to_reduced, square).T
    else:
        size = len(basis.gamma_new)
        new = old.mean().expand(size) if square else old.new_zeros(size)
    return new.to(value.device, value.dtype).contiguous().clone()


def keep(name: str, state: State, order_old: int, order_new: int) -> dict[str, Any]:
    """The simple alternative to `carry`: the entries of the first modes stay, whatever they now mean."""
    modes = torch.arange(order_new)
    planar = torch.cat([modes, modes + order_old])

    def one(value: Any) -> Any:
        if not isinstance(value, Tensor) or value.ndim == 0 or name == "D":
            return _copy(value)
        if name == "C":
            return value[:, planar.to(value.device)].contiguous()
        return value[(planar if name == "B" else modes).to(value.device)].contiguous()

    return {key: one(value) for key, value in state.items()}


def _copy(value: Any) -> Any:
    return value.detach().clone() if isinstance(value, Tensor) else value


def _power(x: Tensor, square: bool) -> Tensor:
    return x * x if square else x


def _rows(gamma: Tensor, square: bool) -> Tensor:
    """γ for the planar rows of B, (2N, 1)."""
    return _power(torch.cat([gamma, gamma])[:, None], square)
