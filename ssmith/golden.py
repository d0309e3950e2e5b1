"""Golden vectors: made once from the trained model, carried in the bundle, checked by everyone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ssmith.ops import Float32


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
