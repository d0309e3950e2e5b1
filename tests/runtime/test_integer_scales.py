"""Scales that are shared by what is added, and large enough for what is reached."""

import numpy as np
import pytest

from ssmith.errors import InputError
from ssmith.runtime.integer_scales import GRID_STEP, REACH, Scales, grid_power


def test_a_scale_covers_what_is_required_and_not_much_more():
    classes = Scales()
    ids = classes.fresh(3)
    classes.require(ids, np.array([1.0, 2.0, 0.5]))
    classes.require(ids, np.array([0.5, 3.0, 0.5]))
    reach = classes.solve(ids) * REACH
    assert (reach >= [1.0, 3.0, 0.5]).all() and (reach <= np.array([1.0, 3.0, 0.5]) * 1.00001).all()


def test_joined_channels_have_one_scale_whenever_they_are_joined():
    classes = Scales()
    a, b, c = (classes.fresh(2) for _ in range(3))
    classes.require(a, np.array([1.0, 1.0]))
    classes.join(a, b)
    classes.require(c, np.array([5.0, 0.1]))
    classes.join(b, c)
    assert np.array_equal(classes.solve(a), classes.solve(c))
    np.testing.assert_allclose(classes.solve(a) * REACH, [5.0, 1.0], rtol=1e-5)


@pytest.mark.parametrize("grid", ["gelu", "sigmoid"])
def test_a_grid_scale_is_a_step_of_its_table(grid):
    classes = Scales()
    ids = classes.fresh(4)
    classes.require(ids, np.array([1.0, 30.0, 2.0, 0.1]))
    classes.to_grid(ids, grid)
    (scale,) = set(classes.solve(ids))
    p = grid_power(grid, scale)
    assert scale == GRID_STEP[grid] / 2**p
    assert 30.0 <= scale * REACH < 2 * 30.00001 or p == 25


def test_two_grids_do_not_join():
    classes = Scales()
    a, b, plain = (classes.fresh(2) for _ in range(3))
    classes.to_grid(a, "gelu")
    classes.to_grid(b, "sigmoid")
    assert not classes.joinable(a, b) and not classes.accepts(a, "sigmoid")
    assert classes.joinable(a, plain) and classes.accepts(plain, "sigmoid")
    assert not classes.uniform(np.concatenate([a, b]))
    assert classes.uniform(np.concatenate([a, plain])) and len(set(classes.solve(plain))) == 1


def test_two_grids_do_not_join_by_way_of_a_third_class():
    classes = Scales()
    mixed, plain = classes.fresh(2), classes.fresh(2)
    classes.to_grid(mixed[:1], "gelu")
    classes.to_grid(mixed[1:], "sigmoid")
    assert classes.joinable(mixed, plain)
    classes.uniform(plain)
    assert not classes.joinable(mixed, plain)
    assert not classes.uniform(mixed)  # asking changes nothing


def test_fixed_scales_stay():
    classes = Scales()
    ids = classes.fixed(np.array([0.25, 3.0]))
    classes.require(ids, np.array([1e9, 1e9]))
    assert classes.solve(ids).tolist() == [0.25, 3.0]


def test_a_value_no_table_covers_is_refused():
    classes = Scales()
    ids = classes.fresh(1)
    classes.require(ids, np.array([1e9]))
    classes.to_grid(ids, "gelu")
    with pytest.raises(InputError, match=r"can reach 1e\+09, more than the 8\.39e\+07"):
        classes.solve(ids)
