import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ssmith.train.schedule import FINAL_FACTOR, cut_steps, learning_rate_factor, order_goal


@given(st.integers(2, 3000), st.floats(0, 1))
def test_the_rate_rises_then_falls_and_stays_in_range(steps, warmup):
    factors = [learning_rate_factor(step, steps, warmup) for step in range(steps)]
    peak = factors.index(max(factors))
    assert max(factors) == pytest.approx(1)
    assert factors[: peak + 1] == sorted(factors[: peak + 1])
    assert factors[peak:] == sorted(factors[peak:], reverse=True)
    assert min(factors) > 0


def test_the_last_step_is_near_the_final_factor():
    assert learning_rate_factor(9999, 10000, 0.05) == pytest.approx(FINAL_FACTOR, abs=1e-6)


def test_cuts_spread_evenly_and_a_single_one_comes_last():
    assert cut_steps("window", (0.3, 0.6), 4, 1000) == (300, 400, 500, 600)
    assert cut_steps("window", (0.3, 0.6), 1, 1000) == (600,)


@given(st.integers(1, 512), st.data(), st.integers(1, 20))
def test_orders_fall_geometrically_to_the_end(start, data, attempts):
    end = data.draw(st.integers(1, start))
    goals = [order_goal("window", start, end, k, attempts) for k in range(1, attempts + 1)]
    assert goals == sorted(goals, reverse=True)
    assert goals[-1] == end and goals[0] <= start
    for before, after in itertools.pairwise(goals):
        assert abs(after - before * (end / start) ** (1 / attempts)) <= 1.5  # both are rounded
