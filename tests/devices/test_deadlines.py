"""Times against the time there is."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from ssmith.devices.deadlines import histogram, summarise_blocks, summarise_deadlines
from ssmith.measurement import Deadline

LATE = st.lists(st.integers(0, 10**10), min_size=1, max_size=300)


@given(LATE, st.integers(1_000, 10**10))
def test_the_histogram_holds_every_step_once_and_its_tail_beyond_the_period_is_the_misses(late, period_ns):
    times = np.array(late)
    found = summarise_deadlines(times, times, period_s=period_ns / 1e9, steady_mean_us=1.0)
    edges, counts = found.late_edges_us, found.late_counts
    assert sum(counts) == found.steps == len(late)
    assert edges == sorted(set(edges)) and len(edges) == len(counts) + 1
    assert edges[-1] >= found.worst_us
    tail = sum(n for low, n in zip(edges[:-1], counts, strict=True) if low >= period_ns / 1e3)
    assert tail == found.misses
    for low, high, n in zip(edges[:-1], edges[1:], counts, strict=True):
        assert n == ((times / 1e3 > low) & (times / 1e3 <= high)).sum() + (low == 0) * (times == 0).sum()


def test_the_worst_step_has_its_moment_and_jitter_is_of_the_start():
    busy = np.array([100_000, 100_000, 300_000, 100_000])
    late = np.array([110_000, 900_000, 310_000, 110_000])
    found = summarise_deadlines(busy, late, period_s=2e-3, steady_mean_us=80.0, overhead_ns=50_000)
    assert (found.worst_us, found.worst_at_s) == (900.0, 2e-3)
    assert (found.wake_p50_us, found.wake_max_us, found.wake_p99_us) == (10.0, 800.0, None)
    assert found.jitter_us == pytest.approx(np.std([10.0, 800.0, 10.0, 10.0]))
    assert found.duty == pytest.approx(0.05)  # (150,000 - 50,000) / 2,000,000
    assert found.misses == 0


def test_a_late_time_on_an_edge_belongs_below_it():
    edges, counts = histogram(np.array([1_000, 1_001, 2_000]), 2.0)
    assert edges[-1] == 2.0
    assert dict(zip(edges[1:], counts, strict=True))[1.0] == 1
    assert sum(counts) == 3


def test_a_histogram_that_lost_a_step_is_refused():
    good = summarise_deadlines(np.array([5]), np.array([9]), period_s=1.0, steady_mean_us=1.0).model_dump()
    with pytest.raises(ValidationError, match="every step once"):
        Deadline.model_validate(good | {"steps": 2})
    with pytest.raises(ValidationError, match="one edge more"):
        Deadline.model_validate(good | {"late_edges_us": [0.0]})


def test_blocks_are_held_against_the_time_until_the_next_one():
    small, large = summarise_blocks(
        {64: np.full(30, 300_000), 32: np.full(2_000, 100_050)}, period_s=1 / 16_000, overhead_ns=50
    )
    assert (small.frames, small.rate_hz, small.p50_us) == (32, 16_000.0, pytest.approx(100.0))
    assert small.duty_p50 == pytest.approx(0.05)  # 32 frames last 2 ms
    assert small.p99_us == pytest.approx(100.0) and large.p99_us is None  # 30 blocks have no p99
    assert large.duty_max == pytest.approx(0.299_95 / 4)
