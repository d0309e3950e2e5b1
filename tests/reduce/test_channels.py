"""Channels that do not mix: bounds, equal and empty channels, each alone as if the others were not there."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ssmith.errors import InputError
from ssmith.reduce import (
    CRITERIA,
    Measured,
    balanced_truncation,
    controllability_gramian,
    h2_error,
    h2_norm,
    hankel_singular_values,
    hinf_error,
    hinf_norm,
    observability_gramian,
    reduce_system,
    rounding_bound,
)
from ssmith.reduce.accuracy import difference
from ssmith.reduce.planar import input_matrix, output_matrix
from ssmith.system import System

SIZES = st.lists(st.integers(0, 5), min_size=1, max_size=4).filter(lambda n: sum(n) > 1)
SEEDS = st.integers(0, 2**32 - 1)


def random_system(sizes: list[int], seed: int, spread: float = 2.0) -> System:
    rng = np.random.default_rng(seed)
    parts = []
    for n in sizes:
        lam = rng.uniform(0.2, 0.98, n) * np.exp(1j * rng.uniform(-np.pi, np.pi, n))
        b, c = (rng.standard_normal(n) + 1j * rng.standard_normal(n) for _ in "bc")
        scale = 10.0 ** rng.uniform(-spread, 0)
        parts.append(None if n == 0 else System(lam, b[:, None], scale * c[None], [0.0]))
    return System.joined(parts, rng.standard_normal(len(sizes)), 0.1)


def whole(system: System) -> System:
    """The same system without saying that its channels do not mix."""
    return System(system.lam, system.B, system.C, system.D, system.dt_s)


def measured(system: System, seed: int) -> Measured:
    """Moments of a system whose inputs are correlated."""
    rng = np.random.default_rng(seed)
    n, h = system.order, system.inputs
    mix = rng.standard_normal((h, h)) + 2 * np.eye(h)
    driven = System(system.lam, system.B @ mix, system.C, np.zeros((h, h)))
    seen = System(system.lam, system.B, mix.T @ system.C, np.zeros((h, h)))
    p, q = controllability_gramian(driven), observability_gramian(seen)
    assert p.shape == (2 * n, 2 * n)
    return Measured(p, q, mix @ mix.T, 10_000)


@settings(deadline=None, max_examples=60)
@given(SIZES, SEEDS, st.sampled_from(sorted(CRITERIA)), st.data())
def test_every_criterion_keeps_its_promises(sizes, seed, name, data) -> None:
    system = random_system(sizes, seed)
    order = data.draw(st.integers(1, system.order))
    before = [np.array(a) for a in (system.lam, system.B, system.C)]
    seen = measured(system, seed)
    reduction = reduce_system(system, criterion=name, measured=seen, order=order)
    for array, kept in zip((system.lam, system.B, system.C), before, strict=True):
        np.testing.assert_array_equal(array, kept)
    smaller = reduction.system
    assert reduction.order == smaller.order <= system.order
    assert smaller.channels is not None
    assert all(a <= b for a, b in zip(smaller.channels, sizes, strict=True))
    assert (np.diff(reduction.singular_values) <= 0).all()
    assert reduction.singular_values.shape == (2 * system.order,)
    if CRITERIA[name].stable:
        assert reduction.clamped == 0
    error = hinf_norm(difference(whole(system), whole(smaller)))
    if CRITERIA[name].bound:
        assert error <= reduction.error_bound * (1 + 1e-6) + 1e-9 * hinf_norm(whole(system))
    if smaller.order < system.order:
        product = reduction.dual_basis @ reduction.basis
        off = product - np.diag(np.diag(product))
        assert np.abs(off).max() < 1e-6 * max(
            1.0, np.abs(reduction.basis).max() * np.abs(reduction.dual_basis).max()
        )
        reached = reduction.dual_basis @ input_matrix(system)
        np.testing.assert_allclose(
            reached, input_matrix(smaller), rtol=1e-6, atol=1e-6 * np.abs(reached).max()
        )
        read = output_matrix(system) @ reduction.basis
        np.testing.assert_allclose(read, output_matrix(smaller), rtol=1e-6, atol=1e-6 * np.abs(read).max())


@settings(deadline=None, max_examples=40)
@given(SIZES, SEEDS, st.sampled_from(["exact", "modal", "complex"]), st.floats(0.001, 0.9))
def test_a_bound_is_kept_by_the_whole(sizes, seed, name, bound) -> None:
    system = random_system(sizes, seed)
    reduction = reduce_system(system, criterion=name, bound=bound)
    gain = hinf_norm(whole(system))
    assert reduction.error_bound <= bound * gain * (1 + 1e-6)
    assert hinf_norm(difference(whole(system), whole(reduction.system))) <= bound * gain * (1 + 1e-4)


@settings(deadline=None, max_examples=40)
@given(SIZES, SEEDS, st.sampled_from(["exact", "task-aware", "empirical"]), st.floats(0.0, 0.5))
def test_a_tolerance_is_kept_over_all_channels(sizes, seed, name, tolerance) -> None:
    system = random_system(sizes, seed)
    reduction = reduce_system(system, criterion=name, measured=measured(system, seed), tolerance=tolerance)
    assert reduction.spent <= tolerance + 1e-12


@given(st.integers(1, 6), SEEDS, st.data())
def test_one_channel_is_a_plain_system(n, seed, data) -> None:
    system = random_system([n], seed)
    order = data.draw(st.integers(1, n))
    ours = reduce_system(system, criterion="exact", order=order)
    plain = reduce_system(whole(system), criterion="exact", order=order)
    np.testing.assert_allclose(ours.system.lam, plain.system.lam)
    np.testing.assert_allclose(ours.singular_values, plain.singular_values)
    np.testing.assert_allclose(ours.error_bound, plain.error_bound)
    np.testing.assert_allclose(ours.basis, plain.basis)


@given(SEEDS, st.permutations(range(3)))
def test_the_order_of_channels_changes_nothing(seed, permutation) -> None:
    system = random_system([3, 4, 2], seed)
    parts = system.split()
    turned = System.joined([parts[i] for i in permutation], system.D[permutation])
    one, other = (reduce_system(s, criterion="exact", order=4) for s in (system, turned))
    assert one.system.channels is not None
    assert other.system.channels == tuple(one.system.channels[i] for i in permutation)
    np.testing.assert_allclose(one.error_bound, other.error_bound)


def test_equal_channels_stay_apart() -> None:
    part = random_system([4], 0).split()[0]
    twins = System.joined([part, part, part], np.zeros(3))
    reduction = reduce_system(twins, criterion="exact", order=6)
    assert reduction.system.channels == (2, 2, 2)
    three = reduction.system.split()
    for other in three[1:]:
        assert other is not None
        np.testing.assert_array_equal(other.lam, three[0].lam)  # type: ignore[union-attr]


def test_a_channel_of_no_effect_goes_first() -> None:
    system = random_system([3, 3], 1)
    C = np.array(system.C)
    C[0] = 0
    silent = System(system.lam, system.B, C, system.D, channels=system.channels)
    reduction = reduce_system(silent, criterion="exact", order=3)
    assert reduction.system.channels == (0, 3)
    assert h2_error(silent, reduction.system) < 1e-9
    nothing = System(system.lam, system.B, np.zeros_like(C), system.D, channels=system.channels)
    assert reduce_system(nothing, criterion="exact", order=1).system is nothing


@given(SIZES, SEEDS)
def test_norms_of_channels_are_those_of_the_whole(sizes, seed) -> None:
    a, b = random_system(sizes, seed), random_system(sizes[::-1], seed + 1)
    np.testing.assert_allclose(h2_norm(a), h2_norm(whole(a)), rtol=1e-9)
    np.testing.assert_allclose(hinf_norm(a), hinf_norm(whole(a)), rtol=1e-3)
    np.testing.assert_allclose(h2_error(a, b), h2_norm(difference(whole(a), whole(b))), rtol=1e-9)
    np.testing.assert_allclose(hinf_error(a, b), hinf_norm(difference(whole(a), whole(b))), rtol=1e-3)
    np.testing.assert_allclose(
        hankel_singular_values(a), hankel_singular_values(whole(a)), rtol=1e-6, atol=1e-9
    )
    moved = System(a.lam * (1 - 1e-4), a.B, a.C, a.D, a.dt_s, a.channels)
    assert (
        hinf_error(a, moved)
        <= rounding_bound(a, moved)
        <= rounding_bound(whole(a), whole(moved)) * (1 + 1e-12)
    )


def test_given_gramians_go_to_their_channels() -> None:
    system = random_system([3, 2], 3)
    seen = measured(system, 3)
    ours = balanced_truncation(
        system, order=3, controllability=seen.controllability, observability=seen.observability
    )
    by_name = reduce_system(system, criterion="task-aware", measured=seen, order=3)
    np.testing.assert_allclose(ours.system.lam, by_name.system.lam)
    assert math.isnan(ours.error_bound)
    with pytest.raises(InputError):
        balanced_truncation(system, order=3, controllability=np.eye(3))


def test_a_multiple_counts_all_channels() -> None:
    system = random_system([4, 4, 4], 5)
    assert reduce_system(system, criterion="exact", order=5, multiple=4).order == 8
    assert reduce_system(system, criterion="exact", order=1, min_order=3).order == 3
