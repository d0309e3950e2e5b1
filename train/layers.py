"""The linear recurrent unit (LRU) [Orvieto2023]: sequence form, step form, and to and from ``System``."""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from ssmith.errors import InputError
from ssmith.system import System
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


class LRU(SSMLayer):
    r"""A diagonal complex recurrence with a real output.

    .. math:: x_k = \Lambda x_{k-1} + \Gamma B u_k, \qquad y_k = \mathrm{Re}(C x_k) + D \circ u_k

    with λ = exp(-exp(nu_log) + i theta). States and matrices are real and planar: x is
    [Re x (N) | Im x (N)], B is [Re B; Im B] (2N, H), C is [Re C, -Im C] (H, 2N).

    Args:
        width: H, inputs and outputs.
        order: N, complex modes.
        r_min: smallest \|λ\| at the start; \|λ\|² is uniform.
        r_max: largest \|λ\| at the start.
        max_phase: the angle of λ starts uniform in [0, max_phase], radians per step.
        generator: source of the initial values; torch's global one if None.

    Raises:
        InputError: a size is below one, or not 0 ≤ r_min < r_max < 1.
    """

    SSM_PARAMETERS: ClassVar[tuple[str, ...]] = ("nu_log", "theta", "gamma_log", "B")

    nu_log: nn.Parameter  # (N,)
    theta: nn.Parameter  # (N,)
    gamma_log: nn.Parameter  # (N,)
    B: nn.Parameter  # (2N, H), without γ
    C: nn.Parameter  # (H, 2N)

    def __init__(
        self,
        width: int,
        order: int,
        *,
        r_min: float = 0.9,
        r_max: float = 0.999,
        max_phase: float = 2 * math.pi,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        if width < 1 or order < 1:
            raise InputError(f"an LRU of width {width} and order {order} is empty; write 1 or more for each")
        if not 0 <= r_min < r_max < 1:
            raise InputError(f"r_min = {r_min}, r_max = {r_max}; radii need 0 <= r_min < r_max < 1")

        def uniform() -> Tensor:
            return torch.rand(order, generator=generator, dtype=torch.float64)

        def normal(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=generator)

        squared = r_min**2 + (r_max**2 - r_min**2) * uniform()
        nu_log = torch.log(-0.5 * torch.log(squared.clamp(min=MIN_RADIUS**2)))
        self.nu_log = nn.Parameter(nu_log.float())
        self.theta = nn.Parameter((max_phase * uniform()).float())
        self.register_buffer("pole_anchor", self.anchor(_polar, self.nu_log, self.theta))
        self.gamma_log = nn.Parameter((0.5 * torch.log(-torch.expm1(-2 * nu_log.exp()))).float())
        self.B = nn.Parameter(normal(2 * order, width) / math.sqrt(2 * width))
        self.C = nn.Parameter(normal(width, 2 * order) / math.sqrt(order))
        self.D = nn.Parameter(normal(width))

    @property
    def order(self) -> int:
        """Complex modes N."""
        return self.nu_log.numel()

    def poles(self) -> Tensor:
        """λ as everyone sees it: rows [Re; Im], shape (2, N), float32, on the parameters' device."""
        return self.anchored(_polar, self.nu_log, self.theta)

    def input_matrix(self) -> Tensor:
        """Γ B, planar, shape (2N, H)."""
        return self.gamma_log.exp().repeat(2)[:, None] * self.B

    def output_matrix(self) -> Tensor:
        """C, planar, shape (H, 2N)."""
        return self.C

    @torch.no_grad()
    def load_system(self, system: System, *, rescale: bool = True) -> LoadedSystem:
        """See ``SSMLayer.load_system``."""
        d = fitting_feedthrough(system, self.width, "LRU")
        lam = representable(np.stack([system.lam.real, system.lam.imag]))
        radius = np.hypot(lam[0], lam[1]).astype(np.float64)
        gamma = np.sqrt(1 - radius**2)
        raw = system.B / gamma[:, None]
        scale = (
            balancing(raw, system.C, median_ratio(to_numpy(self.B), to_numpy(self.C)))
            if rescale
            else np.ones(system.order)
        )
        b, c = raw * scale[:, None], system.C / scale
        arrays = {
            "nu_log": np.log(-np.log(np.maximum(radius, MIN_RADIUS))),
            "theta": np.arctan2(lam[1], lam[0]),
            "gamma_log": np.log(gamma),
            "B": np.concatenate([b.real, b.imag]),
            "C": np.concatenate([c.real, -c.imag], axis=1),
        }
        if np.any(d != to_numpy(self.D)):
            arrays["D"] = d
        gain_old = np.exp(to_numpy(self.gamma_log))
        old, new = self.exchange(arrays, {})
        self.put({"pole_anchor": self.anchor(_polar, self.nu_log, self.theta, lam=torch.from_numpy(lam))})
        return LoadedSystem(old, new, scale, gain_old, np.exp(to_numpy(self.gamma_log)))


def _polar(nu_log: Tensor, theta: Tensor) -> Tensor:
    radius = torch.exp(-torch.exp(nu_log))
    return torch.stack([radius * torch.cos(theta), radius * torch.sin(theta)])
