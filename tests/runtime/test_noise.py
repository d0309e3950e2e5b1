"""Predicted noise is the noise that is measured, source by source and in all."""

import math

import numpy as np
import pytest

from ssmith.bundle import Bundle
from ssmith.ops import SSM
from ssmith.runtime.calibrate import calibrate
from ssmith.runtime.integer import quantize, run_integer, scan
from ssmith.runtime.integer_functions import requantize
from ssmith.runtime.integer_lower import lower_integer
from ssmith.runtime.integer_model import SsmOp
from ssmith.runtime.noise import SOURCES, predicted_snr_db, state_variance
from ssmith.runtime.reference import run
from tests.bundles import random_bundle

BAND_DB = 2.0  # predicted within this of measured


def some(seed, **kinds):
    kinds = {"width": 16, "orders": (8, 8), "golden_frames": (300, 300)} | kinds
    bundle = random_bundle(np.random.default_rng(seed), **kinds)
    width = len(bundle.meta.inputs)
    rng = np.random.default_rng(seed + 100)
    blocks = rng.standard_normal((6, 400, width)).astype(np.float32)
    if "vocabulary" in kinds:
        blocks = rng.integers(0, kinds["vocabulary"], (6, 400, 1)).astype(np.float32)
    return calibrate(bundle, list(blocks))


def measured_snr_db(bundle: Bundle, model) -> float:
    signal = error = 0.0
    for case in bundle.golden():
        exact, _ = run(bundle.meta.ops, bundle.tensors, case.input.astype(np.float64))
        found = model.decode(run_integer(model, model.encode(case.input))[0])
        signal += (exact**2).sum()
        error += ((found - exact) ** 2).sum()
    return 10 * math.log10(signal / error)


@pytest.mark.parametrize("bits", [16, 8])
@pytest.mark.parametrize(
    "kinds",
    [
        {"norm": "affine", "pool": "none"},
        {"norm": "none", "pool": "ema"},
        {"norm": "layer", "pool": "mean", "feedthrough": False},
        {"norm": "affine", "pool": "none", "radius": (0.99, 0.9995)},
        {"norm": "layer", "pool": "none", "vocabulary": 12},
    ],
    ids=lambda kinds: " ".join(map(str, kinds.values())),
)
def test_prediction_and_measurement_agree(kinds, bits):
    bundle = some(1, **kinds)
    model = lower_integer(bundle, bits)
    assert abs(predicted_snr_db(bundle, model) - measured_snr_db(bundle, model)) < BAND_DB


def test_sources_add_up_and_none_is_no_noise():
    bundle = some(2, norm="affine", pool="none")
    model = lower_integer(bundle, 8)
    alone = [10 ** (-predicted_snr_db(bundle, model, (source,)) / 10) for source in SOURCES]
    together = 10 ** (-predicted_snr_db(bundle, model) / 10)
    assert together == pytest.approx(sum(alone), rel=0.2)
    assert predicted_snr_db(bundle, model, ()) > 250  # float64's own rounding


def test_a_bundle_without_golden_inputs_is_predicted_on_noise():
    for kinds in ({}, {"vocabulary": 9}):
        bundle = some(3, golden_frames=(), **kinds)
        assert 20 < predicted_snr_db(bundle, lower_integer(bundle, 16)) < 100


def test_the_rounding_of_the_scan_is_what_the_gramian_says():
    """The integer scan against the exact recurrence of the same poles, driven by the same codes."""
    bundle = some(4, orders=(6,), norm="none", pool="none", radius=(0.9, 0.995))
    model = lower_integer(bundle, 16)
    (op,) = (op for op in model.ops if isinstance(op, SsmOp))
    rng = np.random.default_rng(0)
    v = rng.integers(-(2**26), 2**26, (20_000, op.B.shape[1]))
    accumulator = quantize(v, op.quantize) @ op.B.T.astype(np.int64)
    drive = requantize(accumulator, op.drive.multiplier.astype(np.int64), op.drive.shift)
    n = op.lam.shape[1]
    found = scan(op.lam.astype(np.int64), drive, np.zeros(2 * n, np.int64))
    exact_drive = accumulator * op.drive.multiplier * 2.0 ** (op.drive.shift - 32)
    lam = (op.lam[0] + 1j * op.lam[1]) / 2.0**31
    x, error = np.zeros(n, complex), []
    for d, integer in zip(exact_drive[:, :n] + 1j * exact_drive[:, n:], found, strict=True):
        x = lam * x + d
        error.append(integer - np.concatenate([x.real, x.imag]))
    layer = next(op for op in bundle.meta.ops if isinstance(op, SSM))
    reads = bundle.tensors[layer.C].astype(np.float64)
    measured = (np.array(error[2000:]) @ reads.T).var(0)
    predicted = state_variance(op, np.ones(2 * n), reads)
    np.testing.assert_allclose(measured, predicted, rtol=0.25)
    assert measured.sum() == pytest.approx(predicted.sum(), rel=0.1)
