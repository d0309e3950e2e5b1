"""Weights rounded for the inputs there are."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ssmith.runtime.integer_rounding import round_inside, round_rows


def correlated(rng, size: int, rank: int) -> np.ndarray:
    factor = rng.standard_normal((size, rank))
    return factor @ factor.T + 1e-3 * np.eye(size)


def variance(matrix, rows, scale, covariance) -> np.ndarray:
    error = matrix - scale[:, None] * rows
    return np.einsum("oi,ij,oj->o", error, covariance, error)


def nearest(matrix, covariance) -> np.ndarray:
    scale = np.abs(matrix).max(1) / 127
    return variance(matrix, np.rint(matrix / scale[:, None]), scale, covariance)


@given(st.integers(0, 2**32 - 1))
def test_codes_fit_and_the_stated_noise_is_the_noise(seed):
    rng = np.random.default_rng(seed)
    m, k = rng.integers(1, 12, 2)
    matrix = rng.standard_normal((m, k)) * 10.0 ** rng.integers(-6, 6, (m, 1))
    covariance = correlated(rng, k, rng.integers(1, k + 1))
    rows, scale, noise = round_rows(matrix, covariance)
    assert rows.dtype == np.int8 and np.abs(rows.astype(int)).max() <= 127
    np.testing.assert_allclose(noise, variance(matrix, rows, scale, covariance), rtol=1e-9)


def test_what_goes_together_is_rounded_together():
    rng = np.random.default_rng(0)
    matrix = rng.standard_normal((40, 24))
    for rank, gain in ((2, 30.0), (8, 3.0), (24, 1.2)):
        covariance = correlated(rng, 24, rank)
        ratio = nearest(matrix, covariance).sum() / round_rows(matrix, covariance)[2].sum()
        assert ratio > gain


def test_independent_inputs_leave_little_to_gain_and_nothing_to_lose():
    rng = np.random.default_rng(1)
    matrix, covariance = rng.standard_normal((40, 24)), np.diag(rng.uniform(0.1, 10, 24))
    assert (round_rows(matrix, covariance)[2] <= nearest(matrix, covariance) * (1 + 1e-9)).all()


def test_rows_of_zeros():
    matrix = np.array([[0.0, 0.0], [3.0, -1.0]])
    rows, scale, noise = round_rows(matrix, np.eye(2))
    assert not rows[0].any() and noise[0] == 0
    assert 0 < scale[0] <= 3 / 127


@given(st.integers(0, 2**32 - 1))
def test_each_row_is_rounded_by_the_inputs_it_reads(seed):
    rng = np.random.default_rng(seed)
    m, k = rng.integers(1, 9, 2)
    inside = rng.random((m, k)) < 0.6
    matrix, covariance = rng.standard_normal((m, k)) * inside, correlated(rng, k, 2)
    rows, scale, noise = round_inside(matrix, covariance, inside)
    assert not rows[~inside].any()
    assert (scale > 0).all()
    for o in np.flatnonzero(matrix.any(1)):
        own = inside[o]
        alone = round_rows(matrix[o : o + 1, own], covariance[np.ix_(own, own)])
        assert np.array_equal(rows[o, own], alone[0][0])
        assert (scale[o], noise[o]) == (alone[1][0], alone[2][0])
