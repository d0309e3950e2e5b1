"""Weights of 8 or 4 bits with a scale for each block of a row, as ONNX Runtime's MatMulNBits holds them.

A row's K columns are cut into blocks of ``size``; the last one is filled up with zeros. With z the middle
code of the bits (128, 8), a weight is ``scale · (code - z)``. As there is one code more below z than
above, the weight of largest magnitude in a block gets the code 0, whatever its sign, and the scale that of
-weight; of a few scales around it the one with the least squared error is taken.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ssmith.ops import Float32
from ssmith.runtime.arithmetic import Float64

WeightBits = Literal[8, 4]
SIZES = (16, 32, 64, 128)  # that MatMulNBits knows and that pay here
CLIPS = (1.0, 0.95, 0.9, 0.85, 0.8)  # of the largest weight: how much of it the code 0 stands for


@dataclass(frozen=True, eq=False)
class Blocks:
    """Codes (M, blocks, size) in uint8, also of 4 bits; scale (M, blocks); ``columns`` is K."""

    codes: NDArray[np.uint8]
    scale: Float32
    bits: WeightBits
    columns: int

    @property
    def size(self) -> int:
        """Columns of a block."""
        return int(self.codes.shape[2])

    @property
    def real(self) -> Float64:
        """The weights that they stand for, (M, K)."""
        middle = 1 << (self.bits - 1)
        values = (self.codes.astype(np.float64) - middle) * self.scale.astype(np.float64)[..., None]
        return values.reshape(len(values), -1)[:, : self.columns]


def blocks_of(weight: Float64 | Float32, bits: WeightBits, size: int | None = None) -> Blocks:
    """Round the weights (M, K) of a product.

    Args:
        weight: real.
        bits: of a weight, 8 or 4.
        size: columns of a block, one of ``SIZES``; None: ``size_for`` chooses.
    """
    real = np.asarray(weight, np.float64)
    rows, columns = real.shape
    size = size or size_for(columns, bits)
    count = -(-columns // size)
    filled = np.zeros((rows, count * size))
    filled[:, :columns] = real
    parts = filled.reshape(rows, count, size)
    peak = np.take_along_axis(parts, np.abs(parts).argmax(-1)[..., None], -1)[..., 0]
    middle = 1 << (bits - 1)
    scales = np.where(peak == 0, 1.0, -peak / middle) * np.reshape(CLIPS, (-1, 1, 1))
    tried = scales.astype(np.float32).astype(np.float64)[..., None]  # (clips, M, blocks, 1)
    codes = np.clip(np.rint(parts / tried), -middle, middle - 1)
    best = ((parts - codes * tried) ** 2).sum(-1).argmin(0)[None, ..., None]
    chosen = np.take_along_axis(codes, best, 0)[0] + middle
    scale = np.take_along_axis(tried, best, 0)[0, ..., 0]
    return Blocks(chosen.astype(np.uint8), scale.astype(np.float32), bits, columns)


def size_for(columns: int, bits: WeightBits) -> int:
    """Columns of a block: 32 of 4-bit weights, for accuracy; of 8-bit weights what needs the fewest bytes.

    A row narrower than 32 has blocks of 16.
    """
    if bits == 4:
        return 32 if columns > 16 else 16
    return min(SIZES, key=lambda size: (-(-columns // size) * (size + 4), size))
