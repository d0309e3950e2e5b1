import itertools
import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from ssmith.errors import InputError
from ssmith.reduce.budget import bisect_order, split_equal, split_marginal

RULES = {"marginal": split_marginal, "equal": split_equal}


@st.composite
def problems(draw, convex=False):
    """(tails, costs, minimum, multiple, fixed): up to four layers of at most nine modes."""
    layers = draw(st.integers(1, 4))
    tails, slopes = [], []
    for _ in range(layers):
        modes = draw(st.integers(1, 9))
        drops = draw(st.lists(st.floats(0.0, 10.0), min_size=modes, max_size=modes))
        drops = sorted(drops, reverse=True) if convex else drops
        tails.append(np.concatenate([np.cumsum(drops[::-1])[::-1], [0.0]]))
        slopes.append(draw(st.floats(0.1, 9.0)))
    minimum = [draw(st.integers(1, len(tail))) for tail in tails]
    multiple = 1 if convex else draw(st.integers(1, 4))
    costs = [lambda r, s=s: s * r for s in slopes]
    return tails, costs, minimum, multiple, draw(st.floats(0.0, 20.0))


def allowed(tail, smallest, multiple):
    present = len(tail) - 1
    return [r for r in range(1, present + 1) if r == present or (r >= smallest and r % multiple == 0)]


@settings(max_examples=50, deadline=None)
@given(problems(), st.floats(0.0, 250.0), st.sampled_from(sorted(RULES)))
def test_a_split_keeps_its_promises(problem, budget, rule):
    tails, costs, minimum, multiple, fixed = problem
    least = [min(allowed(tail, m, multiple)) for tail, m in zip(tails, minimum, strict=True)]
    floor = math.fsum([fixed, *(cost(r) for cost, r in zip(costs, least, strict=True))])
    arguments = {"fixed": fixed, "minimum": minimum, "multiple": multiple}
    if floor > budget:
        with pytest.raises(InputError, match="the budget is"):
            RULES[rule](tails, costs, budget, **arguments)
        return
    split = RULES[rule](tails, costs, budget, **arguments)
    assert split.rule == rule
    assert split.cost <= budget
    assert split.cost == math.fsum([fixed, *(c(r) for c, r in zip(costs, split.orders, strict=True))])
    assert split.predicted == pytest.approx(sum(t[r] for t, r in zip(tails, split.orders, strict=True)))
    for tail, order, smallest in zip(tails, split.orders, minimum, strict=True):
        assert order in allowed(tail, smallest, multiple)
        assert order >= min(smallest, len(tail) - 1)


@settings(max_examples=50, deadline=None)
@given(problems(), st.floats(0.0, 250.0), st.floats(0.0, 50.0))
def test_equal_shares_grow_with_the_budget(problem, budget, more):
    tails, costs, minimum, multiple, fixed = problem
    arguments = {"fixed": fixed, "minimum": minimum, "multiple": multiple}
    try:
        small = split_equal(tails, costs, budget, **arguments)
    except InputError:
        assume(False)
    large = split_equal(tails, costs, budget + more, **arguments)
    assert all(a <= b for a, b in zip(small.orders, large.orders, strict=True))


@settings(max_examples=50, deadline=None)
@given(problems(convex=True), st.floats(0.0, 250.0))
def test_marginal_is_within_a_single_step_of_the_best(problem, budget):
    """Oracle: all combinations. With convex tails and linear costs only a step that did not fit is lost."""
    tails, costs, minimum, _, fixed = problem
    try:
        split = split_marginal(tails, costs, budget, fixed=fixed, minimum=minimum)
        equal = split_equal(tails, costs, budget, fixed=fixed, minimum=minimum)
    except InputError:
        assume(False)
    choices = [allowed(tail, smallest, 1) for tail, smallest in zip(tails, minimum, strict=True)]
    affordable = [
        sum(tail[r] for tail, r in zip(tails, orders, strict=True))
        for orders in itertools.product(*choices)
        if math.fsum([fixed, *(cost(r) for cost, r in zip(costs, orders, strict=True))]) <= budget
    ]
    step = max(t[r] - t[min(r + 1, len(t) - 1)] for t, r in zip(tails, split.orders, strict=True))
    assert split.predicted <= min(affordable) + step + 1e-9
    assert split.predicted <= equal.predicted + step + 1e-9


def test_the_budget_goes_where_it_saves_most():
    """By hand: layer 0 loses 9, 8, 1 with its modes, layer 1 loses 6, 5, 0.5; layer 1 costs twice as much."""
    tails = [[18.0, 9.0, 1.0, 0.0], [11.5, 5.5, 0.5, 0.0]]
    costs = [lambda r: float(r), lambda r: 2.0 * r]
    orders = [split_marginal(tails, costs, budget).orders for budget in (3, 4, 5, 6, 7, 9)]
    assert orders == [(1, 1), (2, 1), (3, 1), (2, 2), (3, 2), (3, 3)]


def test_a_plateau_does_not_stop_a_layer():
    """The second mode saves nothing alone, the third saves all."""
    split = split_marginal([[5.0, 4.0, 4.0, 0.0], [3.0, 0.5, 0.0]], [float, float], 4)
    assert split.orders == (3, 1)


def test_what_saves_nothing_is_not_bought():
    assert split_marginal([[1.0, 0.0, 0.0, 0.0]], [float], 3).orders == (1,)


def test_a_kept_layer_is_a_minimum_of_all_its_states():
    for split in RULES.values():
        result = split([[8.0, 4.0, 2.0, 1.0, 0.0]] * 2, [float, float], 6, minimum=(4, 1))
        assert result.orders == (4, 2)


def test_layers_of_one_size_share_one_order_and_others_one_share():
    tails = [np.arange(n, -1, -1.0) for n in (16, 16, 64)]
    assert split_equal(tails, [float] * 3, 50).orders == (8, 8, 34)
    assert split_equal(tails, [float] * 3, 50, multiple=4).orders == (8, 8, 32)


def test_no_layer_left_to_share_is_no_error():
    for name, split in RULES.items():
        result = split([], [], 10.0, fixed=7.0)
        assert (result.orders, result.cost, result.predicted, result.rule) == ((), 7.0, 0.0, name)


def test_a_cost_that_jumps_is_respected():
    """A device's time may step at the vector width, and may even fall."""
    steps = {1: 3.0, 2: 5.0, 3: 5.0, 4: 4.0, 5: 9.0}
    split = split_marginal([[6.0, 5.0, 4.0, 3.0, 2.0, 0.0]], [steps.__getitem__], 5.0)
    assert split.orders == (4,)


@pytest.mark.parametrize(
    ("tails", "costs", "budget", "more", "message"),
    [
        ([[2.0, 1.0, 0.0]], [float], 10.0, {"fixed": 9.5}, r"is 10, but 10.5 stays: 9.5 that no .* \(1\)"),
        ([[2.0, 1.0, 0.0]], [float], math.nan, {}, "budget is nan"),
        ([[2.0, 1.0, 0.0]], [float, float], 10.0, {}, "1 tails, 2 costs"),
        ([[2.0, 1.0, 0.0]], [float], 10.0, {"minimum": (1, 1)}, "2 minimum orders"),
        ([[2.0, 1.0, 0.0]], [float], 10.0, {"multiple": 0}, "multiple = 0"),
        ([[2.0, 1.0, 0.0]], [float], 10.0, {"minimum": (0,)}, "both count modes"),
        ([[2.0, math.nan, 0.0]], [float], 10.0, {}, "not finite"),
        ([[2.0]], [float], 10.0, {}, "at 0, 1, … N modes"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("rule", sorted(RULES))
def test_bad_budgets_are_refused(rule, tails, costs, budget, more, message):
    with pytest.raises(InputError, match=message):
        RULES[rule](tails, costs, budget, **more)


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 40), st.integers(0, 300), st.integers(0, 300))
def test_bisection_finds_the_smallest_order_within_the_limit(lowest, span, at):
    highest, smallest, asked = lowest + span, lowest + min(at, span), []

    def loss(order):
        asked.append(order)
        return 0.5 if order >= smallest else 2.0

    assert bisect_order(loss, 1.0, lowest, highest) == smallest
    assert smallest in asked
    assert len(asked) <= 1 + math.ceil(math.log2(span + 1))
    assert len(set(asked)) == len(asked)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.one_of(st.floats(0.0, 2.0), st.just(math.nan)), min_size=1, max_size=40))
def test_bisection_on_any_losses_returns_one_that_it_has_seen_within_the_limit(losses):
    seen = {}

    def loss(order):
        seen[order] = losses[order - 1]
        return seen[order]

    try:
        order = bisect_order(loss, 1.0, 1, len(losses))
    except InputError:
        assert not losses[-1] <= 1.0
        return
    assert seen[order] <= 1.0


@pytest.mark.parametrize(("limit", "lowest", "highest"), [(1.0, 0, 4), (1.0, 5, 4), (math.nan, 1, 4)])
def test_bisection_needs_a_range_and_a_limit(limit, lowest, highest):
    with pytest.raises(InputError, match="write 1 <= lowest"):
        bisect_order(float, limit, lowest, highest)
