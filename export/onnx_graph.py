"""A list of ONNX nodes under construction: names, weights and types kept straight."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike
from onnx import TensorProto, helper, numpy_helper

Dims = Sequence[str | int]


@dataclass
class Graph:
    """Nodes and weights in the order they were asked for; values are called ``/OP/PART``.

    Interface names (``input``, ``output``, states) start without a slash, so none meets an
    internal one.

    Args:
        opset: the operator set the nodes are written for.
        sequence: values are (T, batch, features) when true, (batch, features) when false.
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

    def product(self, v: str, weight: str, name: str, plus: str = "") -> str:
        """Product v W (+ plus) with W (in, out): one Gemm on a frame, MatMul (and Add) on a block."""
        if not self.sequence:
            return self.node("Gemm", [v, weight, plus] if plus else [v, weight], name)
        if not plus:
            return self.node("MatMul", [v, weight], name)
        return self.node("Add", [self.node("MatMul", [v, weight], f"{name}/product"), plus], name)

    def frame(self) -> Graph:
        """A graph for the inside of a Scan: sees one frame, shares this graph's weights."""
        return Graph(self.opset, sequence=False, weights=self.weights)

    def scan(
        self,
        name: str,
        body: Graph,
        states: Sequence[tuple[str, str, str, Dims]],
        block: str,
        frame: tuple[str, Dims],
    ) -> list[str]:
        """Append a Scan over T of ``body``; returns the names of its states over time.

        Args:
            name: of the node.
            body: the nodes for one frame.
            states: for each state its name outside, in the body before and after a frame, and its
                dimensions; the value after the last frame is called ``OUTSIDE_out``.
            block: what is fed frame by frame, (T, batch, features).
            frame: its name and dimensions in the body.
        """
        seen = [body.node("Identity", [after], f"{after[1:]}_seen") for _, _, after, _ in states]
        inside = helper.make_graph(
            body.nodes,
            f"{name}/frame",
            [*(value(before, dims) for _, before, _, dims in states), value(*frame)],
            [value(after, dims) for _, _, after, dims in states]
            + [value(s, dims) for s, (_, _, _, dims) in zip(seen, states, strict=True)],
        )
        over_time = [f"{after}_over_time" for _, _, after, _ in states]
        self.nodes_out(
            "Scan",
            [*(outside for outside, _, _, _ in states), block],
            name,
            [f"{outside}_out" for outside, _, _, _ in states] + over_time,
            body=inside,
            num_scan_inputs=1,
        )
        return over_time


def value(name: str, dims: Dims) -> Any:
    """A float32 input or output of a graph; a string is a dimension free to vary."""
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, list(dims))
