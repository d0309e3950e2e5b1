"""Inputs that every artifact must stand: recorded, random and adversarial ones, and one long stream."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ssmith.bundle import Bundle
from ssmith.errors import InputError
from ssmith.golden import GoldenCase
from ssmith.ops import SSM, Embedding, Float32
from ssmith.runtime.parity_rows import Check

FRAMES = 1_000
SILENT = 800  # frames before the step
LOUD = 100  # frames before the denormals: what the states then decay from
DENORMAL = 1e-40


@dataclass(frozen=True, eq=False)
class Stimulus:
    """One input.

    Args:
        name: of the case.
        check: what kind of check it makes.
        frames: shape (T, U).
        golden: what the trained model made of it; None for an input it never saw.
    """

    name: str
    check: Check
    frames: Float32
    golden: GoldenCase | None = None

    def first(self, frames: int) -> Stimulus:
        """Its beginning; whatever is recorded about the end is dropped."""
        return self if frames >= len(self.frames) else replace(self, frames=self.frames[:frames], golden=None)


def recorded(bundle: Bundle) -> list[Stimulus]:
    """The golden cases.

    Raises:
        InputError: the bundle carries no golden vectors.
    """
    cases = [case for case in bundle.golden() if len(case.input)]
    if not cases:
        raise InputError(
            f"bundle {bundle.name!r} carries no golden vectors, so there is nothing to verify against;"
            " freeze the model again with data"
        )
    return [Stimulus(case.name, "golden", case.input, case) for case in cases]


def adversarial(bundle: Bundle) -> list[Stimulus]:
    """Seven streams of ``FRAMES`` frames: what the model was not trained on, and must compute all the same.

    Two random ones at the data's own scale, silence, an impulse, random jumps between the ends of the range,
    denormal numbers after sound (states decay to nothing), and a step after a long silence.
    """
    low, high = _range(bundle)
    rng = np.random.default_rng(0)
    shape = (FRAMES, len(low))
    zeros = np.zeros(shape, np.float32)
    random = [_random(bundle, rng) for _ in range(2)]
    impulse, step = zeros.copy(), zeros.copy()
    impulse[0], step[SILENT:] = high, high
    jumps = np.where(rng.integers(0, 2, shape) == 1, high, low)
    denormals = np.where(rng.integers(0, 2, shape) == 1, DENORMAL, -DENORMAL)
    denormals[:LOUD] = random[0][:LOUD]
    streams: list[tuple[str, Check, NDArray[np.floating]]] = [
        ("random_0", "random", random[0]),
        ("random_1", "random", random[1]),
        ("zeros", "zeros", zeros),
        ("impulse", "impulse", impulse),
        ("full_scale", "full-scale", jumps),
        ("denormals", "denormals", denormals),
        ("silence_step", "silence-step", step),
    ]
    return [Stimulus(name, check, frames.astype(np.float32)) for name, check, frames in streams]


def long_stream(bundle: Bundle, frames: int) -> Stimulus:
    """``drift``: the golden inputs in random order without a reset between."""
    cases = [case.input for case in bundle.golden() if len(case.input)]
    rng = np.random.default_rng(0)
    pieces: list[Float32] = []
    reached = 0
    while reached < frames:
        pieces.append(cases[int(rng.integers(len(cases)))])
        reached += len(pieces[-1])
    return Stimulus("drift", "drift", np.concatenate(pieces)[:frames])


def nearest_pole(bundle: Bundle) -> float:
    """The largest |λ| of all layers; 0 without any."""
    found = [
        float(np.hypot(*bundle.tensors[op.lam].astype(np.float64)).max())
        for op in bundle.meta.ops
        if isinstance(op, SSM)
    ]
    return max(found, default=0.0)


def _range(bundle: Bundle) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Each channel's ends: what the signal is said to have, else what the golden inputs show; both (U,)."""
    seen = np.concatenate([case.input for case in bundle.golden()]).astype(np.float64)
    widest = np.abs(seen).max(axis=0)
    low, high = -widest, widest
    for i, signal in enumerate(bundle.meta.inputs):
        low[i] = low[i] if signal.minimum is None else signal.minimum
        high[i] = high[i] if signal.maximum is None else signal.maximum
    if vocabulary := _vocabulary(bundle):
        low[:], high[:] = 0, vocabulary - 1
    return low, high


def _random(bundle: Bundle, rng: np.random.Generator) -> NDArray[np.float64]:
    """Noise with the mean and spread of the golden inputs, or random tokens: (FRAMES, U)."""
    seen = np.concatenate([case.input for case in bundle.golden()]).astype(np.float64)
    if vocabulary := _vocabulary(bundle):
        return rng.integers(0, vocabulary, (FRAMES, 1)).astype(np.float64)
    noise: NDArray[np.float64] = seen.mean(0) + seen.std(0) * rng.standard_normal((FRAMES, seen.shape[1]))
    return noise


def _vocabulary(bundle: Bundle) -> int:
    """Rows of the table that turns tokens into vectors; 0 where inputs are numbers."""
    first = bundle.meta.ops[0]
    return len(bundle.tensors[first.weight]) if isinstance(first, Embedding) else 0
