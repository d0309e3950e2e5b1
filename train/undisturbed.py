"""Looking at a model, and running data through it, without leaving a trace in whoever is training it."""

from __future__ import annotations

import contextlib
import random
import sys
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import torch
from torch import nn


@contextlib.contextmanager
def undisturbed(model: nn.Module, *loaders: Iterable[Any] | None) -> Iterator[None]:
    """Evaluation mode inside; afterwards training flags and random states are as before.

    The random states are torch's, Python's, NumPy's global ones and the loaders' own generators. What was
    compiled runs uncompiled inside: a compiled module does not see the hooks that statistics are taken with,
    and the layer sizes that a search tries would be compiled one by one.

    Args:
        model: whose modes count.
        loaders: what batches are drawn from meanwhile.
    """
    modes = {module: module.training for module in model.modules()}
    cuda = sorted({p.device.index for p in model.parameters() if p.device.type == "cuda"})
    generators = [g for loader in loaders for g in _generators(loader)]
    states = [g.get_state() for g in generators]
    python, numpy = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=cuda), _eager():
        model.eval()
        try:
            yield
        finally:
            for module, training in modes.items():
                module.training = training
            for generator, state in zip(generators, states, strict=True):
                generator.set_state(state)
            random.setstate(python)
            np.random.set_state(numpy)


def _generators(loader: Any) -> list[torch.Generator]:
    """The generators of a DataLoader and its samplers, each once."""
    batch_sampler = getattr(loader, "batch_sampler", None)
    samplers = [getattr(holder, "sampler", None) for holder in (loader, batch_sampler)]
    holders = (loader, batch_sampler, *samplers)
    found = [getattr(holder, "generator", None) for holder in holders]
    return list({id(g): g for g in found if isinstance(g, torch.Generator)}.values())


def _eager() -> contextlib.AbstractContextManager[Any]:
    """Nothing compiled runs inside; free of charge where nothing has been compiled."""
    if "torch._dynamo" not in sys.modules:
        return contextlib.nullcontext()
    stance: contextlib.AbstractContextManager[Any] = torch.compiler.set_stance("force_eager")
    return stance
