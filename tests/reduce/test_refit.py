import numpy as np
import pytest

from ssmith.errors import InputError
from ssmith.reduce.balance import balanced_truncation
from ssmith.reduce.refit import refit_output
from ssmith.system import System


def states(system, inputs):
    """Planar states (T, 2N) of a system for inputs (T, U)."""
    x, rows = np.zeros(system.order, dtype=complex), []
    for u in inputs:
        x = system.lam * x + system.B @ u
        rows.append(np.concatenate([x.real, x.imag]))
    return np.array(rows)


def test_it_is_ridge_regression(make):
    """Oracle: ordinary least squares on stacked rows, the ridge as further equations."""
    rng = np.random.default_rng(0)
    z, y = rng.standard_normal((400, 6)), rng.standard_normal((400, 2))
    ridge = 1e-3
    level = ridge * np.trace(z.T @ z / 400) / 6
    rows = np.concatenate([z / 20.0, np.sqrt(level) * np.eye(6)])
    right = np.concatenate([y / 20.0, np.zeros((6, 2))])
    expected = np.linalg.lstsq(rows, right, rcond=None)[0].T
    c = refit_output(z.T @ z / 400, y.T @ z / 400, ridge=ridge)
    np.testing.assert_allclose(np.concatenate([c.real, -c.imag], axis=1), expected, rtol=1e-10)


def test_the_right_output_matrix_is_found_again(make):
    system = make(1, modes=4, channels=(2, 3))
    x = states(system, np.random.default_rng(0).standard_normal((2000, 2)))
    y = x @ np.concatenate([system.C.real, -system.C.imag], axis=1).T
    c = refit_output(x.T @ x / 2000, y.T @ x / 2000, ridge=1e-12)
    np.testing.assert_allclose(c, system.C, atol=1e-6 * np.abs(system.C).max())


@pytest.mark.parametrize("seed", range(5))
def test_a_refit_never_fits_the_data_worse(make, simulate, seed):
    """Up to the ridge, the refitted C is the best of all on the data that it was fitted to."""
    base = make(seed, modes=10, channels=(2, 2))
    system = System(base.lam, base.B, base.C)
    inputs = np.random.default_rng(seed).standard_normal((600, 2))
    y = simulate(system, inputs)
    small = balanced_truncation(system, order=4).system
    z = states(small, inputs)
    refitted = System(small.lam, small.B, refit_output(z.T @ z / 600, y.T @ z / 600, ridge=1e-9))
    before, after = (np.linalg.norm(simulate(s, inputs) - y) for s in (small, refitted))
    assert after <= before * (1.0 + 1e-6)


def test_states_that_never_move_take_no_weight():
    np.testing.assert_array_equal(refit_output(np.zeros((4, 4)), np.zeros((3, 4))), np.zeros((3, 2)))
    one = np.diag([1.0, 0.0])  # a real pole: its imaginary half stays at zero
    np.testing.assert_allclose(refit_output(one, [[2.0, 0.0]]), [[2.0]], rtol=1e-5)


@pytest.mark.parametrize(
    ("gram", "cross", "ridge", "message"),
    [
        (np.eye(3), np.ones((1, 3)), 1e-6, r"cross has shape \(1, 3\)"),
        (np.eye(2), np.ones((1, 4)), 1e-6, r"states_gram has shape \(2, 2\)"),
        (np.eye(2), [[np.nan, 0.0]], 1e-6, "cross holds a value that is not finite"),
        (np.full((2, 2), np.inf), np.ones((1, 2)), 1e-6, "states_gram holds a value that is not finite"),
        (np.array([[1.0, 2.0], [0.0, 1.0]]), np.ones((1, 2)), 1e-6, "not symmetric"),
        (np.eye(2), np.ones((1, 2)), 0.0, "ridge = 0.0"),
    ],
)
def test_bad_moments_are_refused(gram, cross, ridge, message):
    with pytest.raises(InputError, match=message):
        refit_output(gram, cross, ridge=ridge)
