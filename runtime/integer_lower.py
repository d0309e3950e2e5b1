"""A calibrated bundle as an ``IntegerModel``: codes, scales, and the proof that nothing overflows.

Two walks over the ops. The first (``integer_draft``) rounds weights and poles, bounds in real numbers
what every vector can reach when all codes are at their limits, and so decides which scales are needed.
The second turns scales into multipliers and computes every bound again in integers, from the very numbers
that the C code uses; a bound that does not fit its integer is refused.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from ssmith.bundle import Bundle
from ssmith.errors import InputError
from ssmith.runtime.integer_draft import INPUT_SHIFT, Draft, draft
from ssmith.runtime.integer_functions import Int64
from ssmith.runtime.integer_ledger import Ledger
from ssmith.runtime.integer_model import (
    EmbeddingOp,
    Float64,
    IntegerModel,
    IntegerOp,
    IntegerState,
    MeanPoolOp,
)

ActivationBits = Literal[16, 8]
_ATTEMPTS = 20


def lower_integer(bundle: Bundle, activation_bits: ActivationBits = 16) -> IntegerModel:
    """The integer form of a model; the same bundle gives the same numbers.

    Args:
        bundle: calibrated; variants are not looked at.
        activation_bits: of the codes that meet weights, 16 or 8.

    Raises:
        InputError: the bundle has no calibration, holds an op where integers cannot go, or a bound needs
            more bits than there are.
    """
    return _finished(bundle, activation_bits, settled(bundle, activation_bits))


def settled(bundle: Bundle, activation_bits: ActivationBits) -> Draft:
    """The first walk, repeated until no product's codes are finer than the vector behind them.

    Raises:
        InputError: see ``lower_integer``; the bounds are proven later.
    """
    if activation_bits not in (16, 8):
        raise InputError(f"activation_bits is {activation_bits!r}; codes have 16 or 8 bits")
    if not bundle.calibrated:
        raise InputError(
            f"the bundle {bundle.name!r} has no calibration, so nothing tells what its integers must"
            " cover; run `ssmith quantize` on it with training data"
        )
    floors: dict[str, Float64] = {}
    for _ in range(_ATTEMPTS):
        drafted = draft(bundle, activation_bits, floors)
        finer = drafted.settle()
        if not finer:
            return drafted
        floors |= finer
    raise InputError(
        f"the ranges of {', '.join(sorted(floors))} are too wide for 32-bit integers: the largest value that"
        " can be reached is more than 2^30 times the smallest that must be told"
    )


def _finished(bundle: Bundle, bits: int, drafted: Draft) -> IntegerModel:
    """The second walk: integer ops with their bounds."""
    reach: Int64 = np.full(len(bundle.meta.inputs), 1 << 15 + INPUT_SHIFT)
    ledger = Ledger(drafted.classes, reach, bits)
    ops = []
    for step in drafted.steps:
        ops.append(step.finish(ledger))
        ledger.prove(f"{step.name}.output", ledger.reach)
    return IntegerModel(
        name=bundle.name,
        activation_bits=bits,
        input_scale=drafted.input_scale.astype(np.float32),
        input_shift=0 if isinstance(ops[0], EmbeddingOp) else INPUT_SHIFT,
        output_scale=ledger.scale(drafted.ids).astype(np.float32),
        ops=tuple(ops),
        states=_states(bundle, ops),
        proofs=ledger.proofs,
        scales=ledger.scales,
    )


def _states(bundle: Bundle, ops: list[IntegerOp]) -> tuple[IntegerState, ...]:
    """Names and types of the states, in op order."""
    lengths = {name: shape[0] for name, shape in bundle.states.items()}
    wide = {name for op in ops if isinstance(op, MeanPoolOp) for name in (op.sum, op.count)}
    return tuple(IntegerState(name, n, 64 if name in wide else 32) for name, n in lengths.items())
