import math

import numpy as np
import pytest

from ssmith.errors import InputError
from ssmith.reduce.accuracy import (
    _frobenius,
    difference,
    frequency_grid,
    frequency_response,
    h2_error,
    h2_norm,
    hinf_error,
    hinf_norm,
    modal_products,
    rounding_bound,
)
from ssmith.system import System


def impulse_response(system, simulate, steps):
    """h (steps, Y, U) by simulation."""
    columns = []
    for u in range(system.inputs):
        inputs = np.zeros((steps, system.inputs))
        inputs[0, u] = 1.0
        columns.append(simulate(system, inputs))
    return np.stack(columns, axis=2)


@pytest.mark.parametrize("kind", ["plain", "duplicate", "real poles"])
@pytest.mark.parametrize("seed", range(4))
def test_h2_norm_is_the_energy_of_the_impulse_response(make, simulate, kind, seed):
    system = make(seed, kind)
    response = impulse_response(system, simulate, 2500)  # 0.99^2500 < 2e-11
    assert h2_norm(system) == pytest.approx(np.linalg.norm(response), rel=1e-9)


def test_modal_products_sum_to_the_norm_and_are_symmetric(make):
    system = make(4, modes=6)
    products = modal_products(system)
    np.testing.assert_allclose(products, products.T, rtol=1e-12)
    assert (np.diag(products) >= 0.0).all()
    plain = System(system.lam, system.B, system.C)
    assert math.sqrt(products.sum()) == pytest.approx(h2_norm(plain), rel=1e-14)


def test_frequency_response_is_the_transform_of_the_impulse_response(make, simulate):
    system = make(7, modes=5, channels=(2, 3))
    response = impulse_response(system, simulate, 3000)
    omega = np.linspace(0.0, np.pi, 7)
    kernel = np.exp(-1j * omega[:, None] * np.arange(3000))
    np.testing.assert_allclose(
        frequency_response(system, omega), np.einsum("wk,kyu->wyu", kernel, response), atol=1e-10
    )


@pytest.mark.parametrize("kind", ["plain", "near unit circle", "duplicate", "real poles", "mixed"])
@pytest.mark.parametrize("seed", range(4))
def test_hinf_norm_agrees_with_slycot(make, real_matrices, kind, seed):
    """Oracle: the level-set method of SLICOT AB13DD on z C(zI-A)^-1 B + D = C A (zI-A)^-1 B + CB + D."""
    slycot = pytest.importorskip("slycot", reason="the SLICOT oracle wants slycot")
    system = make(seed, kind)
    a, b, c = real_matrices(system)
    peak, _ = slycot.ab13dd(
        "D", "I", "N", "D", a.shape[0], b.shape[1], c.shape[0], a, np.eye(a.shape[0]), b, c @ a,
        c @ b + system.D, tol=1e-10,
    )  # fmt: skip
    assert hinf_norm(system) == pytest.approx(peak, rel=1e-7)


def test_many_channels_are_screened_and_still_measured(make, real_matrices):
    slycot = pytest.importorskip("slycot", reason="the SLICOT oracle wants slycot")
    system = make(3, "near unit circle", modes=10, channels=(20, 18))
    a, b, c = real_matrices(system)
    peak, _ = slycot.ab13dd(
        "D", "I", "N", "D", 20, 20, 18, a, np.eye(20), b, c @ a, c @ b + system.D, tol=1e-10
    )  # fmt: skip
    assert hinf_norm(system) == pytest.approx(peak, rel=1e-7)


def test_screening_sees_the_frobenius_norm_of_the_response(make):
    system = make(5, modes=6, channels=(3, 4))
    omega = np.linspace(0.0, np.pi, 9)
    expected = np.linalg.norm(frequency_response(system, omega), axis=(1, 2)) ** 2
    np.testing.assert_allclose(_frobenius(system, omega), expected, rtol=1e-11)


def test_hinf_norm_finds_a_peak_far_narrower_than_the_grid():
    """One real channel: a resonance 1e-5 wide, whose gain at the top is known."""
    angle, gap = 1.2345, 1e-5
    system = System([(1.0 - gap) * np.exp(1j * angle)], [[1.0]], [[1.0]])
    z = np.exp(1j * angle)
    at_pole = 0.5 * (1.0 / gap + 1.0 / (1.0 - system.lam[0].conj() / z))
    assert hinf_norm(system, points=16) >= abs(at_pole) * (1.0 - 1e-9)
    assert hinf_norm(system, points=16) <= 0.5 / gap + 1.0 / abs(1.0 - z**-2)


def test_grid_covers_both_ends_and_every_resonance(make):
    system = make(2, "near unit circle")
    grid = frequency_grid(system, 8)
    assert grid[0] == 0.0
    assert grid[-1] == np.pi
    assert (np.diff(grid) > 0.0).all()
    nearest = np.abs(grid[:, None] - np.abs(np.angle(system.lam))[None, :]).min(axis=0)
    np.testing.assert_allclose(nearest, 0.0, atol=1e-15)


def test_errors_of_a_system_against_itself_and_against_a_known_change(make):
    system = make(6, modes=5, channels=(2, 2))
    assert hinf_error(system, system) <= 1e-12 * hinf_norm(system)
    assert h2_error(system, system) <= 1e-7 * h2_norm(system)
    shifted = System(system.lam, system.B, system.C, D=system.D + np.diag([3.0, -4.0]))
    assert hinf_error(shifted, system) == pytest.approx(4.0)
    assert h2_error(shifted, system) == pytest.approx(5.0)
    assert h2_error(shifted, system, relative=True) == pytest.approx(5.0 / h2_norm(shifted))
    assert hinf_error(shifted, system, relative=True) == pytest.approx(4.0 / hinf_norm(shifted))


def test_relative_error_of_nothing_is_not_a_number():
    nothing = System([0.5], [[0.0]], [[1.0]])
    assert math.isnan(h2_error(nothing, nothing, relative=True))
    assert math.isnan(hinf_error(nothing, nothing, relative=True))


def test_diagonal_and_full_feedthrough_compare():
    full = System([0.5], np.ones((1, 2)), np.ones((2, 1)), D=np.diag([1.0, 2.0]))
    diagonal = System([0.5], np.ones((1, 2)), np.ones((2, 1)), D=[1.0, 2.0])
    np.testing.assert_array_equal(difference(full, diagonal).D, 0.0)


def test_systems_with_other_channels_are_refused():
    one = System([0.5], np.ones((1, 1)), np.ones((1, 1)))
    two = System([0.5], np.ones((1, 2)), np.ones((1, 1)))
    with pytest.raises(InputError, match="1 inputs to 1 outputs, the other 2 to 1"):
        h2_error(one, two)
    stack = System(np.full((2, 1), 0.5), np.ones((2, 1, 1)), np.ones((2, 1, 1)))
    for function in (h2_norm, hinf_norm):
        with pytest.raises(InputError, match="loop over them"):
            function(stack)


@pytest.mark.parametrize("seed", range(20))
def test_rounding_bound_holds_for_float32(seed):
    rng = np.random.default_rng(seed)
    n, u, y = rng.integers(1, 12), rng.integers(1, 5), rng.integers(1, 5)
    lam = (1 - 10 ** rng.uniform(-4, -0.3, n)) * np.exp(1j * rng.uniform(0, np.pi, n))
    b, c = (rng.standard_normal(s) + 1j * rng.standard_normal(s) for s in ((n, u), (y, n)))
    a = System(lam, b, c)
    rounded = System(*(m.astype(np.complex64).astype(np.complex128) for m in (lam, b, c)))
    assert hinf_error(a, rounded) <= rounding_bound(a, rounded)
    assert rounding_bound(a, a) == 0
