"""What a target should compute: recorded frames of the bundle, and the reference's output for them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from ssmith.bundle import Bundle
from ssmith.measurement import Golden
from ssmith.ops import Float32
from ssmith.runtime.artifacts import find_bundle, read_manifest
from ssmith.runtime.session import Session

FRAMES = 64  # of the first golden case; an emulator computes each
FLOAT_TOLERANCE = 2e-6  # of the largest output, where another library computes in float32
ROUNDED_TOLERANCE = 0.25  # of the largest output: a code beside a tie may fall on the other side


@dataclass(frozen=True)
class Case:
    """Frames (T, U) from a fresh state, the outputs (T, Y) that should come out, how near is near enough."""

    inputs: Float32
    outputs: Float32
    tolerance: float
    against: str


def case(artifacts: Path, backend: str, precision: str) -> Case | None:
    """The frames to run on a target and what should come out; None without a bundle beside the artifacts.

    C computes the bits of the float32 or of the integer reference; another library is held to float64.

    Args:
        artifacts: the artifact folder.
        backend: that computes.
        precision: of the artifact.
    """
    manifest = read_manifest(artifacts)
    bundle = find_bundle(artifacts, manifest)
    if bundle is None:
        return None
    bits = {f.activation_bits for f in manifest.files if f.precision == "int8" and f.kind == "c-source"}
    return _case(bundle, manifest.bundle_sha256, backend == "native", precision, 8 in bits)


@lru_cache(maxsize=8)
def _case(bundle: Path, digest: str, native: bool, precision: str, eight: bool) -> Case | None:
    recorded = Bundle.read(bundle).golden()
    if not recorded:
        return None
    inputs = recorded[0].input[:FRAMES].astype(np.float32)
    if native and precision == "float32":
        session, against = Session.open(bundle, precision="float32"), "reference float32"
    elif native and precision == "int8":
        session = Session.open(bundle, precision="int8-a8" if eight else "int8")
        against = "integer reference"
    else:
        session, against = Session.open(bundle), "reference float64"
    outputs = session.process(inputs)
    scale = float(np.abs(outputs).max())
    relative = FLOAT_TOLERANCE if precision in ("float32", "float64") else ROUNDED_TOLERANCE
    return Case(inputs, outputs, 0.0 if native else relative * scale, against)


def compare(artifacts: Path, backend: str, precision: str, outputs: Float32 | None) -> Golden | None:
    """What a target computed against what it should have; None where one of them is not known."""
    wanted = None if outputs is None else case(artifacts, backend, precision)
    if outputs is None or wanted is None:
        return None
    frames = min(len(outputs), len(wanted.outputs))
    fits = outputs.shape[1:] == wanted.outputs.shape[1:] and frames > 0
    error = (
        np.abs(outputs[:frames].astype(np.float64) - wanted.outputs[:frames]) if fits else np.array([np.inf])
    )
    worst = float(np.nan_to_num(error, nan=np.inf).max())
    return Golden(
        frames=max(frames, 1),
        max_abs=min(worst, 1e30),  # JSON has no infinity
        tolerance=wanted.tolerance,
        against=wanted.against,
        passed=worst <= wanted.tolerance,
    )
