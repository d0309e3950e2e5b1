import math

import numpy as np
import pytest

from ssmith.reduce.accuracy import h2_error
from ssmith.reduce.guard import cancellation, rounded, sound
from ssmith.system import System


def divided_difference(multiplicity: int, distance: float) -> System:
    """Poles `distance` apart whose residues make their sum tend to a multiple pole."""
    lam = 0.6 * np.exp(0.8j) + distance * np.arange(multiplicity)
    gaps = lam[:, None] - lam[None, :] + np.eye(multiplicity)
    return System(lam, np.ones((multiplicity, 1)), (1.0 / gaps.prod(axis=1))[None, :])


def test_orthogonal_modes_do_not_cancel():
    """Modes on separate channels have orthogonal responses."""
    system = System([0.9j, -0.5j], np.eye(2), np.eye(2))
    assert cancellation(system) == pytest.approx(1.0)


@pytest.mark.parametrize("distance", [1e-2, 1e-3])
def test_cancellation_grows_as_poles_merge(distance):
    kappa = cancellation(divided_difference(2, distance))
    assert kappa == pytest.approx(0.95 / distance, rel=0.02)  # two modes of size 1/d, a sum of size one


def test_beyond_all_digits_it_is_infinite():
    assert math.isinf(cancellation(divided_difference(2, 1e-6)))
    assert not sound(divided_difference(2, 1e-6), allowance=1.0)


def test_soundness_is_the_measured_cost_of_float32():
    for distance in (1e-1, 1e-2, 1e-3, 1e-4):
        system = divided_difference(2, distance)
        cost = h2_error(system, rounded(system), relative=True)
        assert sound(system) == (cost <= 1e-3)
        assert sound(system, allowance=2.0 * cost)
    assert not sound(divided_difference(3, 1e-3))


def test_no_cancellation_passes_even_on_the_circle():
    """1 - 1e-9 rounds to 1 in float32; no other diagonal form of this system would do better."""
    system = System([1.0 - 1e-9], [[1.0]], [[1.0]])
    assert rounded(system) is None
    assert sound(system)


def test_poles_that_round_onto_the_circle_and_cancel_are_unsound():
    lam = (1.0 - 1e-8) * np.exp(1j * np.array([0.3, 0.3 + 2e-10]))
    assert not sound(System(lam, np.ones((2, 1)), [[1.0, -1.0]]))


def test_nothing_is_sound():
    assert cancellation(System([0.5], [[0.0]], [[1.0]])) == 1.0
