"""An artifact folder made by the real exporters, and a plan short enough for tests."""

import numpy as np
import pytest

from ssmith.devices.target import Plan
from ssmith.export import c99, onnx
from ssmith.export.manifest import write_manifest
from ssmith.runtime.calibrate import calibrate
from tests.bundles import random_bundle

SHORT = Plan(steps=400, warmup_limit=600, time_limit_s=5.0, paced_limit_s=0.1, cold_starts=1)


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory):
    """A run folder: ``kws.ssm`` and ``artifacts/`` at 200 frames a second."""
    folder = tmp_path_factory.mktemp("run")
    plain = random_bundle(np.random.default_rng(3), name="kws", inputs=2, outputs=3, period_s=5e-3)
    bundle = calibrate(plain, [case.input for case in plain.golden()])  # so that there is int8, too
    bundle.write(folder / "kws.ssm")
    artifacts = folder / "artifacts"
    write_manifest(bundle, artifacts, [*onnx.lower(bundle, artifacts), *c99.lower(bundle, artifacts)])
    return folder


@pytest.fixture(scope="session")
def artifacts(run_folder):
    return run_folder / "artifacts"
