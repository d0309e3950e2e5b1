"""What every state-space layer is to the rest of training: sequences, steps, and a ``System`` in and out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ssmith.errors import InputError
from ssmith.system import System
from ssmith.train.scan import lru_scan

Formula = Callable[..., Tensor]
MAX_RADIUS = 1 - 1e-5  # every |λ| ends at or below this: the memory is at most 1e5 steps
MIN_RADIUS = 1e-6  # keeps log(-log|λ|) finite; what is smaller, 0 too, is reached by a constant beside it


@dataclass(frozen=True, eq=False)
class LoadedSystem:
    """What ``SSMLayer.load_system`` put in place, for whoever carries optimiser moments along.

    The new state is x = scale ∘ z, with z the state of the system that was loaded. A layer stores B without a
    factor of each mode, its gain: γ of an LRU, what discretisation multiplies B with in S4D and S5.

    Args:
        replaced: name → parameter that was there before.
        parameters: name → new parameter, the same names; D only if its values changed.
        scale: factor of each mode, shape (N,).
        gain_old: the gains before, shape (N before,), real or complex.
        gain_new: the gains after, shape (N,).
        channels_old: the layer's channels before, None where it has none.
        channels_new: and after.
    """

    replaced: dict[str, nn.Parameter]
    parameters: dict[str, nn.Parameter]
    scale: NDArray[np.float64]
    gain_old: NDArray[Any]
    gain_new: NDArray[Any]
    channels_old: tuple[int, ...] | None = None
    channels_new: tuple[int, ...] | None = None


class SSMLayer(nn.Module):
    r"""A diagonal complex recurrence with a real output, whatever it is parameterised by.

    .. math:: x_k = \Lambda x_{k-1} + B u_k, \qquad y_k = \mathrm{Re}(C x_k) + D \circ u_k

    A layer of one's own gives ``order``, ``poles``, ``input_matrix``, ``output_matrix`` and ``load_system``,
    and names its dynamics in ``SSM_PARAMETERS``; it is then trained, cut, frozen and exported like the ones
    here (docs/new-layer.md).

    Poles are computed in float64 on the CPU, held at \|λ\| ≤ ``MAX_RADIUS`` and rounded to float32 once;
    training, the reduction and every export use those rounded values. Gradients pass through the rounding
    and the limit as if neither were there. float32 parameters cannot say every float32 λ: so λ moves from
    an anchor, the parameters and λ of the start or of a loaded system, whose poles come back to the last
    bit; later λ differs from the layer's formula by a constant of rounding size (``anchored``).

    States and matrices are real and planar: x is [Re x (N) | Im x (N)], the
    input matrix [Re B; Im B] (2N, H), the output matrix [Re C, -Im C] (H, 2N).

    Attributes:
        SSM_PARAMETERS: names of the parameters that learn at the rate of the dynamics and never decay.
        D: feedthrough, (H,).
    """

    SSM_PARAMETERS: ClassVar[tuple[str, ...]] = ()

    D: nn.Parameter
    pole_anchor: Tensor  # (k + 2, N): what the formula is given, then Re λ, Im λ

    @property
    def width(self) -> int:
        """Inputs and outputs H."""
        return self.D.numel()

    @property
    def order(self) -> int:
        """Complex modes N."""
        raise NotImplementedError

    @property
    def channels(self) -> tuple[int, ...] | None:
        """Modes of each channel where they do not mix, as of ``System``; else None."""
        return None

    def poles(self) -> Tensor:
        """λ as everyone sees it: rows [Re; Im], shape (2, N), float32, on the parameters' device."""
        raise NotImplementedError

    def input_matrix(self) -> Tensor:
        """The whole of B, planar, shape (2N, H)."""
        raise NotImplementedError

    def output_matrix(self) -> Tensor:
        """The whole of C, planar, shape (H, 2N)."""
        raise NotImplementedError

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
        raise NotImplementedError

    def forward(self, u: Tensor) -> Tensor:
        """Whole sequences from a zero state: u (batch, T, H) → y (batch, T, H)."""
        return self.process(u)[0]

    def process(self, u: Tensor, x: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """A piece of a sequence: u (batch, T, H), x (batch, 2N) or None → y (batch, T, H), next x.

        Runs in the parameters' precision, also where autocast made u a half: a recurrence needs its
        digits (the scan itself switches autocast off).
        """
        u = u.to(self.D.dtype)
        y, x = lru_scan(u, self.poles().to(u.dtype), self.input_matrix(), self.output_matrix(), x)
        return y + self.D * u, x

    def step(self, u: Tensor, x: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """One frame: u (batch, H), x (batch, 2N) or None if fresh → y (batch, H), next x."""
        x = self.initial_state(len(u)) if x is None else x
        re, im = self.poles().to(u.dtype)
        x_re, x_im = x.chunk(2, dim=-1)
        turned = torch.cat([re * x_re - im * x_im, im * x_re + re * x_im], dim=-1)
        x = turned + u @ self.input_matrix().T
        return x @ self.output_matrix().T + self.D * u, x

    def initial_state(self, batch: int) -> Tensor:
        """Zeros (batch, 2N)."""
        return self.D.new_zeros(batch, 2 * self.order)

    @torch.no_grad()
    def system(self, dt_s: float | None = None) -> System:
        """The layer as it computes: the rounded poles, B and C as float64 values."""
        matrices = self.poles(), self.input_matrix(), self.output_matrix(), self.D
        lam, b, c, d = (to_numpy(t) for t in matrices)
        n = self.order
        planar = lam[0] + 1j * lam[1], b[:n] + 1j * b[n:], c[:, :n] - 1j * c[:, n:]
        return System(*planar, d, dt_s, self.channels)

    def tensors(self) -> dict[str, Tensor]:
        """Every parameter and buffer of the layer by name, the objects themselves."""
        return {**dict(self.named_parameters()), **dict(self.named_buffers())}

    def put(self, tensors: Mapping[str, Tensor]) -> None:
        """Put these very objects in place under their names."""
        for name, tensor in tensors.items():
            setattr(self, name, tensor)

    def anchored(self, formula: Formula, *values: Tensor) -> Tensor:
        """Poles by a formula, moved from the anchor; for ``poles``.

        Args:
            formula: k values of each mode, (N,) float64 → [Re λ; Im λ] (2, N).
            values: what it is given now; ``pole_anchor`` holds what it was given there, in this order.
        """
        anchor = self.pole_anchor.cpu().double()
        moved = formula(*(value.cpu().double() for value in values)) - formula(*anchor[:-2])
        return rounded_poles(anchor[-2:] + moved).to(self.D.device)

    @torch.no_grad()
    def anchor(self, formula: Formula, *values: Tensor, lam: Tensor | None = None) -> Tensor:
        """The anchor for ``values`` as they are, at poles ``lam`` (2, N) or at the formula's own."""
        if lam is None:
            exact = formula(*(value.cpu().double() for value in values))
            lam = torch.from_numpy(representable(exact.numpy()))
        return torch.stack([*values, *lam.to(values[0])]).detach()

    def exchange(
        self, arrays: Mapping[str, NDArray[Any]], buffers: Mapping[str, Tensor]
    ) -> tuple[dict[str, nn.Parameter], dict[str, nn.Parameter]]:
        """Put new Parameters with these values, and these buffers, in place; for ``load_system``.

        Returns:
            The Parameters before and those after, by name.
        """
        new = {name: nn.Parameter(self.new_tensor(array)) for name, array in arrays.items()}
        old = {name: getattr(self, name) for name in new}
        self.put({**new, **buffers})
        return old, new

    def new_tensor(self, array: NDArray[Any]) -> Tensor:
        """A tensor of the parameters' type on their device."""
        return torch.tensor(np.ascontiguousarray(array), dtype=self.D.dtype, device=self.D.device)


class _Round(torch.autograd.Function):
    """float64 poles (2, N) → the float32 ones in use; the gradient passes unchanged."""

    @staticmethod
    def forward(ctx: Any, free: Tensor) -> Tensor:
        return torch.from_numpy(representable(free.detach().numpy()))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        return grads[0].double()


def rounded_poles(free: Tensor) -> Tensor:
    """The float32 poles with |λ| ≤ ``MAX_RADIUS`` nearest to float64 ones on the CPU, (2, N)."""
    rounded: Tensor = _Round.apply(free)  # type: ignore[no-untyped-call]
    return rounded


def representable(free: NDArray[np.float64]) -> NDArray[np.float32]:
    """Nearest float32 poles (2, N) with |λ| ≤ MAX_RADIUS; what is in use already comes back unchanged."""
    rounded = free.astype(np.float32)
    outside = np.hypot(*rounded.astype(np.float64)) > MAX_RADIUS
    # Rounding moves |λ| by at most 2**-24 of itself, so from here it ends inside.
    target = MAX_RADIUS * (1 - 2.0**-24)
    shrink = np.where(outside, target / np.maximum(np.hypot(*free), target), 1.0)
    return (free * shrink).astype(np.float32)


def balancing(b: NDArray[np.complex128], c: NDArray[np.complex128], ratio: float) -> NDArray[np.float64]:
    """Factor s of each mode with |s b| / |c / s| = ratio; 1 where a side is zero (padded slots)."""
    rows, columns = np.linalg.norm(b, axis=1), np.linalg.norm(c, axis=0)
    used = (rows > 0) & (columns > 0)
    scale = np.ones(len(rows))
    scale[used] = np.sqrt(ratio * columns[used] / rows[used])
    return scale


def median_ratio(b: NDArray[np.float64], c: NDArray[np.float64]) -> float:
    """Median |B row| / |C column| over the modes that have both; planar b (2N, …), c (…, 2N)."""
    n = len(b) // 2
    rows = np.hypot(*(np.linalg.norm(part.reshape(n, -1), axis=1) for part in (b[:n], b[n:])))
    columns = np.hypot(*(np.linalg.norm(part.T.reshape(n, -1), axis=1) for part in (c[..., :n], c[..., n:])))
    used = (rows > 0) & (columns > 0)
    return float(np.median(rows[used] / columns[used])) if used.any() else 1.0


def fitting_feedthrough(system: System, width: int, kind: str) -> NDArray[np.float64]:
    """D (H,) of a system for a layer of this width and kind.

    Raises:
        InputError: the system has other sizes, or its D is no diagonal matrix.
    """
    if system.lam.ndim != 1 or (system.inputs, system.outputs) != (width, width):
        raise InputError(
            f"a system with {system.inputs} inputs, {system.outputs} outputs and poles of shape "
            f"{system.lam.shape} does not fit an {kind} of width {width}; give one system with {width} of"
            " each"
        )
    if system.D.ndim == 1:
        return system.D
    diagonal = np.diagonal(system.D).copy()
    if np.any(system.D != np.diag(diagonal)):
        raise InputError(
            f"the system's D is a full matrix; an {kind} has a diagonal one, so give D of shape (H,)"
        )
    return diagonal


def to_numpy(tensor: Tensor) -> NDArray[np.float64]:
    """Values in float64 on the CPU."""
    return tensor.detach().cpu().double().numpy()
