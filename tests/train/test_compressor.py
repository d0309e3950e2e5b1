"""The generated compressor: its curve, its two-stage release, and the same device at every rate."""

import numpy as np
import pytest

from ssmith.errors import InputError
from ssmith.recipe import Recipe
from ssmith.train.compressor import Compressor, follow, recordings
from ssmith.train.data import load
from ssmith.train.dry_signal import BAND_HZ, dry_signal

DEVICE = Compressor()
RATE = 4000.0


def reduction(u, *, threshold=-30.0, release=2.0, rate=RATE, device=DEVICE):
    return device.reduction_db(u[None], np.array([threshold]), np.array([release]), rate)[0]


def sine(seconds, amplitude, rate=RATE):
    return amplitude * np.sin(2 * np.pi * 1000 * np.arange(int(seconds * rate)) / rate)


def test_a_follower_is_exact_for_a_held_target():
    target = np.repeat([[3.0, -1.0, 2.0]], 50, axis=1)
    x = follow(target, 0.1, 0.4, 100.0)[0]
    want, ends = 0.0, []
    for goal, tau in ((3.0, 0.1), (-1.0, 0.4), (2.0, 0.1)):
        want = goal + (want - goal) * np.exp(-0.5 / tau)
        ends.append(want)
    np.testing.assert_allclose(x[49::50], ends, rtol=1e-12)
    fine = follow(np.repeat(target, 7, axis=1), 0.1, 0.4, 700.0)[0]
    np.testing.assert_allclose(fine[6::7], x, rtol=1e-9)


@pytest.mark.parametrize("level", [-50.0, -32.0, -10.0, 0.0])
def test_a_steady_sine_is_reduced_by_the_static_curve(level):
    u = sine(3.0, 10 ** (level / 20))
    want = DEVICE.wanted_db(np.array(level), np.array(-30.0))
    assert reduction(u)[-1] == pytest.approx(float(want), abs=0.15)


def test_the_curve_is_smooth_and_has_the_ratio_above_the_knee():
    level = np.linspace(-60, 0, 6001)
    slope = np.diff(DEVICE.wanted_db(level, np.array(-30.0))) / np.diff(level)
    assert abs(np.diff(slope)).max() < 1e-3
    assert slope[0] == 0 and slope[-1] == pytest.approx(1 - 1 / DEVICE.ratio)


def time_to_a_quarter(loud_seconds, release):
    """Seconds until a quarter of the reduction is left after a loud passage."""
    loud = sine(loud_seconds, 1.0)
    r = reduction(np.concatenate([loud, np.zeros(int(4 * RATE))]), release=release)[len(loud) :]
    return np.argmax(r < r[0] / 4) / RATE


def test_release_is_fast_after_a_peak_and_slow_after_a_passage():
    assert time_to_a_quarter(0.03, 2.0) < 0.2  # hardly any memory
    slow, fast = time_to_a_quarter(2.0, 2.0), time_to_a_quarter(2.0, 0.5)
    assert slow - fast == pytest.approx(1.5 * np.log(2), rel=0.1)  # half is kept, and falls with the knob's τ


def test_the_dry_signal_is_the_same_function_of_time_at_every_rate():
    slow, fast = dry_signal([1], 2, 44_100.0), dry_signal([1], 2, 3 * 44_100.0)
    np.testing.assert_allclose(fast[::3], slow, atol=1e-12)
    spectrum = abs(np.fft.rfft(fast))
    assert spectrum[int(2 * BAND_HZ[1]) :].max() < 1e-12 * spectrum.max()
    assert 0.05 < abs(slow).max() <= 1 and abs(slow.mean()) < 1e-12


def test_the_device_is_the_same_at_every_rate():
    at = {rate: recordings(3, 2, rate_hz=rate, seconds=1) for rate in (48_000.0, 96_000.0)}
    for (u, y), (u2, y2) in zip(at[48_000.0], at[96_000.0], strict=True):
        np.testing.assert_allclose(u2[::2], u, atol=1e-6)
        assert (
            np.square(y2[::2] - y).sum() < 1e-6 * np.square(y).sum()
        )  # -60 dB: the detector hears held input


def test_recordings_differ_and_follow_the_seed():
    first, again, other = (recordings(seed, 2, seconds=1) for seed in (0, 0, 1))
    for (u, y), (u2, y2) in zip(first, again, strict=True):
        np.testing.assert_array_equal(u, u2)
        np.testing.assert_array_equal(y, y2)
    assert abs(first[0][0] - first[1][0]).max() > 0.1 and abs(first[0][0] - other[0][0]).max() > 0.1
    dry, threshold, release = first[0][0].T
    assert np.ptp(threshold) == np.ptp(release) == 0 and -40 <= threshold[0] <= -15 and 0.5 <= release[0] <= 5
    assert (abs(first[0][1][:, 0]) <= abs(dry) + 1e-7).all()  # a compressor never makes louder


@pytest.mark.parametrize("rate", [16_000.0, 44_100.5])
def test_rates_that_cannot_hold_the_signal_are_refused(rate):
    with pytest.raises(InputError, match="use a whole rate"):
        dry_signal([0], 1, rate)


def test_the_recipe_is_a_regression_at_its_rate():
    with pytest.raises(InputError, match='"compressor" is a regression task'):
        load(Recipe.parse({"name": "x", "task": "classification", "data": {"source": "compressor"}}, "test"))
    wrong = {"source": "compressor", "window": 100}
    with pytest.raises(InputError, match=r"data\.window belongs to"):
        load(Recipe.parse({"name": "x", "task": "regression", "data": wrong}, "test"))
