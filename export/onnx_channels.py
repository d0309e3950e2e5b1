"""The products of an SSM of independent channels as nodes: B u and C x without the zeros between channels.

A file holds one number a mode and part of B and of C, [re (N) | im (N)], and where each channel's modes begin
and end. Two forms compute the products:

- A matrix made of them when the file is opened, where a runtime folds constants; one that does not computes
  the same.
- Elements: channels of equally many modes are an axis of their own, B repeats its input along it and C sums
  over it. A rank more, and no kernel but those for elements.

Codes of rounded inputs are whole numbers in float32 here, of 8 bits too, and rounded weights are unfolded to
float32: no kernel for bytes is faster on a few numbers a row.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto

from ssmith.export.onnx_graph import Graph
from ssmith.export.onnx_products import Exact, Half
from ssmith.runtime.integer_model import Float64
from ssmith.runtime.rounding import Static
from ssmith.system import channel_mask

# A matrix of more numbers is slower than elements. benchmarks/onnx_channels.py, µs a step, matrices against
# elements, channels x modes: 16 x 4 5.7 / 7.9, 16 x 32 9.6 / 10.8, 32 x 16 10.5 / 11.0, 24 x 32 12.0 / 11.6,
# 32 x 32 15.7 / 12.8, 64 x 32 41 / 16; over a block they cross at about the same size.
# Channels of unequal sizes would have to be gathered number by number, and always are a matrix.
MATRIX_NUMBERS = 35_000

Side = Literal["B", "C"]


@dataclass(frozen=True)
class Channels:
    """One SSM: its name, how many modes each channel has, and what follows for the graph."""

    name: str
    modes: tuple[int, ...]

    @property
    def elements(self) -> bool:
        """Whether products are computed element by element."""
        numbers = 2 * sum(self.modes) * len(self.modes)
        return len(set(self.modes)) == 1 and numbers > MATRIX_NUMBERS

    def multiply(
        self,
        graph: Graph,
        how: Exact | Half | Static,
        v: str,
        side: Side,
        bias: Float64 | None = None,
        plus: str = "",
        output: str = "",
    ) -> str:
        """Append W v (+ bias) (+ plus), W being B or C; arguments as of ``onnx_products.multiply``."""
        name = f"{self.name}.{side}"
        weight = self._weight(graph, how, name, side)
        plus = plus or ("" if bias is None else graph.weight(f"{name}/bias", bias))
        if not self.elements:
            return graph.product(v, weight, f"{name}/y", plus, output)
        end = f"{name}/sums" if plus else f"{name}/y"
        product = self._spread if side == "B" else self._sum
        y = product(graph, v, weight, name, end)
        return graph.node("Add", [y, plus], f"{name}/y", output=output) if plus else y

    def _weight(self, graph: Graph, how: Exact | Half | Static, name: str, side: Side) -> str:
        """Append what makes float32 weights of those stored: (in, out), or (2, H, n) for elements."""
        rows = how.product.scale if isinstance(how, Static) else None
        values = self._values(how, side)
        if side == "B" and rows is not None:
            values, rows = values * rows, None  # a scale a weight: less to store as one number
        kind = np.int8 if rows is not None else np.float16 if isinstance(how, Half) else np.float32
        if self.elements:
            values = values.reshape(2, len(self.modes), -1)
            rows = None if rows is None else rows[:, None]
        weight = graph.weight(f"{name}/weight", values, kind)
        if kind is not np.float32:
            weight = graph.node("Cast", [weight], f"{name}/weight_real", to=TensorProto.FLOAT)
        if not self.elements:
            weight = self._matrix(graph, weight, name, side)
        if rows is None:
            return weight
        return graph.node("Mul", [weight, graph.weight(f"{name}/rows", rows)], f"{name}/scaled")

    def _values(self, how: Exact | Half | Static, side: Side) -> Float64:
        """The weights without zeros, [re (N) | im (N)]."""
        weight: NDArray[np.generic] = how.product.weight if isinstance(how, Static) else how.weight
        whole = weight if side == "B" else weight.T
        values: Float64 = whole[np.tile(channel_mask(self.modes), (2, 1))].astype(np.float64)
        return values

    def _matrix(self, graph: Graph, values: str, name: str, side: Side) -> str:
        """W transposed, as ``Graph.product`` takes it, from the (2N) values."""
        inside = self._inside(graph)
        if side == "B":
            return graph.node("Mul", [inside, values], f"{name}/matrix")
        across = graph.node("Mul", [inside, values], f"{name}/across")
        return graph.node("Transpose", [across], f"{name}/matrix", perm=[1, 0])

    def _inside(self, graph: Graph) -> str:
        """Append the matrix (H, 2N) of ones where a mode belongs to a channel, once for B and C."""
        stem = f"{self.name}/channels"
        inside = f"/{stem}/inside"
        if not graph.has(inside):
            ends = np.cumsum(self.modes)
            bounds = [0, ends[-1], 1]
            limits = [graph.weight(f"{stem}/bound{i}", np.int32(b), np.int32) for i, b in enumerate(bounds)]
            modes = graph.node("Range", limits, f"{stem}/modes")
            first = graph.weight(f"{stem}/first", (ends - self.modes)[:, None], np.int32)
            end = graph.weight(f"{stem}/end", ends[:, None], np.int32)
            begun = graph.node("GreaterOrEqual", [modes, first], f"{stem}/begun")
            before = graph.node("Less", [modes, end], f"{stem}/before")
            own = graph.node("And", [begun, before], f"{stem}/own")
            ones = graph.node("Cast", [own], f"{stem}/ones", to=TensorProto.FLOAT)
            graph.node("Concat", [ones, ones], f"{stem}/inside", axis=1)
        return inside

    def _spread(self, graph: Graph, v: str, weight: str, name: str, end: str) -> str:
        """(…, H) → (…, 2N): every input times the weights of its modes."""
        channels = len(self.modes)
        apart = self._shaped(graph, v, [1, channels, 1], f"{name}/apart")
        products = graph.node("Mul", [apart, weight], f"{name}/products")
        return self._shaped(graph, products, [2 * sum(self.modes)], end)

    def _sum(self, graph: Graph, x: str, weight: str, name: str, end: str) -> str:
        """(…, 2N) → (…, H): weighted modes, summed over those of a channel and both parts."""
        apart = self._shaped(graph, x, [2, len(self.modes), self.modes[0]], f"{name}/apart")
        products = graph.node("Mul", [apart, weight], f"{name}/products")
        axes = graph.shared("_channels/axes", [-3, -1], np.int64)
        return graph.node("ReduceSum", [products, axes], end, keepdims=0)

    def _shaped(self, graph: Graph, v: str, features: list[int], name: str) -> str:
        kept = [0, 0] if graph.sequence else [0]
        sizes = "_".join(map(str, features))
        shape = graph.shared(f"_channels/shape{sizes}", kept + features, np.int64)
        return graph.node("Reshape", [v, shape], name)
