"""Random bundles with ranges, ready to become integer models."""

from __future__ import annotations

from ssmith.bundle import Bundle
from ssmith.runtime.calibrate import calibrate
from tests.op_lists import frames


def calibrated(bundle: Bundle, count: int = 200, seed: int = 0) -> Bundle:
    """The same model, its ranges taken from ``count`` random frames."""
    return calibrate(bundle, [frames(bundle, count, seed)])
