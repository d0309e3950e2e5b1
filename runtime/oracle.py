"""What every backend is compared with: the float64 reference on the bundle's golden inputs."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ssmith.bundle import Bundle
from ssmith.errors import InputError
from ssmith.golden import GoldenCase
from ssmith.ops import Float32
from ssmith.runtime.arithmetic import Real
from ssmith.runtime.reference import State, run

LONG_FRAMES = 10_000


@dataclass(frozen=True, eq=False)
class Expectation:
    """One input and what the model must make of it.

    Args:
        bundle: the model.
        name: of the case.
        input: frames, shape (T, U).
        output: of the float64 reference, shape (T, Y).
        state: of the float64 reference after the last frame.
        tolerance: allowed max |error| as a share of max |output|.
        golden: what the trained model made of the input; None for an input it never saw.
    """

    bundle: Bundle
    name: str
    input: Float32
    output: Real
    state: State
    tolerance: float
    golden: GoldenCase | None

    @cached_property
    def float32(self) -> Real:
        """Output of the float32 reference, the C engine's arithmetic, shape (T, Y)."""
        meta, tensors = self.bundle.meta, self.bundle.tensors
        return run(meta.ops, tensors, self.input, precision="float32")[0]


def expectations(bundle: Bundle) -> list[Expectation]:
    """The golden cases, then ``long``: their inputs in random order without a reset between.

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
    return Expectation(bundle, name, block, output, state, tolerance, golden)
