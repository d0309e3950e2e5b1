"""The torch modules that become programs: a bundle's op list as layers, for one frame or for many.

Import this module inside functions only: it needs torch.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch._higher_order_ops.scan import scan
from torch.nn import functional

from ssmith import ops
from ssmith.bundle import Bundle
from ssmith.errors import InputError
from ssmith.export import executorch_layers as layers
from ssmith.export.executorch_products import Products


class Network(nn.Module):
    """The op list over frames: (T, U) and states (1, n) each → (T, Y) and the states after.

    Args:
        bundle: the model.
        products: makes each matrix product in its precision.
        frames: whether there are many frames: states then run through a loop over time.
    """

    def __init__(self, bundle: Bundle, products: Products, *, frames: bool) -> None:
        super().__init__()
        self.frames = frames
        self.layers = nn.ModuleList()
        self._kinds: list[tuple[str, int]] = []
        listed = bundle.meta.ops
        at = 0
        while at < len(listed):
            # What may be computed as one: an affine op and its product, a linear op and its gate.
            affine, linear, gate = _group(listed[at : at + 3], products)
            op = linear or listed[at]
            self._kinds.append((op.op, op.slot if isinstance(op, ops.Save | ops.Add) else 0))
            self.layers.append(_layer(bundle, op, products, affine, gated=gate is not None))
            at += 1 if linear is None else sum(part is not None for part in (affine, linear, gate))

    def forward(self, v: Tensor, states: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Layer by layer."""
        before, after, slots = list(states), list[Tensor](), dict[int, Tensor]()
        for layer, (kind, slot) in zip(self.layers, self._kinds, strict=True):
            if isinstance(layer, layers.Ssm):
                drive, through = layer.driven(v)
                x, last = self._advanced(layer, before.pop(0), drive)
                after.append(last)
                v = layer.read(x, through)
            elif isinstance(layer, layers.Pool):
                (total, count), last_two = self._pooled(layer, before.pop(0), before.pop(0), v)
                after += last_two
                v = total / count
            elif kind == "save":
                slots[slot] = v
            elif kind == "add":
                v = v + slots[slot]
            else:
                v = layer(v)
        return (v, *after)

    def _advanced(self, layer: layers.Ssm, x: Tensor, drive: Tensor) -> tuple[Tensor, Tensor]:
        """States of every frame (T, 2N) and after the last one (1, 2N)."""
        if not self.frames:
            x = layer.turned(x) + drive
            return x, x

        def step(x: Tensor, drive: Tensor) -> tuple[Tensor, Tensor]:
            x = layer.turned(x) + drive
            return x, x.clone()  # the loop does not let a result be the carried value itself

        last, states = scan(step, x.view(-1), drive)
        return states, last.view(1, -1)

    def _pooled(
        self, layer: layers.Pool, total: Tensor, count: Tensor, v: Tensor
    ) -> tuple[tuple[Tensor, Tensor], list[Tensor]]:
        """Sum and weight at every frame, (T, H) and (T, 1), and both after the last one."""
        if not self.frames:
            total, count = layer.kept(total) + v, layer.kept(count) + 1.0
            return (total, count), [total, count]

        # One vector with the weight at its end: a one stands beside every frame.
        def step(both: Tensor, frame: Tensor) -> tuple[Tensor, Tensor]:
            both = layer.kept(both) + frame
            return both, both.clone()

        width = v.shape[1]
        start = torch.cat([total.view(-1), count.view(-1)])
        last, sums = scan(step, start, functional.pad(v, (0, 1), value=1.0))
        last = last.view(1, -1)
        return (sums[:, :width], sums[:, width:]), [last[:, :width], last[:, width:]]


class Step(nn.Module):
    """One frame (1, U) and every state (1, n) → (1, Y) and the new states."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, frame: Tensor, *states: Tensor) -> tuple[Tensor, ...]:
        """Pure: what is remembered comes in and goes out."""
        return tuple(self.network(frame, states))


class Stream(nn.Module):
    """One frame (1, U) → (1, Y); each state is a buffer under its own name."""

    def __init__(self, network: Network, states: dict[str, tuple[int, ...]]) -> None:
        super().__init__()
        self.network = network
        for name, shape in states.items():
            if not name.isidentifier() or hasattr(self, name):
                raise InputError(
                    f"state {name!r} cannot be exported to ExecuTorch: states inside a program are found by"
                    " name, and this one is no plain identifier or has a meaning in torch; rename it in the"
                    " bundle's ops"
                )
            self.register_buffer(name, torch.zeros(1, *shape))
        self._names = list(states)

    def forward(self, frame: Tensor) -> Tensor:
        """The states are advanced in place."""
        buffers = [getattr(self, name) for name in self._names]
        y, *after = self.network(frame, tuple(buffers))
        for buffer, value in zip(buffers, after, strict=True):
            buffer.copy_(value)
        return torch.as_tensor(y)


class Sequence(nn.Module):
    """A block (1, T, U) and every state (1, n) → (1, T, Y) and the states after the last frame."""

    def __init__(self, network: Network, inputs: int, outputs: int) -> None:
        super().__init__()
        self.network, self.inputs, self.outputs = network, inputs, outputs

    def forward(self, block: Tensor, *states: Tensor) -> tuple[Tensor, ...]:
        """Products of all frames at once, states frame by frame."""
        y, *after = self.network(block.view(-1, self.inputs), states)
        return (y.view(1, -1, self.outputs), *after)


def _group(
    listed: tuple[ops.Op, ...], products: Products
) -> tuple[ops.Affine | None, ops.Linear | ops.SSM | None, ops.Gate | None]:
    """The affine op, product and gate at the head of a list that are computed as one; product None: none."""
    affine = listed[0] if isinstance(listed[0], ops.Affine) else None
    rest = listed[1:] if affine else listed
    linear = rest[0] if rest and isinstance(rest[0], ops.Linear | ops.SSM) else None
    if linear is None or (affine is not None and not products.takes_affine(linear)):
        return None, None, None
    following = rest[1] if len(rest) > 1 else None
    gate = following if isinstance(linear, ops.Linear) and isinstance(following, ops.Gate) else None
    return affine, linear, gate


def _layer(
    bundle: Bundle, op: ops.Op, products: Products, affine: ops.Affine | None, *, gated: bool
) -> nn.Module:
    """The layer of one op, with an affine op before it or a gate after it where there is one."""
    tensors = bundle.tensors
    before = None if affine is None else (tensors[affine.scale], tensors[affine.shift])
    match op:
        case ops.Linear():
            bias = None if op.bias is None else tensors[op.bias]
            if not gated:
                return products.make(op.name, tensors[op.weight], bias, before)
            half = len(tensors[op.weight]) // 2
            value, logit = (
                products.make(op.name, tensors[op.weight], bias, before, rows)
                for rows in (slice(0, half), slice(half, None))
            )
            return layers.GatedProduct(value, logit)
        case ops.SSM():
            d = None if op.D is None else tensors[op.D]
            into = products.into(op, tensors[op.B], before)
            constant = None if d is None or into.shift is None else d * into.shift
            out = products.out(op, tensors[op.C], constant)
            return layers.Ssm(tensors[op.lam], into, out, d)
        case ops.Affine():
            return layers.Affine(tensors[op.scale], tensors[op.shift])
        case ops.LayerNorm():
            return layers.LayerNorm(tensors[op.scale], tensors[op.shift], op.eps)
        case ops.Embedding():
            return layers.Embedding(tensors[op.weight])
        case ops.Gelu():
            return nn.GELU()
        case ops.Gate():
            return layers.Gate()
        case ops.Pool():
            return layers.Pool(op.decay)
        case _:
            return nn.Identity()
