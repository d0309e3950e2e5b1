"""A list of ONNX nodes under construction: names, weights and types kept straight."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike
from onnx import TensorProto, helper, numpy_helper

Dims = Sequence[str | int]
# Frames of a chunk, see onnx_chunks; docs/LOG.md has figures of 8 and 32.
CHUNK = 16


@dataclass
class Graph:
    """Nodes and weights in the order they were asked for; values are called ``/OP/PART``.

    Interface names (``input``, ``output``, states) start without a slash, so none meets an
    internal one.

    Args:
        opset: the operator set the nodes are written for.
        sequence: values are (batch, T, features) when true, (batch, features) when false. T is then that of
            ``pad``: a multiple of ``CHUNK``.
    """

    opset: int
    sequence: bool
    nodes: list[Any] = field(default_factory=list)
    weights: list[Any] = field(default_factory=list)

    def node(
        self, kind: str, inputs: Sequence[str], name: str, *, output: str = "", **attributes: Any
    ) -> str:
        """Append a node with one output; returns the output's name, ``/NAME`` unless given."""
        outputs = [output or f"/{name}"]
        self.nodes_out(kind, inputs, name, outputs, **attributes)
        return outputs[0]

    def nodes_out(
        self,
        kind: str,
        inputs: Sequence[str],
        name: str,
        outputs: Sequence[str],
        **attributes: Any,
    ) -> None:
        """Append a node with the outputs named in ``outputs``."""
        self.nodes.append(helper.make_node(kind, list(inputs), list(outputs), name=f"/{name}", **attributes))

    def weight(self, name: str, values: ArrayLike, dtype: DTypeLike = np.float32) -> str:
        """Store a constant; returns its name."""
        array = np.ascontiguousarray(values, dtype=dtype).reshape(np.shape(values))
        self.weights.append(numpy_helper.from_array(array, f"/{name}"))
        return f"/{name}"

    def has(self, value: str) -> bool:
        """Whether a node of this graph gives this value."""
        return any(value in node.output for node in self.nodes)

    def shared(self, name: str, values: ArrayLike, dtype: DTypeLike = np.float32) -> str:
        """A constant that several nodes read, stored once; returns its name."""
        stored = f"/{name}" in {weight.name for weight in self.weights}
        return f"/{name}" if stored else self.weight(name, values, dtype)

    def product(self, v: str, weight: str, name: str, plus: str = "", output: str = "") -> str:
        """Product v W (+ plus) with W (in, out): one Gemm on a frame, MatMul (and Add) on a block."""
        if not self.sequence:
            return self.node("Gemm", [v, weight, plus] if plus else [v, weight], name, output=output)
        if not plus:
            return self.node("MatMul", [v, weight], name, output=output)
        return self.node(
            "Add", [self.node("MatMul", [v, weight], f"{name}/product"), plus], name, output=output
        )

    def pad(self, block: str) -> str:
        """Append frames of zeros to a block (batch, T, U), up to whole chunks; returns its name."""
        one = self.shared("_time/one", [1], np.int64)
        frames = self.node("Shape", [block], "_time/frames", start=1, end=2)
        chunk = self.weight("_time/chunk", [CHUNK], np.int64)
        missing = self.node("Mod", [self.node("Neg", [frames], "_time/minus"), chunk], "_time/missing")
        pads = self.node("Concat", [self.weight("_time/none", [0], np.int64), missing], "_time/pads", axis=0)
        last = self.node("Sub", [frames, one], "_time/last_row")
        self.node("Squeeze", [last], "_time/last")
        return self.node("Pad", [block, pads, "", one], "_time/padded")

    @property
    def last(self) -> str:
        """The name of T - 1, a scalar: where a padded block has its last frame."""
        return "/_time/last"

    def cut(self, block: str, output: str) -> str:
        """Append the frames of a padded block without the padding."""
        ends = ["/_time/none", "/_time/frames", "/_time/one"]
        return self.node("Slice", [block, *ends], "_time/cut", output=output)

    def inside(self) -> Graph:
        """A graph for the inside of a Scan: sees one element, shares this graph's weights."""
        return Graph(self.opset, sequence=False, weights=self.weights)

    def scan(
        self, name: str, body: Graph, start: str, state: tuple[str, str], fed: str, element: str, dims: Dims
    ) -> str:
        """Append a Scan of ``body`` over the second axis; returns the name of the state before each element.

        Args:
            name: of the node.
            body: the nodes for one element.
            start: the state before the first.
            state: its names in the body, before and after an element.
            fed: what is scanned, (batch, elements, features).
            element: the name of one in the body.
            dims: of the state and of an element.
        """
        before, after = state
        seen = body.node("Identity", [before], f"{before[1:]}_seen")
        inside = helper.make_graph(
            body.nodes,
            f"{name}/element",
            [value(before, dims), value(element, dims)],
            [value(after, dims), value(seen, dims)],
        )
        outputs = [f"/{name}/after", f"/{name}/before"]
        self.nodes_out(
            "Scan",
            [start, fed],
            name,
            outputs,
            body=inside,
            num_scan_inputs=1,
            scan_input_axes=[1],
            scan_output_axes=[1],
        )
        return outputs[1]


def value(name: str, dims: Dims) -> Any:
    """A float32 input or output of a graph; a string is a dimension free to vary."""
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, list(dims))
