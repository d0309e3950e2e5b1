"""Data without ranges are refused, one wild frame is named, ordinary data are left in peace."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ssmith.errors import InputError
from ssmith.quantization import calibrated, check_integer
from ssmith.quantization_data import FAR, check_varied, wild_frames
from tests.bundles import random_bundle


def noise(frames: int, channels: int = 3, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((frames, channels)).astype(np.float32)


def test_what_never_changes_is_refused_with_what_to_write():
    bundle = random_bundle(np.random.default_rng(0))
    for constant in ([np.ones((50, 3), np.float32)] * 2, [np.zeros((1, 3), np.float32)]):
        with pytest.raises(InputError, match=r"are the same.*--data RECIPE"):
            calibrated(bundle, constant)
    for empty in ([], [np.zeros((0, 3), np.float32)]):
        with pytest.raises(InputError, match="no frames"):
            calibrated(bundle, empty)


def test_one_channel_that_changes_is_enough():
    bundle = random_bundle(np.random.default_rng(0))
    data = np.full((200, 3), 0.25, np.float32)
    data[:, 1] = noise(200, 1)[:, 0]
    check_integer(calibrated(bundle, [data]), 8)
    check_varied([np.zeros((5, 3), np.float32), np.ones((5, 3), np.float32)])


@given(st.integers(0, 2), st.integers(0, 299), st.integers(0, 2), st.sampled_from([1e3, -1e4]))
def test_a_wild_value_is_found_where_it_is(sequence, frame, channel, value):
    data = [noise(300, seed=i) for i in range(3)]
    data[sequence][frame, channel] = value
    (found,) = wild_frames(data)
    assert (found.sequence, found.frame, found.channel, found.value) == (sequence, frame, channel, value)
    assert found.factor > FAR
    assert f"frame {frame} of calibration sequence {sequence}" in str(found)


def test_numbers_count_empty_sequences():
    data = [noise(200), np.zeros((0, 3), np.float32), noise(200, seed=1)]
    data[2][7, 0] = 1e6
    (found,) = wild_frames(data)
    assert (found.sequence, found.frame) == (2, 7)


def test_ordinary_data_are_not_wild():
    impulses = np.zeros((1_000, 1), np.float32)
    impulses[500] = 100
    ramp = np.arange(1_000, dtype=np.float32)[:, None]
    for data in (noise(5_000), impulses, ramp, np.ones((10, 1), np.float32), np.exp(noise(5_000))):
        assert wild_frames([data]) == []
    assert wild_frames([]) == []
