import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ssmith.errors import InputError
from ssmith.reduce.gramians import controllability_gramian, observability_gramian, stein_denominators
from ssmith.reduce.hankel import (
    hankel_singular_values,
    order_for_bound,
    order_for_tolerance,
    separated,
    tails,
)
from ssmith.system import System

spectra = st.lists(st.floats(0.0, 1e3), min_size=1, max_size=20).map(lambda v: np.sort(np.array(v))[::-1])


@pytest.mark.parametrize("kind", ["plain", "near unit circle", "duplicate", "real poles", "mixed"])
@pytest.mark.parametrize("seed", range(6))
def test_agrees_with_slycot(make, real_matrices, kind, seed):
    slycot = pytest.importorskip("slycot", reason="the SLICOT oracle wants slycot")
    system = make(seed, kind)
    a, b, c = real_matrices(system)
    size = a.shape[0]
    _, _, _, _, theirs = slycot.ab09ad("D", "B", "N", size, b.shape[1], c.shape[0], a, b, c, nr=1, tol=0.0)
    ours = hankel_singular_values(system)
    np.testing.assert_allclose(ours, theirs[:size], rtol=0.0, atol=1e-9 * ours[0])


@pytest.mark.parametrize("seed", range(10))
def test_realified_values_never_exceed_the_complex_ones(make, seed):
    """σ^R_{2r+1} ≤ σ^C_{r+1}, and so for the tails: why the real system is the one to balance."""
    system = make(seed)
    p = (system.B @ system.B.conj().T) / stein_denominators(system.lam, system.lam)
    q = (system.C.conj().T @ system.C) / stein_denominators(system.lam, system.lam).conj()
    complex_ = np.sort(np.sqrt(np.maximum(np.linalg.eigvals(p @ q).real, 0.0)))[::-1]
    real = hankel_singular_values(system)
    slack = 1e-7 * real[0]  # the oracle forms PQ and has half the digits
    assert (real[::2] <= complex_ + slack).all()
    assert (tails(real)[:-1:2] <= tails(complex_)[:-1] + slack * real.size).all()


def test_invariant_under_scaling_of_modes(make):
    system = make(5, modes=8)
    factor = np.random.default_rng(0).standard_normal(8) + 1j
    other = System(system.lam, system.B * factor[:, None], system.C / factor[None, :])
    ours = hankel_singular_values(system)
    np.testing.assert_allclose(hankel_singular_values(other), ours, rtol=0.0, atol=1e-12 * ours[0])


def test_given_exact_gramians_give_the_exact_values(make):
    system = make(2, modes=6, channels=(3, 3))
    given_values = hankel_singular_values(
        system,
        controllability=controllability_gramian(system),
        observability=observability_gramian(system),
    )
    exact = hankel_singular_values(system)
    np.testing.assert_allclose(given_values, exact, rtol=0.0, atol=1e-9 * exact[0])


def test_values_that_are_rounding_are_zero():
    """Two equal poles with parallel inputs are one mode: half of the values vanish, exactly."""
    values = hankel_singular_values(System([0.5j, 0.5j], [[1.0], [2.0]], [[1.0, 1.0]]))
    assert (values[:2] > 0.0).all()
    np.testing.assert_array_equal(values[2:], 0.0)


@settings(deadline=None)
@given(spectra, st.floats(0.0, 0.999), st.sampled_from([1, 2]))
def test_order_for_tolerance_is_the_smallest_that_holds(sigma, tolerance, power):
    order = order_for_tolerance(sigma, tolerance, power)
    allowed = tolerance * tails(sigma, power)[0]
    assert 1 <= order <= sigma.size
    assert tails(sigma, power)[order] <= allowed
    assert order == 1 or tails(sigma, power)[order - 1] > allowed


@settings(deadline=None)
@given(spectra, st.floats(0.0, 1e4))
def test_order_for_bound_is_the_smallest_that_holds(sigma, bound):
    order = order_for_bound(sigma, bound)
    assert 2.0 * tails(sigma)[order] <= bound
    assert order == 1 or 2.0 * tails(sigma)[order - 1] > bound


def test_tolerance_zero_keeps_everything_that_weighs():
    assert order_for_tolerance(np.array([1.0, 1e-9, 0.0, 0.0]), 0.0) == 2
    assert order_for_tolerance(np.ones(4), 0.0) == 4


def test_tails_add_the_small_values_first():
    sigma = np.concatenate([[1.0], np.full(1000, 1e-17)])
    assert tails(sigma)[0] == 1.0 + 1e-14
    assert tails(sigma)[-1] == 0.0


def test_equal_neighbours_are_not_separated():
    sigma = np.array([2.0, 1.0, 1.0 - 1e-12, 0.5, 0.0, 0.0])
    assert [separated(sigma, q) for q in range(1, 7)] == [True, False, True, True, True, True]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: order_for_tolerance(np.ones(2), 1.0), "below 1"),
        (lambda: order_for_tolerance(np.ones(2), -0.1), "below 1"),
        (lambda: order_for_tolerance(np.ones(2), float("nan")), "tolerance = nan"),
        (lambda: order_for_bound(np.ones(2), -1.0), "number >= 0"),
    ],
)
def test_values_out_of_range_are_refused(call, message):
    with pytest.raises(InputError, match=message):
        call()
