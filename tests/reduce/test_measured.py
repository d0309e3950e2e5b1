import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ssmith.errors import InputError
from ssmith.reduce.accuracy import hinf_error
from ssmith.reduce.balance import balanced_truncation
from ssmith.reduce.criteria import reduce_system
from ssmith.reduce.gramians import controllability_gramian, observability_gramian
from ssmith.reduce.measured import RIDGE, Measured, measured_factors, weighted_observability_factor
from ssmith.system import System

KINDS = ("plain", "near unit circle", "duplicate", "real poles", "mixed")


def weight_of(rng, outputs, rank=None):
    e = rng.standard_normal((outputs if rank is None else rank, outputs))
    return e.T @ e


def root_of(weight):
    values, vectors = np.linalg.eigh(weight)
    return vectors * np.sqrt(values) @ vectors.T


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**31), st.sampled_from(KINDS))
def test_weighting_is_the_exact_gramian_of_the_weighted_output(make, seed, kind):
    system, rng = make(seed, kind), np.random.default_rng(seed)
    weight = weight_of(rng, system.outputs)
    low = weighted_observability_factor(system, weight)
    expected = observability_gramian(System(system.lam, system.B, root_of(weight) @ system.C))
    np.testing.assert_allclose(low @ low.T, expected, rtol=0.0, atol=1e-12 * np.abs(expected).max())


@pytest.mark.parametrize("seed", range(6))
def test_the_weighted_criterion_is_balancing_with_a_scaled_C(make, seed):
    system, rng = make(seed, modes=10, channels=(3, 4)), np.random.default_rng(seed)
    weight = weight_of(rng, 4)
    root, p = root_of(weight), controllability_gramian(system)
    ours = reduce_system(
        system,
        criterion="weighted",
        measured=Measured(controllability=p, output_weight=weight),
        order=4,
    )
    scaled = System(system.lam, system.B, root @ system.C, dt_s=system.dt_s)
    theirs = balanced_truncation(scaled, order=4, controllability=p)
    np.testing.assert_allclose(ours.singular_values, theirs.singular_values, atol=1e-9)
    reduced = theirs.system
    back = System(reduced.lam, reduced.B, np.linalg.solve(root, reduced.C), system.D)
    assert hinf_error(ours.system, back, relative=True) < 1e-8


def test_an_output_without_weight_costs_nothing(make):
    """Half the modes are seen by output 2 only; with W = diag(1, 0) they go, and output 1 stays exact."""
    base = make(1, modes=8, channels=(2, 2))
    c = base.C.copy()
    c[0, 4:] = 0.0
    system = System(base.lam, base.B, c)
    measured = Measured(controllability_gramian(system), output_weight=np.diag([1.0, 0.0]))
    result = reduce_system(system, criterion="weighted", measured=measured, order=4)
    assert result.tail < 1e-7 * result.singular_values[0]
    first = [System(s.lam, s.B, s.C[:1]) for s in (system, result.system)]
    assert hinf_error(*first, relative=True) < 1e-6


def test_few_samples_are_regularised_and_a_note_says_so(make):
    """Three samples of twelve states leave P with rank 3; the ridge makes all of them reachable again."""
    system, rng = make(0, modes=6, channels=(2, 2)), np.random.default_rng(0)
    x = rng.standard_normal((3, 12))
    p = x.T @ x / 3
    few = reduce_system(system, criterion="empirical", measured=Measured(p, samples=3), order=4)
    assert np.count_nonzero(few.singular_values) == 12
    assert few.order == 4
    assert any("3 time steps, fewer than the 12 real states" in note for note in few.notes)
    enough = reduce_system(system, criterion="empirical", measured=Measured(p, samples=12), order=4)
    assert np.count_nonzero(enough.singular_values) == 3
    assert not any("time steps" in note for note in enough.notes)
    exact = reduce_system(system, criterion="exact", measured=Measured(p, samples=3), order=4)
    assert not any("time steps" in note for note in exact.notes)


def test_the_ridge_is_a_share_of_each_modes_variance(make):
    system = make(0, modes=3)
    p = np.diag([1.0, 4.0, 0.0, 3.0, 2.0, 0.0])
    (reach, _), _ = measured_factors(
        system, Measured(p, samples=1), "empirical", states=True, gradients=False
    )
    expected = p + RIDGE * np.diag([2.0, 3.0, 0.0, 2.0, 3.0, 0.0])
    np.testing.assert_allclose(reach @ reach.T, expected, rtol=1e-12, atol=0.0)


@pytest.mark.parametrize(
    ("weight", "message"),
    [
        (np.eye(2), r"output_weight has shape \(2, 2\); it weights the 3 outputs"),
        (np.full((3, 3), np.nan), "output_weight holds a value that is not finite"),
        (np.triu(np.ones((3, 3))), "output_weight is not symmetric"),
        (np.diag([1.0, -1.0, 1.0]), "output_weight is indefinite"),
    ],
)
def test_a_weight_that_is_none_is_refused(make, weight, message):
    with pytest.raises(InputError, match=message):
        weighted_observability_factor(make(0, modes=4, channels=(2, 3)), weight)
