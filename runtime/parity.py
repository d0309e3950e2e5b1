"""Proof that every artifact computes what the trained model computed, and ``parity.json``.

Each artifact runs each golden input whole, in random pieces, frame by frame and across a saved
state, plus one long stream; each is compared with the float64 reference, and the reference with
the trained model's recorded outputs. An int8 artifact has to equal the integer reference bit for bit,
and its error against float64 has to be what rounding noise explains.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from ssmith.bundle import Bundle
from ssmith.errors import InputError, MissingToolError, first_problem
from ssmith.files import write_atomic
from ssmith.ops import Float32
from ssmith.runtime.arithmetic import Real
from ssmith.runtime.artifacts import RUNNABLE, read_manifest, verified
from ssmith.runtime.choice import SUFFIXES
from ssmith.runtime.oracle import (
    NOISE_MARGIN_DB,
    Expectation,
    IntegerExpectation,
    expectations,
    integer_expectations,
)
from ssmith.runtime.parity_rounded import rounded_rows, simulated_roundings
from ssmith.runtime.session import Session

ROUNDING = "float32 arithmetic against float64; the tolerance recorded with the golden vectors"
FLOAT32 = "float32 against float64; the golden tolerance or 4 times the float32 reference's own error"
SAME_BITS = "the same operations in the same order, whatever the split"
ENGINE_BITS = "the float32 reference sums in the C engine's order"
KERNELS = "onnxruntime picks kernels by block length, so splits differ by rounding"
NOT_RUN = "not run: "
OTHER_INTEGERS = (
    f"{NOT_RUN}the artifact holds other integers than this machine makes of the bundle, a last bit of"
    " rounding apart; export here to compare bits"
)
RECORDED = "the trained model's own output; the tolerance recorded with it"
NOISE = f"root mean square error; {NOISE_MARGIN_DB:g} dB above what rounding and saturation explain"
INTEGER_BITS = "the integer reference computes with the same integers"


class ParityRow(BaseModel):
    """One comparison.

    Args:
        backend: who computed: ``native``, ``onnx`` or ``reference``.
        artifact: the file it ran.
        case: ``INPUT/HOW``, for example ``validation_0/pieces``.
        max_abs: largest |error|; None if the case was not run or its output is not finite.
        relative: ``max_abs`` as a share of the largest |expected value|.
        snr_db: 10 log10(Σ expected² / Σ error²); None where the error is zero.
        worst_step: the frame with the largest error.
        tolerance: what ``relative`` may reach; 0 means the same bits.
        predicted_snr_db: of an int8 artifact's ``noise`` row, whose ``relative`` is the root mean square
            error as a share of the output's root mean square; None in all other rows.
        passed: whether ``relative`` ≤ ``tolerance``; false if the case was not run.
        reason: why this tolerance, or what went wrong, or ``not run: `` and why.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    backend: str
    artifact: str
    case: str
    max_abs: float | None
    relative: float | None
    snr_db: float | None
    worst_step: int | None
    tolerance: float
    predicted_snr_db: float | None = None
    passed: bool
    reason: str

    @property
    def ran(self) -> bool:
        """False for a backend that is missing on this machine."""
        return not self.reason.startswith(NOT_RUN)


class ParityReport(BaseModel):
    """The document ``parity.json``."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    version: Literal[1] = 1
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


def verify(artifacts: Path | Sequence[Path], bundle: Bundle) -> list[ParityRow]:
    """Compare artifacts with the bundle they were made from.

    Args:
        artifacts: an artifact folder, or files of one.
        bundle: the model they should compute.

    Returns:
        Rows for the reference itself, then for each artifact. One whose backend cannot run here
        has a single row whose reason starts with ``not run:``.

    Raises:
        InputError: a file is missing, damaged or made from another model, or the bundle carries no
            golden vectors.
    """
    paths = _files(artifacts) if isinstance(artifacts, Path) else list(artifacts)
    expected = expectations(bundle)
    rows = [*_reference_rows(bundle, expected)]
    for path in paths:
        try:
            rows += _artifact_rows(bundle, path, expected)
        except MissingToolError as error:
            rows.append(_not_run(path, str(error)))
    return rows


def check_file(bundle: Bundle, path: Path) -> list[ParityRow]:
    """The rows of one artifact; what an exporter runs on what it has just written.

    Raises:
        InputError: as ``verify``.
        MissingToolError: its backend cannot run here.
    """
    return _artifact_rows(bundle, path, expectations(bundle))


def compare(
    got: Real, expected: Real, tolerance: float, reason: str, *, backend: str, artifact: str, case: str
) -> ParityRow:
    """One row from two arrays (T, …) of equal shape."""
    wanted = expected.astype(np.float64)
    error = np.abs(got.astype(np.float64) - wanted)
    where = {"backend": backend, "artifact": artifact, "case": case, "tolerance": tolerance}
    if not np.isfinite(error).all():
        step = int(np.argwhere(~np.isfinite(error))[0][0])
        return ParityRow(
            **where,
            max_abs=None,
            relative=None,
            snr_db=None,
            worst_step=step,
            passed=False,
            reason=f"the output is not finite from frame {step} on",
        )
    max_abs = float(error.max(initial=0.0))
    relative = max_abs / max(float(np.abs(wanted).max(initial=0.0)), 1e-6)
    signal, noise = float((wanted**2).sum()), float((error**2).sum())
    return ParityRow(
        **where,
        max_abs=max_abs,
        relative=relative,
        snr_db=10 * float(np.log10(signal / noise)) if signal and noise else None,
        worst_step=int(error.reshape(len(error), -1).max(axis=1).argmax()),
        passed=relative <= tolerance,
        reason=reason,
    )


def _files(folder: Path) -> list[Path]:
    """Every file of an artifact folder that a backend can open."""
    if not folder.is_dir():
        return [folder]
    return [verified(folder, f) for f in read_manifest(folder).files if f.kind in RUNNABLE]


def _reference_rows(bundle: Bundle, expected: Sequence[Expectation]) -> Iterator[ParityRow]:
    """The float64 reference against the trained model."""
    for e in expected:
        if e.golden is not None:
            for how, recorded in (("recorded", e.golden.output), ("streamed", e.golden.streamed)):
                yield compare(
                    e.output,
                    recorded,
                    e.tolerance,
                    RECORDED,
                    backend="reference",
                    artifact=f"{bundle.name}.ssm",
                    case=f"{e.name}/{how}",
                )


def _artifact_rows(bundle: Bundle, path: Path, expected: Sequence[Expectation]) -> list[ParityRow]:
    session = Session.open(path)
    made_from = session.meta["bundle_sha256"]
    if made_from != bundle.sha256:
        raise InputError(
            f"{path} was made from another model ({session.meta['name']!r}, sha256"
            f" {made_from[:12]}…) than the bundle {bundle.name!r} (sha256 {bundle.sha256[:12]}…);"
            " verify it against its own bundle, or export this one again"
        )
    if "integer_sha256" in session.meta:
        digest, integer = integer_expectations(bundle, expected, session.meta["activation_bits"])
        same = session.meta["integer_sha256"] == digest
        return [row for e in integer for row in _integer_rows(session, path.name, e, same)]
    if session.meta.get("precision", "float32") != "float32":
        rounded = simulated_roundings(bundle, session)
        return [
            row
            for e in expected
            for row in rounded_rows(session, bundle, e, rounded, _FEEDS, _by_rms_of(session, path.name, e))
        ]
    return [row for e in expected for row in _case_rows(session, path.name, e)]


def _by_rms_of(
    session: Session, artifact: str, e: Expectation
) -> Callable[[str, Real, Real, float, str, float | None], ParityRow]:
    """As ``_row_of``, judged by root mean squares."""
    plain = _row_of(session, artifact, e)

    def row(
        how: str, got: Real, expected: Real, tolerance: float, reason: str, predicted: float | None
    ) -> ParityRow:
        return _by_rms(plain(how, got, expected, tolerance, reason), predicted)

    return row


Row = Callable[[str, Real, Real, float, str], ParityRow]


def _row_of(session: Session, artifact: str, e: Expectation) -> Row:
    """(how, got, expected, tolerance, reason) → a row about one input."""

    def row(how: str, got: Real, expected: Real, tolerance: float, reason: str) -> ParityRow:
        return compare(
            got,
            expected,
            tolerance,
            reason,
            backend=session.backend,
            artifact=artifact,
            case=f"{e.name}/{how}",
        )

    return row


def _integer_rows(session: Session, artifact: str, e: IntegerExpectation, same: bool) -> Iterator[ParityRow]:
    """All the ways to feed one input to an int8 artifact.

    ``same``: this machine makes the same integers of the bundle. Rounding decides on float64 sums, whose
    last bits may differ from one linear algebra library to another; then there are no bits to compare.
    """
    row = _row_of(session, artifact, e.case)
    session.reset()
    whole = session.process(e.case.input)
    if same:
        yield row("bits", whole, e.output, 0.0, INTEGER_BITS)
    else:
        yield row("bits", whole, e.output, 0.0, OTHER_INTEGERS).model_copy(update={"passed": False})
    if e.state and same:
        found = session.state_get()
        off = [found[name].astype(np.int64) - values for name, values in e.state.items()]
        error = np.concatenate(off)[None].astype(np.float64)
        state = row("state", error, np.zeros_like(error), 0.0, INTEGER_BITS)
        yield state.model_copy(update={"worst_step": len(e.case.input) - 1})
    cut_off = f"; {e.saturated} codes beyond the ranges" if e.saturated else ""
    noise = row("noise", whole, e.case.output, e.tolerance, f"{NOISE}{cut_off}")
    yield _by_rms(noise, e.predicted_snr_db)
    for how, feed in _FEEDS.items():
        session.reset()
        yield row(how, feed(session, e.case.input), whole, 0.0, SAME_BITS)


def _by_rms(row: ParityRow, predicted_snr_db: float | None) -> ParityRow:
    """The row, judged by its root mean square error where there is one."""
    row = row.model_copy(update={"predicted_snr_db": predicted_snr_db})
    if row.snr_db is None:  # no error at all, no signal, or no number
        return row
    relative = 10 ** (-row.snr_db / 20)
    return row.model_copy(update={"relative": relative, "passed": relative <= row.tolerance})


def _case_rows(session: Session, artifact: str, e: Expectation) -> Iterator[ParityRow]:
    """All the ways to feed one input."""
    exact = session.backend != "onnx"
    row = _row_of(session, artifact, e)
    split = (0.0, SAME_BITS) if exact else (e.tolerance, KERNELS)
    session.reset()
    whole = session.process(e.input)
    yield row("whole", whole, e.output, e.tolerance, ROUNDING if e.golden else FLOAT32)
    if e.state:
        last = e.scaled_states(session.state_get())[None]
        state = row("state", last, e.scaled_states(e.state)[None], e.state_tolerance, FLOAT32)
        yield state.model_copy(update={"worst_step": len(e.input) - 1})
    if session.backend == "native":
        yield row("bits", whole, e.float32, 0.0, ENGINE_BITS)
    if e.golden is not None:
        yield row("recorded", whole, e.golden.output, e.tolerance, RECORDED)
        yield row("streamed", whole, e.golden.streamed, e.tolerance, RECORDED)
    for how, feed in _FEEDS.items():
        session.reset()
        yield row(how, feed(session, e.input), whole, *split)


def _steps(session: Session, block: Float32) -> Float32:
    return np.stack([session.step(u) for u in block])


def _pieces(session: Session, block: Float32) -> Float32:
    """Blocks of random lengths, empty and single frames among them."""
    cuts = np.sort(np.random.default_rng(0).integers(0, len(block) + 1, max(4, len(block) // 16)))
    return np.concatenate([session.process(piece) for piece in np.split(block, cuts)])


def _resumed(session: Session, block: Float32) -> Float32:
    """Stop in the middle, let another stream through, go on from the saved state."""
    half = len(block) // 2
    first = session.process(block[:half])
    saved = session.state_get()
    session.reset()
    session.process(block[::-1])
    session.state_set(saved)
    return np.concatenate([first, session.process(block[half:])])


_FEEDS: dict[str, Callable[[Session, Float32], Float32]] = {
    "steps": _steps,
    "pieces": _pieces,
    "resumed": _resumed,
}


def _not_run(path: Path, why: str) -> ParityRow:
    return ParityRow(
        backend=SUFFIXES[path.suffix],
        artifact=path.name,
        case="all",
        max_abs=None,
        relative=None,
        snr_db=None,
        worst_step=None,
        tolerance=0.0,
        passed=False,
        reason=f"{NOT_RUN}{why}",
    )
