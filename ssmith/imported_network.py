"""What an import is made of: a single layer, or the network of S4's published example."""

from __future__ import annotations

import re
from typing import Any, Literal

import numpy as np

from ssmith import ops
from ssmith.errors import InputError
from ssmith.imported import StateDict, from_s4d
from ssmith.ops import Float32, Op
from ssmith.system import System

Norm = Literal["post", "pre"]
Pooling = Literal["mean", "none"]
Shape = tuple[int | None, ...]
LAYERS = re.compile(r"^s4_layers\.(\d+)\.kernel\.log_dt$")


def is_s4_example(tensors: StateDict) -> bool:
    """Whether these are the tensors of the network in S4's published example."""
    return "encoder.weight" in tensors and "decoder.weight" in tensors and any(map(LAYERS.match, tensors))


class Draft:
    """Ops and tensors while they are collected."""

    def __init__(self) -> None:
        self.ops: list[Op] = []
        self.tensors: dict[str, Float32] = {}

    def put(self, name: str, array: Any) -> str:
        """Keep a tensor; returns its name."""
        self.tensors[name] = np.array(array, np.float32, order="C")
        return name

    def ssm(self, stem: str, system: System, index: int = 0) -> None:
        """Append a layer; its state is ``state_INDEX``."""
        d = system.D
        if d.ndim == 2:
            if d.any() and (d.shape[0] != d.shape[1] or (d != np.diag(d.diagonal())).any()):
                raise InputError(
                    f"D of the layer is a full matrix of shape {d.shape}; a layer of a bundle joins each"
                    " input to its own output only. Train it diagonal, or leave it out"
                )
            d = d.diagonal() if d.shape[0] == d.shape[1] else np.zeros(0)
        put = self.put(f"{stem}.d", d) if d.any() else None
        op = ops.SSM(
            name=stem,
            lam=f"{stem}.lam",
            B=f"{stem}.b",
            C=f"{stem}.c",
            D=put,
            state=f"state_{index}",
            channels=system.channels,
        )
        self.tensors |= ops.ssm_tensors(op, system)
        self.ops.append(op)


def s4_example(tensors: StateDict, norm: Norm, pooling: Pooling, draft: Draft) -> None:
    """Encoder → n × (S4D → GELU → 1×1 convolution → GLU, residual, LayerNorm) → mean → decoder."""
    count = 1 + max(int(found[1]) for found in map(LAYERS.match, tensors) if found)
    width = from_s4d(tensors, "s4_layers.0.").inputs
    _linear(draft, "encoder", tensors, "encoder", (width, None))
    for i in range(count):
        at = f"s4_layers.{i}."
        system = from_s4d(tensors, at)
        draft.ops.append(ops.Save(name=f"block{i}.save", slot=0))
        if norm == "pre":
            _layer_norm(draft, f"block{i}.norm", tensors, f"norms.{i}", width)
        draft.ssm(f"block{i}.ssm", system, i)
        draft.ops.append(ops.Gelu(name=f"block{i}.gelu"))
        _linear(draft, f"block{i}.mix", tensors, f"{at}output_linear.0", (2 * width, width))
        draft.ops.append(ops.Gate(name=f"block{i}.gate"))
        draft.ops.append(ops.Add(name=f"block{i}.add", slot=0))
        if norm == "post":
            _layer_norm(draft, f"block{i}.norm", tensors, f"norms.{i}", width)
    if pooling == "mean":
        draft.ops.append(ops.Pool(name="pool", decay=1.0, sum="pool_sum", count="pool_count"))
    _linear(draft, "head", tensors, "decoder", (None, width))


def _linear(draft: Draft, name: str, tensors: StateDict, stem: str, shape: Shape) -> None:
    weight = _taken(tensors, f"{stem}.weight", shape)
    bias = _taken(tensors, f"{stem}.bias", (len(weight),)) if f"{stem}.bias" in tensors else None
    put = None if bias is None else draft.put(f"{name}.bias", bias)
    draft.ops.append(ops.Linear(name=name, weight=draft.put(f"{name}.weight", weight), bias=put))


def _layer_norm(draft: Draft, name: str, tensors: StateDict, stem: str, width: int) -> None:
    scale = draft.put(f"{name}.scale", _taken(tensors, f"{stem}.weight", (width,)))
    shift = draft.put(f"{name}.shift", _taken(tensors, f"{stem}.bias", (width,)))
    draft.ops.append(ops.LayerNorm(name=name, scale=scale, shift=shift, eps=1e-5))


def _taken(tensors: StateDict, name: str, shape: Shape) -> np.ndarray:
    """A tensor of this shape, None for any size; of a convolution over one frame the last axis goes."""
    if name not in tensors:
        raise InputError(f"tensor {name!r} is missing; the network of S4's example has it")
    found = np.asarray(tensors[name])
    array = found[..., 0] if found.ndim == len(shape) + 1 and found.shape[-1] == 1 else found
    if array.ndim != len(shape) or any(
        n not in (None, got) for n, got in zip(shape, array.shape, strict=True)
    ):
        spelled = " × ".join("any" if n is None else str(n) for n in shape)
        turned = array.ndim == 2 and all(
            n in (None, k) for n, k in zip(shape, array.shape[::-1], strict=True)
        )
        hint = "; it is transposed, so turn it round before saving" if turned else ""
        raise InputError(f"tensor {name!r} has shape {found.shape}, expected {spelled}{hint}")
    return array
