"""Proof that every artifact computes what the trained model computed, and ``parity.json``.

Each artifact runs each recorded input whole, in random pieces, frame by frame, across a saved state and in
a fresh session; random and adversarial inputs; one long stream; and the validation set where there is one.
float32 is held against the float64 reference (``parity_float``), and the reference against the trained
model's recorded outputs; int8 in C has to equal the integer reference bit for bit (``parity_integer``);
rounded files of other runtimes have to equal their simulation (``parity_rounded``).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

from ssmith.bundle import Bundle
from ssmith.errors import InputError, MissingToolError
from ssmith.ops import Float32
from ssmith.runtime.arithmetic import Real
from ssmith.runtime.artifacts import RUNNABLE, read_manifest, verified
from ssmith.runtime.choice import SUFFIXES
from ssmith.runtime.oracle import FULL, QUICK, Oracle, Plan
from ssmith.runtime.parity_batch import batch_rows
from ssmith.runtime.parity_feeds import Feed, pieces, reopened, resumed, steps
from ssmith.runtime.parity_float import RECORDED, FloatYardstick
from ssmith.runtime.parity_integer import IntegerOracle, IntegerYardstick
from ssmith.runtime.parity_rounded import RoundedOracle, RoundedYardstick
from ssmith.runtime.parity_rows import Check, Judgement, ParityReport, ParityRow, Where, compare, not_run
from ssmith.runtime.parity_validation import Validated, Validation
from ssmith.runtime.session import Session
from ssmith.runtime.stimuli import Stimulus

__all__ = ["ParityReport", "ParityRow", "Plan", "Validation", "check_file", "verify"]
NO_DATA = "no held-out data here; verify a run, or give --data RECIPE"


class Yardstick(Protocol):
    """What an artifact of some precision is held against; built from shared references."""

    drift: Stimulus

    def rows(self, session: Session, s: Stimulus, whole: Float32) -> Iterator[ParityRow]:
        """Rows about an input that was fed whole; the session is where that ended."""

    def split(self, s: Stimulus) -> Judgement:
        """What feeding in another way may change."""

    def expected(self, sequences: Sequence[Float32]) -> tuple[list[Real], Judgement]:
        """Outputs of held-out sequences, and what an artifact's may differ from them, all together."""


def verify(
    artifacts: Path | Sequence[Path],
    bundle: Bundle,
    *,
    data: Validation | str = NO_DATA,
    plan: Plan = FULL,
) -> list[ParityRow]:
    """Compare artifacts with the bundle they were made from.

    Args:
        artifacts: an artifact folder, or files of one.
        bundle: the model they should compute.
        data: held-out data, or why there is none, which a row then tells.
        plan: how far to go.

    Returns:
        Rows for the reference itself, then for each artifact. One whose backend cannot run here
        has a single row whose reason starts with ``not run:``.

    Raises:
        InputError: a file is missing, damaged or made from another model, or the bundle carries no
            golden vectors.
    """
    paths = _files(artifacts) if isinstance(artifacts, Path) else list(artifacts)
    proof = _Proof(Oracle(bundle, plan), data)
    rows = [*proof.reference_rows()]
    for path in paths:
        try:
            rows += proof.artifact_rows(path)
        except MissingToolError as error:
            backend = SUFFIXES.get(path.suffix, path.suffix.lstrip("."))
            rows.append(not_run(Where(backend, path.name, ""), "golden", "all", str(error)))
    return rows


def check_file(bundle: Bundle, path: Path, plan: Plan = QUICK) -> list[ParityRow]:
    """The rows of one artifact; what an exporter runs on what it has just written.

    Raises:
        InputError: as ``verify``.
        MissingToolError: its backend cannot run here.
    """
    return _Proof(Oracle(bundle, plan), NO_DATA).artifact_rows(path)


def _files(folder: Path) -> list[Path]:
    """Every file of an artifact folder that a backend can open."""
    if not folder.is_dir():
        return [folder]
    return [verified(folder, f) for f in read_manifest(folder).files if f.kind in RUNNABLE]


class _Proof:
    """The references of one bundle, shared by all its artifacts."""

    def __init__(self, oracle: Oracle, data: Validation | str) -> None:
        self._oracle, self._bundle = oracle, oracle.bundle
        self._data = data
        self._validated: Validated | None = None
        self._shared: dict[tuple[Any, ...], Any] = {}

    def reference_rows(self) -> Iterator[ParityRow]:
        """The float64 reference against the trained model."""
        where = Where("reference", f"{self._bundle.name}.ssm", "float64")
        for s in self._oracle.golden:
            if s.golden is not None:
                for how, recorded in (("recorded", s.golden.output), ("streamed", s.golden.streamed)):
                    judged = Judgement(s.golden.relative_tolerance, RECORDED)
                    exact = self._oracle.exact(s).output
                    yield compare(exact, recorded, judged, where, "golden", f"{s.name}/{how}")
        if isinstance(self._data, str):
            yield not_run(where, "validation", "validation/whole", self._data)

    def artifact_rows(self, path: Path) -> list[ParityRow]:
        """All rows of one artifact."""
        session = Session.open(path)
        self._refuse_others(session, path)
        where = Where(session.backend, path.name, session.precision)
        key, yardstick = self._yardstick(session, where)
        oracle, rows = self._oracle, list[ParityRow]()
        wholes: dict[str, Float32] = {}
        for s in (*oracle.golden, *oracle.adversarial, yardstick.drift):
            session.reset()
            wholes[s.name] = session.process(s.frames)
            rows += yardstick.rows(session, s, wholes[s.name])
        fresh = Session.open(path)
        ways: dict[str, tuple[Check, Feed]] = {
            "steps": ("pieces", steps),
            "resumed": ("state", resumed),
            "reopened": ("state", reopened(fresh)),
        }
        for s in (*oracle.golden, *oracle.adversarial):
            split: dict[str, tuple[Check, Feed]] = {"pieces": ("pieces", pieces(s.name))}
            judged = yardstick.split(s)
            for how, (check, feed) in (split | (ways if s.golden is not None else {})).items():
                got = feed(session, s.frames)
                rows.append(compare(got, wholes[s.name], judged, where, check, f"{s.name}/{how}"))
        if session.backend == "onnx":
            rows += batch_rows(path, where, oracle.adversarial, wholes, yardstick.split)
        if isinstance(self._data, Validation):
            if self._validated is None:
                self._validated = Validated(oracle, self._data)
            rows.append(self._validated.row(session, where, yardstick, key))
        return rows

    def _refuse_others(self, session: Session, path: Path) -> None:
        made_from, bundle = session.meta["bundle_sha256"], self._bundle
        if made_from != bundle.sha256:
            raise InputError(
                f"{path} was made from another model ({session.meta['name']!r}, sha256"
                f" {made_from[:12]}…) than the bundle {bundle.name!r} (sha256 {bundle.sha256[:12]}…);"
                " verify it against its own bundle, or export this one again"
            )

    def _yardstick(self, session: Session, where: Where) -> tuple[tuple[Any, ...], Yardstick]:
        """What a session's artifact is held against, and a key that tells what it must compute."""
        meta, oracle = session.meta, self._oracle
        bits: Any = meta.get("activation_bits")
        precision = meta.get("precision", "float32")
        if "integer_sha256" in meta:
            key: tuple[Any, ...] = ("integer", bits)
            if key not in self._shared:
                self._shared[key] = IntegerOracle(oracle, bits)
            return key, IntegerYardstick(self._shared[key], session, where)
        if precision != "float32":
            key = (session.backend, precision, bits)
            if key not in self._shared:
                self._shared[key] = RoundedOracle(oracle, precision, bits, session.backend)
            return key, RoundedYardstick(self._shared[key], where)
        return ("float32",), FloatYardstick(oracle, session, where)
