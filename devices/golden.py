"""What a target should compute: recorded frames of the bundle, and the reference's output for them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import cast

import numpy as np

from ssmith.bundle import Bundle
from ssmith.devices.target import KINDS
from ssmith.measurement import Golden
from ssmith.ops import Float32
from ssmith.recipe import ArtifactPrecision
from ssmith.runtime.artifacts import Manifest, find_bundle, read_manifest
from ssmith.runtime.integer_lower import ActivationBits
from ssmith.runtime.parity_float import MARGIN
from ssmith.runtime.parity_rounded import TIES
from ssmith.runtime.session import BackendName, Session
from ssmith.runtime.simulate import roundings, run_simulated

FRAMES = 64  # of the first golden case; an emulator computes each
FLOAT_TOLERANCE = 2e-6  # of the largest output, where another library computes in float32
UNSIMULATED_TOLERANCE = 0.25  # of the largest output, for rounding that is the runtime's own business


@dataclass(frozen=True)
class Case:
    """Frames (T, U) from a fresh state, the outputs (T, Y) that should come out, how near is near enough."""

    inputs: Float32
    outputs: Float32
    tolerance: float
    against: str


def case(artifacts: Path, backend: str, precision: str) -> Case | None:
    """The frames to run on a target and what should come out; None without a bundle beside the artifacts.

    C computes the bits of the float32 or of the integer reference. Another library in float32 is held to
    float64. One that rounds is held to the simulation of its rounding (``ssmith.runtime.simulate``): codes
    beside a tie may differ, and what they add stays below ``TIES`` of what rounding does to these outputs.

    Args:
        artifacts: the artifact folder.
        backend: that computes.
        precision: of the artifact.
    """
    manifest = read_manifest(artifacts)
    found = _bundle_of(artifacts, manifest)
    if found is None:
        return None
    kinds = KINDS.get(cast(BackendName, backend), ())
    bits = {f.activation_bits for f in manifest.files if f.precision == precision and f.kind in kinds}
    return _case(*found, manifest.bundle_sha256, backend, precision, 8 if 8 in bits else 16)


def _bundle_of(artifacts: Path, manifest: Manifest) -> tuple[Path, int | None] | None:
    """The bundle that artifacts were made from, and which order of it; a variant's lies further up."""
    if (bundle := find_bundle(artifacts, manifest)) is not None:
        return bundle, None
    folder = artifacts.resolve()  # of a variant orderN/, and its name ends so, too
    for place in folder.parents[:2]:
        path = place / f"{manifest.name.removesuffix(f'_{folder.name}')}.ssm"
        for variant in Bundle.read(path).variants if path.is_file() else ():
            if variant.sha256 == manifest.bundle_sha256:
                return path, variant.order
    return None


@lru_cache(maxsize=16)
def _case(
    path: Path, order: int | None, digest: str, backend: str, precision: str, bits: ActivationBits
) -> Case | None:
    bundle = Bundle.read(path)
    bundle = bundle if order is None else bundle.variant(order)
    recorded = bundle.golden()
    if not recorded:
        return None
    inputs = recorded[0].input[:FRAMES].astype(np.float32)
    if backend == "native" and precision == "float32":
        outputs = Session.open(path, precision="float32", order=order).process(inputs)
        return Case(inputs, outputs, 0.0, "reference float32")
    if backend == "native" and precision == "int8":
        outputs = Session.open(path, precision="int8-a8" if bits == 8 else "int8", order=order).process(
            inputs
        )
        return Case(inputs, outputs, 0.0, "integer reference")
    exact = Session.open(path, order=order).process(inputs).astype(np.float64)
    scale = float(np.abs(exact).max())
    single = Session.open(path, precision="float32", order=order).process(inputs)
    float32 = max(FLOAT_TOLERANCE * scale, MARGIN * float(np.abs(single - exact).max()))
    if precision in ("float32", "float64"):
        return Case(inputs, exact.astype(np.float32), float32, "reference float64")
    rounding = roundings(
        bundle, cast(ArtifactPrecision, precision), bits, "executorch" if backend == "executorch" else "onnx"
    )
    if rounding is None:
        return Case(inputs, exact.astype(np.float32), UNSIMULATED_TOLERANCE * scale, "reference float64")
    simulated, _ = run_simulated(bundle, rounding, inputs)
    noise = float(np.abs(simulated - exact).max())
    return Case(inputs, simulated.astype(np.float32), TIES * noise + float32, f"simulated {precision}")


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
