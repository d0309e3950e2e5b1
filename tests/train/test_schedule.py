import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ssmith.train.schedule import (
    FINAL_FACTOR,
    allowance,
    between,
    cut_steps,
    learning_rate_factor,
    order_goal,
)


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


@pytest.mark.parametrize("schedule,interval", [("gradual", 0.015), ("plateau", 0.01)])
def test_schedules_with_an_interval_fill_the_window(schedule, interval):
    steps = cut_steps(schedule, (0.3, 0.6), 4, 10_000)
    assert (steps[0], steps[-1]) == (3000, 6000)
    gaps = {b - a for a, b in itertools.pairwise(steps)}
    assert gaps == {int(interval * 10_000)}
    assert cut_steps(schedule, (0.5, 0.5), 4, 1000) == (500,)


def test_once_and_short_trainings():
    assert cut_steps("once", (0.3, 0.6), 4, 1000) == (600,)
    looks = cut_steps("plateau", (0.0, 0.5), 4, 10)
    assert looks == (0, 1, 2, 3, 4, 5)  # every step, not several times a step


@given(st.integers(1, 512), st.data(), st.integers(1, 40))
def test_gradual_orders_follow_the_cubic_law(start, data, attempts):
    end = data.draw(st.integers(1, start))
    goals = [order_goal("gradual", start, end, k, attempts) for k in range(1, attempts + 1)]
    assert goals == sorted(goals, reverse=True) and goals[-1] == end
    for k, goal in enumerate(goals, 1):
        assert abs(goal - (end + (start - end) * (1 - k / attempts) ** 3)) <= 0.5
    ways = [between("gradual", start, end, k, attempts) for k in range(attempts + 1)]
    falls = [a - b for a, b in itertools.pairwise(ways)]
    assert all(a >= b - 1e-9 for a, b in itertools.pairwise(falls))  # less and less


@given(st.floats(0, 5), st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_what_cuts_spend_within_their_allowance_stays_within_the_total(total, uses):
    spent = 0.0
    for k, use in enumerate(uses, 1):
        spent += use * allowance(spent, total, k, len(uses))
    assert spent <= total * (1 + 1e-12)
    assert allowance(total + 1, total, 1, 3) == 0
