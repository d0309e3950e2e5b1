import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ssmith.errors import InputError
from ssmith.reduce.accuracy import hinf_error, hinf_norm
from ssmith.reduce.balance import balanced_truncation
from ssmith.reduce.criteria import CRITERIA, reduce_system
from ssmith.reduce.extent import Extent
from ssmith.reduce.gramians import controllability_gramian

BOUNDED = sorted(name for name, criterion in CRITERIA.items() if criterion.bound)


@settings(max_examples=50, deadline=None)
@given(
    st.integers(0, 2**31),
    st.sampled_from(("plain", "duplicate", "real poles")),
    st.sampled_from(BOUNDED),
    st.sampled_from((0.0, 1e-6, 0.01, 0.3, 0.99)),
)
def test_a_bound_is_a_share_of_the_largest_gain(make, seed, kind, criterion, bound):
    system = make(seed, kind)
    result = reduce_system(system, criterion=criterion, bound=bound)
    gain = hinf_norm(system)
    assert result.error_bound <= bound * gain + 1e-12 * gain * system.order
    assert hinf_error(system, result.system) <= bound * gain + 1e-10 * gain


@pytest.mark.parametrize("criterion", BOUNDED)
@pytest.mark.parametrize("bound", [0.01, 0.3])
def test_a_bound_is_not_wasted(make, criterion, bound):
    """A mode less would have broken it, or held an order above the smallest that had fewer real poles."""
    cut = 0

    def real_poles(reduction):
        return np.count_nonzero(reduction.system.lam.imag == 0.0)

    for seed in range(8):
        system = make(seed, modes=14)
        result = reduce_system(system, criterion=criterion, bound=bound)
        if result.order == 1:
            continue
        fewer = reduce_system(system, criterion=criterion, order=result.order - 1)
        limit = bound * hinf_norm(system)
        assert fewer.error_bound > limit or real_poles(fewer) < real_poles(result)
        cut += result.system is not system
    assert cut > 0 or criterion == "modal"


@pytest.mark.parametrize("criterion", BOUNDED)
def test_a_bound_may_have_a_minimum_and_a_multiple(make, criterion):
    system = make(2, modes=20, channels=(2, 2))
    assert reduce_system(system, criterion=criterion, bound=0.9, min_order=13).order in (13, 20)
    assert reduce_system(system, criterion=criterion, bound=0.9, multiple=8).order in (8, 16, 20)


def test_balanced_truncation_takes_a_bound_with_exact_gramians_only(make):
    system = make(0, modes=8)
    result = balanced_truncation(system, bound=0.1)
    assert 0.0 < result.error_bound <= 0.1 * hinf_norm(system)
    with pytest.raises(InputError, match=r"bound = 0\.1 with a given Gramian"):
        balanced_truncation(system, bound=0.1, controllability=controllability_gramian(system))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "none of order, tolerance and bound given; .* exactly one"),
        ({"order": 1, "bound": 0.1}, "order and bound given; .* exactly one"),
        ({"order": 1, "tolerance": 0.1, "bound": 0.1}, "exactly one"),
        ({"bound": 1.0}, "bound = 1.0"),
        ({"bound": -1e-3}, "bound = -0.001"),
        ({"bound": math.nan}, "bound = nan"),
        ({"order": np.float64(2.0)}, "order = 2.0"),
        ({"order": 1, "multiple": 0}, "multiple = 0"),
    ],
)
def test_a_goal_out_of_range_is_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        Extent(**arguments)


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 300), st.integers(1, 300), st.integers(1, 16))
def test_slots_are_the_smallest_multiple_that_holds_all(modes, minimum, multiple):
    slots = Extent(order=1, min_order=minimum, multiple=multiple).slots(modes)
    assert slots % multiple == 0
    assert max(modes, minimum) <= slots < max(modes, minimum) + multiple
