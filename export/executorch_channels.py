"""B u and C x of independent channels for XNNPACK, without the zeros between channels.

Import this module inside functions only: it needs torch. Channels of equally many modes n are an axis of
their own, (T, 2, H, n). XNNPACK sums over no axis, but multiplies with a column of ones. Channels of unequal
sizes have no such axis, and nothing in XNNPACK gathers: their products are matrices with zeros.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeGuard

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from ssmith.export.executorch_int8 import Codes
from ssmith.export.executorch_layers import Product, constant
from ssmith.ops import Float32
from ssmith.runtime import integer_weights
from ssmith.runtime.integer_model import Float64
from ssmith.system import channel_mask


def separable(channels: Sequence[int] | None) -> TypeGuard[Sequence[int]]:
    """Whether all channels have as many modes."""
    return channels is not None and len(set(channels)) == 1


class _Channels(Product):
    """What both products have: weights (1, 2, H, n) in float32, bias, and codes of the input.

    Args:
        channels: modes of each channel, H times n.
        weight: B (2N, H) or the transpose of C, with its zeros.
        bias: added to every output, or None.
        codes: of the input; None: they are the input.
        before: scale and shift of an affine op that stands before and is computed by the codes.
    """

    weight: Tensor
    bias: Tensor | None

    def __init__(
        self,
        channels: Sequence[int],
        weight: Float64 | Float32,
        bias: Float64 | None,
        codes: integer_weights.Codes | None = None,
        before: tuple[Float32, Float32] | None = None,
    ) -> None:
        super().__init__()
        self.channels, self.modes = len(channels), channels[0]
        values = weight[np.tile(channel_mask(channels), (2, 1))]
        self.register_buffer("weight", constant(values.reshape(1, 2, self.channels, self.modes)))
        self.register_buffer("bias", None if bias is None else constant(bias))
        self.coder = None
        if codes is not None:
            self.coder, self.scale, self.shift = Codes(codes, before), codes.step, codes.offset

    def codes(self, u: Tensor, *, whole: bool = False) -> Tensor:
        """Whole numbers in any case: no kernel rounds them."""
        codes: Tensor = u if self.coder is None else self.coder(u, whole=True)
        return codes

    def shifted(self, y: Tensor) -> Tensor:
        """Y + bias."""
        return y if self.bias is None else y + self.bias


class Into(_Channels):
    """B u: (T, H) → (T, 2N)."""

    def weighted(self, met: Tensor) -> Tensor:
        """Every input times the weights of its modes."""
        drive = met.view(-1, 1, self.channels, 1) * self.weight
        return self.shifted(drive.view(-1, 2 * self.channels * self.modes))


class Out(_Channels):
    """C x: (T, 2N) → (T, H)."""

    ones: Tensor

    def __init__(
        self,
        channels: Sequence[int],
        weight: Float64 | Float32,
        bias: Float64 | None,
        codes: integer_weights.Codes | None = None,
    ) -> None:
        super().__init__(channels, weight.T, bias, codes)
        self.register_buffer("ones", torch.ones(1, self.modes))

    def weighted(self, met: Tensor) -> Tensor:
        """Weighted modes, summed over those of a channel, then over both parts."""
        terms = met.view(-1, 2, self.channels, self.modes) * self.weight
        sums = functional.linear(terms.view(-1, self.modes), self.ones).view(-1, 2 * self.channels)
        return self.shifted(sums[:, : self.channels] + sums[:, self.channels :])
