"""What backends are compared with: the float64 reference, computed once for every input and shared.

``Oracle`` knows a bundle's stimuli (``stimuli.py``) and, when first asked, what the model makes of each: in
float64, and in float32 as the C engine computes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np

from ssmith.bundle import Bundle
from ssmith.ops import Float32
from ssmith.runtime.arithmetic import Float64, Real
from ssmith.runtime.parity_rows import SILENCE
from ssmith.runtime.reference import State, run, run_streams
from ssmith.runtime.stimuli import Stimulus, adversarial, long_stream, nearest_pole, recorded

# float32 against float64 over so many frames may differ by so much of the largest output; between the two
# on a straight line of logarithms, and no tighter below.
TARGETS = ((1_000, 2e-6), (100_000, 1e-4))
TOGETHER = 16_384  # frames of several sequences that are run at once


@dataclass(frozen=True)
class Plan:
    """How far a proof goes.

    Args:
        drift: frames of the long stream through a float32 artifact.
        rounded_drift: the same through one that rounds, whose error does not pile up.
    """

    drift: int = TARGETS[1][0]
    rounded_drift: int = 20_000


FULL = Plan()
QUICK = Plan(drift=1_000, rounded_drift=1_000)  # what an exporter runs on what it has just written


def float_target(frames: int) -> float:
    """What float32 may differ from float64 after so many frames, as a share of the largest output."""
    (short, tight), (long, loose) = TARGETS
    way = np.log(max(frames, short) / short) / np.log(long / short)
    return float(tight * (loose / tight) ** min(way, 1.0))


@dataclass(frozen=True, eq=False)
class Answer:
    """What a network makes of one input.

    Args:
        output: shape (T, Y).
        state: after the last frame.
    """

    output: Real
    state: State


class Oracle:
    """The references of one bundle; see the top of this file.

    Args:
        bundle: the model; it carries golden vectors.
        plan: how long the long stream is.

    Raises:
        InputError: the bundle carries no golden vectors.
    """

    def __init__(self, bundle: Bundle, plan: Plan = FULL) -> None:
        self.bundle, self.plan = bundle, plan
        self.golden = recorded(bundle)
        self.adversarial = adversarial(bundle)
        self._answers: dict[tuple[str, str], Answer] = {}

    @cached_property
    def drift(self) -> Stimulus:
        """The long stream."""
        return long_stream(self.bundle, self.plan.drift)

    @cached_property
    def pole(self) -> float:
        """The largest |λ|."""
        return nearest_pole(self.bundle)

    def exact(self, stimulus: Stimulus) -> Answer:
        """Of the float64 reference; a beginning of the long stream has no state of its own."""
        return self._answer("float64", stimulus)

    def float32(self, stimulus: Stimulus) -> Answer:
        """Of the float32 reference, the C engine's arithmetic."""
        return self._answer("float32", stimulus)

    def own_error(self, stimulus: Stimulus) -> float:
        """What float32 itself loses in the C engine's order, as a share of the largest output."""
        exact = self.exact(stimulus).output
        return _relative(self.float32(stimulus).output - exact, exact)

    def own_state_error(self, stimulus: Stimulus) -> float:
        """The same of the states, each as a share of its own largest value."""
        exact = self.exact(stimulus).state
        lost = self.scaled(self.float32(stimulus).state, exact) - self.scaled(exact, exact)
        return float(np.abs(lost).max(initial=0.0))

    @staticmethod
    def scaled(states: Mapping[str, Real], expected: Mapping[str, Real]) -> Float64:
        """All states as one vector, each divided by its largest expected value."""
        return np.concatenate(
            [
                states[name].astype(np.float64) / max(float(np.abs(value).max()), SILENCE)
                for name, value in expected.items()
            ]
            or [np.zeros(0)]
        )

    def _answer(self, precision: Literal["float64", "float32"], stimulus: Stimulus) -> Answer:
        key = (precision, stimulus.name)
        if key not in self._answers:
            ops, tensors = self.bundle.meta.ops, self.bundle.tensors
            if any(stimulus.name == other.name for other in self.adversarial):
                streams = np.stack([s.frames for s in self.adversarial])
                outputs = run_streams(ops, tensors, streams, precision=precision)
                for s, output in zip(self.adversarial, outputs, strict=True):
                    self._answers[precision, s.name] = Answer(output, {})
            else:
                whole = self.drift if stimulus.check == "drift" else stimulus
                self._answers[key] = Answer(*run(ops, tensors, whole.frames, precision=precision))
        found = self._answers[key]
        if len(found.output) == len(stimulus.frames):
            return found
        return Answer(found.output[: len(stimulus.frames)], {})


def run_sequences(
    bundle: Bundle, sequences: Sequence[Float32], precision: Literal["float64", "float32"] = "float64"
) -> list[Real]:
    """Outputs of sequences (T_i, U), each from a fresh start: (T_i, Y) each, the bits of ``reference.run``.

    Many run at once; shorter ones are filled up at their end, which changes nothing before it.
    """
    found: list[Real] = [np.zeros((0, len(bundle.meta.outputs)))] * len(sequences)
    order = sorted(range(len(sequences)), key=lambda i: len(sequences[i]))
    while order:
        longest = max(len(sequences[order[-1]]), 1)
        take = max(TOGETHER // longest, 1)
        order, chosen = order[:-take], order[-take:]
        streams = np.zeros((len(chosen), longest, len(bundle.meta.inputs)), np.float32)
        for row, i in enumerate(chosen):
            streams[row, : len(sequences[i])] = sequences[i]
        outputs = run_streams(bundle.meta.ops, bundle.tensors, streams, precision=precision)
        for row, i in enumerate(chosen):
            found[i] = outputs[row, : len(sequences[i])]
    return found


def _relative(error: Real, expected: Real) -> float:
    return float(np.abs(error).max(initial=0.0)) / max(float(np.abs(expected).max(initial=0.0)), SILENCE)
