"""What calibration writes into a bundle is what plain loops see."""

import numpy as np
import pytest

from ssmith.bundle import Bundle
from ssmith.errors import InputError
from ssmith.quant import MOST_COVARIANCES, PREFIX, calibration_names
from ssmith.runtime import calibrate as module
from ssmith.runtime.calibrate import calibrate, seen_vectors
from ssmith.runtime.integer import run_integer
from ssmith.runtime.integer_lower import lower_integer
from ssmith.runtime.reference import run
from tests.bundles import kept_modes, random_bundle


def sequences(count=3, frames=70, inputs=3, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.standard_normal((frames + i, inputs)).astype(np.float32) for i in range(count)]


def sample(**kinds) -> Bundle:
    return random_bundle(np.random.default_rng(4), **kinds)


def plain_states(bundle: Bundle, block):
    """Inputs and planar states of the first SSM, frame by frame in complex numbers."""
    t = {name: array.astype(np.float64) for name, array in bundle.tensors.items()}
    lam = t["block0.ssm.lam"][0] + 1j * t["block0.ssm.lam"][1]
    n = len(lam)
    b = t["block0.ssm.b"][:n] + 1j * t["block0.ssm.b"][n:]
    x, seen, states = np.zeros(n, complex), [], []
    for frame in block.astype(np.float64):
        v = t["encoder.weight"] @ frame + t["encoder.bias"]
        v = t["block0.norm.scale"] * v + t["block0.norm.shift"]
        x = lam * x + b @ v
        seen.append(v)
        states.append(np.concatenate([x.real, x.imag]))
    return np.array(seen), np.array(states)


def test_ranges_and_moments_are_those_of_a_plain_loop():
    bundle, blocks = sample(norm="affine"), sequences()
    calibrated = calibrate(bundle, blocks)
    both = [plain_states(bundle, block) for block in blocks]
    for key, i in (("block0.ssm.input", 0), ("block0.ssm.state", 1)):
        plain = np.concatenate([pair[i] for pair in both])
        rows = np.array([plain.min(0), plain.max(0), plain.mean(0)])
        np.testing.assert_allclose(calibrated.tensors[f"{PREFIX}{key}"], rows, rtol=1e-5, atol=1e-6)
        covariance = np.cov(plain.T, bias=True)
        np.testing.assert_allclose(
            calibrated.tensors[f"{PREFIX}{key}.covariance"], covariance, rtol=1e-4, atol=1e-6
        )


def test_the_model_stays_what_it_was():
    bundle = sample()
    calibrated = calibrate(bundle, sequences())
    assert calibrated.without_calibration().sha256 == bundle.sha256
    added = set(calibrated.tensors) - set(bundle.tensors)
    assert added == calibration_names(bundle.meta.ops)
    assert (calibrated.meta.calibration.sequences, calibrated.meta.calibration.frames) == (3, 70 + 71 + 72)


def test_calibrating_again_replaces_and_repeats():
    bundle, blocks = sample(), sequences()
    once = calibrate(bundle, blocks)
    assert calibrate(calibrate(bundle, sequences(seed=9)), blocks).sha256 == once.sha256


def test_long_sequences_are_run_in_parts_with_the_same_result(monkeypatch):
    bundle, blocks = sample(pool="mean"), sequences()
    whole = calibrate(bundle, blocks)
    monkeypatch.setattr(module, "CHUNK", 13)
    parts = calibrate(bundle, blocks)
    for name in calibration_names(bundle.meta.ops):
        np.testing.assert_allclose(parts.tensors[name], whole.tensors[name], rtol=1e-5, atol=1e-7)


def test_every_sequence_starts_afresh():
    bundle = sample(pool="none")
    block = np.ones((5, 3))
    fresh, state = dict(seen_vectors(bundle, block, {})), {}
    first, second = (dict(seen_vectors(bundle, block, state)) for _ in range(2))
    key = "block0.ssm.state"
    assert np.array_equal(first[key], fresh[key])
    assert not np.allclose(second[key], fresh[key])  # a state that is handed on goes on
    calibrated = calibrate(bundle, [block, block])
    assert np.array_equal(
        calibrated.tensors[f"{PREFIX}{key}"], calibrate(bundle, [block]).tensors[f"{PREFIX}{key}"]
    )


def test_variants_are_calibrated_too():
    main = sample(orders=(4, 4))
    bundle = main.with_variants([kept_modes(main, 2)])
    calibrated = calibrate(bundle, sequences())
    small = calibrated.variant(2)
    assert small.calibrated
    assert small.tensors[f"{PREFIX}block0.ssm.state"].shape == (3, 4)
    alone = calibrate(bundle.variant(2), sequences())
    name = f"{PREFIX}block1.ssm.state"
    assert np.array_equal(small.tensors[name], alone.tensors[name])
    assert Bundle.from_bytes(calibrated.to_bytes()).sha256 == calibrated.sha256


@pytest.mark.parametrize(
    ("blocks", "words"),
    [
        ([], "no frames"),
        ([np.zeros((0, 3))], "no frames"),
        ([np.zeros((5, 2))], r"shape \(5, 2\)"),
        ([np.zeros(3)], r"shape \(3,\)"),
        ([np.full((5, 3), np.nan)], "NaN or infinity"),
        ([np.eye(3) * 1e25], "variance of encoder.input is .* more than float32 holds"),
    ],
)
def test_data_that_tells_nothing_is_refused(blocks, words):
    with pytest.raises(InputError, match=words):
        calibrate(sample(), blocks)


def test_of_wide_vectors_only_variances_are_kept_and_the_model_still_becomes_integers():
    wide = sample(orders=(MOST_COVARIANCES // 2 + 1,))
    calibrated = calibrate(wide, sequences())
    variances = calibrated.tensors[f"{PREFIX}block0.ssm.state.covariance"]
    assert variances.shape == (1, MOST_COVARIANCES + 2)
    states = dict(seen_vectors(wide, sequences()[0].astype(np.float64), {}))["block0.ssm.state"]
    alone = calibrate(wide, sequences()[:1]).tensors[f"{PREFIX}block0.ssm.state.covariance"][0]
    np.testing.assert_allclose(alone, states.var(0), rtol=1e-5, atol=1e-12)
    model = lower_integer(calibrated)
    frames = sequences()[1]
    expected = run(wide.meta.ops, wide.tensors, frames)[0]
    error = model.decode(run_integer(model, model.encode(frames))[0]) - expected
    assert 10 * np.log10((expected**2).sum() / (error**2).sum()) > 35
