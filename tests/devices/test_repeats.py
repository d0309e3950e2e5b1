"""What several runs say about one number, on made-up times."""

from math import comb

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ssmith.devices.repeats import FIELDS, interval, intervals, moved, noise_of
from ssmith.devices.timing import statistics

VALUES = st.lists(st.floats(0.1, 1e6), min_size=2, max_size=40)


@given(VALUES, st.floats(0, 1))
def test_an_interval_holds_the_pooled_value_and_the_middle_runs(values, share):
    pooled = min(values) + share * (max(values) - min(values))
    low, high = interval(values, pooled)
    assert low <= pooled <= high
    assert low <= np.median(values) <= high
    if len(values) < 6:  # Student's, widened to the extremes
        assert low <= min(values) and max(values) <= high


@given(st.integers(6, 60))
def test_order_statistics_enclose_the_median_with_95_percent_and_are_the_innermost_that_do(n):
    low, high = interval([float(k) for k in range(n)], (n - 1) / 2)
    k = int(low)
    assert high == n - 1 - k

    def inside(rank):  # the median lies between order statistics `rank` and its mirror image, from 0
        return sum(comb(n, j) for j in range(rank + 1, n - rank)) / 2**n

    assert inside(k) >= 0.95
    assert k + 1 > (n - 1) // 2 or inside(k + 1) < 0.95


def test_intervals_cover_as_often_as_they_say():
    rng = np.random.default_rng(0)
    for n, draw in ((5, rng.standard_normal), (6, rng.standard_exponential), (9, rng.standard_exponential)):
        truth = np.log(2) if draw == rng.standard_exponential else 0.0
        runs = 10.0 + draw((2_000, n))  # away from 0, where an interval of times is cut off
        hits = [low <= 10 + truth <= high for low, high in (interval(r, float(np.median(r))) for r in runs)]
        assert np.mean(hits) >= 0.94


def test_a_percentile_that_one_run_lacks_has_no_interval():
    runs = [statistics(np.arange(1.0, n)) for n in (2_000, 2_000, 500)]
    found = intervals(runs, statistics(np.arange(1.0, 4_000)))
    assert set(found) == {"p50_us", "p90_us", "p95_us", "mean_us"} < set(FIELDS)
    assert intervals(runs[:1], runs[0]) == {}


def test_repeats_that_differ_and_a_run_that_drifts_are_noise():
    steady, slower = np.full(4_000, 1_000), np.full(4_000, 1_080)
    assert noise_of([steady, steady, steady]) == []
    assert noise_of([steady, slower]) == ["the median moved by 8% between 2 repeats"]
    assert noise_of([steady]) == []
    assert noise_of([np.concatenate([steady, slower])]) == ["the median moved by 8% within the run"]
    assert noise_of([slower[:50]]) == []  # too few to tell
    assert moved([1.0, 1.5, 1.2]) == pytest.approx(0.5)


def test_a_few_very_slow_steps_are_a_tail_and_no_noise():
    samples = np.full(4_000, 1_000)
    samples[3_500:3_600] = 10**7
    assert noise_of([samples]) == []
