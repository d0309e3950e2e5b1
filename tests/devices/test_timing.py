import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ssmith.devices.deadlines import summarise_deadlines
from ssmith.devices.timing import (
    STABLE_WINDOWS,
    WINDOW,
    clock_step,
    find_warm_up,
    seconds,
    steady_times,
    summarise,
)
from ssmith.errors import InputError


def test_warm_up_ends_after_the_first_windows_that_agree():
    slow, steady = np.full(2 * WINDOW, 5_000), np.full(4_000, 1_000)
    found = find_warm_up(np.concatenate([slow, steady]), limit=2_000)
    assert found.stable
    assert found.steps == (2 + STABLE_WINDOWS) * WINDOW


def test_warm_up_of_times_that_never_settle_is_the_limit_and_says_so():
    drifting = (1_000 * 1.05 ** (np.arange(8_000) // WINDOW)).astype(np.int64)
    found = find_warm_up(drifting, limit=2_000)
    assert (found.steps, found.stable) == (2_000, False)


def test_warm_up_never_takes_more_than_half():
    assert find_warm_up(np.full(100, 1_000), limit=5_000).steps == 50
    assert find_warm_up(np.zeros(0, np.int64), limit=5_000).steps == 0


@given(st.lists(st.integers(0, 10**9), min_size=1, max_size=3_000), st.floats(0, 1e4))
def test_statistics_are_ordered_and_bounded(samples, overhead_ns):
    timing = summarise(np.array(samples), overhead_ns=overhead_ns)
    assert timing.samples == len(samples)
    assert timing.min_us == pytest.approx(max(min(samples) - overhead_ns, 0) / 1e3)
    assert timing.min_us <= timing.mean_us <= timing.max_us
    assert timing.ecdf_us == sorted(timing.ecdf_us)
    assert timing.ecdf_fraction == sorted(timing.ecdf_fraction)
    assert (timing.ecdf_fraction[0], timing.ecdf_fraction[-1]) == (0.0, 1.0)


@pytest.mark.parametrize(
    ("name", "needed"),
    [("p50_us", 20), ("p90_us", 100), ("p95_us", 200), ("p99_us", 1_000), ("p99_9_us", 10_000)],
)
def test_a_percentile_needs_ten_samples_beyond_it(name, needed):
    assert getattr(summarise(np.arange(needed - 1), overhead_ns=0), name) is None
    assert getattr(summarise(np.arange(needed), overhead_ns=0), name) is not None


def test_percentiles_equal_numpy_after_the_overhead_is_gone():
    samples = np.random.default_rng(0).integers(1_000, 90_000, 20_000)
    timing = summarise(samples, overhead_ns=40.0)
    for name, fraction in (("p50_us", 0.5), ("p99_us", 0.99), ("p99_9_us", 0.999)):
        assert getattr(timing, name) == pytest.approx((np.quantile(samples, fraction) - 40) / 1e3)
    assert timing.std_us == pytest.approx(samples.std() / 1e3)


def test_deadlines_tell_late_wake_ups_from_slow_steps():
    busy = np.array([100_000, 100_000, 1_200_000, 100_000])
    late = np.array([120_000, 1_500_000, 1_250_000, 350_000])  # ns from due to done
    found = summarise_deadlines(busy, late, period_s=1e-3, steady_mean_us=80.0)
    assert (found.steps, found.misses, found.overruns) == (4, 2, 1)
    assert found.duty == pytest.approx(0.375)
    assert found.real_time_factor == pytest.approx(12.5)
    assert found.worst_us == pytest.approx(1_500.0)


@given(st.floats(100, 5_000), st.integers(2, 50))
def test_a_coarse_clock_does_not_move_the_median(true_ns, step):
    """Readings of a clock that moves in steps: ends of equal times, rounded down."""
    ends = np.arange(4_001) * true_ns
    samples = np.diff((ends // step).astype(np.int64) * step)
    assert len(samples) == 4_000
    found = np.median(steady_times(samples, overhead_ns=0.0))
    assert abs(found - true_ns) <= 0.13 * step + 0.02 * step  # triangular, not uniform, within a step
    assert samples.min() <= found <= samples.max()


def test_the_step_of_a_clock_shows_in_what_it_reads():
    assert clock_step(np.array([190, 200, 200, 310])) == 10
    assert clock_step(np.array([7, 7])) == 1
    assert steady_times(np.array([190, 200]), overhead_ns=0.0).tolist() == [190.0, 200.0]
    assert steady_times(np.array([3, 5]), overhead_ns=10.0).tolist() == [0.0, 0.0]


@pytest.mark.parametrize(
    ("text", "value"),
    [("2ms", 2e-3), ("500us", 5e-4), ("62.5 µs", 62.5e-6), ("10min", 600.0), ("1h", 3600.0), ("1.5", 1.5)],
)
def test_durations_are_read_as_people_write_them(text, value):
    assert seconds(text) == pytest.approx(value)


@pytest.mark.parametrize("text", ["", "fast", "-2ms", "2 days", "ms", "1.2.3s"])
def test_what_is_no_duration_is_refused(text):
    with pytest.raises(InputError, match="no duration"):
        seconds(text)
