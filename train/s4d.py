"""S4D: a small system of one input and one output for each channel [Gu2022]."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor, nn

from ssmith.continuous import Discretization
from ssmith.errors import InputError
from ssmith.system import System, channel_mask
from ssmith.train.continuous_layer import ContinuousLayer, check_sizes, log_uniform, planar_product
from ssmith.train.ssm_layer import LoadedSystem


class S4D(ContinuousLayer):
    r"""H independent channels; see ``continuous_layer`` for their equations.

    The modes of all channels stand in one flat state, channel after channel. At the start they are as even
    as N / H allows, and those of each channel are λ_k = -1/2 + iπk (S4D-Lin), B = 1, C normal. A reduction
    leaves each channel as many modes as it needs, none included.

    Args:
        width: H, channels.
        order: N, complex modes of all channels together, each for a conjugate pair.
        discretization: "zoh" or "bilinear".
        minimum_dt: smallest Δ at the start, one a channel, in steps.
        maximum_dt: largest.
        generator: source of the initial values; torch's global one if None.

    Raises:
        InputError: see ``check_sizes``.
    """

    owner: Tensor  # (N,) int64, channel of each mode, ascending

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
        check_sizes("S4D", width, order, (minimum_dt, maximum_dt), discretization)
        super().__init__(discretization)
        modes = np.diff(np.arange(width + 1) * order // width)
        index = torch.tensor(np.concatenate([np.arange(n) for n in modes]))
        self.register_buffer("owner", torch.tensor(np.repeat(np.arange(width), modes)))
        self.log_A_real = nn.Parameter(torch.full((order,), math.log(0.5)))
        self.A_imag = nn.Parameter(math.pi * index.float())
        self.log_dt = nn.Parameter(log_uniform(width, minimum_dt, maximum_dt, generator))
        self.B = nn.Parameter(torch.cat([torch.ones(order), torch.zeros(order)]))
        self.C = nn.Parameter(torch.randn(2 * order, generator=generator) / math.sqrt(2))
        self.D = nn.Parameter(torch.randn(width, generator=generator))
        self.register_buffer("pole_anchor", self.anchor(self._planar_poles, *self._dynamics()))

    @property
    def channels(self) -> tuple[int, ...]:
        """Modes of each channel."""
        return tuple(torch.bincount(self.owner.cpu(), minlength=self.width).tolist())

    def mode_log_dt(self) -> Tensor:
        """Log Δ of each mode, (N,): its channel's."""
        return self.log_dt[self.owner]

    def input_matrix(self) -> Tensor:
        """B̄, planar, shape (2N, H), zero between channels."""
        return self._spread(planar_product(self._gain(), self.B))

    def output_matrix(self) -> Tensor:
        """2 C, planar, shape (H, 2N), zero between channels."""
        return self._spread(2 * self.C).T

    @torch.no_grad()
    def load_system(self, system: System, *, rescale: bool = True) -> LoadedSystem:
        """See ``SSMLayer.load_system``; every channel keeps its Δ.

        Raises:
            InputError: the system has no channels, which one of width 1 need not say.
        """
        channels = (system.order,) if system.channels is None and self.width == 1 else system.channels
        if channels is None:
            raise InputError(
                "every mode of the system hears every input, and an S4D keeps its channels apart; give a"
                " system with channels, or an LRU or S5 layer"
            )
        owner = torch.tensor(np.repeat(np.arange(len(channels)), channels), device=self.owner.device)
        step = np.exp(self.log_dt.cpu().double().numpy())[owner.cpu().numpy()]
        arrays, scale, gain = self._loaded(system, step, rescale=rescale, kind="S4D")
        inside = np.tile(channel_mask(channels), (2, 1))
        arrays |= {"B": arrays["B"][inside], "C": arrays["C"].T[inside]}
        return self._replace(arrays, scale, gain, {"owner": owner})

    def _spread(self, values: Tensor) -> Tensor:
        """Planar values of each mode at their channels: (2N,) → (2N, H)."""
        rows = torch.arange(len(values), device=values.device)
        whole = values.new_zeros(len(values), self.width)
        return whole.index_put((rows, self.owner.repeat(2)), values)
