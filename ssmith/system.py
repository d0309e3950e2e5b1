"""A diagonal state-space system, shapes checked once; everything downstream may rely on them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ssmith.errors import InputError

Complex = NDArray[np.complex128]
Real = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class System:
    r"""A stable discrete-time diagonal system with real output [Orvieto2023].

    .. math:: x_k = \Lambda x_{k-1} + B u_k, \qquad y_k = \mathrm{Re}(C x_k) + D u_k

    Note that x_k already holds u_k: the transfer function is z C (zI - Λ)⁻¹ B + D.
    The real system behind it has order 2N. Leading dimensions are independent systems.
    The arrays are copied and made read-only.

    With ``channels`` the system is that many independent ones of one input and one output each (the layout of
    S4D [Gu2022]): modes stand channel after channel, B and C are zero outside the blocks, D is diagonal.

    Args:
        lam: poles Λ, shape (..., N), every |λ| < 1.
        B: input matrix (γ folded in), shape (..., N, U).
        C: output matrix, shape (..., Y, N).
        D: feedthrough, shape (..., Y, U), or (..., U) for a diagonal one (then Y = U); zero if None.
        dt_s: seconds per step, or None where time has no unit.
        channels: modes of each channel, H numbers with sum N, 0 allowed; None: every mode hears every input.

    Raises:
        InputError: a shape does not fit, a value is not finite, a pole is not inside the unit circle, or
            channels are mixed.
    """

    lam: Complex
    B: Complex
    C: Complex
    D: Real
    dt_s: float | None = None
    channels: tuple[int, ...] | None = None

    def __init__(
        self,
        lam: ArrayLike,
        B: ArrayLike,
        C: ArrayLike,
        D: ArrayLike | None = None,
        dt_s: float | None = None,
        channels: Sequence[int] | None = None,
    ) -> None:
        lam_, B_, C_ = (np.array(a, dtype=np.complex128) for a in (lam, B, C))
        if lam_.ndim < 1 or lam_.shape[-1] < 1:
            raise InputError(f"lam has shape {lam_.shape}; write at least one pole, shape (..., N)")
        lead, n = lam_.shape[:-1], lam_.shape[-1]
        if B_.ndim != lam_.ndim + 1 or B_.shape[:-1] != lam_.shape:
            raise InputError(f"B has shape {B_.shape}; lam has N = {n}, so write {(*lam_.shape, 'U')}")
        if C_.ndim != lam_.ndim + 1 or C_.shape[:-2] != lead or C_.shape[-1] != n:
            raise InputError(f"C has shape {C_.shape}; lam has N = {n}, so write {(*lead, 'Y', n)}")
        u, y = B_.shape[-1], C_.shape[-2]
        D_ = np.zeros((*lead, y, u)) if D is None else np.array(D, dtype=np.float64)
        if D_.shape != (*lead, y, u) and not (D_.shape == (*lead, u) and u == y):
            raise InputError(f"D has shape {D_.shape}; write {(*lead, y, u)}, or {(*lead, u)} if Y = U")
        for name, a in (("lam", lam_), ("B", B_), ("C", C_), ("D", D_)):
            if not np.isfinite(a).all():
                raise InputError(f"{name} holds a value that is not finite; no stage can use it")
            a.flags.writeable = False
        worst = float(np.abs(lam_).max())
        if worst >= 1.0:
            raise InputError(f"a pole has |λ| = {worst:.9g}; a stable system needs every |λ| < 1")
        if dt_s is not None and not (np.isfinite(dt_s) and dt_s > 0):
            raise InputError(f"dt_s = {dt_s}; write the seconds per step, a number above zero, or None")
        for name, value in (("lam", lam_), ("B", B_), ("C", C_), ("D", D_), ("dt_s", dt_s)):
            object.__setattr__(self, name, value)
        object.__setattr__(self, "channels", None if channels is None else tuple(int(n) for n in channels))
        if self.channels is not None:
            self._check_channels(self.channels)

    def _check_channels(self, channels: tuple[int, ...]) -> None:
        if self.lam.ndim != 1 or self.D.ndim != 1 or len(channels) != self.inputs:
            raise InputError(
                f"{len(channels)} channels for lam of shape {self.lam.shape} and D of shape {self.D.shape}; "
                f"write lam (N,), D (H,) and one number of modes for each of the H = {self.inputs} channels"
            )
        inside = channel_mask(channels)
        if min(channels) < 0 or inside.shape != self.B.shape:
            raise InputError(f"channels = {channels} do not share out the {self.order} modes; their sum must")
        if self.B[~inside].any() or self.C.T[~inside].any():
            raise InputError(
                "B or C joins a mode to another channel than its own; leave channels out for such a system"
            )

    def split(self) -> tuple[System | None, ...]:
        """Each channel as a system of its own, (n,), (n, 1), (1, n), (1,); None for one without modes.

        Raises:
            InputError: the system has no channels.
        """
        if self.channels is None:
            raise InputError("every mode hears every input here; only a system with channels can be split")
        ends = np.cumsum(self.channels)
        rows = [slice(end - n, end) for end, n in zip(ends, self.channels, strict=True)]
        return tuple(
            System(self.lam[r], self.B[r, h : h + 1], self.C[h : h + 1, r], self.D[h : h + 1], self.dt_s)
            if self.channels[h]
            else None
            for h, r in enumerate(rows)
        )

    @classmethod
    def joined(cls, parts: Sequence[System | None], D: ArrayLike, dt_s: float | None = None) -> System:
        """The system whose ``split`` is ``parts``; D (H,) also of channels without modes."""
        channels = [0 if part is None else part.order for part in parts]
        inside, there = channel_mask(channels), [part for part in parts if part is not None]
        B, C = np.zeros(inside.shape, np.complex128), np.zeros(inside.shape, np.complex128)
        B[inside] = np.concatenate([part.B[:, 0] for part in there])
        C[inside] = np.concatenate([part.C[0] for part in there])
        return cls(np.concatenate([part.lam for part in there]), B, C.T, D, dt_s, channels)

    @property
    def order(self) -> int:
        """Stored complex modes N, what the paper's tables count."""
        return int(self.lam.shape[-1])

    @property
    def inputs(self) -> int:
        """Number of inputs U."""
        return int(self.B.shape[-1])

    @property
    def outputs(self) -> int:
        """Number of outputs Y."""
        return int(self.C.shape[-2])

    @classmethod
    def from_lru(cls, state_dict: Mapping[str, Any], prefix: str = "") -> System:
        """A published LRU [Orvieto2023]; see ``ssmith.imported.from_lru``."""
        from ssmith.imported import from_lru

        return from_lru(state_dict, prefix)

    @classmethod
    def from_s4d(cls, state_dict: Mapping[str, Any], prefix: str = "") -> System:
        """A published S4D layer [Gu2022]; see ``ssmith.imported.from_s4d``."""
        from ssmith.imported import from_s4d

        return from_s4d(state_dict, prefix)

    @classmethod
    def from_s5(cls, state_dict: Mapping[str, Any], prefix: str = "", **convention: Any) -> System:
        """A published S5 layer [Smith2023]; see ``ssmith.imported.from_s5`` for its conventions."""
        from ssmith.imported import from_s5

        return from_s5(state_dict, prefix, **convention)


def channel_mask(channels: Sequence[int]) -> NDArray[np.bool_]:
    """True where a mode belongs to a channel: H numbers of modes, sum N → (N, H)."""
    owner = np.repeat(np.arange(len(channels)), np.maximum(channels, 0))
    mask: NDArray[np.bool_] = owner[:, None] == np.arange(len(channels))
    return mask
