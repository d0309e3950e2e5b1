"""Other people's state-space layers as a ``System``: which tensor is what, in whose convention.

| published as | poles | input | output |
|---|---|---|---|
| LRU [Orvieto2023] | exp(-exp(nu_log) + i exp(theta_log)) | exp(gamma_log) ∘ (B_re + i B_im) | Re(C x) |
| S4D [Gu2022] | exp(A Δ), A = -exp(log_A_real) + i A_imag, Δ = exp(log_dt) | (exp(A Δ) - 1) / A | 2 Re(C x) |
| S5 [Smith2023] | zoh or bilinear of Lambda_re + i Lambda_im, Δ = exp(log_step) | the same of B | 2 Re(C x) |

S4D and S5 store one pole of each conjugate pair and double the real part of what they read; a ``System``
doubles nothing, so that factor goes into C. In all of them x_k holds u_k already, as it does here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from ssmith.continuous import ContinuousSystem, Discretization
from ssmith.errors import InputError
from ssmith.system import Complex, System

Architecture = Literal["lru", "s4d", "s5"]
StateDict = Mapping[str, Any]  # name → array of NumPy, or tensor of PyTorch on the CPU
SIGNATURES: dict[Architecture, tuple[str, ...]] = {  # a tensor that only such a layer has, by its end
    "lru": ("nu_log",),
    "s4d": ("kernel.log_dt", "log_dt"),
    "s5": ("Lambda_re",),
}
CLIP = -1e-4  # where S5 with clip_eigs holds Re λ


def from_lru(state_dict: StateDict, prefix: str = "") -> System:
    """An LRU as published [Orvieto2023].

    Args:
        state_dict: ``nu_log``, ``theta_log``, ``gamma_log`` (N,), ``B_re``, ``B_im`` (N, U), ``C_re``,
            ``C_im`` (Y, N), ``D`` (Y,) or (Y, U); or complex ``B`` and ``C`` in place of their parts.
        prefix: what stands before those names.

    Raises:
        InputError: a tensor is missing, has another shape or type, or is not finite.
    """
    read = _Reader(state_dict, prefix, "lru")
    nu_log, theta_log, gamma_log = (read.real(name, "N") for name in ("nu_log", "theta_log", "gamma_log"))
    b, c = read.parts("B", "NU"), read.parts("C", "YN")
    lam = np.exp(-np.exp(nu_log) + 1j * np.exp(theta_log))
    return System(lam, np.exp(gamma_log)[:, None] * b, c, read.feedthrough())


def from_s4d(state_dict: StateDict, prefix: str = "") -> System:
    """An S4D kernel with its skip connection, as in its authors' minimal version [Gu2022].

    Args:
        state_dict: ``kernel.log_dt`` (H,), ``kernel.log_A_real``, ``kernel.A_imag`` (H, n), ``kernel.C``
            (H, n, 2) with real and imaginary parts last, or complex (H, n), and ``D`` (H,); the kernel's
            may stand without ``kernel.``.
        prefix: what stands before those names.

    Returns:
        A system of H channels with n modes each.

    Raises:
        InputError: as ``from_lru``.
    """
    read = _Reader(state_dict, prefix, "s4d")
    kernel = "kernel." if f"{prefix}kernel.log_dt" in state_dict else ""
    dt = np.exp(read.real(f"{kernel}log_dt", "H"))
    a = -np.exp(read.real(f"{kernel}log_A_real", "Hn")) + 1j * read.real(f"{kernel}A_imag", "Hn")
    c = read.parts(f"{kernel}C", "Hn")
    parts = [
        ContinuousSystem(a[h], np.ones((a.shape[1], 1)), 2 * c[h : h + 1]).discretise(float(dt[h]))
        for h in range(len(a))
    ]
    return System.joined(parts, read.real("D", "H"))


def from_s5(
    state_dict: StateDict,
    prefix: str = "",
    *,
    discretization: Discretization = "zoh",
    conj_sym: bool = True,
    clip_eigs: bool = False,
) -> System:
    """An S5 layer as published [Smith2023]; what is no tensor there has to be said here.

    Args:
        state_dict: ``Lambda_re``, ``Lambda_im`` (P,), ``B`` (P, U, 2), ``C`` (Y, P, 2), real and imaginary
            parts last, or complex without that axis; ``D`` (Y,); ``log_step`` (P, 1) or (P,).
        prefix: what stands before those names.
        discretization: as it was trained.
        conj_sym: whether one pole of each pair is stored.
        clip_eigs: whether Re λ was held at or below -1e-4.

    Raises:
        InputError: as ``from_lru``; or both directions of a bidirectional layer, which cannot stream.
    """
    read = _Reader(state_dict, prefix, "s5")
    if f"{prefix}C1" in state_dict:
        raise InputError(
            f"the layer {prefix!r} is bidirectional (it has C1 and C2); a stream has no future, so only"
            " layers of one direction can be imported"
        )
    lam_re, lam_im = read.real("Lambda_re", "P"), read.real("Lambda_im", "P")
    b, c = read.parts("B", "PU"), read.parts("C", "YP")
    step = np.exp(read.real("log_step", "P", squeeze=True))
    lam = (np.minimum(lam_re, CLIP) if clip_eigs else lam_re) + 1j * lam_im
    factor = 2 if conj_sym else 1
    return ContinuousSystem(lam, b, factor * c, read.feedthrough()).discretise(step, discretization)


def prefixes(state_dict: StateDict, arch: Architecture) -> list[str]:
    """What stands before the names of each such layer in a checkpoint, sorted."""
    found = set()
    for name in state_dict:
        end = next((end for end in SIGNATURES[arch] if name == end or name.endswith(f".{end}")), None)
        if end is not None:
            found.add(name.removesuffix(end))
    return sorted(found)


class _Reader:
    """Takes tensors by name; the sizes that letters stand for must agree between them."""

    def __init__(self, state_dict: StateDict, prefix: str, arch: Architecture) -> None:
        known = prefixes(state_dict, arch)
        if prefix not in known:
            others = [other for other in get_args(Architecture) if prefixes(state_dict, other)]
            hint = (
                f"write one of these: {', '.join(map(repr, known))}"
                if known
                else f"what is there looks like {' and '.join(others)}"
                if others
                else f"there is only {', '.join(sorted(state_dict)[:5]) or 'nothing'}"
            )
            raise InputError(f"no {arch} layer stands behind the prefix {prefix!r}; {hint}")
        self.state_dict, self.prefix, self.arch = state_dict, prefix, arch
        self.sizes: dict[str, int] = {}

    def real(self, name: str, axes: str, *, squeeze: bool = False) -> NDArray[np.float64]:
        """A real tensor of the shape that ``axes`` spells; with ``squeeze`` a last axis of 1 may follow."""
        array = self._array(name)
        if squeeze and array.ndim == len(axes) + 1 and array.shape[-1] == 1:
            array = array[..., 0]
        if np.iscomplexobj(array):
            raise InputError(f"tensor {self.prefix + name!r} is complex; a {self.arch} layer has it real")
        self._check(name, array.shape, axes)
        return array.astype(np.float64)

    def parts(self, name: str, axes: str) -> Complex:
        """A complex matrix: as such, as ``NAME_re`` and ``NAME_im``, or with its parts on a last axis."""
        if f"{self.prefix}{name}_re" in self.state_dict:
            return self.real(f"{name}_re", axes) + 1j * self.real(f"{name}_im", axes)
        array = self._array(name)
        if not np.iscomplexobj(array):
            if array.ndim != len(axes) + 1 or array.shape[-1] != 2:
                self._check(name, array.shape, axes, last=" × 2, or complex without the last")
            array = array[..., 0] + 1j * array[..., 1]
        self._check(name, array.shape, axes)
        return array.astype(np.complex128)

    def feedthrough(self) -> NDArray[np.float64]:
        """D, a number a channel or a whole matrix."""
        matrix = self._array("D").ndim == 2
        return self.real("D", "YU" if matrix else "Y")

    def _array(self, name: str) -> NDArray[Any]:
        full = self.prefix + name
        if full not in self.state_dict:
            there = sorted(n.removeprefix(self.prefix) for n in self.state_dict if n.startswith(self.prefix))
            raise InputError(
                f"tensor {full!r} is missing; a {self.arch} layer needs it. Behind that prefix there is:"
                f" {', '.join(there[:12])}"
            )
        value = self.state_dict[full]
        array = np.asarray(value.detach() if hasattr(value, "detach") else value)
        if array.dtype.kind not in "fc" or not array.size:
            raise InputError(
                f"tensor {full!r} has type {array.dtype} and shape {array.shape}; weights are floating-point"
                " numbers"
            )
        if not np.isfinite(array).all():
            raise InputError(f"tensor {full!r} holds NaN or infinity; the training behind it diverged")
        return array

    def _check(self, name: str, shape: tuple[int, ...], axes: str, last: str = "") -> None:
        expected = tuple(self.sizes.get(axis) for axis in axes)
        fits = len(shape) == len(axes) and not last
        if fits and all(size in (None, got) for size, got in zip(expected, shape, strict=True)):
            self.sizes.update(zip(axes, shape, strict=True))
            return
        spelled = " × ".join(
            axis if n is None else f"{axis} = {n}" for axis, n in zip(axes, expected, strict=True)
        )
        turned = (
            len(shape) == 2
            and len(axes) == 2
            and all(size in (None, got) for size, got in zip(expected, reversed(shape), strict=True))
        )
        hint = "; it is transposed, so turn it round before saving" if turned else ""
        raise InputError(f"tensor {self.prefix + name!r} has shape {shape}, expected {spelled}{last}{hint}")
