import numpy as np
import pytest

from ssmith.errors import InputError
from ssmith.reduce import factors
from ssmith.reduce.factors import cauchy_factor, exact_factor, factor, gramian_factors
from ssmith.reduce.gramians import controllability_gramian, observability_gramian, stein_denominators
from ssmith.reduce.planar import input_matrix
from ssmith.system import System

KINDS = ("plain", "near unit circle", "duplicate", "near defective", "real poles", "mixed")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(5))
def test_factors_reproduce_the_gramians(make, kind, seed):
    system = make(seed, kind)
    exact = controllability_gramian(system), observability_gramian(system)
    for given in ((None, None), exact):
        for low, gramian in zip(gramian_factors(system, *given), exact, strict=True):
            np.testing.assert_allclose(low @ low.T, gramian, rtol=0.0, atol=1e-13 * np.abs(gramian).max())


@pytest.fixture
def blocks(monkeypatch):
    """The elimination of large systems, with blocks small enough for small ones to need several."""
    monkeypatch.setattr(factors, "BLOCKS_ABOVE", 0)
    monkeypatch.setattr(factors, "BLOCK", 5)
    monkeypatch.setattr(factors, "CANDIDATES", 9)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(5))
def test_elimination_in_blocks_gives_a_factor_of_the_same_gramian(make, blocks, kind, seed):
    system = make(seed, kind)
    mu = np.concatenate([system.lam, system.lam.conj()])
    source = np.concatenate([system.B, system.B.conj()])
    low = cauchy_factor(mu, source)
    gramian = (source @ source.conj().T) / stein_denominators(mu, mu)
    assert low.shape[1] <= 2 * system.order
    scale = np.sqrt(np.diag(gramian).real)
    assert np.abs((low @ low.conj().T - gramian) / scale[:, None] / scale).max() < 1e-13
    np.testing.assert_array_equal(source[system.order :], system.B.conj())  # not overwritten


def test_elimination_in_blocks_stops_at_the_rank(blocks):
    lam = np.array([0.5, 0.5, 0.0, 0.9])
    low = cauchy_factor(lam.astype(complex), np.array([[1.0], [2.0], [0.0], [1.0]], dtype=complex))
    assert low.shape == (4, 2)


def many_weak_directions() -> System:
    """Twelve close real poles, one input: the Gramian's eigenvalues fall far below eps."""
    return System(np.linspace(0.5, 0.7, 12), np.ones((12, 1)), np.ones((1, 12)))


@pytest.mark.parametrize("limit", [2048, 0])
def test_the_exact_factor_resolves_what_the_gramian_has_lost(monkeypatch, limit):
    """Oracle: Cholesky pivots of the same Cauchy matrix in 80 digits."""
    mpmath = pytest.importorskip("mpmath", reason="80-digit oracle wants mpmath")
    monkeypatch.setattr(factors, "BLOCKS_ABOVE", limit)  # one by one, and in blocks
    system = many_weak_directions()
    with mpmath.workdps(80):
        lam = [mpmath.mpf(float(v)) for v in system.lam.real]
        cauchy = mpmath.matrix(12, 12)
        for i in range(12):
            for j in range(12):
                cauchy[i, j] = 1 / (1 - lam[i] * lam[j])
        oracle = [float(mpmath.sqrt(v)) for v in mpmath.eigsy(cauchy, eigvals_only=True)][::-1]
    ours = np.linalg.svd(exact_factor(system.lam, input_matrix(system)), compute_uv=False)
    by_matrix = np.linalg.svd(factor(controllability_gramian(system)), compute_uv=False)
    level = 1e-14 * oracle[0]
    np.testing.assert_allclose(ours[:12], oracle, rtol=0.0, atol=level)
    # the guard of this test: without the better method the same comparison fails
    assert np.abs(np.pad(by_matrix, (0, 24 - by_matrix.size))[:12] - oracle).max() > 100.0 * level


def test_pivots_are_scaled_so_weak_modes_are_not_lost(make):
    strong = make(1, modes=6, channels=(3, 3))
    size = np.array([1.0, 1e-9, 1.0, 1e-9, 1.0, 1e-9])
    weak = System(strong.lam, strong.B * size[:, None], strong.C)
    low = factor(controllability_gramian(weak))
    scale = np.tile(size, 2)
    scaled_back = (low / scale[:, None]) @ (low / scale[:, None]).T
    expected = controllability_gramian(strong)
    np.testing.assert_allclose(scaled_back, expected, rtol=0.0, atol=1e-12 * expected.max())


def test_float32_rounding_of_a_given_gramian_is_forgiven():
    gramian = controllability_gramian(many_weak_directions()).astype(np.float32).astype(np.float64)
    assert np.linalg.eigvalsh(gramian)[0] < 0.0  # rounding has made it indefinite
    low = factor(gramian)
    np.testing.assert_allclose(low @ low.T, gramian, rtol=0.0, atol=1e-6 * gramian.max())


def test_an_indefinite_matrix_is_refused():
    with pytest.raises(InputError, match=r"observability is indefinite.*sum of x xᵀ"):
        gramian_factors(System([0.5], [[1.0]], [[1.0]]), None, np.diag([1.0, -0.5]))
    with pytest.raises(InputError, match="indefinite"):
        factor(np.array([[0.0, 1.0], [1.0, 0.0]]))


def test_unreachable_modes_have_empty_rows():
    system = System([0.5, 0.0, 0.9j], [[1.0], [0.0], [0.0]], [[1.0, 1.0, 1.0]])
    low, _ = gramian_factors(system, None, None)
    np.testing.assert_array_equal(low[[1, 2, 4, 5]], 0.0)
    assert gramian_factors(System([0.5], [[0.0]], [[1.0]]), None, None)[0].shape[0] == 2
