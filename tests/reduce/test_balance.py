import math

import numpy as np
import pytest

from ssmith.errors import InputError
from ssmith.reduce.accuracy import frequency_response, h2_error, hinf_error, hinf_norm
from ssmith.reduce.balance import balanced_truncation
from ssmith.reduce.gramians import controllability_gramian, observability_gramian
from ssmith.reduce.guard import rounded
from ssmith.reduce.hankel import tails
from ssmith.system import System

KINDS = ("plain", "near unit circle", "duplicate", "near defective", "real poles", "mixed")


@pytest.mark.parametrize("kind", KINDS)
def test_the_error_stays_below_the_bound_and_poles_inside(make, kind):
    """204 systems in all. Slack, of the gain: 1e-12; eps / (1 - |λ|) for poles down to 1 - |λ| = 1e-5; and
    what evaluating a response costs where residues of 1e6 cancel."""
    slack = {"near unit circle": 1e-10, "mixed": 1e-10, "near defective": 1e-9}.get(kind, 1e-12)
    for seed in range(34):
        system = make(seed, kind)
        order = int(np.random.default_rng(seed).integers(1, system.order + 1))
        result = balanced_truncation(system, order=order)
        error = hinf_error(system, result.system)
        assert error <= result.error_bound + slack * hinf_norm(system)
        assert result.error_bound >= 2.0 * result.tail
        assert np.abs(result.system.lam).max() < 1.0
        assert result.stable
        assert result.clamped == 0
        assert result.order <= order or result.system is system


@pytest.mark.parametrize("seed", range(8))
def test_reduced_response_agrees_with_slycot(make, real_matrices, seed):
    slycot = pytest.importorskip("slycot", reason="the SLICOT oracle wants slycot")
    system = make(seed, modes=12, channels=(2, 3))
    result = balanced_truncation(system, order=5)
    a, b, c = real_matrices(system)
    _, ar, br, cr, _ = slycot.ab09ad("D", "B", "N", 24, 2, 3, a, b, c, nr=result.real_order, tol=0.0)
    omega = np.linspace(0.0, np.pi, 50)
    theirs = np.array(
        [z * cr @ np.linalg.solve(z * np.eye(len(ar)) - ar, br) + system.D for z in np.exp(1j * omega)]
    )
    ours = frequency_response(result.system, omega)
    np.testing.assert_allclose(ours, theirs, rtol=0.0, atol=1e-9 * np.abs(theirs).max())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(4))
def test_bases_are_dual_and_project_the_system_onto_the_reduced_one(make, real_matrices, kind, seed):
    system = make(seed, kind, modes=9)
    result = balanced_truncation(system, order=5, multiple=4)
    if result.system is system:
        pytest.fail("these systems are all reducible")
    (a, b, c), (ar, br, cr) = real_matrices(system), real_matrices(result.system)
    used = np.concatenate([np.abs(result.system.lam) > 0.0, result.system.lam.imag > 0.0])
    assert used.sum() == result.real_order
    down, up, scale = result.dual_basis, result.basis, 1e-7 if kind == "near defective" else 1e-9
    np.testing.assert_allclose(down @ up, np.diag(used.astype(float)), atol=scale)
    np.testing.assert_allclose(down @ a @ up, ar * used, atol=scale)
    np.testing.assert_allclose(down @ b, br, atol=scale * np.abs(br).max())
    np.testing.assert_allclose(c @ up, cr * used, atol=scale * np.abs(cr).max())


def test_states_are_carried_through_the_bases(make, simulate):
    """A cut that loses nothing: the reduced states, taken up, are the full ones in the reached subspace."""
    system = make(3, "duplicate", modes=8, channels=(1, 1))
    result = balanced_truncation(system, tolerance=0.0)
    assert result.order < system.order
    inputs = np.random.default_rng(0).standard_normal((200, 1))
    np.testing.assert_allclose(simulate(system, inputs), simulate(result.system, inputs), atol=1e-9)


def test_order_at_or_above_n_returns_the_same_object(make):
    system = make(1, modes=6)
    for order in (6, 7, 1000):
        result = balanced_truncation(system, order=order)
        assert result.system is system
        assert (result.order, result.real_order, result.error_bound, result.spent) == (6, 12, 0.0, 0.0)
        np.testing.assert_array_equal(result.dual_basis @ result.basis, np.eye(12))
        assert "nothing to cut" in result.notes[0]
    assert balanced_truncation(system, order=5, multiple=8).system is system


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(5))
def test_tolerance_zero_cuts_nothing_of_weight(make, kind, seed):
    system = make(seed, kind)
    result = balanced_truncation(system, tolerance=0.0)
    assert result.tail == 0.0
    assert result.spent == 0.0
    slack = 1e-9 if kind == "near defective" else 1e-12
    assert hinf_error(system, result.system) <= result.error_bound + slack * hinf_norm(system)


@pytest.mark.parametrize("tolerance", [1e-6, 1e-3, 0.05, 0.5])
@pytest.mark.parametrize("empirical", [False, True])
def test_tolerance_is_kept_and_not_wasted(make, tolerance, empirical):
    for seed in range(6):
        system = make(seed, modes=14)
        given = {"controllability": controllability_gramian(system)} if empirical else {}
        result = balanced_truncation(system, tolerance=tolerance, **given)
        power = 2 if empirical else 1
        sums = tails(result.singular_values, power)
        assert result.spent <= tolerance
        assert result.spent == pytest.approx(sums[result.real_order] / sums[0], abs=1e-15)
        # two orders fewer, one stored pair less, would have broken it
        if result.system is not system:
            fewer = balanced_truncation(system, order=max(1, result.order - 1), **given)
            assert fewer.spent > tolerance or result.order == 1


def test_given_exact_gramians_give_the_exact_reduction_without_its_bound(make):
    system = make(2, modes=8, channels=(3, 3))
    exact = balanced_truncation(system, order=4)
    p, q = controllability_gramian(system), observability_gramian(system)
    for given in (
        {"controllability": p},
        {"observability": q},
        {"controllability": p, "observability": q},
    ):
        result = balanced_truncation(system, order=4, **given)
        assert math.isnan(result.error_bound)
        assert hinf_error(result.system, exact.system, relative=True) < 1e-8
    assert not math.isnan(exact.error_bound)


def test_inputs_are_not_mutated(make):
    system = make(4, modes=6)
    arrays = [a.copy() for a in (system.lam, system.B, system.C, system.D)]
    p, q = controllability_gramian(system), observability_gramian(system)
    p_before, q_before = p.copy(), q.copy()
    balanced_truncation(system, order=3, controllability=p, observability=q)
    np.testing.assert_array_equal(p, p_before)
    np.testing.assert_array_equal(q, q_before)
    for before, after in zip(arrays, (system.lam, system.B, system.C, system.D), strict=True):
        np.testing.assert_array_equal(before, after)


def test_a_gramian_of_the_data_serves_the_data_better(simulate):
    """Slow inputs reach few directions; their covariance must beat the white-noise Gramian on them."""
    rng = np.random.default_rng(0)
    n = 24
    lam = rng.uniform(0.8, 0.99, n) * np.exp(1j * rng.uniform(0.0, np.pi, n))
    b = rng.standard_normal((n, 2)) + 1j * rng.standard_normal((n, 2))
    system = System(lam, b * np.sqrt(1.0 - np.abs(lam) ** 2)[:, None], rng.standard_normal((2, n)))

    def slow(steps):
        u, rows = np.zeros(2), []
        for kick in rng.standard_normal((steps, 2)):
            u = 0.95 * u + kick
            rows.append(u)
        return np.array(rows)

    x, states = np.zeros(n, dtype=complex), []
    for u in slow(4000):
        x = system.lam * x + system.B @ u
        states.append(np.concatenate([x.real, x.imag]))
    covariance = np.array(states).T @ np.array(states) / 4000
    test = slow(2000)
    truth = simulate(system, test)

    def error(result):
        assert result.stable
        return np.linalg.norm(simulate(result.system, test) - truth)

    on_data = error(balanced_truncation(system, order=6, controllability=covariance))
    assert on_data < 0.5 * error(balanced_truncation(system, order=6))


def test_a_measured_observability_may_be_unstable_and_is_moved_inside():
    """Seeded search among arbitrary pairs of Gramians: some cuts leave the circle, none comes back so."""
    moved = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        lam = (1.0 - 10.0 ** rng.uniform(-4.0, -1.0, 5)) * np.exp(1j * rng.uniform(0.0, 6.28, 5))
        system = System(lam, rng.standard_normal((5, 2)), rng.standard_normal((2, 5)))
        x, y = rng.standard_normal((2, 10, 10))
        result = balanced_truncation(system, order=2, controllability=x @ x.T, observability=y @ y.T)
        assert np.abs(result.system.lam).max() < 1.0
        assert math.isnan(result.error_bound) or result.system is system
        assert result.stable == (result.clamped == 0)
        assert (result.clamped > 0) == any("outside" in note for note in result.notes)
        moved += result.clamped > 0
    assert moved > 0


def test_either_side_exact_is_stable_by_construction():
    for seed in range(40):
        rng = np.random.default_rng(seed)
        lam = (1.0 - 10.0 ** rng.uniform(-4.0, -1.0, 5)) * np.exp(1j * rng.uniform(0.0, 6.28, 5))
        system = System(lam, rng.standard_normal((5, 2)), rng.standard_normal((2, 5)))
        x = rng.standard_normal((10, 10))
        for side in ("controllability", "observability"):
            assert balanced_truncation(system, order=2, **{side: x @ x.T}).clamped == 0


def near_multiple_pole(multiplicity: int, distance: float) -> System:
    lam = 0.6 * np.exp(0.8j) + distance * np.arange(multiplicity)
    gaps = lam[:, None] - lam[None, :] + np.eye(multiplicity)
    lam = np.concatenate([lam, 0.3 * np.exp(1j * np.array([0.2, 1.5, 2.5]))])
    c = np.concatenate([1.0 / gaps.prod(axis=1), np.full(3, 1e-12)])
    return System(lam, np.ones((lam.size, 1)), c[None, :])


@pytest.mark.parametrize(("multiplicity", "distance"), [(2, 1e-5), (3, 1e-3), (3, 1e-4), (4, 1e-3)])
def test_near_defective_cuts_give_way_to_an_order_that_float32_can_store(multiplicity, distance):
    system = near_multiple_pole(multiplicity, distance)
    result = balanced_truncation(system, order=multiplicity)
    assert result.real_order < 2 * multiplicity
    stored = rounded(result.system)
    assert h2_error(result.system, stored, relative=True) < 1e-3
    assert hinf_error(system, result.system) <= result.error_bound + 1e-9 * hinf_norm(system)


@pytest.mark.parametrize("kind", KINDS)
def test_reductions_survive_float32(make, kind):
    for seed in range(10):
        system = make(seed, kind, modes=12)
        result = balanced_truncation(system, order=6)
        plain = System(result.system.lam, result.system.B, result.system.C)
        assert h2_error(plain, rounded(plain), relative=True) < 0.02


@pytest.mark.parametrize("how", [{"order": 1}, {"order": 2}, {"tolerance": 0.5}])
def test_equal_values_are_kept_together_and_a_note_says_so(all_pass, how):
    result = balanced_truncation(all_pass, **how)
    assert result.system is all_pass
    assert len(result.notes) == 1
    if "order" in how:
        assert "unequal singular values" in result.notes[0]


@pytest.mark.parametrize("multiple", [1, 3, 4, 8])
@pytest.mark.parametrize("order", [1, 5, 8])
def test_multiples_round_up_and_use_the_slots_they_have(make, simulate, multiple, order):
    system = make(0, modes=40, channels=(2, 2))
    result = balanced_truncation(system, order=order, multiple=multiple)
    assert result.order % multiple == 0
    assert result.order == -(-order // multiple) * multiple
    assert result.system.lam.shape == (result.order,)
    assert result.basis.shape == (80, 2 * result.order)
    unpadded = balanced_truncation(system, order=result.order)
    assert result.real_order == unpadded.real_order


def test_padding_is_silent_and_counted(simulate):
    """Only two modes are reachable; eight slots leave six empty."""
    system = System(np.linspace(0.1, 0.8, 12) * 1j, np.r_[1.0, 1.0, np.zeros(10)][:, None], np.ones((1, 12)))
    result = balanced_truncation(system, order=3, multiple=8)
    assert (result.order, result.real_order) == (8, 4)
    assert any("padding: 6 of 8" in note for note in result.notes)
    empty = result.system.lam == 0.0
    assert empty.sum() == 6
    np.testing.assert_array_equal(result.system.B[empty], 0.0)
    np.testing.assert_array_equal(result.system.C[:, empty], 0.0)
    inputs = np.random.default_rng(0).standard_normal((50, 1))
    np.testing.assert_allclose(simulate(result.system, inputs), simulate(system, inputs), atol=1e-12)
    kept = balanced_truncation(system, tolerance=0.5, min_order=5)
    assert kept.order == 5


def test_minimum_order_overrides_a_generous_tolerance(make):
    system = make(3, modes=12)
    assert balanced_truncation(system, tolerance=0.9).order < 6
    kept = balanced_truncation(system, tolerance=0.9, min_order=6)
    assert kept.order == 6
    assert kept.real_order >= 11  # real modes fill the slots, not padding


def test_one_state_one_channel_and_a_system_that_does_nothing():
    one = System([0.5j], [[1.0]], [[1.0]])
    assert balanced_truncation(one, order=1).system is one
    two = System([0.9, 0.1], [[1.0], [0.01]], [[1.0, 0.01]])
    result = balanced_truncation(two, order=1)
    assert (result.order, result.real_order) == (1, 1)
    assert hinf_error(two, result.system) <= result.error_bound
    nothing = System([0.5, 0.6], np.zeros((2, 1)), np.ones((1, 2)), D=[[2.0]])
    result = balanced_truncation(nothing, order=1)
    assert (result.order, result.real_order, result.error_bound, result.spent) == (1, 0, 0.0, 0.0)
    assert hinf_error(nothing, result.system) == 0.0


@pytest.mark.parametrize("feedthrough", [None, np.array([1.0, -2.0]), np.array([[1.0, 2.0], [3.0, 4.0]])])
def test_feedthrough_and_time_step_are_carried_over(make, feedthrough):
    base = make(0, modes=6, channels=(2, 2))
    system = System(base.lam, base.B, base.C, D=feedthrough, dt_s=1e-3)
    result = balanced_truncation(system, order=2)
    np.testing.assert_array_equal(result.system.D, system.D)
    assert result.system.D.shape == system.D.shape
    assert result.system.dt_s == 1e-3


def test_the_same_call_gives_the_same_bits(make):
    system = make(9, "mixed", modes=16)
    one, two = (balanced_truncation(system, order=7) for _ in range(2))
    for name in ("basis", "dual_basis", "singular_values"):
        assert getattr(one, name).tobytes() == getattr(two, name).tobytes()
    assert one.system.lam.tobytes() == two.system.lam.tobytes()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "exactly one"),
        ({"order": 1, "tolerance": 0.1}, "exactly one"),
        ({"order": 0}, "order = 0"),
        ({"order": -3}, "order = -3"),
        ({"order": 1.5}, "order = 1.5"),
        ({"order": True}, "order = True"),
        ({"tolerance": 1.0}, "tolerance = 1.0"),
        ({"tolerance": -0.1}, "tolerance = -0.1"),
        ({"tolerance": math.nan}, "tolerance = nan"),
        ({"order": 1, "min_order": 0}, "min_order = 0"),
        ({"order": 1, "multiple": 0}, "multiple = 0"),
        ({"order": 1, "controllability": np.eye(3)}, r"controllability has shape \(3, 3\)"),
        ({"order": 1, "observability": -np.eye(4)}, "observability is indefinite"),
    ],
)
def test_bad_arguments_are_refused(arguments, message):
    system = System([0.5, 0.4], np.ones((2, 1)), np.ones((1, 2)))
    with pytest.raises(InputError, match=message):
        balanced_truncation(system, **arguments)


def test_a_stack_is_refused():
    with pytest.raises(InputError, match="loop over them"):
        balanced_truncation(System(np.full((2, 1), 0.5), np.ones((2, 1, 1)), np.ones((2, 1, 1))), order=1)
