"""The integer reference behind ``Session``: a calibrated bundle computed with the integers of its C code."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssmith.bundle import Bundle
from ssmith.errors import InputError
from ssmith.ops import Float32
from ssmith.runtime.frames import Precision
from ssmith.runtime.integer import initial_state, run_integer
from ssmith.runtime.integer_lower import ActivationBits, lower_integer
from ssmith.runtime.reference import describe


class IntegerReferenceBackend:
    """An ``IntegerModel`` behind ``Session``; float frames are converted at the edges only.

    ``state_get`` returns int32 and int64 arrays.
    """

    name = "reference"

    def __init__(self, bundle: Bundle, activation_bits: ActivationBits = 16) -> None:
        self.model = lower_integer(bundle, activation_bits)
        self.precision: Precision = "int8" if activation_bits == 16 else "int8-a8"
        self.inputs = len(bundle.meta.inputs)
        self.outputs = len(bundle.meta.outputs)
        self.period_s = bundle.meta.period_s
        types = [f"int{state.bits}" for state in self.model.states]
        self.meta: dict[str, Any] = describe(bundle) | {"state_types": types}
        self.reset()

    def reset(self) -> None:
        """Forget everything: all states zero."""
        self._state = initial_state(self.model)

    def process(self, block: Float32) -> Float32:
        """Feed (T, U), get (T, Y)."""
        output, self._state = run_integer(self.model, self.model.encode(block), self._state)
        return self.model.decode(output)

    def step(self, u: Float32) -> Float32:
        """Feed one frame (U,), get (Y,)."""
        y: Float32 = self.process(u[None])[0]
        return y

    def state_get(self) -> dict[str, NDArray[Any]]:
        """A copy of every state."""
        return {name: value.copy() for name, value in self._state.items()}

    def state_set(self, saved: Mapping[str, Any]) -> None:
        """Continue from states that ``state_get`` returned.

        Raises:
            InputError: a value does not fit the state's integers; nothing is changed.
        """
        values = {}
        for name, own in self._state.items():
            given = np.asarray(saved[name])
            limit = 1 << (np.iinfo(own.dtype).bits - 2)
            if given.min() < -limit or given.max() > limit:
                raise InputError(
                    f"state {name!r} holds a value beyond ±{limit}, which no model reaches; give back what"
                    " state_get returned"
                )
            values[name] = given.astype(own.dtype)
        self._state = values


def open_integer_reference(
    path: Path, activation_bits: ActivationBits = 16, order: int | None = None
) -> IntegerReferenceBackend:
    """Open a calibrated bundle file ``NAME.ssm``; with an order, the model of that order in it.

    Raises:
        InputError: no usable bundle, no such order, or it cannot become integers.
    """
    bundle = Bundle.read(path)
    return IntegerReferenceBackend(bundle if order is None else bundle.variant(order), activation_bits)
