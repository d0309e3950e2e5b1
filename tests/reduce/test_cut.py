import numpy as np
import pytest

from ssmith.reduce import cut as cut_module
from ssmith.reduce.cut import balance, find_cut, modes_needed, stabilised
from ssmith.reduce.factors import gramian_factors
from ssmith.reduce.hankel import separated
from ssmith.reduce.modal import DiagonalForm
from ssmith.system import System

KINDS = ("plain", "near unit circle", "duplicate", "real poles", "mixed")


def balanced(system):
    return balance(system, *gramian_factors(system, None, None))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(4))
def test_balanced_coordinates_satisfy_both_stein_equations_with_sigma(make, kind, seed):
    b = balanced(make(seed, kind))
    z = b.leading(b.rank)
    gramian, slack = np.diag(b.sigma[: b.rank]), 1e-9 * b.sigma[0]
    assert np.abs(gramian - z.a @ gramian @ z.a.T - z.b @ z.b.T).max() < slack
    assert np.abs(gramian - z.a.T @ gramian @ z.a - z.c.T @ z.c).max() < slack
    kept = b.sigma[: b.rank] > 1e-3 * b.sigma[0]
    identity = (z.to_reduced @ z.to_full)[np.ix_(kept, kept)]
    np.testing.assert_allclose(identity, np.eye(kept.sum()), atol=1e-10)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(6))
def test_the_cut_is_the_largest_that_fits(make, kind, seed):
    """Oracle: count pairs and real poles of every leading block, one by one."""
    b = balanced(make(seed, kind, modes=10))
    whole = b.leading(b.rank)
    for modes in (2, 5, 8):
        cut = find_cut(b, 1, modes)
        fits = [
            q
            for q in range(1, min(2 * modes, b.rank) + 1)
            if separated(b.sigma, q)
            and (np.linalg.eigvals(whole.a[:q, :q]).imag >= 0.0).sum() <= modes
            and whole.form(q) is not None
        ]
        assert cut.real_order == max(fits)
        assert cut.form.lam.size <= modes
        assert cut.clamped == 0


@pytest.mark.parametrize("kind", KINDS)
def test_the_longer_steps_of_large_orders_miss_a_few_states_at_most(make, monkeypatch, kind):
    for seed in range(6):
        b = balanced(make(seed, kind, modes=16))
        for modes in (3, 8, 12):
            with monkeypatch.context() as patch:
                patch.setattr(cut_module, "EVERY_ORDER", 0)
                coarse = find_cut(b, 1, modes)
            assert coarse.form.lam.size <= modes
            assert find_cut(b, 1, modes).real_order - 3 <= coarse.real_order


def test_many_real_poles_cost_a_slot_each():
    """Relaxation: real poles only, so six modes hold a real order of six, not twelve."""
    system = System(np.linspace(0.1, 0.99, 20), np.ones((20, 1)), np.ones((1, 20)))
    cut = find_cut(balanced(system), 1, 6)
    assert (cut.real_order, cut.form.real_poles) == (6, 6)


def test_equal_values_are_not_separated_by_a_cut(all_pass, monkeypatch):
    b = balanced(all_pass)
    np.testing.assert_allclose(b.sigma, 1.0, rtol=1e-10)
    assert find_cut(b, 1, 2) is None
    assert modes_needed(b, 1) == (6, 3)
    monkeypatch.setattr(cut_module, "STRIDE", 2)  # coordinates made two at a time
    assert modes_needed(b, 1) == (6, 3)


def test_the_lowest_order_is_respected(make):
    b = balanced(make(1, modes=8))
    assert find_cut(b, 13, 6) is None
    assert find_cut(b, 9, 6).real_order >= 9


def test_modes_needed_counts_the_poles(make):
    b = balanced(make(2, "mixed", modes=8))
    order, modes = modes_needed(b, 7)
    assert order == 7
    assert modes == (np.linalg.eigvals(b.leading(7).a).imag >= 0.0).sum()


def form_with(lam) -> DiagonalForm:
    n = len(lam)
    eye = np.eye(n, dtype=complex)
    return DiagonalForm(np.array(lam, dtype=complex), eye, eye, eye, eye, 0, 1.0)


def test_poles_outside_are_moved_along_their_radius_and_counted():
    lam = [0.5j, 1.0 + 0j, 2.0 * np.exp(1j)]
    form, clamped = stabilised(form_with(lam))
    assert clamped == 2
    np.testing.assert_allclose(np.abs(form.lam), [0.5, 1.0 - 1e-5, 1.0 - 1e-5], rtol=1e-14)
    np.testing.assert_allclose(np.angle(form.lam), np.angle(lam), atol=1e-15)


def test_stable_poles_are_left_alone_however_near():
    form = form_with([1.0 - 1e-9, 0.5])
    assert stabilised(form) == (form, 0)
