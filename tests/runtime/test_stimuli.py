"""What artifacts are fed: shapes, ranges, and the same numbers every time."""

import numpy as np
import pytest

from ssmith.bundle import Bundle, Signal
from ssmith.runtime.stimuli import (
    FRAMES,
    LOUD,
    SILENT,
    adversarial,
    long_stream,
    nearest_pole,
    recorded,
)
from tests.bundles import random_bundle


@pytest.fixture(scope="module")
def bundle():
    return random_bundle(np.random.default_rng(0), golden_frames=(60, 7), radius=(0.5, 0.9))


def by_name(bundle):
    return {s.name: s.frames for s in adversarial(bundle)}


def test_seven_streams_of_finite_float32(bundle):
    streams = adversarial(bundle)
    assert len({s.name for s in streams}) == 7
    for s in streams:
        assert s.frames.shape == (FRAMES, 3) and s.frames.dtype == np.float32
        assert np.isfinite(s.frames).all()
    for s, again in zip(streams, adversarial(bundle), strict=True):
        np.testing.assert_array_equal(s.frames, again.frames)


def test_each_is_what_its_name_says(bundle):
    found = by_name(bundle)
    seen = np.concatenate([case.input for case in bundle.golden()])
    top = np.abs(seen).max(axis=0)
    assert not found["zeros"].any()
    np.testing.assert_array_equal(found["impulse"][0], top)
    assert not found["impulse"][1:].any()
    assert not found["silence_step"][:SILENT].any()
    np.testing.assert_array_equal(found["silence_step"][SILENT:], np.broadcast_to(top, (FRAMES - SILENT, 3)))
    np.testing.assert_array_equal(np.abs(found["full_scale"]), np.broadcast_to(top, (FRAMES, 3)))
    quiet = np.abs(found["denormals"][LOUD:])
    assert (quiet > 0).all() and (quiet < np.finfo(np.float32).tiny).all()
    assert np.abs(found["random_0"].std(0) / seen.std(0) - 1).max() < 0.1
    assert (found["random_0"] != found["random_1"]).any()


def test_a_signal_s_own_range_counts(bundle):
    inputs = (Signal(name="a", minimum=-2.0, maximum=5.0), *bundle.meta.inputs[1:])
    ranged = Bundle(bundle.meta.model_copy(update={"inputs": inputs}), bundle.tensors)
    assert set(np.unique(by_name(ranged)["full_scale"][:, 0])) == {-2.0, 5.0}


def test_tokens_are_whole_numbers_of_the_vocabulary():
    bundle = random_bundle(np.random.default_rng(0), vocabulary=9)
    found = by_name(bundle)
    assert set(np.unique(found["random_0"])) == set(range(9))
    assert set(np.unique(found["full_scale"])) == {0.0, 8.0}


@pytest.mark.parametrize("frames", [1, 59, 1_000])
def test_the_long_stream_is_golden_inputs_one_after_the_other(bundle, frames):
    stream = long_stream(bundle, frames).frames
    assert stream.shape == (frames, 3)
    pieces = [s.frames for s in recorded(bundle)]
    at = 0
    while at < frames:
        fitting = [p for p in pieces if (stream[at : at + len(p)] == p[: frames - at]).all()]
        assert fitting
        at += len(fitting[0])


def test_a_beginning_has_no_recording(bundle):
    [first, _] = recorded(bundle)
    assert first.first(60) is first
    assert first.first(10).golden is None
    np.testing.assert_array_equal(first.first(10).frames, first.frames[:10])


def test_the_nearest_pole(bundle):
    largest = max(
        float(np.hypot(*v.astype(float)).max()) for k, v in bundle.tensors.items() if k.endswith("lam")
    )
    assert nearest_pole(bundle) == largest < 0.9 + 1e-6
    assert nearest_pole(random_bundle(np.random.default_rng(0), orders=())) == 0
