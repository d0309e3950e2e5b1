"""How far apart the codes of an integer model really are.

Multipliers have 31 bits, but few of them are used where the range that is proven is far above the one
that is seen.
"""

from __future__ import annotations

import numpy as np

from ssmith.bundle import Bundle
from ssmith.runtime.integer_lower import ActivationBits, lower_integer, settled
from ssmith.runtime.integer_model import Float64, LinearOp, Quantize, SsmOp
from ssmith.runtime.integer_ssm import SsmStep
from ssmith.runtime.integer_steps import LinearStep


def steps_taken(bundle: Bundle, activation_bits: ActivationBits) -> dict[str, Float64]:
    """The steps in which integer code rounds the inputs of each product, by its key, (K) real.

    They differ from ``codes.step``, which is what a code stands for, by half a unit of a multiplier.

    Raises:
        InputError: as ``lower_integer``.
    """
    drafted = settled(bundle, activation_bits)
    ops = {op.name: op for op in lower_integer(bundle, activation_bits).ops}
    found = {}
    for step in drafted.steps:
        if not isinstance(step, LinearStep | SsmStep):
            continue
        op, vector = ops[step.name], drafted.classes.solve(step.source) * step.gain
        if isinstance(step, LinearStep) and isinstance(op, LinearOp):
            found[step.name] = _taken(op.quantize, vector, step.product.codes.step)
        elif isinstance(step, SsmStep) and isinstance(op, SsmOp):
            found[f"{step.name}.B"] = _taken(op.quantize, vector, step.into.codes.step)
            states = np.tile(step.unit, 2)
            found[f"{step.name}.C"] = _taken(op.state_quantize, states, step.out.codes.step)
    return found


def _taken(rule: Quantize, vector: Float64, step: Float64) -> Float64:
    """Real value of a unit of the vector over codes a unit; ``step`` where the vector is always 0."""
    codes = rule.requant.multiplier * 2.0 ** (rule.requant.shift - 32)
    return np.where(codes != 0, vector / np.where(codes != 0, codes, 1.0), step)
