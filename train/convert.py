"""Modules → op list: one small converter a module type, in float64 until the very end."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeGuard

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ssmith import ops
from ssmith.errors import InputError
from ssmith.train import norm
from ssmith.train.model import Block, Embedding, Network
from ssmith.train.pool import Pool
from ssmith.train.ssm_layer import SSMLayer

Float64 = NDArray[np.float64]


@dataclass
class Draft:
    """An op list in the making, its tensors still in float64.

    Args:
        ops: so far.
        tensors: what they read.
    """

    ops: list[ops.Op] = field(default_factory=list)
    tensors: dict[str, Float64] = field(default_factory=dict)

    def put(self, name: str, value: Tensor | Float64) -> str:
        """Keep a tensor under ``name`` and return the name."""
        if isinstance(value, Tensor):
            value = value.detach().cpu().double().numpy()
        self.tensors[name] = value.copy()
        return name

    def stem(self, path: str) -> str:
        """A name for the op at ``path`` that bundles accept and no other op of the draft has."""
        stem = re.sub(r"[^a-z0-9_.]", "_", path.lower())[-48:]
        stem = stem if stem[:1].isalpha() else f"m{stem}"
        taken = {op.name for op in self.ops}
        names = (stem if i == 0 else f"{stem}_{i}" for i in range(len(taken) + 1))
        return next(name for name in names if name not in taken)

    def affine(self, path: str, scale: Tensor | Float64, shift: Tensor | Float64) -> None:
        """Append y = scale ∘ v + shift."""
        stem = self.stem(path)
        names = self.put(f"{stem}.scale", scale), self.put(f"{stem}.shift", shift)
        self.ops.append(ops.Affine(name=stem, scale=names[0], shift=names[1]))


Converter = Callable[[Any, str, Draft], None]
CONVERTERS: dict[type[nn.Module], Converter] = {}


def converter(*kinds: type[nn.Module]) -> Callable[[Converter], Converter]:
    """Register how modules of exactly these types become ops: ``function(module, path, draft)``.

    Open to user code: a model's own module joins in with a converter built from the ones here.
    """

    def register(function: Converter) -> Converter:
        CONVERTERS.update(dict.fromkeys(kinds, function))
        return function

    return register


def convert(module: nn.Module, path: str, draft: Draft) -> None:
    """Append the ops of ``module``, which sits at ``path`` in the model.

    Raises:
        InputError: no converter knows this type (a subclass may compute anything, so it counts as another
            type), or a setting of it has no op.
    """
    if _is_layer(module):
        _ssm(module, path, draft)
        return
    function = CONVERTERS.get(type(module))
    if function is None:
        known = ", ".join(sorted({kind.__name__ for kind in CONVERTERS} | {"SSMLayer"}))
        raise _refusal(
            module,
            path,
            f"no op computes it. These can be frozen: {known}; or register your own with "
            "ssmith.train.convert.converter",
        )
    function(module, path, draft)


def _refusal(module: nn.Module, path: str, reason: str) -> InputError:
    return InputError(f"cannot freeze {type(module).__name__} at {path!r}: {reason}")


@converter(nn.Sequential)
def _sequential(module: nn.Sequential, path: str, draft: Draft) -> None:
    for name, child in module._modules.items():  # named_children would skip a module used twice
        if child is not None:
            convert(child, f"{path}.{name}" if path else name, draft)


@converter(nn.Dropout, nn.Identity, norm.NoNorm)
def _nothing(module: nn.Module, path: str, draft: Draft) -> None:
    """What does nothing in evaluation mode."""


@converter(nn.Linear)
def _linear(module: nn.Linear, path: str, draft: Draft) -> None:
    stem = draft.stem(path)
    bias = None if module.bias is None else draft.put(f"{stem}.bias", module.bias)
    draft.ops.append(ops.Linear(name=stem, weight=draft.put(f"{stem}.weight", module.weight), bias=bias))


@converter(Embedding)
def _embedding(module: Embedding, path: str, draft: Draft) -> None:
    stem = draft.stem(path)
    draft.ops.append(ops.Embedding(name=stem, weight=draft.put(f"{stem}.weight", module.weight)))


@converter(nn.GELU)
def _gelu(module: nn.GELU, path: str, draft: Draft) -> None:
    if module.approximate != "none":
        raise _refusal(module, path, f"approximate={module.approximate!r} has no op; train with 'none'")
    draft.ops.append(ops.Gelu(name=draft.stem(path)))


@converter(nn.GLU)
def _gate(module: nn.GLU, path: str, draft: Draft) -> None:
    if module.dim != -1:
        raise _refusal(module, path, f"it gates along dim={module.dim}, not along features; write dim=-1")
    draft.ops.append(ops.Gate(name=draft.stem(path)))


@converter(norm.LayerNorm)
def _layer_norm(module: norm.LayerNorm, path: str, draft: Draft) -> None:
    _append_layer_norm(draft, path, module.scale, module.shift, module.eps)


@converter(nn.LayerNorm)
def _torch_layer_norm(module: nn.LayerNorm, path: str, draft: Draft) -> None:
    if len(module.normalized_shape) != 1:
        shape = tuple(module.normalized_shape)
        raise _refusal(module, path, f"it normalises over {shape}; only over the features is causal")
    width = module.normalized_shape[0]
    scale = torch.ones(width) if module.weight is None else module.weight
    shift = torch.zeros(width) if module.bias is None else module.bias
    _append_layer_norm(draft, path, scale, shift, module.eps)


def _append_layer_norm(draft: Draft, path: str, scale: Tensor, shift: Tensor, eps: float) -> None:
    stem = draft.stem(path)
    names = draft.put(f"{stem}.scale", scale), draft.put(f"{stem}.shift", shift)
    draft.ops.append(ops.LayerNorm(name=stem, scale=names[0], shift=names[1], eps=eps))


@converter(norm.Affine)
def _affine(module: norm.Affine, path: str, draft: Draft) -> None:
    draft.affine(path, module.scale, module.shift)


@converter(norm.BatchNorm)
def _batch_norm(module: norm.BatchNorm, path: str, draft: Draft) -> None:
    mean, var = module.running_mean, module.running_var
    _append_batch_norm(draft, path, (mean, var), module.scale, module.shift, module.eps)


@converter(nn.BatchNorm1d)
def _torch_batch_norm(module: nn.BatchNorm1d, path: str, draft: Draft) -> None:
    mean, var = module.running_mean, module.running_var
    if mean is None or var is None:
        raise _refusal(module, path, "it keeps no running statistics; train with track_running_stats=True")
    scale = torch.ones_like(var) if module.weight is None else module.weight
    shift = torch.zeros_like(mean) if module.bias is None else module.bias
    _append_batch_norm(draft, path, (mean, var), scale, shift, module.eps)


def _append_batch_norm(
    draft: Draft, path: str, moments: tuple[Tensor, Tensor], scale: Tensor, shift: Tensor, eps: float
) -> None:
    mean, var, gain, offset = (t.detach().cpu().double() for t in (*moments, scale, shift))
    gain = gain / torch.sqrt(var + eps)
    draft.affine(path, gain, offset - gain * mean)


def _is_layer(module: nn.Module) -> TypeGuard[SSMLayer]:
    """Whether it is an SSM layer that computes as all of them do, from poles and matrices."""
    own = (getattr(type(module), name, None) for name in ("forward", "process", "step"))
    return isinstance(module, SSMLayer) and tuple(own) == (
        SSMLayer.forward,
        SSMLayer.process,
        SSMLayer.step,
    )


def _ssm(module: SSMLayer, path: str, draft: Draft) -> None:
    stem = draft.stem(path)
    with torch.no_grad():
        parts = {"lam": module.poles(), "B": module.input_matrix(), "C": module.output_matrix()}
    names = {key: draft.put(f"{stem}.{key.lower()}", value) for key, value in parts.items()}
    feedthrough = draft.put(f"{stem}.d", module.D) if bool(module.D.any()) else None
    count = sum(isinstance(op, ops.SSM) for op in draft.ops)
    state = f"state_{count}"
    draft.ops.append(ops.SSM(name=stem, **names, D=feedthrough, state=state, channels=module.channels))


@converter(Pool)
def _pool(module: Pool, path: str, draft: Draft) -> None:
    count = sum(isinstance(op, ops.Pool) for op in draft.ops)
    prefix = f"pool{count}" if count else "pool"
    names = {"sum": f"{prefix}_sum", "count": f"{prefix}_count"}
    draft.ops.append(ops.Pool(name=draft.stem(path), decay=module.decay, **names))


@converter(Block)
def _block(module: Block, path: str, draft: Draft) -> None:
    draft.ops.append(ops.Save(name=draft.stem(f"{path}.save"), slot=0))
    convert(module.norm, f"{path}.norm", draft)
    convert(module.ssm, f"{path}.ssm", draft)
    draft.ops.append(ops.Gelu(name=draft.stem(f"{path}.gelu")))
    convert(module.mix, f"{path}.mix", draft)
    draft.ops.append(ops.Gate(name=draft.stem(f"{path}.gate")))
    draft.ops.append(ops.Add(name=draft.stem(f"{path}.add"), slot=0))


@converter(Network)
def _network(module: Network, path: str, draft: Draft) -> None:
    at = f"{path}." if path else ""
    mean, std = module.input_mean.cpu().double(), module.input_std.cpu().double()
    draft.affine(f"{at}input", 1 / std, -mean / std)
    convert(module.encoder, f"{at}encoder", draft)
    for i, block in enumerate(module.blocks):
        convert(block, f"{at}block{i}", draft)
    if module.pool is not None:
        convert(module.pool, f"{at}pool", draft)
    convert(module.head, f"{at}head", draft)
    draft.affine(f"{at}output", module.output_std, module.output_mean)
