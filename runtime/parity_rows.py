"""The rows of ``parity.json``: how two outputs are compared, and what is written down about it."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Literal, NamedTuple, Protocol, TypeVar

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from ssmith.errors import InputError, first_problem
from ssmith.files import write_atomic
from ssmith.runtime.arithmetic import Real

NOT_RUN = "not run: "
SILENCE = 1e-6  # what errors are relative to where nothing louder is expected
Metric = Literal["accuracy", "nrmse", "esr"]
Check = Literal[
    "golden",  # recorded inputs, whole
    "validation",  # held-out data
    "random",
    "zeros",
    "impulse",
    "full-scale",
    "denormals",
    "silence-step",
    "pieces",  # fed in pieces or frame by frame against fed whole
    "state",  # states after the last frame; saved, restored, carried to a fresh session
    "drift",  # one long stream
    "batch",  # seven streams at once
]


class Judgement(NamedTuple):
    """What a comparison may reach, and why.

    Attributes:
        tolerance: of the error as a share of the expected output; 0 asks for the same bits.
        reason: of the tolerance, in words.
        by_rms: whether root mean squares are compared, not the largest values.
        predicted_snr_db: what rounding is foretold to do.
        target: what float32 should hold where the model lets it.
    """

    tolerance: float
    reason: str
    by_rms: bool = False
    predicted_snr_db: float | None = None
    target: float | None = None


class Where(NamedTuple):
    """Who computed what a row is about."""

    backend: str
    artifact: str
    precision: str


class ParityRow(BaseModel):
    """One comparison.

    Args:
        backend: who computed: ``native``, ``onnx``, ``executorch`` or ``reference``.
        artifact: the file it ran.
        precision: in which arithmetic.
        check: what kind of check this is.
        case: ``INPUT/HOW``, for example ``validation_0/pieces``.
        max_abs: largest |error|; None if the case was not run or its output is not finite.
        relative: ``max_abs`` as a share of the largest |expected value|; where root mean squares are
            compared (``noise``, ``simulated`` and rounded artifacts) that of the error as a share of the
            output's.
        snr_db: 10 log10(Σ expected² / Σ error²); None where the error is zero.
        worst_step: the frame with the largest error.
        metric: the recipe's, of ``validation`` rows.
        metric_value: of this artifact.
        metric_delta: ``metric_value`` minus that of the float64 reference on the same sequences.
        tolerance: what ``relative`` may reach; 0 means the same bits.
        target: of float32 against float64, what ``relative`` should be; ``tolerance`` is above it only where
            float32 itself, in the C engine's order, loses more than half of it.
        predicted_snr_db: of a rounded artifact's ``noise`` row, what its rounding is foretold to cost.
        passed: whether ``relative`` ≤ ``tolerance``; false if the case was not run.
        reason: why this tolerance, or what went wrong, or ``not run: `` and why.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    backend: str
    artifact: str
    precision: str = ""
    check: Check = "golden"
    case: str
    max_abs: float | None = None
    relative: float | None = None
    snr_db: float | None = None
    worst_step: int | None = None
    metric: Metric | None = None
    metric_value: float | None = None
    metric_delta: float | None = None
    tolerance: float = 0.0
    target: float | None = None
    predicted_snr_db: float | None = None
    passed: bool
    reason: str

    @property
    def ran(self) -> bool:
        """False for a backend that is missing on this machine."""
        return not self.reason.startswith(NOT_RUN)


class ParityReport(BaseModel):
    """The document ``parity.json``; version 1 had no checks, precisions and metrics."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    version: Literal[1, 2] = 2
    name: str
    bundle_sha256: str
    rows: tuple[ParityRow, ...]

    @property
    def passed(self) -> bool:
        """Whether something ran and nothing that ran failed."""
        ran = [row.passed for row in self.rows if row.ran]
        return bool(ran) and all(ran)

    def write(self, path: Path) -> None:
        """Write atomically."""
        write_atomic(path, self.model_dump_json(indent=2).encode() + b"\n")

    @classmethod
    def read(cls, path: Path) -> ParityReport:
        """Read what ``write`` wrote.

        Raises:
            InputError: the file is missing or not such a document.
        """
        try:
            return cls.model_validate_json(path.read_bytes())
        except OSError as error:
            raise InputError(f"cannot read {path}: {error.strerror}; run `ssmith verify`") from error
        except ValidationError as error:
            raise InputError(
                f"{path} is not a usable parity file ({first_problem(error)}); run `ssmith verify`"
            ) from error


def compare(
    got: Real, expected: Real, judgement: Judgement, where: Where, check: Check, case: str
) -> ParityRow:
    """One row from two arrays (T, …) of equal shape."""
    wanted = expected.astype(np.float64)
    error = np.abs(got.astype(np.float64) - wanted)
    draft = ParityRow(
        **where._asdict(),
        check=check,
        case=case,
        tolerance=judgement.tolerance,
        target=judgement.target,
        predicted_snr_db=judgement.predicted_snr_db,
        passed=False,
        reason=judgement.reason,
    )
    if not np.isfinite(error).all():
        step = int(np.argwhere(~np.isfinite(error))[0][0])
        return draft.model_copy(
            update={"worst_step": step, "reason": f"the output is not finite from frame {step} on"}
        )
    max_abs = float(error.max(initial=0.0))
    signal, noise = float((wanted**2).sum()), float((error**2).sum())
    relative = max_abs / max(float(np.abs(wanted).max(initial=0.0)), SILENCE)
    if judgement.by_rms:
        relative = share(error, wanted)
    return draft.model_copy(
        update={
            "max_abs": max_abs,
            "relative": relative,
            "snr_db": 10 * float(np.log10(signal / noise)) if signal and noise else None,
            "worst_step": int(error.reshape(len(error), -1).max(axis=1, initial=0.0).argmax()),
            "passed": relative <= judgement.tolerance,
        }
    )


class Compared(Protocol):
    """A row, as this program or an earlier one wrote it."""

    @property
    def ran(self) -> bool:
        """Whether it could run here."""

    @property
    def backend(self) -> str:
        """Who computed."""

    @property
    def artifact(self) -> str:
        """The file."""

    @property
    def check(self) -> str:
        """What kind of check."""

    @property
    def relative(self) -> float | None:
        """The error; None where it is not finite."""

    @property
    def tolerance(self) -> float | None:
        """What the error may reach."""


Row = TypeVar("Row", bound=Compared)


def worst_rows(rows: Iterable[Row]) -> list[Row]:
    """Of each artifact and check the row that is nearest to its tolerance, or farthest beyond."""
    found: dict[tuple[str, str, str], Row] = {}
    for row in rows:
        key = (row.backend, row.artifact, row.check)
        if key not in found or _badness(row) > _badness(found[key]):
            found[key] = row
    return [*found.values()]


def _badness(row: Compared) -> float:
    """How near to its tolerance, 1 at it; what did not run is nearest to nothing."""
    if not row.ran:
        return -1.0
    if row.relative is None:
        return math.inf
    if not row.tolerance:
        return math.inf if row.relative else 0.0
    return row.relative / row.tolerance


def rms(values: Real) -> float:
    """Root mean square; 0 of nothing."""
    return float(np.sqrt((values.astype(np.float64) ** 2).mean())) if values.size else 0.0


def share(error: Real, signal: Real) -> float:
    """Root mean square of an error as a share of the signal's."""
    return rms(error) / max(rms(signal), SILENCE)


def not_run(where: Where, check: Check, case: str, why: str) -> ParityRow:
    """The row of something that cannot run here."""
    return ParityRow(**where._asdict(), check=check, case=case, passed=False, reason=f"{NOT_RUN}{why}")
