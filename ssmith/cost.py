r"""What a model costs, and how much of it hangs on the order of a layer: states, parameters, MACs, bytes.

A layer of N complex modes with U inputs, Y outputs and possibly a feedthrough D costs

.. math::
    \mathrm{states} = N, \qquad
    \mathrm{parameters} = 2N(1 + U + Y) + [D]\,Y, \qquad
    \mathrm{MACs} = 2N(2 + U + Y) + [D]\,Y, \qquad
    \mathrm{bytes} = 4 \cdot \mathrm{parameters}

per model or, for the multiply-accumulates, per frame. With independent channels each mode has one input
and one output, so U = Y = 1 but in [D] Y. All else in a model is its fixed part.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from ssmith.ops import (
    SSM,
    Affine,
    Gate,
    LayerNorm,
    Linear,
    Op,
    Pool,
    Tensors,
    output_width,
    packed,
    tensor_names,
)
from ssmith.recipe import CostKind

Cost = Callable[[int], float]
BYTES = 4  # of a float32 number


def ssm_cost(kind: CostKind, inputs: int, outputs: int, has_D: bool, channels: bool = False) -> Cost:
    """N → what a layer of N modes costs (see the top of this file); increasing in N.

    Args:
        kind: what is counted.
        inputs: U.
        outputs: Y.
        has_D: whether the layer has a feedthrough, one number an output.
        channels: whether each mode belongs to one channel.
    """
    feedthrough = outputs if has_D else 0
    if channels:
        inputs = outputs = 1

    def cost(order: int) -> float:
        if kind == "states":
            return float(order)
        if kind == "macs":
            return float(2 * order * (2 + inputs + outputs) + feedthrough)
        numbers = float(2 * order * (1 + inputs + outputs) + feedthrough)
        return BYTES * numbers if kind == "bytes" else numbers

    return cost


def model_cost(kind: CostKind, ops: Iterable[Op], tensors: Tensors) -> float:
    """What a whole model costs; golden vectors do not count.

    States are the complex modes of the SSM layers. Parameters are the float32 numbers that the ops name, a
    shared tensor counted once; bytes are four times that. MACs are the multiplications of one frame: an
    addition on its own, a table look-up and the transcendental functions inside GELU and gate count nothing.

    Args:
        kind: what is counted.
        ops: the op list.
        tensors: what it reads.
    """
    ops = tuple(ops)
    stored = packed(ops, tensors)
    width, macs, states, named = 0, 0, 0, set[str]()
    for op in ops:
        named.update(tensor_names(op))
        states += tensors[op.lam].shape[1] if isinstance(op, SSM) else 0
        macs += _macs(op, width, tensors)
        width = output_width(op, width, tensors)
    numbers = sum(stored[name].size for name in named)
    whole = {"states": states, "parameters": numbers, "bytes": BYTES * numbers, "macs": macs}
    return float(whole[kind])


@dataclass(frozen=True)
class ModelCost:
    """A model's cost as a function of the orders of its SSM layers.

    Attributes:
        kind: what is counted.
        fixed: what no order changes.
        layers: N → cost, of each SSM layer in order.
    """

    kind: CostKind
    fixed: float
    layers: tuple[Cost, ...]

    @classmethod
    def of(cls, kind: CostKind, ops: Iterable[Op], tensors: Tensors) -> ModelCost:
        """The cost of a model, which `total` gives back at its present orders."""
        ops = tuple(ops)
        layers = [op for op in ops if isinstance(op, SSM)]
        costs = tuple(_layer_cost(kind, op, tensors) for op in layers)
        orders = [int(tensors[op.lam].shape[1]) for op in layers]
        variable = sum(cost(order) for cost, order in zip(costs, orders, strict=True))
        return cls(kind, model_cost(kind, ops, tensors) - variable, costs)

    def total(self, orders: Iterable[int]) -> float:
        """The cost at these orders, one a layer."""
        return self.fixed + sum(cost(order) for cost, order in zip(self.layers, orders, strict=True))


def _layer_cost(kind: CostKind, op: SSM, tensors: Tensors) -> Cost:
    outputs, inputs = tensors[op.C].shape[0], tensors[op.B].shape[1]
    return ssm_cost(kind, int(inputs), int(outputs), op.D is not None, op.channels is not None)


def _macs(op: Op, width: int, tensors: Tensors) -> int:
    """Multiplications of one frame in ``op``, whose input has ``width`` values."""
    if isinstance(op, Linear):
        return int(tensors[op.weight].size)
    if isinstance(op, SSM):
        return int(_layer_cost("macs", op, tensors)(int(tensors[op.lam].shape[1])))
    if isinstance(op, Affine):
        return width
    if isinstance(op, LayerNorm | Pool):
        return 2 * width  # squares and the scale; decay and the division
    return width // 2 if isinstance(op, Gate) else 0
