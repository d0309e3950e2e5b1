"""What an ONNX or ExecuTorch artifact that rounds weights or activations must compute: its simulation.

``ssmith.runtime.simulate`` says in float64 what such a file computes. The artifact's own arithmetic is
float32, so now and then a value beside a tie gets the other code; what that adds has to stay well below the
rounding noise itself. ``int8-all``, whose rounding is the runtime's own business, is held against float64,
with a floor for the signal-to-error ratio.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property

import numpy as np

from ssmith.golden import TOLERANCE
from ssmith.ops import Float32
from ssmith.recipe import ArtifactPrecision, Format
from ssmith.runtime.arithmetic import Float64, Real
from ssmith.runtime.integer_lower import ActivationBits
from ssmith.runtime.oracle import Oracle, run_sequences
from ssmith.runtime.parity_float import MARGIN
from ssmith.runtime.parity_integer import NOISE_MARGIN_DB
from ssmith.runtime.parity_rows import SILENCE, Check, Judgement, ParityRow, Where, compare, rms
from ssmith.runtime.rounding import Rounding
from ssmith.runtime.session import Session
from ssmith.runtime.simulate import roundings, run_simulated, simulate
from ssmith.runtime.stimuli import Stimulus

TIES = 0.5  # of the rounding noise: what codes beside a tie may add; trained models show a tenth of that
# What a precision without simulation must reach against float64, in dB: below it something is broken. What
# it costs is another question, and `ssmith quantize` answers it.
FLOORS_DB: dict[ArtifactPrecision, float] = {"int8-all": 3.0}
SIMULATED = (
    f"root mean square error against the simulated rounding; codes beside a tie may differ, {TIES:g} of the"
    " rounding noise"
)
NOISE = f"root mean square error against float64; {NOISE_MARGIN_DB:g} dB above that of the simulation"
FLOOR = "root mean square error against float64; how this runtime rounds inside is not simulated"
BEYOND = 10.0  # outside its ranges such a file saturates, and how far off it is then says nothing
OUTSIDE = "outside the ranges it was made for it has to stay in bounds, no more"
SPLIT = "root mean square difference; kernels differ by block length, and codes beside a tie with them"


class RoundedOracle:
    """The simulation of one precision of one format; what it makes of an input is computed once.

    Args:
        oracle: of the bundle.
        precision: of the artifact.
        activation_bits: of int8 as ONNX.
        backend: that runs it.
    """

    def __init__(
        self, oracle: Oracle, precision: ArtifactPrecision, activation_bits: int | None, backend: str
    ) -> None:
        self.oracle, self.precision = oracle, precision
        format_: Format = "executorch" if backend == "executorch" else "onnx"
        known = precision not in FLOORS_DB
        bits: ActivationBits = 8 if activation_bits == 8 else 16
        self.roundings: dict[str, Rounding] | None = (
            roundings(oracle.bundle, precision, bits, format_) if known else None
        )
        self._answers: dict[str, Float64] = {}

    def answer(self, s: Stimulus) -> Real:
        """Outputs (T, Y) of the simulation; where there is none, of float64."""
        if self.roundings is None:
            return self.oracle.exact(s).output
        if s.name not in self._answers:
            self._answers[s.name], _ = run_simulated(self.oracle.bundle, self.roundings, s.frames)
        return self._answers[s.name]

    def outputs(self, sequences: Sequence[Float32]) -> list[Real]:
        """Of sequences (T_i, U), each from a fresh start."""
        if self.roundings is None:
            return run_sequences(self.oracle.bundle, sequences)
        return [*simulate(self.oracle.bundle, self.roundings, sequences)]

    def noise(self, s: Stimulus) -> float:
        """What rounding does to the outputs of an input, root mean square."""
        return rms(self.answer(s) - self.oracle.exact(s).output)

    @cached_property
    def usual_noise(self) -> float:
        """The most that it does to a golden input: on silence it may do nothing, and a tie still weighs."""
        return max(self.noise(s) for s in self.oracle.golden)

    @cached_property
    def usual_signal(self) -> float:
        """Root mean square of the outputs of golden inputs, the loudest."""
        return max(rms(self.oracle.exact(s).output) for s in self.oracle.golden)


class RoundedYardstick:
    """What to hold a rounded artifact against.

    Args:
        simulated: of its precision.
        where: what rows say about it.
    """

    def __init__(self, simulated: RoundedOracle, where: Where) -> None:
        self.simulated, self.where = simulated, where
        oracle = simulated.oracle
        self.drift = oracle.drift.first(oracle.plan.rounded_drift)

    def rows(self, session: Session, s: Stimulus, whole: Float32) -> Iterator[ParityRow]:
        """Rows about an input that was fed whole."""
        exact = self.simulated.oracle.exact(s).output
        if self.simulated.roundings is None:
            judged = self._floor(s, exact)
            if s.golden is None and s.check != "drift":
                judged = judged._replace(tolerance=BEYOND * judged.tolerance, reason=f"{FLOOR}; {OUTSIDE}")
            yield self._row(whole, exact, judged, s.check, f"{s.name}/noise")
            return
        expected = self.simulated.answer(s)
        yield self._row(whole, expected, self._ties(s, expected, SIMULATED), s.check, f"{s.name}/simulated")
        if s.golden is not None or s.check == "drift":
            noise, signal = self.simulated.noise(s), max(rms(exact), SILENCE)
            predicted = -20 * float(np.log10(noise / signal)) if noise else None
            allowed = noise / signal * 10 ** (NOISE_MARGIN_DB / 20) + self._float32(s)
            judged = Judgement(allowed, NOISE, True, predicted)
            yield self._row(whole, exact, judged, s.check, f"{s.name}/noise")

    def split(self, s: Stimulus) -> Judgement:
        """What feeding in another way may change."""
        if self.simulated.roundings is None:
            return self._floor(s, self.simulated.oracle.exact(s).output)._replace(reason=SPLIT)
        return self._ties(s, self.simulated.answer(s), SPLIT)

    def expected(self, sequences: Sequence[Float32]) -> tuple[list[Real], Judgement]:
        """Outputs of held-out sequences, and what an artifact's may differ from them, all together."""
        outputs = self.simulated.outputs(sequences)
        if self.simulated.roundings is None:
            return outputs, self._floor(None, np.concatenate(outputs))
        exact = run_sequences(self.simulated.oracle.bundle, sequences)
        noise = rms(np.concatenate(outputs) - np.concatenate(exact))
        allowed = TIES * noise / max(rms(np.concatenate(outputs)), SILENCE) + TOLERANCE
        return outputs, Judgement(allowed, SIMULATED, True)

    def _row(self, got: Real, expected: Real, judged: Judgement, check: Check, case: str) -> ParityRow:
        return compare(got, expected, judged, self.where, check, case)

    def _ties(self, s: Stimulus, expected: Real, reason: str) -> Judgement:
        noise = max(self.simulated.noise(s), self.simulated.usual_noise)
        words = (
            f"{reason}; {len(s.frames)} frames, as rounding does not pile up"
            if s.check == "drift"
            else reason
        )
        return Judgement(TIES * noise / max(rms(expected), SILENCE) + self._float32(s), words, True)

    def _floor(self, s: Stimulus | None, exact: Real) -> Judgement:
        """Against a signal no quieter than the golden ones: what is lost there may be lost on silence too."""
        loudness = self.simulated.usual_signal / max(min(rms(exact), self.simulated.usual_signal), SILENCE)
        return Judgement(10 ** (-FLOORS_DB[self.simulated.precision] / 20) * loudness, FLOOR, True)

    def _float32(self, s: Stimulus) -> float:
        """What float32 alone may lose."""
        return max(TOLERANCE, MARGIN * self.simulated.oracle.own_error(s))
