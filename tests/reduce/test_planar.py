import numpy as np
import pytest

from ssmith.errors import InputError
from ssmith.reduce.planar import advance, feedthrough, input_matrix, output_matrix, require_single
from ssmith.system import System


@pytest.mark.parametrize("seed", range(5))
def test_planar_recurrence_is_the_complex_one(make, simulate, seed):
    system = make(seed)
    inputs = np.random.default_rng(seed).standard_normal((40, system.inputs))
    x, rows = np.zeros((2 * system.order, 1)), []
    for u in inputs:
        x = advance(system.lam, x) + (input_matrix(system) @ u)[:, None]
        rows.append((output_matrix(system) @ x)[:, 0] + feedthrough(system) @ u)
    np.testing.assert_allclose(np.array(rows), simulate(system, inputs), rtol=1e-12, atol=1e-12)


def test_advance_is_the_realified_matrix(make, real_matrices):
    system = make(3, modes=7)
    a, b, c = real_matrices(system)
    x = np.random.default_rng(0).standard_normal((14, 5))
    np.testing.assert_allclose(advance(system.lam, x), a @ x, rtol=1e-14, atol=1e-15)
    np.testing.assert_array_equal(input_matrix(system), b)
    np.testing.assert_array_equal(output_matrix(system), c)


def test_diagonal_feedthrough_becomes_a_matrix():
    system = System([0.5], np.ones((1, 2)), np.ones((2, 1)), D=[1.0, 2.0])
    np.testing.assert_array_equal(feedthrough(system), [[1.0, 0.0], [0.0, 2.0]])


def test_a_stack_is_refused_with_the_way_out():
    stack = System(np.full((3, 2), 0.5), np.ones((3, 2, 1)), np.ones((3, 1, 2)))
    with pytest.raises(InputError, match=r"leading dimensions \(3,\).*loop over them"):
        require_single(stack)
