import numpy as np
import pytest
import scipy.linalg
from hypothesis import given, settings
from hypothesis import strategies as st

from ssmith.reduce.accuracy import frequency_response, hinf_error, hinf_norm
from ssmith.reduce.extent import Extent
from ssmith.reduce.hankel import hankel_singular_values, tails
from ssmith.reduce.published import complex_truncation
from ssmith.system import System

KINDS = ("plain", "near unit circle", "duplicate", "real poles", "mixed")


def dense_truncation(system: System, order: int):
    """The reference's own steps: matrix square roots, an explicit inverse, leading block; not diagonal."""
    a = np.diag(system.lam)
    p = scipy.linalg.solve_discrete_lyapunov(a, system.B @ system.B.conj().T)
    q = scipy.linalg.solve_discrete_lyapunov(a.conj().T, system.C.conj().T @ system.C)
    root = scipy.linalg.sqrtm(p)
    u, s, _ = scipy.linalg.svd(root @ q @ root)
    t = root @ u * s**-0.25
    inverse = np.linalg.inv(t)
    lead = slice(None, order)
    return (inverse @ a @ t)[lead, lead], (inverse @ system.B)[lead], (system.C @ t)[:, lead], np.sqrt(s)


def real_part_response(a, b, c, d, omega):
    """Response of Re(C x): the mean of C z (z - A)^-1 B and its mirror image."""

    def response(w):
        z = np.exp(1j * w)
        return z * c @ np.linalg.solve(z * np.eye(len(a)) - a, b)

    return np.array([0.5 * (response(w) + response(-w).conj()) + d for w in omega])


@pytest.mark.parametrize("order", [2, 5, 7])
@pytest.mark.parametrize("seed", range(5))
def test_it_is_the_published_method(make, seed, order):
    system = make(seed, modes=8, channels=(4, 5))
    result = complex_truncation(system, Extent(order=order))
    a, b, c, sigma = dense_truncation(system, order)
    omega = np.linspace(0.0, np.pi, 40)
    theirs = real_part_response(a, b, c, system.D, omega)
    ours = frequency_response(result.system, omega)
    np.testing.assert_allclose(ours, theirs, rtol=0.0, atol=1e-9 * np.abs(theirs).max())
    np.testing.assert_allclose(result.singular_values, np.repeat(sigma, 2), rtol=1e-7)
    assert result.order == order


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**31), st.sampled_from(KINDS))
def test_the_real_system_never_has_the_heavier_tail(make, seed, kind):
    """Eckart-Young and Mirsky: Re of the best rank-r complex Hankel matrix has real rank 2r at most."""
    system = make(seed, kind)
    real = hankel_singular_values(system)
    doubled = complex_truncation(system, Extent(order=1)).singular_values
    complex_ = doubled[::2]
    slack = 1e-10 * complex_[0]
    for r in range(system.order):
        assert real[2 * r] <= complex_[r] + slack
        assert tails(real)[2 * r] <= tails(complex_)[r] + slack


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**31), st.sampled_from(KINDS), st.integers(1, 12))
def test_stable_and_within_its_bound(make, seed, kind, order):
    system = make(seed, kind)
    result = complex_truncation(system, Extent(order=order))
    assert result.stable
    assert np.abs(result.system.lam).max() < 1.0
    assert hinf_error(system, result.system) <= result.error_bound + 1e-9 * hinf_norm(system)
    assert result.error_bound >= result.tail


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(3))
def test_bases_are_dual_and_carry_the_system(make, real_matrices, kind, seed):
    system = make(seed, kind, modes=9)
    result = complex_truncation(system, Extent(order=4))
    if result.system is system:
        pytest.fail("these systems are all reducible")
    (a, b, c), (ar, br, cr) = real_matrices(system), real_matrices(result.system)
    down, up = result.dual_basis, result.basis
    assert up.shape == (18, 8)
    np.testing.assert_allclose(down @ up, np.eye(8), atol=1e-9)
    np.testing.assert_allclose(down @ a @ up, ar, atol=1e-9)
    np.testing.assert_allclose(down @ b, br, atol=1e-9 * np.abs(br).max())
    np.testing.assert_allclose(c @ up, cr, atol=1e-9 * np.abs(cr).max())


def test_eigenvectors_have_unit_norm_in_balanced_coordinates(make):
    """Balanced coordinates have P = Σ, so for z = V w of unit columns E|w|² is fixed: Gramian V^-1 Σ V^-*."""
    system = make(3, modes=7, channels=(3, 3))
    full = complex_truncation(system, Extent(order=3))
    lam, b = full.system.lam, full.system.B
    gramian = (b @ b.conj().T) / (1.0 - lam[:, None] * lam.conj()[None, :])
    a, dense_b, *_ = dense_truncation(system, 3)
    poles, vectors = np.linalg.eig(a)
    matched = [int(np.abs(poles - value).argmin()) for value in lam]
    p = scipy.linalg.solve_discrete_lyapunov(a, dense_b @ dense_b.conj().T)
    inverse = np.linalg.inv(vectors[:, matched])
    np.testing.assert_allclose(np.diag(gramian).real, np.diag(inverse @ p @ inverse.conj().T).real, rtol=1e-6)


def test_a_tolerance_counts_the_plain_sum(make):
    for seed in range(10):
        system = make(seed, modes=14)
        result = complex_truncation(system, Extent(tolerance=0.05))
        shares = tails(result.singular_values) / result.singular_values.sum()
        assert result.spent == pytest.approx(shares[2 * result.order], abs=1e-12)
        assert result.spent <= 0.05 < shares[2 * result.order - 2]


def test_fewer_states_than_slots_are_padded():
    system = System(np.linspace(0.1, 0.8, 12) * 1j, np.r_[1.0, 1.0, np.zeros(10)][:, None], np.ones((1, 12)))
    result = complex_truncation(system, Extent(order=3, multiple=8))
    assert (result.order, result.real_order) == (8, 4)
    assert hinf_error(system, result.system) < 1e-12
    assert result.notes == ("padding: 6 of 8 slots",)
