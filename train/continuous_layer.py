r"""What S4D and S5 share: poles in continuous time, a learnt step size, discretisation.

.. math::
    \lambda = -e^{\mathrm{log\_A\_real}} + i\,\mathrm{A\_imag}, \qquad
    \bar\lambda = e^{\lambda\Delta}, \quad \bar B = \frac{\bar\lambda - 1}{\lambda} B
    \qquad\text{or}\qquad
    \bar\lambda = \frac{1 + \lambda\Delta/2}{1 - \lambda\Delta/2}, \quad
    \bar B = \frac{\Delta}{1 - \lambda\Delta/2} B

The output is 2 Re(C x): one mode stands for a conjugate pair [Gu2022] [Smith2023].
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ssmith.continuous import Discretization, discretised
from ssmith.errors import InputError
from ssmith.system import Complex, System
from ssmith.train.ssm_layer import (
    MIN_RADIUS,
    LoadedSystem,
    SSMLayer,
    balancing,
    fitting_feedthrough,
    median_ratio,
    representable,
    to_numpy,
)

Parts = dict[str, NDArray[np.float64]]


class ContinuousLayer(SSMLayer):
    """The base of S4D and S5; see the top of this file."""

    SSM_PARAMETERS: ClassVar[tuple[str, ...]] = ("log_A_real", "A_imag", "log_dt", "B")

    log_A_real: nn.Parameter  # (N,)
    A_imag: nn.Parameter  # (N,) rad per unit of time, which is what Δ is measured in
    log_dt: nn.Parameter  # (N,), or (H,) where a channel has one
    B: nn.Parameter
    C: nn.Parameter

    def __init__(self, discretization: Discretization) -> None:
        super().__init__()
        self.discretization = discretization

    @property
    def order(self) -> int:
        """Complex modes N."""
        return self.log_A_real.numel()

    def poles(self) -> Tensor:
        """See ``SSMLayer.poles``."""
        return self.anchored(self._planar_poles, *self._dynamics())

    def mode_log_dt(self) -> Tensor:
        """Log Δ of each mode, (N,)."""
        return self.log_dt

    def _dynamics(self) -> tuple[Tensor, Tensor, Tensor]:
        """log_A_real, A_imag and log Δ of each mode."""
        return self.log_A_real, self.A_imag, self.mode_log_dt()

    def _planar_poles(self, log_real: Tensor, imag: Tensor, log_dt: Tensor) -> Tensor:
        pole, _ = self._discrete(log_real, imag, log_dt)
        return torch.stack([pole.real, pole.imag])

    def _discrete(self, log_real: Tensor, imag: Tensor, log_dt: Tensor) -> tuple[Tensor, Tensor]:
        """λ̄ by the formula, and what it multiplies B with; both (N,), complex128."""
        lam, dt = torch.complex(-log_real.exp(), imag), log_dt.exp()
        if self.discretization == "zoh":
            pole = torch.exp(lam * dt)
            return pole, (pole - 1) / lam
        slow = 1 - lam * dt / 2
        return (1 + lam * dt / 2) / slow, dt / slow

    def _gain(self) -> Tensor:
        """The factor of B, planar parts (2, N), in the parameters' type."""
        _, gain = self._discrete(*(value.cpu().double() for value in self._dynamics()))
        return torch.stack([gain.real, gain.imag]).to(self.D)

    def _loaded(
        self,
        system: System,
        step: NDArray[np.float64],
        *,
        rescale: bool,
        kind: str,
    ) -> tuple[Parts, NDArray[np.float64], Complex]:
        """The arrays that make this layer ``system`` with these Δ (N,): A, whole B and C, D, the poles.

        Returns:
            Them by name, the scale of each mode, and the gains.
        """
        d = fitting_feedthrough(system, self.width, kind)
        stored = representable(np.stack([system.lam.real, system.lam.imag])).astype(np.float64)
        exact = stored[0] + 1j * stored[1]
        angle = np.angle(exact)
        pole = np.maximum(np.abs(exact), MIN_RADIUS) * np.exp(1j * angle)
        lam = (
            (np.log(np.abs(pole)) + 1j * angle) / step
            if self.discretization == "zoh"
            else 2 / step * (pole - 1) / (pole + 1)
        )
        log_real, imag = (to_numpy(self.new_tensor(a)) for a in (np.log(-lam.real), lam.imag))
        _, gain = discretised(-np.exp(log_real) + 1j * imag, step, self.discretization)
        raw, out = system.B / gain[:, None], system.C / 2
        ratio = median_ratio(to_numpy(self.B), to_numpy(self.C))
        scale = balancing(raw, out, ratio) if rescale else np.ones(system.order)
        b, c = raw * scale[:, None], out / scale
        arrays = {
            "log_A_real": log_real,
            "A_imag": imag,
            "B": np.concatenate([b.real, b.imag]),
            "C": np.concatenate([c.real, -c.imag], axis=1),
            "poles": stored,
        }
        if np.any(d != to_numpy(self.D)):
            arrays["D"] = d
        return arrays, scale, gain

    def _replace(
        self, arrays: Parts, scale: NDArray[np.float64], gain: Complex, buffers: dict[str, Tensor]
    ) -> LoadedSystem:
        """Put new Parameters in place, with these buffers and the anchor at ``poles``."""
        re, im = to_numpy(self._gain())
        channels = self.channels
        lam = torch.from_numpy(arrays.pop("poles"))
        old, new = self.exchange(arrays, buffers)
        self.put({"pole_anchor": self.anchor(self._planar_poles, *self._dynamics(), lam=lam)})
        return LoadedSystem(old, new, scale, re + 1j * im, gain, channels, self.channels)


def planar_product(gain: Tensor, rows: Tensor) -> Tensor:
    """A complex factor of each mode, (2, N), times planar rows (2N, …)."""
    re, im = rows.chunk(2)
    a, b = (part.reshape(-1, *(1,) * (rows.ndim - 1)) for part in gain)
    return torch.cat([a * re - b * im, b * re + a * im])


def log_uniform(count: int, low: float, high: float, generator: torch.Generator | None) -> Tensor:
    """Logarithms of step sizes, spread evenly between those of two sizes."""
    start, end = math.log(low), math.log(high)
    return start + (end - start) * torch.rand(count, generator=generator)


def check_sizes(kind: str, width: int, order: int, dt: Sequence[float], discretization: str) -> None:
    """Refuse what no layer could be made of.

    Raises:
        InputError: a size is below one, not 0 < smallest Δ ≤ largest, or an unknown discretisation.
    """
    if width < 1 or order < 1:
        raise InputError(f"an {kind} of width {width} and order {order} is empty; write 1 or more for each")
    if not 0 < dt[0] <= dt[1]:
        raise InputError(f"minimum_dt = {dt[0]}, maximum_dt = {dt[1]}; write 0 < minimum_dt <= maximum_dt")
    if discretization not in ("zoh", "bilinear"):
        raise InputError(f"discretization = {discretization!r} is unknown; write zoh or bilinear")
