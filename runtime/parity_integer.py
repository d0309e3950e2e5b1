"""What an int8 artifact in C must compute: the bits of the integer reference, with the noise foretold."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from ssmith.ops import Float32
from ssmith.runtime.arithmetic import Real
from ssmith.runtime.integer import IntegerValues, beyond_codes, run_integer
from ssmith.runtime.integer_lower import ActivationBits, lower_integer
from ssmith.runtime.noise import predicted_snr_db
from ssmith.runtime.oracle import Oracle
from ssmith.runtime.parity_rows import NOT_RUN, Check, Judgement, ParityRow, Where, compare
from ssmith.runtime.session import Session
from ssmith.runtime.stimuli import Stimulus

NOISE_MARGIN_DB = 6.0  # the error of int8 may be this far above the predicted one; found: within 3.1
SAME_BITS = "integers, so the same bits whatever the split"
INTEGER_BITS = "the integer reference computes with the same integers"
NOISE = f"root mean square error; {NOISE_MARGIN_DB:g} dB above what rounding and saturation explain"
OTHER_INTEGERS = (
    f"{NOT_RUN}the artifact holds other integers than this machine makes of the bundle, a last bit of"
    " rounding apart; export here to compare bits"
)


class IntegerOracle:
    """The integer reference of a calibrated bundle; what it makes of an input is computed once.

    Args:
        oracle: of the bundle.
        activation_bits: of the artifact.

    Raises:
        InputError: the bundle has no int8 form.
    """

    def __init__(self, oracle: Oracle, activation_bits: ActivationBits) -> None:
        self.oracle = oracle
        self.model = lower_integer(oracle.bundle, activation_bits)
        self._answers: dict[str, tuple[Float32, IntegerValues, int]] = {}
        self._predicted: dict[str, float] = {}

    def answer(self, s: Stimulus) -> tuple[Float32, IntegerValues, int]:
        """Real outputs (T, Y), the states after them, and how many codes were cut off."""
        if s.name not in self._answers:
            saturated = {"input": beyond_codes(self.model, s.frames)}
            v, state = run_integer(self.model, self.model.encode(s.frames), saturated=saturated)
            self._answers[s.name] = self.model.decode(v), state, sum(saturated.values())
        return self._answers[s.name]

    def predicted_snr_db(self, s: Stimulus) -> float:
        """Σ output² over Σ error², in dB, as roundings and saturation explain it."""
        if s.name not in self._predicted:
            self._predicted[s.name] = predicted_snr_db(self.oracle.bundle, self.model, inputs=[s.frames])
        return self._predicted[s.name]

    def outputs(self, sequences: Sequence[Float32]) -> list[Real]:
        """Of sequences (T_i, U), each from a fresh start."""
        return [self.model.decode(run_integer(self.model, self.model.encode(x))[0]) for x in sequences]


class IntegerYardstick:
    """What to hold an int8 artifact in C against.

    Where another linear algebra library made the integers, the last bits of the float64 sums that rounding
    decides on may have differed; then there are no bits to compare.

    Args:
        integers: of the bundle.
        session: of the artifact.
        where: what rows say about it.
    """

    def __init__(self, integers: IntegerOracle, session: Session, where: Where) -> None:
        self.integers, self.where = integers, where
        self._same = session.meta["integer_sha256"] == integers.model.sha256
        oracle = integers.oracle
        self.drift = oracle.drift.first(oracle.plan.rounded_drift)

    def rows(self, session: Session, s: Stimulus, whole: Float32) -> Iterator[ParityRow]:
        """Rows about an input that was fed whole; the session is where that ended."""
        output, state, saturated = self.integers.answer(s)
        bits = Judgement(0.0, _bits_reason(s))
        row = compare(whole, output, bits, self.where, s.check, f"{s.name}/bits")
        yield row if self._same else row.model_copy(update={"passed": False, "reason": OTHER_INTEGERS})
        if state and self._same:
            found = session.state_get()
            off = [found[name].astype(np.int64) - values for name, values in state.items()]
            error = np.concatenate(off)[None].astype(np.float64)
            check: Check = "drift" if s.check == "drift" else "state"
            held = Judgement(0.0, INTEGER_BITS)
            row = compare(error, np.zeros_like(error), held, self.where, check, f"{s.name}/state")
            yield row.model_copy(update={"worst_step": len(s.frames) - 1})
        if s.golden is not None:
            cut_off = f"; {saturated} codes beyond the ranges" if saturated else ""
            predicted = self.integers.predicted_snr_db(s)
            allowed = float(10 ** (-(predicted - NOISE_MARGIN_DB) / 20))
            judged = Judgement(allowed, f"{NOISE}{cut_off}", True, predicted)
            exact = self.integers.oracle.exact(s).output
            yield compare(whole, exact, judged, self.where, s.check, f"{s.name}/noise")

    def split(self, s: Stimulus) -> Judgement:
        """What feeding in another way may change."""
        return Judgement(0.0, SAME_BITS)

    def expected(self, sequences: Sequence[Float32]) -> tuple[list[Real], Judgement]:
        """Outputs of held-out sequences, and what an artifact's may differ from them, all together."""
        return self.integers.outputs(sequences), Judgement(0.0, INTEGER_BITS)


def _bits_reason(s: Stimulus) -> str:
    if s.check != "drift":
        return INTEGER_BITS
    return f"{INTEGER_BITS}; {len(s.frames)} frames, as equal bits cannot drift apart"
