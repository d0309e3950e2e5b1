"""Blocks of a row: codes fit their bits, weights come back to half a step, zeros stay zeros."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ssmith.runtime.weight_blocks import CLIPS, SIZES, blocks_of, size_for


@given(st.integers(1, 5), st.integers(1, 70), st.sampled_from([8, 4]), st.integers(0, 1000), st.floats(-6, 6))
def test_weights_come_back_to_their_bits(rows, columns, bits, seed, power):
    weight = np.random.default_rng(seed).standard_normal((rows, columns)) * 10.0**power
    blocks = blocks_of(weight, bits)
    assert blocks.codes.dtype == np.uint8 and blocks.codes.max() < 1 << bits
    assert blocks.size in SIZES and blocks.real.shape == weight.shape
    step = np.repeat(np.abs(blocks.scale.astype(float)), blocks.size, axis=1)[:, :columns]
    clipped = np.abs(weight) > step * ((1 << (bits - 1)) - 1)
    error = np.abs(blocks.real - weight)
    assert (error[~clipped] <= step[~clipped] * 0.5 * (1 + 1e-5)).all()
    assert (error[clipped] <= (1 - min(CLIPS)) * np.abs(weight[clipped]) + step[clipped]).all()


@given(st.integers(0, 1000), st.sampled_from([8, 4]))
def test_what_fills_a_block_up_is_zero(seed, bits):
    blocks = blocks_of(np.random.default_rng(seed).standard_normal((3, 20)), bits, 32)
    assert (blocks.codes[:, 0, 20:] == 1 << (bits - 1)).all()


def test_weights_that_codes_can_tell_are_exact():
    weight = np.array([[-8.0, 7, 3, 0], [8.0, -7, 1, 0], [0.0, 0, 0, 0]]) * 0.25
    assert np.array_equal(blocks_of(weight, 4).real, weight)


def test_more_bits_less_error():
    weight = np.random.default_rng(0).standard_normal((20, 64))
    coarse, fine = (np.abs(blocks_of(weight, bits).real - weight).max() for bits in (4, 8))
    assert fine < coarse / 10


@pytest.mark.parametrize(
    ("columns", "bits", "size"), [(8, 4, 16), (17, 4, 32), (128, 8, 128), (8, 8, 16), (96, 8, 32)]
)
def test_block_sizes(columns, bits, size):
    assert size_for(columns, bits) == size
