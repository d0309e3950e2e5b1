import numpy as np
import pytest

from ssmith.reduce.modal import diagonal_form, input_output_ratio, normalised
from ssmith.system import System


def real_system(seed: int, order: int):
    rng = np.random.default_rng(seed)
    a = rng.standard_normal((order, order))
    a *= 0.9 / np.abs(np.linalg.eigvals(a)).max()
    return a, rng.standard_normal((order, 2)), rng.standard_normal((3, order))


def markov(form, steps):
    return np.stack([(form.c @ (form.lam[:, None] ** k * form.b)).real for k in range(steps)])


@pytest.mark.parametrize("order", [0, 1, 2, 5, 8, 13])
def test_impulse_response_is_unchanged_and_modes_are_counted(order):
    a, b, c = real_system(order, order) if order else (np.zeros((0, 0)), np.zeros((0, 2)), np.zeros((3, 0)))
    form = diagonal_form(a, b, c)
    expected = np.stack([c @ np.linalg.matrix_power(a, k) @ b for k in range(30)])
    np.testing.assert_allclose(markov(form, 30), expected, atol=1e-11)
    assert order == 2 * form.lam.size - form.real_poles
    assert form.real_poles == np.count_nonzero(form.lam.imag == 0.0)
    assert (form.lam.imag >= 0.0).all()
    assert form.condition >= 1.0


@pytest.mark.parametrize("normalise", [False, True])
def test_right_and_left_are_dual_and_rebuild_the_state(normalise):
    a, b, c = real_system(3, 9)
    form = diagonal_form(a, b, c)
    form = normalised(form, 2.0) if normalise else form
    z = np.random.default_rng(0).standard_normal((9, 4))
    np.testing.assert_allclose((form.right @ (form.left @ z)).real, z, atol=1e-11)
    np.testing.assert_allclose(form.left @ b, form.b, atol=1e-12)
    np.testing.assert_allclose(c @ form.right, form.c, atol=1e-12)


def test_a_real_pole_keeps_real_weights():
    form = normalised(diagonal_form(np.diag([0.5, -0.25]), np.array([[1.0], [-2.0]]), np.ones((1, 2))), 1.0)
    assert form.real_poles == 2
    for part in (form.lam, form.b, form.c, form.right, form.left):
        np.testing.assert_array_equal(part.imag, 0.0)


def test_a_defective_matrix_has_no_diagonal_form():
    assert diagonal_form(np.array([[0.5, 1.0], [0.0, 0.5]]), np.ones((2, 1)), np.ones((1, 2))) is None


def test_normalising_balances_every_mode_and_changes_no_output():
    a, b, c = real_system(5, 7)
    form = diagonal_form(a, b, c)
    fixed = normalised(form, 3.0)
    np.testing.assert_allclose(markov(fixed, 20), markov(form, 20), atol=1e-12)
    balance = np.linalg.norm(fixed.b, axis=1) / np.sqrt(1.0 - np.abs(fixed.lam) ** 2)
    np.testing.assert_allclose(balance / np.linalg.norm(fixed.c, axis=0), 3.0, rtol=1e-12)
    largest = np.take_along_axis(fixed.b, np.abs(fixed.b).argmax(axis=1)[:, None], axis=1)
    np.testing.assert_allclose(largest.imag, 0.0, atol=1e-15)
    assert (largest.real > 0.0).all()


def test_normalising_leaves_modes_alone_that_have_no_input_or_output():
    a = np.diag([0.5, -0.25, 0.125])
    form = diagonal_form(a, np.array([[0.0], [1.0], [1.0]]), np.array([[1.0, 0.0, 1.0]]))
    fixed = normalised(form, 3.0)
    silent = (np.abs(form.b).sum(axis=1) == 0.0) | (np.abs(form.c).sum(axis=0) == 0.0)
    assert silent.sum() == 2
    np.testing.assert_array_equal(np.abs(fixed.b[silent]), np.abs(form.b[silent]))
    np.testing.assert_array_equal(np.abs(fixed.c[:, silent]), np.abs(form.c[:, silent]))


def test_ratio_of_a_system():
    gain = np.sqrt(1.0 - 0.25)
    system = System([0.5, 0.5j, -0.5], gain * np.array([[1.0], [2.0], [0.0]]), [[1.0, 0.5, 1.0]])
    assert input_output_ratio(system) == pytest.approx(2.5)  # the median of 1 and 4; the third has no input
    assert input_output_ratio(System([0.5], [[0.0]], [[1.0]])) == 1.0
