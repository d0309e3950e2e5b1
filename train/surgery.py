"""Exchanging a layer's Parameters in the module and in the optimiser, and taking it back bit for bit.

Autograd and DDP remember a Parameter's shape, so a smaller layer needs new Parameter objects. Nothing old is
written to; the objects and the optimiser's entries for them are put aside, and `Snapshot.restore` puts them
back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim import Optimizer

from ssmith.reduce.balance import Reduction
from ssmith.system import channel_mask
from ssmith.train import moments, norm
from ssmith.train.ssm_layer import LoadedSystem, SSMLayer

Replaced = dict[nn.Parameter, nn.Parameter]


class Snapshot:
    """All that cutting one layer may change: its tensors, other buffers (norm statistics), the optimiser."""

    def __init__(self, model: nn.Module, layer: SSMLayer, optimizer: Optimizer) -> None:
        self._layer, self._optimizer = layer, optimizer
        self._tensors = layer.tensors()
        own = {id(tensor) for tensor in self._tensors.values()}
        self._buffers = [(b, b.detach().clone()) for b in model.buffers() if id(b) not in own]
        self._groups = [list(group["params"]) for group in optimizer.param_groups]
        self._state = dict(optimizer.state)

    @torch.no_grad()
    def restore(self) -> None:
        """Put back the very same objects; the model computes what it did, bit for bit."""
        self._layer.put(self._tensors)
        for buffer, value in self._buffers:
            buffer.copy_(value)
        for group, params in zip(self._optimizer.param_groups, self._groups, strict=True):
            group["params"] = params
        self._optimizer.state.clear()
        self._optimizer.state.update(self._state)


def exchange(
    layer: SSMLayer, reduction: Reduction, optimizer: Optimizer, how: Literal["carry", "keep"]
) -> tuple[Replaced, moments.Basis]:
    """Load the reduced system into the layer and let the optimiser follow.

    The groups keep their order and settings; moments are carried through the change of basis or their
    leading entries kept; the step count stays.

    Returns:
        Old Parameter → new Parameter, and the change of basis of the states.

    Raises:
        InputError: the optimiser keeps something that cannot be carried.
    """
    order_before = layer.order
    loaded = layer.load_system(reduction.system)
    basis = _basis(reduction, loaded)
    replaced: Replaced = {}
    for name, old in loaded.replaced.items():
        new = loaded.parameters[name]
        new.requires_grad_(old.requires_grad)
        replaced[old] = new
        if old in optimizer.state:
            state = optimizer.state.pop(old)
            optimizer.state[new] = (
                moments.carry(name, state, basis)
                if how == "carry"
                else moments.keep(name, state, order_before, layer.order)
            )
    for group in optimizer.param_groups:
        group["params"] = [replaced.get(p, p) for p in group["params"]]
    return replaced, basis


def _basis(reduction: Reduction, loaded: LoadedSystem) -> moments.Basis:
    """The change of coordinates between the layer's old and new states, mode scaling included."""
    scale = torch.from_numpy(loaded.scale).repeat(2)
    inside = (
        None if channels is None else torch.from_numpy(np.tile(channel_mask(channels), (2, 1)))
        for channels in (loaded.channels_old, loaded.channels_new)
    )
    return moments.Basis(
        torch.tensor(reduction.basis) / scale,
        scale[:, None] * torch.tensor(reduction.dual_basis),
        torch.from_numpy(loaded.gain_old),
        torch.from_numpy(loaded.gain_new),
        *inside,
    )


@torch.no_grad()
def recalibrate(model: nn.Module, batches: Iterable[Any], run: Callable[[Any], object]) -> None:
    """Measure the running statistics of every BatchNorm anew, ours and torch's; all else in evaluation mode.

    Args:
        model: anything; without a BatchNorm nothing runs.
        batches: re-iterable.
        run: feeds one batch through the model.
    """
    norm.recalibrate(model, batches, run)
    theirs = [m for m in model.modules() if isinstance(m, _BatchNorm) and m.track_running_stats]
    if not theirs:
        return
    modes = {m: m.training for m in model.modules()}
    counts: list[tuple[_BatchNorm, float | None, Tensor]] = []
    for m in theirs:
        assert m.num_batches_tracked is not None  # it tracks
        counts.append((m, m.momentum, m.num_batches_tracked.clone()))
    model.eval()
    try:
        for m in theirs:
            m.reset_running_stats()
            m.momentum, m.training = None, True  # None: the plain average over batches
        for batch in batches:
            run(batch)
    finally:
        for m, momentum, count in counts:
            m.momentum = momentum
            m.num_batches_tracked.copy_(count)  # type: ignore[union-attr]
        for module, training in modes.items():
            module.training = training
