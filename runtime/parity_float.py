"""What a float32 artifact must compute: the float64 reference, within what float32 can hold."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from ssmith.ops import Float32
from ssmith.runtime.arithmetic import Real
from ssmith.runtime.oracle import Oracle, float_target, run_sequences
from ssmith.runtime.parity_rows import Check, Judgement, ParityRow, Where, compare
from ssmith.runtime.session import Session
from ssmith.runtime.stimuli import Stimulus

# A rounding error stays in a state for 1 / (1 - |λ|) frames, in a running mean for ever, so what float32 can
# hold depends on the model and the input. Where it is not the target, other float32 arithmetic may be this
# many times worse than the C engine's; ONNX Runtime was within 1.3 times on 40 random networks.
MARGIN = 2.0
EXACT = ("native", "reference")  # the same operations in the same order, however long a block is
RECORDED = "the trained model's own output; the tolerance recorded with it"
SAME_BITS = "the same operations in the same order, whatever the split"
ENGINE_BITS = "the float32 reference sums in the C engine's order"


class FloatYardstick:
    """What to hold a float32 artifact against.

    Args:
        oracle: of the bundle.
        session: of the artifact.
        where: what rows say about it.
    """

    def __init__(self, oracle: Oracle, session: Session, where: Where) -> None:
        self.oracle, self.where = oracle, where
        self._exact_bits = session.backend in EXACT
        self._engine = session.backend == "native"
        self.drift = oracle.drift

    def rows(self, session: Session, s: Stimulus, whole: Float32) -> Iterator[ParityRow]:
        """Rows about an input that was fed whole; the session is where that ended."""
        oracle, exact = self.oracle, self.oracle.exact(s)
        judged = self._judgement(len(s.frames), oracle.own_error(s), "largest output")
        yield compare(whole, exact.output, judged, self.where, s.check, f"{s.name}/whole")
        if exact.state:
            got = oracle.scaled(session.state_get(), exact.state)[None]
            wanted = oracle.scaled(exact.state, exact.state)[None]
            held = self._judgement(len(s.frames), oracle.own_state_error(s), "largest value of each state")
            check: Check = "drift" if s.check == "drift" else "state"
            row = compare(got, wanted, held, self.where, check, f"{s.name}/state")
            yield row.model_copy(update={"worst_step": len(s.frames) - 1})
        if self._engine:
            bits = Judgement(0.0, ENGINE_BITS)
            got_bits = oracle.float32(s).output
            yield compare(whole, got_bits, bits, self.where, s.check, f"{s.name}/bits")
        if s.golden is not None:
            known = Judgement(s.golden.relative_tolerance, RECORDED)
            for how, output in (("recorded", s.golden.output), ("streamed", s.golden.streamed)):
                yield compare(whole, output, known, self.where, s.check, f"{s.name}/{how}")

    def split(self, s: Stimulus) -> Judgement:
        """What feeding in another way may change."""
        if self._exact_bits:
            return Judgement(0.0, SAME_BITS)
        whole = self._judgement(len(s.frames), self.oracle.own_error(s), "largest output")
        return whole._replace(reason=f"other kernels for other block lengths; {whole.reason}", target=None)

    def expected(self, sequences: Sequence[Float32]) -> tuple[list[Real], Judgement]:
        """Outputs of held-out sequences, and what an artifact's may differ from them, all together."""
        exact = run_sequences(self.oracle.bundle, sequences)
        float32 = run_sequences(self.oracle.bundle, sequences, "float32")
        largest = max((float(np.abs(y).max(initial=0.0)) for y in exact), default=0.0)
        lost = (float(np.abs(a - b).max(initial=0.0)) for a, b in zip(exact, float32, strict=True))
        longest = max(map(len, sequences), default=0)
        return exact, self._judgement(longest, max(lost, default=0.0) / max(largest, 1e-6), "largest output")

    def _judgement(self, frames: int, own: float, scale: str) -> Judgement:
        target = float_target(frames)
        over = f"over {frames} frames, poles up to |λ| = {self.oracle.pole:.6f}"
        if MARGIN * own <= target:
            words = f"target of float32 {over}, as a share of the {scale}"
            return Judgement(target, words, target=target)
        return Judgement(
            MARGIN * own,
            f"{MARGIN:g} times what float32 itself loses here, {own:.1e} of the {scale} {over}; the target is"
            f" {target:.1e}",
            target=target,
        )
