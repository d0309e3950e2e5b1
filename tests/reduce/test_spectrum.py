import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ssmith.reduce import balanced_truncation, hankel_singular_values, spectrum
from ssmith.reduce.accuracy import hinf_error, hinf_norm
from ssmith.reduce.gramians import controllability_gramian
from ssmith.reduce.spectrum import Tridiagonal, by_squares, by_svd, singular_values

EPS = np.finfo(np.float64).eps


def matrix_with(values, rows, columns, seed=0):
    rng = np.random.default_rng(seed)
    left = np.linalg.qr(rng.standard_normal((rows, len(values))))[0]
    right = np.linalg.qr(rng.standard_normal((columns, len(values))))[0]
    return left * values @ right.T


@pytest.fixture
def always_squares(monkeypatch):
    monkeypatch.setattr(spectrum, "SQUARES_ABOVE", 1)


@settings(deadline=None, max_examples=60)
@given(st.integers(2, 60), st.integers(2, 60), st.floats(0.0, 5.5), st.integers(0, 2**32 - 1))
@example(57, 57, 1.1767647044423197e-09, 0)  # LAPACK's values are 49 eps off here, ours 2
def test_values_are_as_accurate_as_stated(rows, columns, digits, seed):
    """Against the SVD, which is right to a few n eps σ_1; the loss of the squares grows with σ_1 / σ_i."""
    values = np.sort(10.0 ** -np.random.default_rng(seed).uniform(0.0, digits, min(rows, columns)))[::-1]
    matrix = matrix_with(values, rows, columns, seed)
    found, exact = by_squares(matrix), np.linalg.svd(matrix, compute_uv=False)
    off = np.abs(found.values - exact)
    svd = (10.0 + 2.0 * len(exact)) * EPS * exact[0]
    assert (off <= 4.0 * np.sqrt(len(exact)) * EPS * exact[0] ** 2 / exact + svd).all()
    assert off.max() <= 4.0 * found.error + svd


@pytest.mark.parametrize("shape", [(40, 40), (40, 31), (31, 40)])
@pytest.mark.parametrize("order", [1, 10, 31])
def test_vectors_diagonalise_to_rounding_whatever_squaring_loses(shape, order):
    values = np.logspace(0.0, -5.5, 31)
    matrix = matrix_with(values, *shape)
    if min(shape) > 31:
        matrix = matrix_with(np.logspace(0.0, -5.5, 40), *shape)
    found = by_squares(matrix)
    left, sigma, right = found.leading(order)
    assert (left.shape, right.shape) == ((shape[0], order), (order, shape[1]))
    identity = np.eye(order)
    np.testing.assert_allclose(left.T @ left, identity, atol=1e-13)
    np.testing.assert_allclose(right @ right.T, identity, atol=1e-13)
    np.testing.assert_allclose(left.T @ matrix @ right.T, np.diag(sigma), atol=1e-14)
    # what is left of the loss: the coupling of these directions to the others
    assert np.linalg.norm(left.T @ matrix - sigma[:, None] * right, 2) <= 4.0 * found.error + 1e-14
    np.testing.assert_allclose(matrix @ right.T, left * sigma, atol=1e-13)


@pytest.mark.parametrize("smallest", [0.0, 1e-12, 1e-7])
def test_squares_say_what_they_cannot_resolve_and_the_svd_answers(always_squares, smallest):
    values = np.array([1.0, 0.5, 0.1, 1e-3, smallest])
    matrix = matrix_with(values, 6, 5)
    assert by_squares(matrix) is None
    found = spectrum.spectrum(matrix)
    assert found.error == 0.0
    np.testing.assert_allclose(found.values, values, atol=1e-15)
    np.testing.assert_array_equal(singular_values(matrix), np.linalg.svd(matrix, compute_uv=False))
    left, sigma, right = found.leading(5)
    np.testing.assert_allclose(left * sigma @ right, matrix, atol=1e-15)


def test_a_column_of_nearly_nothing_is_answer_enough(monkeypatch):
    """It bounds the smallest value: no eigenvalue needs to be computed to know that it is lost."""
    matrix = matrix_with(np.array([1.0, 0.5, 0.2]), 4, 3) * np.array([1.0, 1.0, 1e-7])
    monkeypatch.delattr(Tridiagonal, "of")
    assert by_squares(matrix) is None
    assert by_squares(matrix[:3]) is None


def test_nothing_and_equal_values():
    assert by_squares(np.zeros((4, 4))) is None
    found = by_squares(matrix_with(np.ones(8), 8, 8))
    left, sigma, _ = found.leading(3)
    np.testing.assert_allclose(sigma, 1.0, rtol=1e-14)
    np.testing.assert_allclose(left.T @ left, np.eye(3), atol=1e-14)
    assert found.leading(0)[2].shape == (0, 8)


def test_small_matrices_get_the_svd():
    matrix = matrix_with(np.array([3.0, 2.0, 1.0]), 5, 4)
    assert spectrum.spectrum(matrix).values.tobytes() == by_svd(matrix).values.tobytes()


@pytest.mark.parametrize("size", [2, 3, 50])
def test_tridiagonal_form_has_the_eigenpairs(size):
    half = np.random.default_rng(size).standard_normal((size, size))
    symmetric = half + half.T
    form = Tridiagonal.of(symmetric.copy())
    values = np.linalg.eigvalsh(symmetric)
    np.testing.assert_allclose(form.eigenvalues(), values, atol=1e-13 * size)
    vectors = form.leading_eigenvectors(size)
    np.testing.assert_allclose(vectors.T @ vectors, np.eye(size), atol=1e-13 * size)
    np.testing.assert_allclose(symmetric @ vectors, vectors * values[::-1], atol=1e-13 * size)


@pytest.mark.parametrize("kind", ["plain", "near unit circle"])
@pytest.mark.parametrize("given_gramian", [False, True])
def test_a_reduction_by_squares_is_the_reduction_by_svd(make, monkeypatch, kind, given_gramian):
    """The whole path of large systems on small ones: same orders, same system, a bound that holds."""
    taken = []
    monkeypatch.setattr(spectrum, "by_squares", lambda matrix: taken.append(by_squares(matrix)) or taken[-1])
    for seed in range(4):
        system = make(seed, kind, modes=16, channels=(12, 12))
        given_ = {"controllability": controllability_gramian(system)} if given_gramian else {}
        for goal in ({"order": 5}, {"tolerance": 0.05}):
            monkeypatch.setattr(spectrum, "SQUARES_ABOVE", 2048)
            usual = balanced_truncation(system, **goal, **given_)
            monkeypatch.setattr(spectrum, "SQUARES_ABOVE", 1)
            squared = balanced_truncation(system, **goal, **given_)
            assert (squared.order, squared.real_order) == (usual.order, usual.real_order)
            gain = hinf_norm(system)
            slack = 1e-9 * gain
            assert hinf_error(squared.system, usual.system) <= slack
            sigma = usual.singular_values
            np.testing.assert_allclose(squared.singular_values, sigma, rtol=0.0, atol=1e-10 * sigma[0])
            if not given_gramian:
                assert squared.error_bound >= usual.error_bound * (1.0 - 1e-12)
                assert hinf_error(system, squared.system) <= squared.error_bound + slack
    assert len(taken) == 8
    assert None not in taken  # it was the squares that answered


@pytest.mark.parametrize("kind", ["duplicate", "near defective", "real poles", "mixed"])
def test_systems_with_vanishing_values_are_reduced_as_ever(make, monkeypatch, kind):
    """Squares cannot tell a small value from none, so the SVD does, to the last bit."""
    system = make(1, kind, modes=12, channels=(2, 2))
    usual = balanced_truncation(system, order=4)
    monkeypatch.setattr(spectrum, "SQUARES_ABOVE", 1)
    again = balanced_truncation(system, order=4)
    assert again.singular_values.tobytes() == usual.singular_values.tobytes()
    assert again.system.lam.tobytes() == usual.system.lam.tobytes()
    assert again.error_bound == usual.error_bound


def test_hankel_values_by_squares(make, always_squares):
    system = make(3, modes=10, channels=(8, 8))
    by_squared = hankel_singular_values(system)
    exact = balanced_truncation(system, order=3).singular_values
    np.testing.assert_allclose(by_squared, exact, rtol=0.0, atol=1e-11 * exact[0])
