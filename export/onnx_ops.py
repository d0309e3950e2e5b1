"""One case an op without a product or a memory: the nodes that compute it, on one frame or on a block.

In a step model the current vector is (batch, H), in a sequence model (batch, T, H).
"""

from __future__ import annotations

import math

import numpy as np
from onnx import TensorProto

from ssmith.export.onnx_graph import Graph
from ssmith.export.onnx_products import scaled
from ssmith.ops import Add, Affine, Embedding, Float32, Gate, Gelu, LayerNorm, Op, Save, Tensors


def emit(graph: Graph, op: Op, tensors: Tensors, current: str, slots: dict[int, str]) -> str:
    """Append the nodes of ``op``; returns the name of the new current vector.

    Args:
        graph: what to append to.
        op: one entry of a bundle's op list, neither a Linear nor an SSM nor a Pool.
        tensors: the bundle's tensors.
        current: name of the current vector.
        slots: names of the saved vectors; ``Save`` writes, ``Add`` reads.
    """
    match op:
        case Embedding():
            return _embedding(graph, op, tensors[op.weight], current)
        case Affine():
            factors, terms = (tensors[name].astype(np.float64) for name in (op.scale, op.shift))
            return scaled(graph, current, factors, terms, f"{op.name}/y")
        case LayerNorm():
            scale = graph.weight(f"{op.name}/scale", tensors[op.scale])
            shift = graph.weight(f"{op.name}/shift", tensors[op.shift])
            inputs = [current, scale, shift]
            return graph.node("LayerNormalization", inputs, f"{op.name}/y", axis=-1, epsilon=op.eps)
        case Gelu():
            return _gelu(graph, op, current)
        case Gate():
            value, logit = f"/{op.name}/value", f"/{op.name}/logit"
            graph.nodes_out("Split", [current], f"{op.name}/halves", [value, logit], axis=-1, num_outputs=2)
            opening = graph.node("Sigmoid", [logit], f"{op.name}/opening")
            return graph.node("Mul", [value, opening], f"{op.name}/y")
        case Save():
            slots[op.slot] = current
            return current
        case Add():
            return graph.node("Add", [current, slots[op.slot]], f"{op.name}/y")
        case _:
            raise NotImplementedError(op.op)


def _embedding(graph: Graph, op: Embedding, table: Float32, v: str) -> str:
    """Row round(v) of the table, clamped; ONNX Round goes to the nearest even, as the op says."""
    axis = graph.weight(f"{op.name}/axis", [-1], np.int64)
    flat = graph.node("Squeeze", [v, axis], f"{op.name}/flat")
    rounded = graph.node("Round", [flat], f"{op.name}/rounded")
    lowest = graph.weight(f"{op.name}/lowest", 0.0)
    highest = graph.weight(f"{op.name}/highest", len(table) - 1)
    clipped = graph.node("Clip", [rounded, lowest, highest], f"{op.name}/clipped")
    index = graph.node("Cast", [clipped], f"{op.name}/index", to=TensorProto.INT64)
    rows = graph.weight(f"{op.name}/table", table)
    return graph.node("Gather", [rows, index], f"{op.name}/y", axis=0)


def _gelu(graph: Graph, op: Gelu, v: str) -> str:
    """Exact GELU v Φ(v) = (v / 2) (1 + erf(v / √2)); one node since opset 20."""
    if graph.opset >= 20:
        return graph.node("Gelu", [v], f"{op.name}/y", approximate="none")
    root = graph.shared("root_half", math.sqrt(0.5))
    one, half = graph.shared("one", 1.0), graph.shared("half", 0.5)
    scaled = graph.node("Mul", [v, root], f"{op.name}/scaled")
    erf = graph.node("Erf", [scaled], f"{op.name}/erf")
    share = graph.node("Add", [erf, one], f"{op.name}/share")
    halved = graph.node("Mul", [v, half], f"{op.name}/halved")
    return graph.node("Mul", [halved, share], f"{op.name}/y")
