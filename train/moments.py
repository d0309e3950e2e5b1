r"""Optimiser moments through a change of basis.

With x_R = X z and z = Y x_R (planar, 2N → 2r), B' = Y B and C' = C X, so gradients follow

.. math::
    m_{B'} = X^T m_B, \quad v_{B'} = (X^{∘2})^T v_B, \qquad m_{C'} = m_C Y^T, \quad v_{C'} = v_C (Y^{∘2})^T

(v as for independent entries). A layer stores B without a gain g of each mode, so X stands for
diag(1/g) X diag(g') above. Poles move in a way that no linear map follows: what has one value a mode gets
m = 0 and the mean of its v; D, and the Δ of a channel, keep theirs. The step count is kept.
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
        gain_old: g of the old layer, (N,), real or complex.
        gain_new: g of the new one, (r,).
        inside_old: where the planar B (2N, H) of a layer with channels is not zero, which it stores as a
            vector; None without channels.
        inside_new: of the new layer, (2r, H).
    """

    to_full: Tensor
    to_reduced: Tensor
    gain_old: Tensor
    gain_new: Tensor
    inside_old: Tensor | None = None
    inside_new: Tensor | None = None

    @property
    def stored(self) -> Tensor:
        """diag(1/g) X diag(g') in planar coordinates: B as stored, old from new."""
        n, r = len(self.gain_old), len(self.gain_new)
        inverse, new = 1 / self.gain_old.to(torch.complex128), self.gain_new.to(torch.complex128)
        re, im = self.to_full[:n], self.to_full[n:]
        a, b = inverse.real[:, None], inverse.imag[:, None]
        turned = torch.cat([a * re - b * im, b * re + a * im])
        re, im = turned[:, :r], turned[:, r:]
        return torch.cat([re * new.real + im * new.imag, im * new.real - re * new.imag], 1)


def carry(name: str, state: State, basis: Basis) -> dict[str, Any]:
    """The optimiser's state of one parameter of the layer after the cut.

    Args:
        name: of the parameter: B, C, D, or one of the dynamics.
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
        new = _packed(_power(basis.stored, square).T @ _whole(old, basis.inside_old), basis.inside_new)
    elif name == "C":
        rows = old.T if basis.inside_old is None else _whole(old, basis.inside_old)  # Cᵀ, (2N, H)
        rows = _power(basis.to_reduced, square) @ rows
        new = rows.T if basis.inside_new is None else _packed(rows, basis.inside_new)
    else:
        size = len(basis.gain_new)
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
            return value[..., planar.to(value.device)].contiguous()
        return value[(planar if name == "B" else modes).to(value.device)].contiguous()

    return {key: one(value) for key, value in state.items()}


def _copy(value: Any) -> Any:
    return value.detach().clone() if isinstance(value, Tensor) else value


def _power(x: Tensor, square: bool) -> Tensor:
    return x * x if square else x


def _whole(stored: Tensor, inside: Tensor | None) -> Tensor:
    """Planar rows (2N, H) of what a layer stores: they themselves, or with channels a vector (2N,)."""
    if inside is None:
        return stored
    rows = stored.new_zeros(inside.shape)
    rows[inside] = stored
    return rows


def _packed(rows: Tensor, inside: Tensor | None) -> Tensor:
    """The reverse of ``_whole``."""
    return rows if inside is None else rows[inside]
