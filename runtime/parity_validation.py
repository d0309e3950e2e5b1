"""Held-out data through an artifact: the task's metric, and every output."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from ssmith.ops import Float32
from ssmith.runtime.arithmetic import Real
from ssmith.runtime.oracle import Oracle, run_sequences
from ssmith.runtime.parity_rows import Judgement, Metric, ParityRow, Where, compare
from ssmith.runtime.session import Session

MOST_FRAMES = 100_000  # of the validation set; what is left out is told in the row


class _Expects(Protocol):
    def expected(self, sequences: Sequence[Float32]) -> tuple[list[Real], Judgement]: ...


@dataclass(frozen=True, eq=False)
class Validation:
    """Held-out sequences and the metric that counts.

    Args:
        inputs: arrays of shape (T_i, U).
        name: what they are, for the reader.
        metric: its name; None where no targets are known.
        score: its value for outputs, one array (T_i, Y) a sequence, of the first so many sequences; None
            where it is not a finite number.
        total: how many sequences there were.
    """

    inputs: Sequence[Float32]
    name: str
    metric: Metric | None
    score: Callable[[Sequence[Float32]], float | None]
    total: int

    @classmethod
    def of(
        cls,
        inputs: Sequence[Float32],
        name: str,
        metric: Metric | None,
        score: Callable[[Sequence[Float32]], float | None],
    ) -> Validation:
        """All sequences; where they have more than ``MOST_FRAMES`` together the first ones, at least one."""
        ends = np.cumsum([len(x) for x in inputs])
        count = max(int((ends <= MOST_FRAMES).sum()), 1)
        return cls(inputs[:count], name, metric, score, len(inputs))

    @property
    def words(self) -> str:
        """How much of it was run."""
        frames = sum(map(len, self.inputs))
        part = f"the first {len(self.inputs)} of " if len(self.inputs) < self.total else ""
        return f"{part}{self.total} {self.name}, {frames} frames"


class Validated:
    """What every artifact of a bundle is held against; computed once.

    Args:
        oracle: of the bundle.
        data: held-out sequences.
    """

    def __init__(self, oracle: Oracle, data: Validation) -> None:
        self.data = data
        exact = run_sequences(oracle.bundle, data.inputs)
        self.exact = data.score([y.astype(np.float32) for y in exact]) if data.metric else None
        self._expected: dict[tuple[object, ...], tuple[list[Real], Judgement]] = {}

    def row(self, session: Session, where: Where, yardstick: _Expects, key: tuple[object, ...]) -> ParityRow:
        """The validation set through a session, sequence by sequence.

        Args:
            session: of the artifact.
            where: what the row says about it.
            yardstick: what it must compute.
            key: artifacts with the same one must compute the same.
        """
        if key not in self._expected:
            self._expected[key] = yardstick.expected(self.data.inputs)
        expected, judged = self._expected[key]
        got = []
        for block in self.data.inputs:
            session.reset()
            got.append(session.process(block))
        judged = judged._replace(reason=f"{judged.reason}; {self.data.words}")
        row = compare(
            np.concatenate(got), np.concatenate(expected), judged, where, "validation", "validation/whole"
        )
        ends = np.cumsum([len(x) for x in self.data.inputs])
        if row.worst_step is not None:
            at = int(np.searchsorted(ends, row.worst_step, side="right"))
            begin = 0 if at == 0 else int(ends[at - 1])
            row = row.model_copy(
                update={"worst_step": row.worst_step - begin, "case": f"validation/sequence_{at}"}
            )
        value = self.data.score(got) if self.data.metric else None
        if value is None or self.exact is None:
            return row
        delta = value - self.exact
        return row.model_copy(
            update={"metric": self.data.metric, "metric_value": value, "metric_delta": delta}
        )
