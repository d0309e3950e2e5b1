"""What both C forms need to know about an op list: widths, state offsets, buffers, tensor order.

Buffers: the current vectors stand in ``a`` or ``b``; an op that cannot work in place reads one and
writes the other. The states of an SSM over a block of frames stand in ``x``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ssmith.bundle import Bundle
from ssmith.errors import InputError
from ssmith.ops import (
    SSM,
    TENSOR_FIELDS,
    Embedding,
    Float32,
    Gate,
    Linear,
    Op,
    Pool,
    Save,
    output_width,
    packed,
)

Weights = Float32 | NDArray[np.uint16]
MAX_DIM = 1 << 20  # the engine refuses more; also keeps an index exact in float32


@dataclass(frozen=True)
class Step:
    """One op with what surrounds it.

    Args:
        op: the op.
        width_in: values per frame before it.
        width_out: values per frame after it.
        n: modes of an SSM, rows of an embedding, else 0.
        state_at: where its states start in the flat state, in floats.
        source: buffer it reads, ``"a"`` or ``"b"``.
        target: buffer it writes; the same where it works in place.
    """

    op: Op
    width_in: int
    width_out: int
    n: int
    state_at: int
    source: str
    target: str

    @property
    def state_floats(self) -> int:
        """How many state values the op owns."""
        if isinstance(self.op, SSM):
            return 2 * self.n
        return self.width_in + 1 if isinstance(self.op, Pool) else 0


@dataclass(frozen=True)
class Plan:
    """The op list laid out.

    Args:
        steps: one per op, in order.
        state_floats: length of the flat state.
        buffers: name → floats per frame of ``a``, ``b``, ``x`` and the slots ``s0`` …, used ones only.
    """

    steps: tuple[Step, ...]
    state_floats: int
    buffers: dict[str, int]

    @property
    def scratch_floats(self) -> int:
        """Scratch per frame of a block."""
        return sum(self.buffers.values())


def plan(bundle: Bundle) -> Plan:
    """Lay out a bundle's ops.

    Raises:
        InputError: a dimension is beyond the engine's limit.
    """
    steps: list[Step] = []
    width, state_at, current = len(bundle.meta.inputs), 0, "a"
    buffers = {"a": width}
    for op in bundle.meta.ops:
        after, n, target = output_width(op, width, bundle.tensors), 0, current
        if isinstance(op, SSM):
            n = int(bundle.tensors[op.lam].shape[1])
            buffers["x"] = max(buffers.get("x", 0), 2 * n)
        if isinstance(op, Embedding):
            n = int(bundle.tensors[op.weight].shape[0])
        if isinstance(op, Save):
            slot = f"s{op.slot}"
            buffers[slot] = max(buffers.get(slot, 0), width)
        if isinstance(op, Linear | Embedding | SSM | Gate):
            target = "b" if current == "a" else "a"
        if max(width, after, n) > MAX_DIM:
            raise InputError(
                f"op {op.name!r} has a dimension of {max(width, after, n)}; the C engine takes up to"
                f" {MAX_DIM}. Make the layer smaller or export ONNX"
            )
        step = Step(op, width, after, n, state_at, current, target)
        steps.append(step)
        buffers[target] = max(buffers.get(target, 0), after)
        width, state_at, current = after, state_at + step.state_floats, target
    return Plan(tuple(steps), state_at, dict(sorted(buffers.items())))


def warmup_frames(bundle: Bundle) -> int:
    """Frames until the slowest mode has decayed by 60 dB: ⌈ln 10⁻³ / ln max|λ|⌉, 0 without an SSM."""
    lams = [bundle.tensors[op.lam].astype(np.float64) for op in bundle.meta.ops if isinstance(op, SSM)]
    slowest = max((float(np.hypot(*lam).max()) for lam in lams), default=0.0)
    return math.ceil(math.log(1e-3) / math.log(slowest)) if slowest > 0.0 else 0


def tensors_of(step: Step, bundle: Bundle) -> Iterator[tuple[str, str, Weights]]:
    """(field, tensor name, array as the kernels want it) for every tensor of an op, in field order.

    Matrices are turned to (in, out): the kernels walk inputs outside and outputs inside. Of an SSM with
    channels B is (1, 2N) and C (2N, 1), without their zeros; ``modes`` (H) comes last.
    """
    stored = packed([step.op], bundle.tensors)
    for field in TENSOR_FIELDS:
        name = getattr(step.op, field, None)
        if name is not None:
            array = stored[name]
            turned = isinstance(step.op, Linear | SSM) and field in ("weight", "B", "C")
            yield field, name, np.ascontiguousarray(array.T) if turned else array
    if isinstance(step.op, SSM) and step.op.channels is not None:
        yield "modes", "modes", np.array(step.op.channels, np.uint16)


def modes_text(inputs: int, modes: int, outputs: int, channels: tuple[int, ...] | None) -> str:
    """The shape of an SSM in words, for comments."""
    if channels is None:
        return f"{inputs} -> {modes} modes -> {outputs}"
    return f"{inputs} channels of {modes} modes in all"
