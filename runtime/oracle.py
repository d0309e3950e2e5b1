"""What backends are compared with: the float64 and the integer reference on a bundle's golden inputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from ssmith.bundle import Bundle
from ssmith.errors import InputError
from ssmith.golden import GoldenCase
from ssmith.ops import Float32
from ssmith.runtime.arithmetic import Float64, Real
from ssmith.runtime.integer import IntegerValues, beyond_codes, run_integer
from ssmith.runtime.integer_lower import lower_integer
from ssmith.runtime.integer_model import IntegerModel
from ssmith.runtime.noise import predicted_snr_db
from ssmith.runtime.reference import State, run

LONG_FRAMES = 10_000
# A rounding error stays in a state for 1 / (1 - |λ|) frames, so what float32 can hold depends on
# the model and the input: other float32 arithmetic may be this many times worse than the C engine's.
MARGIN = 4.0
NOISE_MARGIN_DB = 6.0  # the error of int8 may be this far above the predicted one; found: within 3.1


@dataclass(frozen=True, eq=False)
class Expectation:
    """One input and what the model must make of it.

    Args:
        name: of the case.
        input: frames, shape (T, U).
        output: of the float64 reference, shape (T, Y).
        state: of the float64 reference after the last frame.
        float32: output of the float32 reference, the C engine's arithmetic, shape (T, Y).
        tolerance: allowed max |error| of the output as a share of max |output|.
        state_tolerance: the same of each state as a share of its own maximum.
        golden: what the trained model made of the input; None for an input it never saw.
    """

    name: str
    input: Float32
    output: Real
    state: State
    float32: Real
    tolerance: float
    state_tolerance: float
    golden: GoldenCase | None

    def scaled_states(self, states: Mapping[str, Real]) -> Float64:
        """All states as one vector, each divided by its largest expected value."""
        return np.concatenate(
            [
                states[name].astype(np.float64) / max(float(np.abs(expected).max()), 1e-6)
                for name, expected in self.state.items()
            ]
            or [np.zeros(0)]
        )


def expectations(bundle: Bundle) -> list[Expectation]:
    """The golden cases, then ``long``: their inputs in random order without a reset between.

    A golden case's output has the tolerance recorded with it. States, and the long stream, which
    nobody recorded, have at least that and at least ``MARGIN`` times the float32 reference's error.

    Raises:
        InputError: the bundle carries no golden vectors.
    """
    cases = [case for case in bundle.golden() if len(case.input)]
    if not cases:
        raise InputError(
            f"bundle {bundle.name!r} carries no golden vectors, so there is nothing to verify against;"
            " freeze the model again with data"
        )
    golden = [_expect(bundle, g.name, g.input, g.relative_tolerance, g) for g in cases]
    rng = np.random.default_rng(0)
    pieces: list[Float32] = []
    while sum(map(len, pieces)) < LONG_FRAMES:
        pieces.append(cases[int(rng.integers(len(cases)))].input)
    stream = np.concatenate(pieces)[:LONG_FRAMES]
    loosest = max(case.relative_tolerance for case in cases)
    return [*golden, _expect(bundle, "long", stream, loosest, None)]


def _expect(
    bundle: Bundle, name: str, block: Float32, tolerance: float, golden: GoldenCase | None
) -> Expectation:
    output, state = run(bundle.meta.ops, bundle.tensors, block)
    float32, state32 = run(bundle.meta.ops, bundle.tensors, block, precision="float32")
    if golden is None:
        scale = max(float(np.abs(output).max()), 1e-6)
        tolerance = max(tolerance, MARGIN * float(np.abs(float32 - output).max()) / scale)
    draft = Expectation(name, block, output, state, float32, tolerance, tolerance, golden)
    error = np.abs(draft.scaled_states(state32) - draft.scaled_states(state)).max(initial=0.0)
    return replace(draft, state_tolerance=max(tolerance, MARGIN * float(error)))


@dataclass(frozen=True, eq=False)
class IntegerExpectation:
    """What the int8 form must make of the input of an ``Expectation``.

    Args:
        case: the input, and what the model itself makes of it.
        output: of the integer reference, as real numbers, shape (T, Y).
        state: of the integer reference after the last frame.
        saturated: codes that were cut off on the way.
        predicted_snr_db: Σ output² over Σ error², in dB, as roundings and saturation explain it.
    """

    case: Expectation
    output: Float32
    state: IntegerValues
    saturated: int
    predicted_snr_db: float

    @property
    def tolerance(self) -> float:
        """Allowed root mean square error as a share of the output's root mean square."""
        return float(10 ** (-(self.predicted_snr_db - NOISE_MARGIN_DB) / 20))


def integer_expectations(
    bundle: Bundle, expected: Sequence[Expectation], activation_bits: Literal[8, 16]
) -> tuple[str, list[IntegerExpectation]]:
    """The same cases for the int8 form of a calibrated bundle, and the digest of its integers.

    Raises:
        InputError: the bundle has no int8 form.
    """
    model = lower_integer(bundle, activation_bits)
    return model.sha256, [_expect_integer(bundle, model, e) for e in expected]


def _expect_integer(bundle: Bundle, model: IntegerModel, e: Expectation) -> IntegerExpectation:
    saturated = {"input": beyond_codes(model, e.input)}
    predicted = predicted_snr_db(bundle, model, inputs=[e.input])
    v, state = run_integer(model, model.encode(e.input), saturated=saturated)
    return IntegerExpectation(e, model.decode(v), state, sum(saturated.values()), predicted)
