"""Random op lists of any shape: every op in every order that is allowed, widths that fit no tile."""

import math

import numpy as np

from ssmith.bundle import Bundle, BundleMeta, Signal
from ssmith.ops import SSM, Add, Affine, Embedding, Float32, Gate, Gelu, LayerNorm, Linear, Op, Pool, Save

KINDS = ("linear", "affine", "layernorm", "ssm", "gelu", "gate", "save", "add", "pool")


def any_bundle(
    seed: int, *, count: int = 10, max_width: int = 33, max_order: int = 20, name: str = "net"
) -> Bundle:
    """A model of ``count`` random ops (at least one), everything drawn from ``seed``."""
    rng = np.random.default_rng(seed)
    tensors: dict[str, Float32] = {}
    ops: list[Op] = []
    slots: dict[int, int] = {}

    def put(key: str, *shape: int, scale: float = 1.0, shift: float = 0.0) -> str:
        tensors[key] = (shift + scale * rng.standard_normal(shape)).astype(np.float32)
        return key

    def some(limit: int) -> int:
        return int(rng.integers(1, limit + 1))

    embedded = rng.random() < 0.3
    inputs = width = 1 if embedded else some(max_width)
    if embedded:
        width = some(max_width)
        ops.append(Embedding(name="embedding", weight=put("embedding", some(40), width)))
    while len(ops) < max(count, 1):
        kind = KINDS[rng.integers(len(KINDS))]
        k = f"op{len(ops)}.{kind}"
        if kind == "linear":
            rows = some(max_width)
            bias = put(f"{k}.b", rows) if rng.random() < 0.7 else None
            ops.append(Linear(name=k, weight=put(f"{k}.w", rows, width, scale=width**-0.5), bias=bias))
            width = rows
        elif kind in ("affine", "layernorm"):
            scale, shift = put(f"{k}.scale", width, scale=0.2, shift=1.0), put(f"{k}.shift", width, scale=0.2)
            if kind == "affine":
                ops.append(Affine(name=k, scale=scale, shift=shift))
            else:
                ops.append(LayerNorm(name=k, scale=scale, shift=shift, eps=float(10 ** rng.uniform(-9, -2))))
        elif kind == "ssm":
            n, feed = some(max_order), rng.random() < 0.5
            rows = width if feed else some(max_width)
            lam = rng.uniform(0.5, 0.9999, n) * np.exp(1j * rng.uniform(0, math.pi, n))
            tensors[f"{k}.lam"] = np.stack([lam.real, lam.imag]).astype(np.float32)
            put(f"{k}.in", 2 * n, width, scale=0.3 * (2 * width) ** -0.5)
            ops.append(
                SSM(
                    name=k,
                    lam=f"{k}.lam",
                    B=f"{k}.in",
                    C=put(f"{k}.out", rows, 2 * n, scale=n**-0.5),
                    D=put(f"{k}.d", width) if feed else None,
                    state=f"state_{len(ops)}",
                )
            )
            width = rows
        elif kind == "gelu":
            ops.append(Gelu(name=k))
        elif kind == "gate" and width % 2 == 0:
            ops.append(Gate(name=k))
            width //= 2
        elif kind == "save":
            slot = int(rng.integers(0, 3))
            slots[slot] = width
            ops.append(Save(name=k, slot=slot))
        elif kind == "add" and width in slots.values():
            ops.append(Add(name=k, slot=next(s for s, w in slots.items() if w == width)))
        elif kind == "pool":
            decay = 1.0 if rng.random() < 0.5 else float(rng.uniform(0.5, 0.999))
            ops.append(Pool(name=k, decay=decay, sum=f"sum_{len(ops)}", count=f"count_{len(ops)}"))
    meta = BundleMeta(
        name=name,
        task="regression",
        inputs=tuple(Signal(name=f"in_{i}") for i in range(inputs)),
        outputs=tuple(Signal(name=f"out_{i}") for i in range(width)),
        ops=tuple(ops),
    )
    return Bundle(meta, tensors)


def frames(bundle: Bundle, count: int, seed: int = 0) -> Float32:
    """Random input: (count, U), indices out of range included where the model begins with a table."""
    rng = np.random.default_rng(seed)
    if isinstance(bundle.meta.ops[0], Embedding):
        rows = len(bundle.tensors[bundle.meta.ops[0].weight])
        return rng.integers(-4, 2 * rows + 4, (count, 1)).astype(np.float32) * np.float32(0.5)
    return rng.standard_normal((count, len(bundle.meta.inputs)), np.float32)
