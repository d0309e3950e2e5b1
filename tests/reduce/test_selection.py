import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ssmith.reduce.accuracy import hinf_error, hinf_norm
from ssmith.reduce.extent import Extent
from ssmith.reduce.selection import modal_truncation, mode_gains
from ssmith.system import System

KINDS = ("plain", "near unit circle", "duplicate", "real poles", "mixed")


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**31), st.sampled_from(KINDS), st.integers(1, 12))
def test_the_error_stays_below_the_sum_of_the_gains(make, seed, kind, order):
    system = make(seed, kind)
    result = modal_truncation(system, Extent(order=order))
    assert hinf_error(system, result.system) <= result.error_bound + 1e-10 * hinf_norm(system)
    assert result.stable


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**31), st.sampled_from(KINDS))
def test_a_gain_is_the_most_a_mode_can_do(make, seed, kind):
    system = make(seed, kind)
    for i, gain in enumerate(mode_gains(system)):
        alone = System(system.lam[[i]], system.B[[i]], system.C[:, [i]])
        assert hinf_norm(alone) <= gain * (1.0 + 1e-9)


def test_a_real_mode_with_real_weights_reaches_its_gain():
    system = System([0.9], [[2.0]], [[3.0]])
    assert hinf_norm(system) == pytest.approx(mode_gains(system)[0])


@pytest.mark.parametrize("seed", range(5))
def test_the_kept_modes_are_the_largest_and_untouched(make, real_matrices, seed):
    system = make(seed, modes=11)
    result = modal_truncation(system, Extent(order=4))
    gains = mode_gains(system)
    kept = np.flatnonzero(gains >= np.sort(gains)[-4])
    for name, expected in (("lam", system.lam[kept]), ("B", system.B[kept]), ("C", system.C[:, kept])):
        np.testing.assert_array_equal(getattr(result.system, name), expected)
    planar = np.r_[kept, 11 + kept]
    np.testing.assert_array_equal(result.basis, np.eye(22)[:, planar])
    np.testing.assert_array_equal(result.dual_basis, np.eye(22)[planar])
    assert result.singular_values.sum() == pytest.approx(gains.sum())
    assert result.tail == result.error_bound == pytest.approx(gains.sum() - gains[kept].sum())


def test_a_tolerance_is_kept_and_not_wasted(make):
    for seed in range(10):
        system = make(seed, modes=14)
        result = modal_truncation(system, Extent(tolerance=0.2))
        gains = np.sort(mode_gains(system))[::-1]
        assert result.spent <= 0.2
        assert gains[result.order - 1 :].sum() / gains.sum() > 0.2


def test_slots_are_filled_with_modes_not_padding(make):
    result = modal_truncation(make(1, modes=11), Extent(order=3, multiple=4))
    assert (result.order, result.notes) == (4, ())
    assert (np.abs(result.system.lam) > 0.0).all()


def test_equal_gains_keep_the_earlier_mode():
    system = System([0.5j, -0.5j, 0.5], np.ones((3, 1)), np.ones((1, 3)))
    np.testing.assert_array_equal(modal_truncation(system, Extent(order=2)).system.lam, [0.5j, -0.5j])


def test_all_modes_asked_for_is_the_system_itself(make):
    system = make(2, modes=5)
    result = modal_truncation(system, Extent(order=5))
    assert result.system is system
    assert "nothing to cut" in result.notes[0]
