"""Discretisation against SciPy and against solved differential equations; the same system at other rates."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import linalg, signal

from ssmith.continuous import ContinuousSystem, Discretization, at_rate, zoh_gain
from ssmith.errors import InputError
from ssmith.system import System

METHODS: tuple[Discretization, ...] = ("zoh", "bilinear")
SEEDS = st.integers(0, 2**32 - 1)


def continuous(seed: int, n: int = 4, inputs: int = 2, outputs: int = 3) -> ContinuousSystem:
    rng = np.random.default_rng(seed)
    lam = -rng.uniform(0.01, 5, n) + 1j * rng.uniform(-20, 20, n)
    B = rng.standard_normal((n, inputs)) + 1j * rng.standard_normal((n, inputs))
    C = rng.standard_normal((outputs, n)) + 1j * rng.standard_normal((outputs, n))
    return ContinuousSystem(lam, B, C, rng.standard_normal((outputs, inputs)))


@given(SEEDS, st.floats(1e-4, 0.5), st.sampled_from(METHODS))
def test_poles_and_stability_against_scipy(seed: int, dt_s: float, method: Discretization) -> None:
    system = continuous(seed)
    A, B, *_ = signal.cont2discrete((np.diag(system.lam), system.B, system.C, system.D), dt_s, method=method)
    discrete = system.discretise(dt_s, method)
    np.testing.assert_allclose(np.diag(A), discrete.lam, rtol=1e-9, atol=1e-12)
    assert (np.abs(discrete.lam) < 1).all()
    if method == "zoh":  # SciPy's bilinear form has another B, C and D for the same transfer function
        np.testing.assert_allclose(B, discrete.B, rtol=1e-7, atol=1e-10)


@given(SEEDS, st.floats(1e-4, 0.5), st.sampled_from(METHODS))
def test_gain_at_zero_frequency_is_kept(seed: int, dt_s: float, method: Discretization) -> None:
    system = continuous(seed)
    discrete = system.discretise(dt_s, method)
    exact = (-system.C / system.lam @ system.B).real + system.D
    ours = (discrete.C / (1 - discrete.lam) @ discrete.B).real + discrete.D
    np.testing.assert_allclose(ours, exact, rtol=1e-8, atol=1e-8)


@given(SEEDS)
def test_bilinear_is_the_transfer_function_on_a_warped_axis(seed: int) -> None:
    system, dt_s = continuous(seed), 0.05
    discrete = system.discretise(dt_s, "bilinear")
    z = np.exp(1j * np.random.default_rng(seed).uniform(0.1, 3.0))
    s = 2 / dt_s * (z - 1) / (z + 1)
    exact = system.C / (s - system.lam) @ system.B
    # Our x_k holds u_k: the state is the trapezoid's, one half step later at both ends.
    ours = discrete.C * (z / (z - discrete.lam)) @ discrete.B * (1 + 1 / z) / 2
    np.testing.assert_allclose(ours, exact, rtol=1e-8, atol=1e-9)


def test_zoh_solves_the_differential_equation() -> None:
    system = continuous(0)
    dt_s, held = 0.1, np.array([1.5, -0.5])
    A = np.diag(system.lam)
    exact = linalg.solve(A, (linalg.expm(A * dt_s) - np.eye(4)) @ (system.B @ held))
    np.testing.assert_allclose(system.discretise(dt_s).B @ held, exact, rtol=1e-12)


def test_one_step_size_a_mode() -> None:
    system, steps = continuous(1), np.array([0.1, 0.01, 0.3, 0.05])
    together = system.discretise(steps)
    assert together.dt_s is None
    for i, step in enumerate(steps):
        alone = system.discretise(step)
        assert together.lam[i] == alone.lam[i]
        np.testing.assert_array_equal(together.B[i], alone.B[i])


def test_zoh_gain_keeps_its_digits() -> None:
    z = np.array([0, 1e-12, 1e-9j, 1e-5 - 1e-5j, -3 + 2j], np.complex128)
    series = 1 + z / 2 + z**2 / 6 + z**3 / 24
    np.testing.assert_allclose(zoh_gain(z)[:4], series[:4], rtol=1e-15)
    np.testing.assert_allclose(zoh_gain(z)[4], (np.exp(z[4]) - 1) / z[4], rtol=1e-15)


@given(SEEDS, st.integers(2, 5))
def test_a_held_input_gives_the_same_outputs_at_common_instants(seed: int, factor: int) -> None:
    rng = np.random.default_rng(seed)
    n = 5
    lam = rng.uniform(0, 0.999, n) * np.exp(1j * rng.uniform(-3.1, 3.1, n))
    lam[0] = 0
    B, C = rng.standard_normal((n, 2)), rng.standard_normal((1, n)) + 1j * rng.standard_normal((1, n))
    slow = System(lam, B, C, dt_s=0.01)
    fast = at_rate(slow, 1 / factor, 0.01 / factor)
    u = rng.standard_normal((30, 2))
    held = np.repeat(u, factor, axis=0)
    np.testing.assert_allclose(_run(fast, held)[factor - 1 :: factor], _run(slow, u), rtol=1e-9, atol=1e-9)


@given(SEEDS, st.floats(0.2, 5), st.floats(0.2, 5))
def test_rates_compose(seed: int, first: float, second: float) -> None:
    system = continuous(seed).discretise(1e-3)
    twice, once = at_rate(at_rate(system, first), second), at_rate(system, first * second)
    np.testing.assert_allclose(twice.lam, once.lam, rtol=1e-12)
    np.testing.assert_allclose(twice.B, once.B, rtol=1e-7)
    np.testing.assert_allclose(at_rate(system, 1.0).B, system.B, rtol=1e-12)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ContinuousSystem([0.1], [[1]], [[1]]), "left half|Re λ"),
        (lambda: ContinuousSystem([[-1.0]], [[[1]]], [[[1]]]), r"shape \(N,\)"),
        (lambda: ContinuousSystem([-1.0, np.nan], [[1], [1]], [[1, 1]]), "not finite"),
        (lambda: ContinuousSystem([-1.0], [[1, 1]], [[1]], channels=(1,)), "channels"),
        (lambda: continuous(0).discretise(0.0), "above zero"),
        (lambda: continuous(0).discretise([0.1, 0.2]), "one a mode"),
        (lambda: continuous(0).discretise(0.1, "euler"), "'zoh' or 'bilinear'"),  # type: ignore[arg-type]
        (lambda: continuous(0).discretise(1e-300), "unit circle|< 1"),
        (lambda: at_rate(continuous(0).discretise(0.1), 0.0), "above zero"),
    ],
)
def test_wrong_values_are_named(make, message: str) -> None:
    with pytest.raises(InputError, match=message):
        make()


def _run(system: System, u: np.ndarray) -> np.ndarray:
    x, rows = np.zeros(system.order, complex), []
    for frame in u:
        x = system.lam * x + system.B @ frame
        rows.append((system.C @ x).real + system.D @ frame)
    return np.array(rows)
