"""Affine maps disappear into their neighbours, in float64, where that is exact."""

from __future__ import annotations

import numpy as np

from ssmith.ops import SSM, Affine, Linear, Op
from ssmith.train.convert import Draft, Float64


def fold(draft: Draft) -> Draft:
    """The same function with fewer ops.

    With affine v → s∘v + t:

    - identity: dropped;
    - affine, affine: s₂∘s₁, s₂∘t₁ + t₂;
    - affine, linear: W diag(s), b + W t;
    - linear, affine: diag(s) W, s∘b + t;
    - affine with t = 0, SSM: B diag(s), D∘s. With t ≠ 0 the affine op stays: an SSM has no bias.
    """
    ops: list[Op] = []
    tensors = dict(draft.tensors)
    for op in draft.ops:
        ops.append(op)
        while _simplify(ops, tensors):
            pass
    used = {value for op in ops for value in op.model_dump().values() if isinstance(value, str)}
    return Draft(ops, {name: array for name, array in tensors.items() if name in used})


def _simplify(ops: list[Op], tensors: dict[str, Float64]) -> bool:
    """Simplify the end of ``ops`` by one op if it can be."""
    last = ops[-1] if ops else None
    if isinstance(last, Affine) and (tensors[last.scale] == 1).all() and not tensors[last.shift].any():
        ops.pop()
        return True
    if len(ops) < 2:
        return False
    merged = _merge(ops[-2], ops[-1], tensors)
    if merged is None:
        return False
    ops[-2:] = [merged]
    return True


def _merge(first: Op, second: Op, tensors: dict[str, Float64]) -> Op | None:
    """One op for two, its tensors updated in ``tensors``; None if there is none."""
    if isinstance(first, Affine):
        scale, shift = tensors[first.scale], tensors[first.shift]
        if isinstance(second, Affine):
            outer = tensors[second.scale]
            tensors[second.shift] = outer * shift + tensors[second.shift]
            tensors[second.scale] = outer * scale
            return second
        if isinstance(second, Linear):
            weight = tensors[second.weight]
            tensors[second.weight] = weight * scale
            return _with_bias(second, weight @ shift, tensors)
        if isinstance(second, SSM) and not shift.any():
            tensors[second.B] = tensors[second.B] * scale
            if second.D is not None:
                tensors[second.D] = tensors[second.D] * scale
            return second
    if isinstance(first, Linear) and isinstance(second, Affine):
        scale, shift = tensors[second.scale], tensors[second.shift]
        tensors[first.weight] = scale[:, None] * tensors[first.weight]
        if first.bias is not None:
            tensors[first.bias] = scale * tensors[first.bias]
        return _with_bias(first, shift, tensors)
    return None


def _with_bias(op: Linear, extra: Float64, tensors: dict[str, Float64]) -> Linear:
    """``op`` with ``extra`` (out,) added to its bias, which it gets if it has none."""
    if op.bias is not None:
        tensors[op.bias] = tensors[op.bias] + extra
        return op
    if not np.any(extra):
        return op
    name = f"{op.name}.bias"
    tensors[name] = extra
    return op.model_copy(update={"bias": name})
