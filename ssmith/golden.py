"""Golden vectors: made once from the trained model, carried in the bundle, checked by everyone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ssmith.errors import SsmithError
from ssmith.ops import Float32

TOLERANCE = 2e-5  # of max |output|; float32 against float64 was within 3e-6 on 67 networks, T ≤ 1024
MARGIN = 4.0  # golden tolerance over the spread measured between evaluations of this very model
WORST = 1e-2  # a wider spread means that float32 does not carry the model


@dataclass(frozen=True, eq=False)
class GoldenCase:
    """One recorded input and what the trained model made of it, in evaluation mode.

    Args:
        name: where the input came from, for example ``validation_0`` or ``noise``.
        input: frames, shape (T, U).
        output: of the whole sequence at once, shape (T, Y).
        streamed: of the same model, fed frame by frame, shape (T, Y).
        relative_tolerance: allowed max |error| as a share of max |output|.
    """

    name: str
    input: Float32
    output: Float32
    streamed: Float32
    relative_tolerance: float

    @property
    def scale(self) -> float:
        """What errors are relative to: max |output|, at least 1e-6 so that silence can pass."""
        return max(float(np.abs(self.output).max(initial=0.0)), 1e-6)


def recorded_tolerance(name: str, spread: float) -> float:
    """The relative tolerance to record with a golden case.

    Args:
        name: of the case.
        spread: largest difference between evaluations of the same model, as a share of max |output|.

    Raises:
        SsmithError: it is more than float32 can explain.
    """
    if not spread * MARGIN < WORST:
        raise SsmithError(
            f"golden case {name!r}: evaluations of the same model differ by {spread:.1e} of its "
            "largest output, so float32 does not carry it. Look for inputs whose mean is far above their "
            "standard deviation, or weights that exploded"
        )
    return max(TOLERANCE, MARGIN * spread)
