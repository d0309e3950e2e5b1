"""The linear recurrent unit (LRU) [Orvieto2023]: sequence form, step form, and to and from ``System``."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ssmith.errors import InputError
from ssmith.system import System
from ssmith.train.scan import lru_scan

MAX_RADIUS = 1 - 1e-5  # every |λ| ends at or below this: the memory is at most 1e5 steps
MIN_RADIUS = 1e-6  # keeps log(-log|λ|) finite; smaller poles, 0 too, are reached through ``pole_anchor``


@dataclass(frozen=True, eq=False)
class LoadedSystem:
    """What ``LRU.load_system`` put in place, for whoever carries optimiser moments along.

    The new state is x = scale ∘ z, with z the state of the system that was loaded.

    Args:
        replaced: name → parameter that was there before.
        parameters: name → new parameter, the same names; D only if its values changed.
        scale: factor of each mode, shape (N,).
        gamma_old: exp(gamma_log) before, shape (N before,).
        gamma_new: exp(gamma_log) after, shape (N,).
    """

    replaced: dict[str, nn.Parameter]
    parameters: dict[str, nn.Parameter]
    scale: NDArray[np.float64]
    gamma_old: NDArray[np.float64]
    gamma_new: NDArray[np.float64]


class LRU(nn.Module):
    r"""A diagonal complex recurrence with a real output.

    .. math:: x_k = \Lambda x_{k-1} + \Gamma B u_k, \qquad y_k = \mathrm{Re}(C x_k) + D \circ u_k

    with λ = exp(-exp(nu_log) + i theta). States and matrices are real and planar: x is
    [Re x (N) | Im x (N)], B is [Re B; Im B] (2N, H), C is [Re C, -Im C] (H, 2N).

    The poles are computed in float64 on the CPU, held at \|λ\| ≤ ``MAX_RADIUS`` and rounded to float32
    once (``poles``); training, the reduction and every export use those rounded values. Gradients
    pass through the rounding and the limit as if neither were there.

    float32 nu_log and theta cannot say every float32 λ. So λ moves from an anchor, (nu_log, theta, λ) of
    the start or of the system that was loaded: its poles come back to the last bit, and later λ differs
    from the formula by a constant of rounding size.

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
    D: nn.Parameter  # (H,)
    pole_anchor: Tensor  # (4, N): nu_log, theta, Re λ, Im λ

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
        start = self.nu_log.detach(), self.theta.detach()
        lam = torch.from_numpy(_representable(_polar(*(t.double() for t in start)).numpy()))
        self.register_buffer("pole_anchor", torch.stack([*start, *lam]))
        self.gamma_log = nn.Parameter((0.5 * torch.log(-torch.expm1(-2 * nu_log.exp()))).float())
        self.B = nn.Parameter(normal(2 * order, width) / math.sqrt(2 * width))
        self.C = nn.Parameter(normal(width, 2 * order) / math.sqrt(order))
        self.D = nn.Parameter(normal(width))

    @property
    def width(self) -> int:
        """Inputs and outputs H."""
        return self.D.numel()

    @property
    def order(self) -> int:
        """Complex modes N."""
        return self.nu_log.numel()

    def poles(self) -> Tensor:
        """λ as everyone sees it: rows [Re; Im], shape (2, N), float32, on the parameters' device."""
        nu_log, theta, anchor = (t.cpu().double() for t in (self.nu_log, self.theta, self.pole_anchor))
        free: Tensor = anchor[2:] + (_polar(nu_log, theta) - _polar(anchor[0], anchor[1]))
        rounded: Tensor = _Round.apply(free)  # type: ignore[no-untyped-call]
        return rounded.to(self.nu_log.device)

    def input_matrix(self) -> Tensor:
        """Γ B, planar, shape (2N, H)."""
        return self.gamma_log.exp().repeat(2)[:, None] * self.B

    def forward(self, u: Tensor) -> Tensor:
        """Whole sequences from a zero state: u (batch, T, H) → y (batch, T, H)."""
        return self.process(u)[0]

    def process(self, u: Tensor, x: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """A piece of a sequence: u (batch, T, H), x (batch, 2N) or None → y (batch, T, H), next x.

        Runs in the parameters' precision, also where autocast made u a half: a recurrence needs its
        digits (the scan itself switches autocast off).
        """
        u = u.to(self.B.dtype)
        y, x = lru_scan(u, self.poles().to(u.dtype), self.input_matrix(), self.C, x)
        return y + self.D * u, x

    def step(self, u: Tensor, x: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """One frame: u (batch, H), x (batch, 2N) or None if fresh → y (batch, H), next x."""
        x = self.initial_state(len(u)) if x is None else x
        re, im = self.poles().to(u.dtype)
        x_re, x_im = x.chunk(2, dim=-1)
        turned = torch.cat([re * x_re - im * x_im, im * x_re + re * x_im], dim=-1)
        x = turned + u @ self.input_matrix().T
        return x @ self.C.T + self.D * u, x

    def initial_state(self, batch: int) -> Tensor:
        """Zeros (batch, 2N)."""
        return self.B.new_zeros(batch, 2 * self.order)

    @torch.no_grad()
    def system(self, dt_s: float | None = None) -> System:
        """The layer as it computes: the rounded poles and γ B, as float64 values."""
        lam, b, c, d = (_numpy(t) for t in (self.poles(), self.input_matrix(), self.C, self.D))
        n = self.order
        return System(lam[0] + 1j * lam[1], b[:n] + 1j * b[n:], c[:, :n] - 1j * c[:, n:], d, dt_s)

    @torch.no_grad()
    def load_system(self, system: System, *, rescale: bool = True) -> LoadedSystem:
        """Become ``system``, of any order, through new Parameters; the poles are its own to the last bit.

        New ones are needed because autograd and DDP remember the shape of the old; those are not written
        to, so to undo, ``put`` what ``tensors`` returned before. D stays if its values are the same, as
        after a reduction. Poles beyond ``MAX_RADIUS`` are moved to it.

        Args:
            system: H inputs, H outputs, diagonal D, no leading dimensions.
            rescale: choose each mode's free factor so that |B|/|C| stays at the layer's median, which
                keeps step sizes meaningful; else states stay the system's own.

        Raises:
            InputError: the system does not fit this layer.
        """
        d = _diagonal(system, self.width)
        lam = _representable(np.stack([system.lam.real, system.lam.imag]))
        radius = np.hypot(lam[0], lam[1]).astype(np.float64)
        gamma = np.sqrt(1 - radius**2)
        raw = system.B / gamma[:, None]
        scale = _balance(raw, system.C, self._ratio()) if rescale else np.ones(system.order)
        b, c = raw * scale[:, None], system.C / scale
        arrays = {
            "nu_log": np.log(-np.log(np.maximum(radius, MIN_RADIUS))),
            "theta": np.arctan2(lam[1], lam[0]),
            "gamma_log": np.log(gamma),
            "B": np.concatenate([b.real, b.imag]),
            "C": np.concatenate([c.real, -c.imag], axis=1),
        }
        if np.any(d != _numpy(self.D)):
            arrays["D"] = d
        new = {name: nn.Parameter(self._tensor(a)) for name, a in arrays.items()}
        gamma_old = np.exp(_numpy(self.gamma_log))
        old = {name: getattr(self, name) for name in new}
        anchor = torch.stack([new["nu_log"].detach(), new["theta"].detach(), *self._tensor(lam)])
        self.put({**new, "pole_anchor": anchor})
        return LoadedSystem(old, new, scale, gamma_old, np.exp(_numpy(self.gamma_log)))

    def tensors(self) -> dict[str, Tensor]:
        """Every parameter and buffer of the layer by name, the objects themselves."""
        return {**dict(self.named_parameters()), **dict(self.named_buffers())}

    def put(self, tensors: Mapping[str, Tensor]) -> None:
        """Put these very objects in place under their names."""
        for name, tensor in tensors.items():
            setattr(self, name, tensor)

    def _tensor(self, array: NDArray[Any]) -> Tensor:
        return torch.tensor(np.ascontiguousarray(array), dtype=self.B.dtype, device=self.B.device)

    def _ratio(self) -> float:
        """Median |B row| / |C column| over the modes that have both."""
        b, c = _numpy(self.B), _numpy(self.C)
        n = self.order
        rows = np.hypot(np.linalg.norm(b[:n], axis=1), np.linalg.norm(b[n:], axis=1))
        columns = np.hypot(np.linalg.norm(c[:, :n], axis=0), np.linalg.norm(c[:, n:], axis=0))
        used = (rows > 0) & (columns > 0)
        return float(np.median(rows[used] / columns[used])) if used.any() else 1.0


class _Round(torch.autograd.Function):
    """float64 poles (2, N) → the float32 ones in use; the gradient passes unchanged."""

    @staticmethod
    def forward(ctx: Any, free: Tensor) -> Tensor:
        return torch.from_numpy(_representable(free.detach().numpy()))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        return grads[0].double()


def _representable(free: NDArray[np.float64]) -> NDArray[np.float32]:
    """Nearest float32 poles (2, N) with |λ| ≤ MAX_RADIUS; what is in use already comes back unchanged."""
    rounded = free.astype(np.float32)
    outside = np.hypot(*rounded.astype(np.float64)) > MAX_RADIUS
    # Rounding moves |λ| by at most 2**-24 of itself, so from here it ends inside.
    target = MAX_RADIUS * (1 - 2.0**-24)
    shrink = np.where(outside, target / np.maximum(np.hypot(*free), target), 1.0)
    return (free * shrink).astype(np.float32)


def _polar(nu_log: Tensor, theta: Tensor) -> Tensor:
    radius = torch.exp(-torch.exp(nu_log))
    return torch.stack([radius * torch.cos(theta), radius * torch.sin(theta)])


def _balance(b: NDArray[np.complex128], c: NDArray[np.complex128], ratio: float) -> NDArray[np.float64]:
    """Factor s of each mode with |s b| / |c / s| = ratio; 1 where a side is zero (padded slots)."""
    rows, columns = np.linalg.norm(b, axis=1), np.linalg.norm(c, axis=0)
    used = (rows > 0) & (columns > 0)
    scale = np.ones(len(rows))
    scale[used] = np.sqrt(ratio * columns[used] / rows[used])
    return scale


def _diagonal(system: System, width: int) -> NDArray[np.float64]:
    if system.lam.ndim != 1 or (system.inputs, system.outputs) != (width, width):
        raise InputError(
            f"a system with {system.inputs} inputs, {system.outputs} outputs and poles of shape "
            f"{system.lam.shape} does not fit an LRU of width {width}; give one system with {width} of each"
        )
    if system.D.ndim == 1:
        return system.D
    diagonal = np.diagonal(system.D).copy()
    if np.any(system.D != np.diag(diagonal)):
        raise InputError(
            "the system's D is a full matrix; an LRU has a diagonal one, so give D of shape (H,)"
        )
    return diagonal


def _numpy(tensor: Tensor) -> NDArray[np.float64]:
    return tensor.detach().cpu().double().numpy()
