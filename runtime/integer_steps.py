"""One drafted op each: what the first walk decided in real numbers, and how it becomes an integer op.

``finish`` is called once all scales are known. It moves the ledger's bounds from the op's input to
its output, computed from the integers that the model will hold.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from ssmith.runtime.integer_functions import INT32_MAX, POOL_LIMIT
from ssmith.runtime.integer_ledger import VECTOR_LIMIT, Ledger, whole
from ssmith.runtime.integer_model import (
    AddOp,
    AffineOp,
    EmaPoolOp,
    EmbeddingOp,
    Float64,
    GateOp,
    GeluOp,
    Int8,
    IntegerOp,
    LayerNormOp,
    LinearOp,
    MeanPoolOp,
    SaveOp,
)
from ssmith.runtime.integer_scales import Ids, grid_power
from ssmith.runtime.integer_weights import Product

_GELU_PEAK = 1.1  # of the table: max g(a) / h is 1.088
_UNIT = 1 << 29  # of a normalised layer norm


class Step(Protocol):
    """A drafted op."""

    @property
    def name(self) -> str:
        """Of the op."""
        ...

    def finish(self, ledger: Ledger) -> IntegerOp:
        """The integer op; the ledger's bounds become those of its output."""
        ...


@dataclass(frozen=True, eq=False)
class LinearStep:
    """y = W (gain ∘ v + shift) + bias as a product of codes."""

    name: str
    product: Product
    gain: Float64
    bias: Float64
    source: Ids
    target: Ids

    def finish(self, ledger: Ledger) -> LinearOp:
        """See ``Step``."""
        p, scale = self.product, ledger.scale(self.target)
        factor = ledger.scale(self.source) * self.gain / p.codes.step
        codes = ledger.quantize(f"{self.name}.codes", f"{self.name}.input", p.codes, factor, ledger.reach)
        sums = p.codes.limit * p.row_sums.astype(np.int64)
        requant, reach = ledger.requant(f"{self.name}.accumulator", p.scale / scale, sums)
        bias = whole(f"the bias of {self.name}", (p.bias + self.bias) / scale)
        ledger.reach = reach + (0 if bias is None else np.abs(bias.astype(np.int64)))
        ledger.scales[f"{self.name}.output"] = scale
        return LinearOp(self.name, codes, p.weight, requant, bias)


@dataclass(frozen=True, eq=False)
class EmbeddingStep:
    """y = table[i] with int8 rows, one scale a channel."""

    name: str
    table: Int8
    scale: Float64
    target: Ids

    def finish(self, ledger: Ledger) -> EmbeddingOp:
        """See ``Step``."""
        largest = np.abs(self.table.astype(np.int64)).max(0)
        scale = ledger.scale(self.target)
        factor = self.scale / scale
        ledger.scales[f"{self.name}.output"] = scale
        requant, ledger.reach = ledger.requant(f"{self.name}.accumulator", factor, largest)
        return EmbeddingOp(self.name, self.table, requant)


@dataclass(frozen=True, eq=False)
class AffineStep:
    """y = gain ∘ v + shift, or a change of scales alone."""

    name: str
    gain: Float64
    shift: Float64
    bound: Float64  # of v, real
    source: Ids
    target: Ids

    def finish(self, ledger: Ledger) -> AffineOp:
        """See ``Step``."""
        scale = ledger.scale(self.target)
        factor = ledger.scale(self.source) * self.gain / scale
        requant, reach = ledger.requant(f"{self.name}.input", factor, ledger.reach)
        bias = whole(f"the shift of {self.name}", self.shift / scale)
        ledger.reach = reach + (0 if bias is None else np.abs(bias.astype(np.int64)))
        ledger.scales[f"{self.name}.output"] = scale
        return AffineOp(self.name, requant, bias)


@dataclass(frozen=True, eq=False)
class LayerNormStep:
    """y = gain ∘ (v - mean) / √(var + eps) + shift."""

    name: str
    gain: Float64
    shift: Float64
    eps: float
    source: Ids
    target: Ids

    def finish(self, ledger: Ledger) -> LayerNormOp:
        """See ``Step``."""
        width, scale = len(self.gain), ledger.scale(self.target)
        mean_shift = width.bit_length() - 1
        mean_factor = min(round((1 << (31 + mean_shift)) / width), INT32_MAX)
        eps = max(round(self.eps**0.5 / float(ledger.scale(self.source)[0])), 1)
        ledger.prove(f"{self.name}.input", [*ledger.reach, eps], VECTOR_LIMIT >> 1)
        unit = np.full(width, _UNIT + (1 << 19))
        factor = self.gain * width**0.5 / (_UNIT * scale)
        requant, reach = ledger.requant(f"{self.name}.normal", factor, unit)
        bias = np.rint(self.shift / scale)
        ledger.reach = reach + np.abs(bias).astype(np.int64)
        ledger.scales[f"{self.name}.output"] = scale
        return LayerNormOp(self.name, mean_shift, mean_factor, eps, requant, bias.astype(np.int32))


@dataclass(frozen=True, eq=False)
class GeluStep:
    """y = gelu(v)."""

    name: str
    ids: Ids

    def finish(self, ledger: Ledger) -> GeluOp:
        """See ``Step``."""
        p = grid_power("gelu", float(ledger.scale(self.ids)[0]))
        ledger.reach = np.maximum(ledger.reach, int(_GELU_PEAK * 2**p)) + 1
        return GeluOp(self.name, p)


@dataclass(frozen=True, eq=False)
class GateStep:
    """y = v[:H] · σ(v[H:])."""

    name: str
    source: Ids

    def finish(self, ledger: Ledger) -> GateOp:
        """See ``Step``."""
        half = len(self.source) // 2
        ledger.prove(f"{self.name}.input", ledger.reach[:half], VECTOR_LIMIT >> 1)
        ledger.reach = ledger.reach[:half] + 1
        return GateOp(self.name, grid_power("sigmoid", float(ledger.scale(self.source[half:])[0])))


@dataclass(frozen=True)
class SaveStep:
    """Keep v."""

    name: str
    slot: int

    def finish(self, ledger: Ledger) -> SaveOp:
        """See ``Step``."""
        ledger.slots[self.slot] = ledger.reach
        return SaveOp(self.name, self.slot)


@dataclass(frozen=True)
class AddStep:
    """y = v + slot."""

    name: str
    slot: int

    def finish(self, ledger: Ledger) -> AddOp:
        """See ``Step``."""
        ledger.reach = ledger.reach + ledger.slots[self.slot]
        return AddOp(self.name, self.slot)


@dataclass(frozen=True)
class PoolStep:
    """A running mean: over all frames if ``gain`` is None, else exponential with 1 - decay = gain / 2^31."""

    name: str
    gain: int | None
    sum: str
    count: str

    def finish(self, ledger: Ledger) -> MeanPoolOp | EmaPoolOp:
        """See ``Step``."""
        if self.gain is None:
            ledger.prove(f"{self.name}.input", ledger.reach, VECTOR_LIMIT >> 1)
            ledger.prove(f"{self.name}.sum", ledger.reach << POOL_LIMIT, 1 << 63)
            ledger.reach = ledger.reach + 2
            return MeanPoolOp(self.name, self.sum, self.count)
        ledger.prove(f"{self.name}.input", ledger.reach, VECTOR_LIMIT >> 2)
        rounding = (1 << 31) / self.gain  # one unit a frame, remembered for 1 / (1 - decay) frames
        sums = ledger.reach + int(rounding) + 1
        ledger.prove(f"{self.name}.sum", sums)
        ledger.reach = np.ceil(sums / (1 - rounding / 2**29)).astype(np.int64) + 2
        return EmaPoolOp(self.name, self.gain, self.sum, self.count)
