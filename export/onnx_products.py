"""A matrix product as nodes, in each way that ``ssmith.runtime.rounding`` knows: y = W u + bias.

What ONNX Runtime 1.32 makes of a graph decided the forms, see docs/precisions.md:

- Codes of 16 bits are whole numbers in float32 (Round, Clip), and the int8 weights are unfolded to float32
  when the file is opened (Cast, Mul of constants): no kernel multiplies 16 by 8 bits. Weights behind a
  DequantizeLinear would become a MatMulNBits that rounds the activations to 8 bits.
- Codes of 8 bits are uint8 with zero point 128, which the kernels for dot products want, and meet
  MatMulIntegerToFloat.
- ``Dynamic`` is DynamicQuantizeLinear before the same; one kernel computes both.
- Blocks of weights are MatMulNBits with float32 activations.
- float16 weights are cast to float32 when the file is opened: on x86 no kernel multiplies halves.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto

from ssmith.errors import InputError
from ssmith.export.onnx_graph import Graph
from ssmith.ops import Float32
from ssmith.runtime.integer_model import Float64
from ssmith.runtime.integer_weights import Codes, Product
from ssmith.runtime.rounding import Dynamic, Static
from ssmith.runtime.weight_blocks import Blocks

CONTRIB = "com.microsoft"
ZERO = 128  # the code of uint8 that stands for 0
_BYTE = 127  # largest code of 8 bits
_LARGEST_HALF = float(np.finfo(np.float16).max)
_FLOAT_ACTIVATIONS = 1  # MatMulNBits: accuracy level that leaves the activations float32


@dataclass(frozen=True, eq=False)
class Exact:
    """A product in float32; weight (M, K)."""

    weight: Float32

    def rows(self, rows: slice) -> Exact:
        """The product of some rows."""
        return Exact(self.weight[rows])


@dataclass(frozen=True, eq=False)
class Half:
    """A product in float32 whose weights (M, K) are stored in float16."""

    weight: Float32

    @classmethod
    def of(cls, key: str, weight: Float32) -> Half:
        """The weights of the product called ``key``.

        Raises:
            InputError: one is beyond the range of float16.
        """
        largest = float(np.abs(weight).max())
        if largest > _LARGEST_HALF:
            raise InputError(
                f"{key} has a weight of {largest:g}, and float16 ends at {_LARGEST_HALF:g}: it would become"
                " infinite; leave float16 out of the precisions, or write int8-weights"
            )
        return cls(weight)

    def rows(self, rows: slice) -> Half:
        """The product of some rows."""
        return Half(self.weight[rows])


How = Exact | Half | Static | Dynamic | Blocks


def scaled(graph: Graph, v: str, scale: Float64, shift: Float64, name: str) -> str:
    """Append v ∘ scale + shift, both (K): one node where the shift is zero or the model a step."""
    if not shift.any():
        return graph.node("Mul", [v, graph.weight(f"{name}/scale", scale)], name)
    parts = [graph.weight(f"{name}/scale", scale), graph.weight(f"{name}/shift", shift)]
    if graph.sequence:
        return graph.node("Add", [graph.node("Mul", [v, parts[0]], f"{name}/scaled"), parts[1]], name)
    width = len(scale)
    mean = graph.shared(f"zeros{width}", np.zeros(width))
    variance = graph.shared(f"ones{width}", np.ones(width))
    return graph.node("BatchNormalization", [v, *parts, mean, variance], name, epsilon=0.0)


def codes_of(
    graph: Graph, codes: Codes, v: str, gain: Float64, shift: Float64, name: str, *, real: bool = False
) -> str:
    """Append the codes of u = gain ∘ v + shift: clip(round((u - offset) / step)); returns their name.

    They are float32 of 16 bits, uint8 with zero point 128 of 8 unless they have to be ``real``.
    """
    finer = scaled(graph, v, gain / codes.step, (shift - codes.offset) / codes.step, f"{name}/finer")
    lowest = graph.shared(f"lowest{codes.limit}", np.float64(-codes.limit))
    highest = graph.shared(f"highest{codes.limit}", np.float64(codes.limit))
    clipped = graph.node("Clip", [finer, lowest, highest], f"{name}/clipped")
    if real or codes.limit > _BYTE:
        return graph.node("Round", [clipped], f"{name}/codes")
    return graph.node("QuantizeLinear", [clipped, *_unit(graph)], f"{name}/codes")


def as_real(graph: Graph, codes: Codes, q: str, name: str) -> str:
    """The name of codes as float32 whole numbers."""
    if codes.limit > _BYTE:
        return q
    return graph.node("DequantizeLinear", [q, *_unit(graph)], f"{name}/codes_real")


def multiply(
    graph: Graph,
    how: How,
    v: str,
    name: str,
    bias: Float64 | None = None,
    plus: str = "",
    output: str = "",
) -> str:
    """Append W v (+ bias) (+ plus); returns the name of the result.

    Args:
        graph: what to append to.
        how: the weights and how they are kept.
        v: name of the input: codes for ``Static``, else the vector itself.
        name: of the product.
        bias: constant, (M); at most one of it and ``plus``.
        plus: name of a vector to add.
        output: name of the result, where it is given; of float32 products alone.
    """
    if isinstance(how, Exact):
        weight = graph.weight(f"{name}/weight", how.weight.T)
    elif isinstance(how, Half):
        stored = graph.weight(f"{name}/weight", how.weight.T, np.float16)
        weight = graph.node("Cast", [stored], f"{name}/weight_real", to=TensorProto.FLOAT)
    elif isinstance(how, Static) and how.product.codes.limit > _BYTE:
        weight = _unfolded(graph, how.product, name)
    else:
        return _contributed(graph, how, v, name, bias, plus)
    return graph.product(v, weight, f"{name}/y", plus or _constant(graph, bias, name), output)


def _contributed(
    graph: Graph, how: Static | Dynamic | Blocks, v: str, name: str, bias: Float64 | None, plus: str
) -> str:
    """A product that is one node of ONNX Runtime's own."""
    constant = _constant(graph, bias, name)
    label = f"{name}/product" if plus else f"{name}/y"
    if isinstance(how, Blocks):
        y = _blocks(graph, how, v, name, label, constant)
    elif isinstance(how, Static):
        one, zero = _unit(graph)
        y = _integers(graph, v, how.product.weight, how.product.scale, (one, zero), name, label, constant)
    else:
        q, step, zero = (f"/{name}/{part}" for part in ("codes", "step", "zero"))
        graph.nodes_out("DynamicQuantizeLinear", [v], f"{name}/quantized", [q, step, zero])
        y = _integers(graph, q, how.rows, how.scale, (step, zero), name, label, constant)
    return graph.node("Add", [y, plus], f"{name}/y") if plus else y


def _integers(
    graph: Graph,
    q: str,
    weight: NDArray[np.int8] | Float64,
    scale: Float64,
    unit: tuple[str, str],
    name: str,
    label: str,
    constant: str,
) -> str:
    """MatMulIntegerToFloat of uint8 codes, whose scale and zero point ``unit`` names."""
    step, zero = unit
    inputs = [
        q,
        graph.weight(f"{name}/weight", weight.T, np.int8),
        step,
        graph.weight(f"{name}/rows", scale),
        zero,
        "",
        constant,
    ]
    return graph.node("MatMulIntegerToFloat", inputs if constant else inputs[:5], label, domain=CONTRIB)


def _blocks(graph: Graph, how: Blocks, v: str, name: str, label: str, constant: str) -> str:
    """MatMulNBits; two codes of 4 bits share a byte, the first in its lower half."""
    codes = how.codes if how.bits == 8 else how.codes[..., 0::2] | (how.codes[..., 1::2] << 4)
    inputs = [
        v,
        graph.weight(f"{name}/weight", codes, np.uint8),
        graph.weight(f"{name}/blocks", how.scale),
        "",
        "",
        constant,
    ]
    return graph.node(
        "MatMulNBits",
        inputs if constant else inputs[:3],
        label,
        domain=CONTRIB,
        K=how.columns,
        N=len(how.codes),
        bits=how.bits,
        block_size=how.size,
        accuracy_level=_FLOAT_ACTIVATIONS,
    )


def _unfolded(graph: Graph, product: Product, name: str) -> str:
    """int8 weights and a scale a row, as constants a runtime multiplies once."""
    weight = graph.weight(f"{name}/weight", product.weight.T, np.int8)
    real = graph.node("Cast", [weight], f"{name}/weight_real", to=TensorProto.FLOAT)
    return graph.node("Mul", [real, graph.weight(f"{name}/rows", product.scale)], f"{name}/weight_scaled")


def _constant(graph: Graph, bias: Float64 | None, name: str) -> str:
    return "" if bias is None else graph.weight(f"{name}/bias", bias)


def _unit(graph: Graph) -> tuple[str, str]:
    """Scale and zero point of uint8 codes that are whole numbers themselves."""
    return graph.shared("one", 1.0), graph.shared("middle", ZERO, np.uint8)
