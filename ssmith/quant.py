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

Each matrix product has a key: ``OP`` for a linear op, ``OP.B`` and ``OP.C`` for an SSM. A bundle may say of
each in which precision it is to be computed (its **plan**), and the scales that training has got used to
(``Rounding``): tensors ``scales.KEY.step`` and ``.offset`` of the K inputs, ``.row`` of the M outputs.
With q codes and r int8,

    q = round((u - offset) / step),   r = round(W ∘ step / row),   W u ≈ row ∘ r (q + offset / step)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal, Protocol

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from ssmith.errors import InputError
from ssmith.ops import SSM, Linear, Op, Tensors, output_width

WEIGHT_LIMIT = 127
CODE_LIMITS = {16: 32767, 8: 127}  # activation bits → largest code
POLE_TOLERANCE = 0.01  # of 1 - |λ|: more than that, and λ is kept in 32 bits
PREFIX = "calibration."
SCALES = "scales."
SCALE_PARTS = ("step", "offset", "row")
MOST_COVARIANCES = 512  # channels; of more, only variances are kept
ROWS = ("minimum", "maximum", "mean")


ProductPrecision = Literal["float32", "int8-a16", "int8-a8"]
Plan = dict[str, ProductPrecision]  # by the key of a product


class Calibration(BaseModel):
    """How much data the ranges come from; the ranges themselves are tensors."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    sequences: int = Field(ge=1)
    frames: int = Field(ge=1)


class Rounding(BaseModel):
    """Which codes a training with rounding was for, and how long it was; its scales are tensors."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    activation_bits: Literal[8, 16]
    steps: int = Field(ge=1)


class Quantised(Protocol):
    """What a model says about its integers; ``check_integers`` holds its tensors against it."""

    @property
    def ops(self) -> tuple[Op, ...]:
        """The network."""
        ...

    @property
    def calibration(self) -> Calibration | None:
        """Where its ranges come from, if it has any."""
        ...

    @property
    def plan(self) -> Plan | None:
        """The precision of each product, if somebody chose."""
        ...

    @property
    def rounding(self) -> Rounding | None:
        """The training behind its scales, if it has any."""
        ...


def integer_names(model: Quantised) -> set[str]:
    """The tensors that its calibration and its scales consist of."""
    names = calibration_names(model.ops) if model.calibration else set()
    return names | (scale_names(model.ops) if model.rounding else set())


def check_integers(model: Quantised, tensors: Tensors, inputs: int) -> None:
    """Refuse ranges, scales and a plan that cannot be; all ``integer_names`` MUST be there.

    Raises:
        InputError: as ``check_calibration``, ``check_scales`` and ``check_plan`` say, or there are scales or
            a plan without ranges.
    """
    if model.calibration:
        check_calibration(model.ops, tensors, inputs)
    elif model.rounding or model.plan is not None:
        raise InputError(
            "it has scales or a plan for int8 but no calibration, without which they mean nothing"
        )
    if model.rounding:
        check_scales(model.ops, tensors)
    if model.plan is not None:
        check_plan(model.ops, model.plan)


def calibration_names(ops: Iterable[Op]) -> set[str]:
    """The tensors that a calibration of these ops consists of."""
    names = {f"{PREFIX}input"}
    for op in ops:
        keys = [f"{op.name}.input"] if isinstance(op, Linear | SSM) else []
        keys += [f"{op.name}.state"] if isinstance(op, SSM) else []
        names |= {f"{PREFIX}{key}{part}" for key in keys for part in ("", ".covariance")}
    return names


def product_weights(ops: Iterable[Op]) -> dict[str, str]:
    """Key of each product → the tensor of its weights, in the order of the ops."""
    found = {}
    for op in ops:
        if isinstance(op, Linear):
            found[op.name] = op.weight
        elif isinstance(op, SSM):
            found |= {f"{op.name}.B": op.B, f"{op.name}.C": op.C}
    return found


def scale_names(ops: Iterable[Op]) -> set[str]:
    """The tensors that the scales of these ops' products consist of."""
    return {f"{SCALES}{key}.{part}" for key in product_weights(ops) for part in SCALE_PARTS}


def check_scales(ops: Iterable[Op], tensors: Tensors) -> None:
    """Refuse scales that no rounding could use; all ``scale_names`` MUST be there.

    Raises:
        InputError: a tensor has the wrong shape, or a step or a row's scale is not above zero.
    """
    for key, weight in product_weights(ops).items():
        rows, columns = tensors[weight].shape
        for part, length in zip(SCALE_PARTS, (columns, columns, rows), strict=True):
            name = f"{SCALES}{key}.{part}"
            if tensors[name].shape != (length,):
                raise InputError(f"tensor {name!r} has shape {tensors[name].shape}, expected {(length,)}")
            if part != "offset" and not (tensors[name] > 0).all():
                i = int(np.argmin(tensors[name]))
                raise InputError(
                    f"tensor {name!r} says that scale {i} is {tensors[name][i]}; codes are divided by it, so"
                    " it must be above zero. Train the rounding again"
                )


def check_plan(ops: Iterable[Op], plan: Mapping[str, ProductPrecision]) -> None:
    """Refuse a plan that is not about exactly the products that there are.

    Raises:
        InputError: a product is missing, or one is named that does not exist.
    """
    keys = product_weights(ops)
    if unknown := sorted(set(plan) - set(keys)):
        raise InputError(
            f"the plan names the product {unknown[0]!r}, which there is not; the products are"
            f" {', '.join(keys)}"
        )
    if missing := [key for key in keys if key not in plan]:
        raise InputError(f"the plan says nothing of the product {missing[0]!r}; it must name every one")


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
