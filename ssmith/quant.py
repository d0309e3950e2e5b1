"""The quantisation scheme as data: bits, rounding rule, and what a bundle must know to be quantised.

- Weights: int8, one scale an output channel, symmetric, |code| ≤ 127.
- Activations that meet weights: 16 or 8 bits, one scale and one offset an input channel; they saturate.
- Accumulators, vectors between ops and states: int32; they are proven not to overflow. A cumulative
  mean sums in int64.
- Poles: 16 bits where that changes 1 - |λ| by less than one per cent, else 32.
- Every product is rounded to nearest, halves up; codes of real inputs to nearest even.

Ranges come from a **calibration**: what the vectors before the weights, and the states, were seen to
be on training sequences. A bundle carries it as tensors ``calibration.KEY``, each (3, n) with the rows
minimum, maximum and mean of n channels, and ``calibration.KEY.covariance``, (n, n), or the variances
alone, (1, n), of more than 512 channels: the square of thousands would outweigh the model. Keys: ``input``,
without covariance; ``OP.input`` for every linear and SSM op, the vector it reads; ``OP.state`` for every
SSM, its planar states.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from ssmith.errors import InputError
from ssmith.ops import SSM, Linear, Op, Tensors, output_width

WEIGHT_LIMIT = 127
CODE_LIMITS = {16: 32767, 8: 127}  # activation bits → largest code
POLE_TOLERANCE = 0.01  # of 1 - |λ|: more than that, and λ is kept in 32 bits
PREFIX = "calibration."
MOST_COVARIANCES = 512  # channels; of more, only variances are kept
ROWS = ("minimum", "maximum", "mean")


class Calibration(BaseModel):
    """How much data the ranges come from; the ranges themselves are tensors."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    sequences: int = Field(ge=1)
    frames: int = Field(ge=1)


def calibration_names(ops: Iterable[Op]) -> set[str]:
    """The tensors that a calibration of these ops consists of."""
    names = {f"{PREFIX}input"}
    for op in ops:
        keys = [f"{op.name}.input"] if isinstance(op, Linear | SSM) else []
        keys += [f"{op.name}.state"] if isinstance(op, SSM) else []
        names |= {f"{PREFIX}{key}{part}" for key in keys for part in ("", ".covariance")}
    return names


def check_calibration(ops: Iterable[Op], tensors: Tensors, inputs: int) -> None:
    """Refuse ranges that no data could have; all ``calibration_names`` MUST be there.

    Raises:
        InputError: a tensor has the wrong shape, minimum ≤ mean ≤ maximum does not hold, or a
            covariance is not symmetric with a diagonal that is not negative.
    """
    _check_ranges(f"{PREFIX}input", tensors, inputs)
    width = inputs
    for op in ops:
        if isinstance(op, Linear | SSM):
            _check_moments(f"{PREFIX}{op.name}.input", tensors, width)
        if isinstance(op, SSM):
            _check_moments(f"{PREFIX}{op.name}.state", tensors, 2 * tensors[op.lam].shape[1])
        width = output_width(op, width, tensors)


def _check_ranges(name: str, tensors: Tensors, width: int) -> None:
    if tensors[name].shape != (len(ROWS), width):
        raise InputError(f"tensor {name!r} has shape {tensors[name].shape}, expected {(len(ROWS), width)}")
    low, high, mean = tensors[name]
    wrong = (low > mean) | (mean > high)
    if wrong.any():
        c = int(np.argmax(wrong))
        raise InputError(
            f"tensor {name!r} says that channel {c} lies in [{low[c]}, {high[c]}] with mean {mean[c]}, which"
            " cannot be; calibrate the bundle again"
        )


def _check_moments(name: str, tensors: Tensors, width: int) -> None:
    _check_ranges(name, tensors, width)
    covariance = tensors[f"{name}.covariance"]
    expected = (width if width <= MOST_COVARIANCES else 1, width)
    if covariance.shape != expected:
        raise InputError(f"tensor '{name}.covariance' has shape {covariance.shape}, expected {expected}")
    variances = covariance.diagonal() if expected[0] == width else covariance[0]
    if (variances < 0).any() or (expected[0] == width and not np.array_equal(covariance, covariance.T)):
        raise InputError(f"tensor '{name}.covariance' is no covariance; calibrate the bundle again")
