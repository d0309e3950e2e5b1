r"""The recurrence alone, on planar states, in C, in numba or in plain PyTorch.

.. math:: x_k = \lambda x_{k-1} + v_k, \qquad g_k = e_k + \bar\lambda g_{k+1}

A planar array (batch, steps, 2N) holds N complex modes a row, [re (N) | im (N)]. The three
implementations are interchangeable: same arguments, same results to rounding.
"""

from __future__ import annotations

import ctypes
import functools
import math
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from ssmith.compiler import build_library
from ssmith.errors import SsmithError
from ssmith.train.exact import powers_of, wide

_SOURCE = Path(__file__).parent / "kernels" / "scan.c"
# Sums may be reordered, and Apple's clang, for one, lacks OpenMP.
_FLAGS = (
    ("-O3", "-march=native", "-ffast-math", "-fopenmp"),
    ("-O3", "-march=native", "-ffast-math"),
    ("-O3", "-ffast-math"),
)


class Recurrence(Protocol):
    """Both directions of the recurrence; arrays are contiguous, on one device, of one dtype."""

    name: str

    def forward(self, x: Tensor, lam: Tensor, state: Tensor) -> None:
        """Turn inputs into states in place.

        Args:
            x: v on entry, states on return, (batch, steps, 2N).
            lam: poles [re, im], (2, N).
            state: before the first step on entry, after the last on return, (batch, 2N).
        """

    def backward(
        self,
        g: Tensor,
        lam: Tensor,
        adjoint: Tensor,
        x: Tensor | None = None,
        x0: Tensor | None = None,
        dlam: Tensor | None = None,
    ) -> None:
        """Turn e into adjoint states in place, and add to the gradient of lam where x is given.

        Args:
            g: e on entry, adjoint states on return, (batch, steps, 2N).
            lam: poles [re, im], (2, N).
            adjoint: what reaches the last state from later steps on entry; what reaches the
                state before the first step on return, (batch, 2N).
            x: the states, (batch, steps, 2N).
            x0: the state before them, (batch, 2N).
            dlam: plus Σ_k g_k conj(x_{k-1}) on return, (batch, 2N), dtype `exact.wide`.
        """


class PlainTorch:
    """Any device, any floating dtype: chunks of √steps, all stepped at once, then joined.

    Within a chunk the recurrence starts from zero; the states between chunks follow from the
    chunks' last states; then x_t gains λ^{t+1} times the state before its chunk. Powers of λ are
    taken in float64.
    """

    name = "torch"

    def forward(self, x: Tensor, lam: Tensor, state: Tensor) -> None:
        """See `Recurrence.forward`."""
        z = _scan(_complex(x), lam, _complex(state))
        x.copy_(_planar(z))
        state.copy_(x[:, -1])

    def backward(
        self,
        g: Tensor,
        lam: Tensor,
        adjoint: Tensor,
        x: Tensor | None = None,
        x0: Tensor | None = None,
        dlam: Tensor | None = None,
    ) -> None:
        """See `Recurrence.backward`."""
        conj = torch.stack((lam[0], -lam[1]))
        e = _complex(g).flip(1)
        e[:, 0] += _complex(adjoint)
        z = _scan(e, conj, torch.zeros_like(e[:, 0]))
        adjoint.copy_(_planar(z[:, -1] * _complex(conj.flatten())))
        z = z.flip(1)
        g.copy_(_planar(z))
        if x is not None and x0 is not None and dlam is not None:
            before = torch.cat((x0[:, None], x[:, :-1]), 1)
            dlam += _planar((z * _complex(before).conj()).sum(1)).to(wide(x.device))


def _scan(v: Tensor, lam: Tensor, state: Tensor) -> Tensor:
    """States (batch, steps, N) of complex inputs v, poles lam (2, N), start state (batch, N)."""
    batch, steps, n = v.shape
    chunk = max(1, math.isqrt(steps))
    chunks = -(-steps // chunk)
    x = v.new_zeros(batch, chunks * chunk, n)
    x[:, :steps] = v
    x = x.view(batch, chunks, chunk, n)
    exact = powers_of(lam, chunk)[1:]  # λ … λ^chunk, (chunk, N)
    powers = exact.to(v.dtype)
    for t in range(1, chunk):
        x[:, :, t].addcmul_(x[:, :, t - 1], powers[0])
    # The carry in float64: a rounded λ^chunk would act √steps times in the same direction.
    ends, state, pole = x[:, :, -1].to(exact.dtype), state.to(exact.dtype), exact[-1]
    before = torch.empty_like(ends)
    for c in range(chunks):
        before[:, c] = state
        state = torch.addcmul(ends[:, c], state, pole)
    x.addcmul_(before[:, :, None].to(x.dtype), powers)
    return x.view(batch, -1, n)[:, :steps]


def _complex(x: Tensor) -> Tensor:
    n = x.shape[-1] // 2
    return torch.complex(x[..., :n], x[..., n:])


def _planar(z: Tensor) -> Tensor:
    return torch.cat((z.real, z.imag), -1)


class Compiled:
    """The C kernel (kernels/scan.c), threads as torch.get_num_threads() says; CPU only."""

    name = "c"

    def __init__(self) -> None:
        """Compile or find the library.

        Raises:
            SsmithError: there is no usable compiler.
        """
        self._libraries = {
            dtype: _load(build_library(f'#define REAL {real}\n#include "scan.c"\n', [_SOURCE], _FLAGS))
            for dtype, real in ((torch.float32, "float"), (torch.float64, "double"))
        }

    def forward(self, x: Tensor, lam: Tensor, state: Tensor) -> None:
        """See `Recurrence.forward`."""
        batch, steps, n2 = x.shape
        self._libraries[x.dtype].scan_forward(
            x.data_ptr(), batch, steps, n2 // 2, lam.data_ptr(), state.data_ptr(), torch.get_num_threads()
        )

    def backward(
        self,
        g: Tensor,
        lam: Tensor,
        adjoint: Tensor,
        x: Tensor | None = None,
        x0: Tensor | None = None,
        dlam: Tensor | None = None,
    ) -> None:
        """See `Recurrence.backward`."""
        batch, steps, n2 = g.shape
        pointers = [None if a is None else a.data_ptr() for a in (x, x0, lam, adjoint, dlam)]
        self._libraries[g.dtype].scan_backward(
            g.data_ptr(), *pointers[:2], batch, steps, n2 // 2, *pointers[2:], torch.get_num_threads()
        )


def _load(path: Path) -> ctypes.CDLL:
    library = ctypes.CDLL(str(path))
    p, i = ctypes.c_void_p, ctypes.c_int64
    library.scan_forward.argtypes = [p, i, i, i, p, p, ctypes.c_int]
    library.scan_backward.argtypes = [p, p, p, i, i, i, p, p, p, ctypes.c_int]
    library.scan_forward.restype = library.scan_backward.restype = None
    return library


class Numba:
    """The same loops, compiled by numba on one thread; CPU only. For machines without cc."""

    name = "numba"

    def __init__(self) -> None:
        """Compile on first call.

        Raises:
            ImportError: numba is not installed.
        """
        from ssmith.train import recurrence_numba

        self._forward: Callable[..., None] = recurrence_numba.forward
        self._backward: Callable[..., None] = recurrence_numba.backward

    def forward(self, x: Tensor, lam: Tensor, state: Tensor) -> None:
        """See `Recurrence.forward`."""
        self._forward(x.numpy(), lam.numpy(), state.numpy())

    def backward(
        self,
        g: Tensor,
        lam: Tensor,
        adjoint: Tensor,
        x: Tensor | None = None,
        x0: Tensor | None = None,
        dlam: Tensor | None = None,
    ) -> None:
        """See `Recurrence.backward`."""
        if x is None or x0 is None or dlam is None:
            x, x0 = g[:, :0], g.new_zeros(0, 0)
            dlam = torch.zeros(0, 0, dtype=torch.float64)
        self._backward(g.numpy(), lam.numpy(), adjoint.numpy(), x.numpy(), x0.numpy(), dlam.numpy())


@functools.cache
def fastest() -> Recurrence:
    """The fastest implementation for CPU tensors here: C, else numba, else plain PyTorch."""
    try:
        return Compiled()
    except (SsmithError, OSError):
        pass
    try:
        return Numba()
    except ImportError:
        return PlainTorch()


def pick(device: torch.device, *, plain: bool = False) -> Recurrence:
    """The implementation for tensors on `device`; plain PyTorch if asked for or off the CPU."""
    return PlainTorch() if plain or device.type != "cpu" else fastest()
