"""S5: one system with many inputs and outputs, learnt in continuous time [Smith2023]."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ssmith.continuous import Discretization
from ssmith.system import Complex, System
from ssmith.train.continuous_layer import ContinuousLayer, check_sizes, log_uniform, planar_product
from ssmith.train.ssm_layer import LoadedSystem

BLOCK = 32  # modes of one HiPPO block: its matrix is 64 × 64, whatever the order


class S5(ContinuousLayer):
    r"""A diagonal system of H inputs and outputs; see ``continuous_layer`` for its equations.

    At the start its poles are those of the normal part of HiPPO-LegS in blocks of at most ``BLOCK`` modes,
    its B and C random real matrices in that basis, Δ log-uniform.

    Args:
        width: H, inputs and outputs.
        order: N, complex modes, each for a conjugate pair.
        discretization: "zoh" or "bilinear".
        minimum_dt: smallest Δ at the start, one a mode, in steps.
        maximum_dt: largest.
        generator: source of the initial values; torch's global one if None.

    Raises:
        InputError: see ``check_sizes``.
    """

    def __init__(
        self,
        width: int,
        order: int,
        *,
        discretization: Discretization = "zoh",
        minimum_dt: float = 1e-3,
        maximum_dt: float = 0.1,
        generator: torch.Generator | None = None,
    ) -> None:
        check_sizes("S5", width, order, (minimum_dt, maximum_dt), discretization)
        super().__init__(discretization)
        sizes = [BLOCK] * (order // BLOCK) + ([order % BLOCK] if order % BLOCK else [])
        poles, b, c = [], [], []
        for modes in sizes:
            lam, vectors = hippo_normal(modes)
            into, out = (torch.randn(2 * modes, width, generator=generator).double().numpy() for _ in "BC")
            poles.append(lam)
            b.append(vectors.conj().T @ into / math.sqrt(width))
            c.append(vectors.T @ out / math.sqrt(2 * order))
        lam, into, out = (np.concatenate(parts) for parts in (poles, b, c))
        self.log_A_real = nn.Parameter(torch.tensor(np.log(-lam.real)).float())
        self.A_imag = nn.Parameter(torch.tensor(lam.imag).float())
        self.log_dt = nn.Parameter(log_uniform(order, minimum_dt, maximum_dt, generator))
        self.B = nn.Parameter(torch.tensor(np.concatenate([into.real, into.imag])).float())
        self.C = nn.Parameter(torch.tensor(np.concatenate([out.real, -out.imag]).T.copy()).float())
        self.D = nn.Parameter(torch.randn(width, generator=generator))
        self.register_buffer("pole_anchor", self.anchor(self._planar_poles, *self._dynamics()))

    def input_matrix(self) -> Tensor:
        """B̄, planar, shape (2N, H)."""
        return planar_product(self._gain(), self.B)

    def output_matrix(self) -> Tensor:
        """2 C, planar, shape (H, 2N)."""
        return 2 * self.C

    @torch.no_grad()
    def load_system(self, system: System, *, rescale: bool = True) -> LoadedSystem:
        """See ``SSMLayer.load_system``; every Δ becomes the geometric mean of those before."""
        log_dt = self.log_dt.mean().cpu().double().expand(system.order).numpy()
        log_dt = self.new_tensor(log_dt).cpu().double().numpy()  # as it will be stored
        arrays, scale, gain = self._loaded(system, np.exp(log_dt), rescale=rescale, kind="S5")
        return self._replace(arrays | {"log_dt": log_dt}, scale, gain, {})


def hippo_normal(modes: int) -> tuple[Complex, NDArray[np.complex128]]:
    r"""Poles and eigenvectors of the normal part of HiPPO-LegS, one of each conjugate pair.

    .. math:: A_{nk} = -\tfrac12 \delta_{nk} \mp \sqrt{(n + \tfrac12)(k + \tfrac12)}, \quad n \gtrless k

    Args:
        modes: half the size of A.

    Returns:
        λ (modes,) with Im λ > 0, eigenvectors (2 · modes, modes).
    """
    root = np.sqrt(np.arange(2 * modes) + 0.5)
    product = np.outer(root, root)
    skew = np.triu(product, 1) - np.tril(product, -1)
    imag, vectors = np.linalg.eigh(-1j * skew)
    return -0.5 + 1j * imag[modes:], vectors[:, modes:]
