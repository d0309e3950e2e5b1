"""Bundle → network again, for statistics and fine-tuning."""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import Tensor, nn

from ssmith import ops
from ssmith.bundle import Bundle
from ssmith.errors import InputError
from ssmith.ops import Op, Tensors
from ssmith.system import System
from ssmith.train.layers import LRU
from ssmith.train.model import Block, Embedding, Network, Norm
from ssmith.train.norm import Affine, LayerNorm, NoNorm
from ssmith.train.pool import Pool
from ssmith.train.s4d import S4D
from ssmith.train.ssm_layer import SSMLayer

Kind = TypeVar("Kind", bound=Op)


@torch.no_grad()
def thaw(bundle: Bundle) -> Network:
    """The network that a bundle holds: the same function, with parameters that can learn.

    What freezing folded stays folded: inputs and outputs keep their units without normalisation buffers,
    and a BatchNorm comes back as an ``Affine`` map, or inside the SSM. The poles are the bundle's bit
    for bit. A bundle does not say which layer learnt it: one with channels comes back as an S4D, else as
    an LRU.

    Raises:
        InputError: the ops are not those of a ``Network``.
    """
    reader = _Reader(bundle)
    encoder = reader.encoder()
    blocks = []
    while reader.peek(ops.Save):
        blocks.append(reader.block())
    pool = Pool(reader.take(ops.Pool).decay) if reader.peek(ops.Pool) else None
    head = reader.linear()
    reader.end()
    return Network(encoder, blocks, pool, head)


class _Reader:
    """Walks an op list and builds the module that each op, or run of ops, came from."""

    def __init__(self, bundle: Bundle) -> None:
        self.left = list(bundle.meta.ops)
        self.tensors: Tensors = bundle.tensors
        self.systems = iter(bundle.systems())

    def peek(self, *kinds: type[Op]) -> bool:
        return bool(self.left) and isinstance(self.left[0], kinds)

    def take(self, kind: type[Kind]) -> Kind:
        op = self.left.pop(0) if self.left else None
        if not isinstance(op, kind):
            found = "the list ends" if op is None else f"op {op.name!r} is a {op.op}"
            raise InputError(
                f"cannot thaw this bundle: {found} where a network has a {kind.__name__.lower()}. Only "
                "bundles frozen from a Network become one again; reduce or train the model before freezing"
            )
        return op

    def end(self) -> None:
        if self.left:
            op = self.left[0]
            raise InputError(f"cannot thaw this bundle: op {op.name!r} stands behind the head of the network")

    def tensor(self, name: str) -> Tensor:
        return torch.tensor(self.tensors[name])

    def encoder(self) -> nn.Linear | Embedding:
        if not self.peek(ops.Embedding):
            return self.linear()
        weight = self.tensor(self.take(ops.Embedding).weight)
        table = Embedding(*weight.shape)
        table.weight.copy_(weight)
        return table

    def linear(self) -> nn.Linear:
        op = self.take(ops.Linear)
        weight = self.tensor(op.weight)
        rows, columns = weight.shape
        layer: nn.Linear = nn.utils.skip_init(  # type: ignore[no-untyped-call]
            nn.Linear, columns, rows, bias=op.bias is not None
        )
        layer.weight.copy_(weight)
        if op.bias is not None:
            layer.bias.copy_(self.tensor(op.bias))
        return layer

    def block(self) -> Block:
        slot = self.take(ops.Save).slot
        norm = self.norm()
        ssm = _layer(self.take(ops.SSM), next(self.systems))
        self.take(ops.Gelu)
        mix = self.linear()
        self.take(ops.Gate)
        if self.take(ops.Add).slot != slot:
            raise InputError("cannot thaw this bundle: a block adds another vector than it saved")
        return Block(norm, ssm, mix)

    def norm(self) -> Norm:
        if self.peek(ops.LayerNorm):
            op = self.take(ops.LayerNorm)
            return self.filled(LayerNorm(len(self.tensors[op.scale]), op.eps), op.scale, op.shift)
        if self.peek(ops.Affine):
            affine = self.take(ops.Affine)
            return self.filled(Affine(len(self.tensors[affine.scale])), affine.scale, affine.shift)
        return NoNorm()

    def filled(self, norm: Affine | LayerNorm, scale: str, shift: str) -> Norm:
        norm.scale.copy_(self.tensor(scale))
        norm.shift.copy_(self.tensor(shift))
        return norm


def _layer(op: ops.SSM, system: System) -> SSMLayer:
    """A layer that computes the system: an S4D where channels do not mix, else an LRU."""
    if system.inputs != system.outputs:
        raise InputError(
            f"cannot thaw op {op.name!r}: it has {system.inputs} inputs and {system.outputs} outputs, a"
            " layer as many of each"
        )
    kind = LRU if system.channels is None else S4D
    layer = kind(system.inputs, system.order, generator=torch.Generator())
    layer.load_system(system, rescale=False)
    return layer
