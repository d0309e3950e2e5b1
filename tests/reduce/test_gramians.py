from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import solve_discrete_lyapunov

from ssmith.errors import InputError
from ssmith.reduce.gramians import (
    checked_gramian,
    circle_gap,
    controllability_gramian,
    observability_gramian,
    stein_denominators,
)
from ssmith.system import System

KINDS = ("plain", "near unit circle", "duplicate", "near defective", "real poles", "mixed")


def exact_denominator(lam: complex, mu: complex) -> tuple[Fraction, Fraction]:
    """1 - λ conj μ of two floating-point numbers in rational arithmetic: nothing is rounded."""
    a, b, c, d = (Fraction(float(v)) for v in (lam.real, lam.imag, mu.real, mu.imag))
    return 1 - (a * c + b * d), a * d - b * c


def hypotenuse(re: Fraction, im: Fraction) -> float:
    return float(re * re + im * im) ** 0.5


poles = st.builds(
    lambda gap, angle: (1.0 - 10.0**gap) * np.exp(1j * angle),
    st.floats(-9.0, -0.01),
    st.floats(-np.pi, np.pi),
)


@settings(deadline=None, max_examples=300)
@given(poles, poles, st.floats(-12.0, 0.0), st.booleans())
def test_denominators_have_full_relative_precision(lam, other, distance, near):
    mu = lam * np.exp(1j * 10.0**distance) if near else other
    if abs(mu) >= 1.0:  # the rotation rounded outwards
        return
    computed = complex(stein_denominators(np.array([lam]), np.array([mu]))[0, 0])
    re, im = exact_denominator(lam, mu)
    error = hypotenuse(Fraction(computed.real) - re, Fraction(computed.imag) - im)
    assert error <= 16 * np.finfo(float).eps * hypotenuse(re, im)


def test_circle_gap_is_exact_to_rounding_and_knows_zero():
    lam = np.array([0.0, 0.5, (1 - 1e-9) * np.exp(0.7j), 1 - 2.0**-52])
    for value, pole in zip(circle_gap(lam), lam, strict=True):
        re, _ = exact_denominator(complex(pole), complex(pole))
        assert abs(Fraction(float(value)) - re) <= re * Fraction(4 * np.finfo(float).eps)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(6))
def test_stein_residual(make, real_matrices, kind, seed):
    system = make(seed, kind)
    a, b, c = real_matrices(system)
    p, q = controllability_gramian(system), observability_gramian(system)
    for gramian, residual in ((p, p - a @ p @ a.T - b @ b.T), (q, q - a.T @ q @ a - c.T @ c)):
        assert np.abs(residual).max() < 1e-12 * np.abs(gramian).max()
        np.testing.assert_array_equal(gramian, gramian.T)


@pytest.mark.parametrize("kind", ["plain", "duplicate", "real poles"])
@pytest.mark.parametrize("seed", range(4))
def test_agrees_with_scipy(make, real_matrices, kind, seed):
    system = make(seed, kind)
    a, b, c = real_matrices(system)
    for ours, theirs in (
        (controllability_gramian(system), solve_discrete_lyapunov(a, b @ b.T)),
        (observability_gramian(system), solve_discrete_lyapunov(a.T, c.T @ c)),
    ):
        np.testing.assert_allclose(ours, theirs, rtol=0.0, atol=1e-11 * np.abs(theirs).max())


def test_covariance_under_white_noise_tends_to_the_gramian(make):
    system = make(11, modes=4, channels=(2, 1))
    rng = np.random.default_rng(0)
    gramian = controllability_gramian(system)
    errors = []
    for paths in (200, 20_000):
        x = np.zeros((paths, 4), dtype=complex)
        for _ in range(600):  # |λ|^600 < 0.003 at |λ| = 0.99
            x = x * system.lam + rng.standard_normal((paths, 2)) @ system.B.T
        planar = np.concatenate([x.real, x.imag], axis=1)
        errors.append(np.linalg.norm(planar.T @ planar / paths - gramian) / np.linalg.norm(gramian))
    assert errors[1] < 0.03
    assert errors[1] < errors[0]


def test_a_real_pole_with_real_input_leaves_its_imaginary_half_empty():
    gramian = controllability_gramian(System([0.9, -0.3], [[1.0], [2.0]], [[1.0, 1.0]]))
    np.testing.assert_array_equal(gramian[2:], 0.0)


@pytest.mark.parametrize("function", [controllability_gramian, observability_gramian])
def test_a_stack_is_refused(function):
    with pytest.raises(InputError, match="loop over them"):
        function(System(np.full((2, 1), 0.5), np.ones((2, 1, 1)), np.ones((2, 1, 1))))


@pytest.mark.parametrize(
    ("gramian", "message"),
    [
        (np.eye(3), r"shape \(3, 3\).*shape \(4, 4\)"),
        (np.diag([1.0, np.nan, 1.0, 1.0]), "not finite"),
        (np.eye(4) + np.triu(np.full((4, 4), 0.1), 1), "not symmetric"),
    ],
)
def test_given_matrix_that_is_no_gramian(gramian, message):
    with pytest.raises(InputError, match=f"controllability.*{message}"):
        checked_gramian(gramian, 2, "controllability")


def test_given_matrix_is_copied_and_float32_asymmetry_forgiven():
    given_matrix = np.eye(4, dtype=np.float32)
    given_matrix[0, 1] = 1e-7
    before = given_matrix.copy()
    checked = checked_gramian(given_matrix, 2, "controllability")
    np.testing.assert_array_equal(checked, checked.T)
    checked[:] = 0.0
    np.testing.assert_array_equal(given_matrix, before)
