"""A reduction without PyTorch: the same cut as with it, budgets kept, golden vectors true, clear refusals."""

from __future__ import annotations

import json

import numpy as np
import pytest

from ssmith import torchfree_cutter
from ssmith.bundle import Bundle
from ssmith.cost import model_cost
from ssmith.errors import InputError, MissingToolError
from ssmith.ops import SSM, ssm_system, ssm_tensors
from ssmith.reduce import h2_error, hinf_error, hinf_norm
from ssmith.runtime.parity import verify
from ssmith.runtime.reference import layer_states, run
from ssmith.torchfree import reduce_to_orders_without_torch, reduce_without_torch
from ssmith.train.goal import Goal
from ssmith.train.posthoc import Request, reduce_posthoc
from tests.bundles import random_bundle
from tests.train import finished


def sample(seed: int = 0, **changes) -> Bundle:
    """Two layers of order 12 and 8 with a long golden input."""
    settings = {"orders": (12, 8), "golden_frames": (200,), "pool": "none", "radius": (0.5, 0.98)} | changes
    return random_bundle(np.random.default_rng(seed), **settings)


def orders(bundle: Bundle) -> tuple[int, ...]:
    return tuple(system.order for system in bundle.systems())


@pytest.mark.parametrize("task", ["regression", "classification"])
@pytest.mark.parametrize("with_data", [False, True])
def test_it_cuts_what_the_torch_path_cuts(task, with_data):
    """The same criterion on the same sequences, by two implementations of network and statistics."""
    bundle = finished.bundle(task)
    recipe = finished.recipe(task) if with_data else None
    goal = Goal(order=6)
    ours = reduce_without_torch(bundle, goal, recipe=recipe)
    theirs = reduce_posthoc(bundle, Request(goal, "empirical"), recipe)
    assert orders(ours.bundle) == orders(theirs.bundle)
    for mine, other in zip(ours.bundle.systems(), theirs.bundle.systems(), strict=True):
        assert h2_error(other, mine, relative=True) < 0.01
    for mine, other in zip(ours.cuts, theirs.cuts, strict=True):
        assert set(mine) <= set(other)
        assert (mine["layer"], mine["criterion"]) == (other["layer"], other["criterion"])
        np.testing.assert_allclose(
            mine["singular_values"], other["singular_values"], atol=1e-3 * mine["singular_values"][0]
        )
        for key in ("h2_error", "hinf_error", "output_error"):
            assert mine[key] == pytest.approx(other[key], rel=0.05)
        assert mine["error_bound"] is other["error_bound"] is None
    assert ours.facts["output_error"] == pytest.approx(theirs.facts["output_error"], rel=0.05)


def test_the_result_is_a_bundle_like_any_other(tmp_path):
    bundle = sample()
    done = reduce_without_torch(bundle, Goal(order=(5, 4)))
    assert orders(done.bundle) == (5, 4)
    done.bundle.write(tmp_path / "net.ssm")
    again = Bundle.read(tmp_path / "net.ssm")
    assert again.sha256 == done.bundle.sha256
    assert all(row.passed for row in verify([], again) if row.ran)
    for case in again.golden():
        assert 2e-5 <= case.relative_tolerance < 1e-2
        np.testing.assert_array_equal(case.input, bundle.golden()[0].input)
        expected, _ = run(again.meta.ops, again.tensors, case.input)
        np.testing.assert_array_equal(case.output, expected.astype(np.float32))
        np.testing.assert_array_equal(case.streamed, case.output)
    provenance = again.meta.provenance
    assert provenance["reduced_from"] == bundle.sha256
    assert (provenance["reduced_to"], provenance["golden_from"]) == ("order 5 4", "reference")
    assert [cut["order_after"] for cut in again.meta.reduction] == [5, 4]
    assert {cut["goal"] for cut in again.meta.reduction} == {"order 5 4"}
    json.dumps(done.facts, allow_nan=False)
    assert "golden input" in done.facts["measured on"] and "ssmith[train]" in done.facts["note"]


@pytest.mark.parametrize(
    ("kind", "share"), [("states", 0.95), ("parameters", 0.7), ("macs", 0.95), ("bytes", 0.7)]
)
def test_a_budget_is_kept(kind, share):
    bundle = sample()
    floor = model_cost(kind, *reduced_to(bundle, (1, 1)))
    limit = floor + share * (model_cost(kind, bundle.meta.ops, bundle.tensors) - floor)
    done = reduce_without_torch(bundle, Goal(max_cost=(kind, limit)))
    assert model_cost(kind, done.bundle.meta.ops, done.bundle.tensors) <= limit
    assert sum(orders(done.bundle)) >= 0.5 * share * sum(orders(bundle))  # and it is used
    with pytest.raises(InputError, match="is below the"):
        reduce_without_torch(bundle, Goal(max_cost=(kind, floor * 0.9)))


def reduced_to(bundle: Bundle, wanted: tuple[int, ...]):
    small = reduce_without_torch(bundle, Goal(order=wanted), criterion="modal").bundle
    return small.meta.ops, small.tensors


def test_goals_that_change_nothing_give_the_model_back():
    bundle = sample()
    for goal in (Goal(order=12), Goal(max_cost=("states", 20.0))):
        done = reduce_without_torch(bundle, goal)
        assert done.bundle is bundle
        assert done.facts["result"] == "nothing was cut"


@pytest.mark.parametrize(("criterion", "bound"), [("exact", 0.3), ("modal", 0.9), ("complex", 0.3)])
def test_a_bound_is_promised_and_holds(criterion, bound):
    done = reduce_without_torch(sample(3), Goal(bound=bound), criterion=criterion)
    assert sum(orders(done.bundle)) < 20
    for row, before, after in zip(done.cuts, sample(3).systems(), done.bundle.systems(), strict=True):
        if row["accepted"]:
            assert hinf_error(before, after) <= row["error_bound"] * (1 + 1e-6)
            assert row["error_bound"] <= bound * hinf_norm(before) * (1 + 1e-3)
    with pytest.raises(InputError, match="bound"):
        reduce_without_torch(sample(3), Goal(bound=bound))


def test_a_tolerance_cuts_each_layer_by_its_own_spectrum():
    done = reduce_without_torch(sample(), Goal(tolerance=0.01))
    for row in done.cuts:
        sigma = np.array(row["singular_values"]) ** 2
        kept = 2 * row["order_after"]
        assert sigma[kept:].sum() <= 0.01 * sigma.sum()


def test_several_orders_in_one_bundle():
    bundle = sample()
    done = reduce_to_orders_without_torch(bundle, (3, 12, 6), Goal())
    assert done.bundle.orders == (12, 6, 3)
    assert done.bundle.variant(12).to_bytes() == bundle.to_bytes()
    alone = reduce_without_torch(bundle, Goal(order=3)).bundle
    for mine, other in zip(done.bundle.variant(3).systems(), alone.systems(), strict=True):
        np.testing.assert_array_equal(mine.lam, other.lam)
    assert [facts["orders"]["after"] for facts in done.facts["models"]] == [[12, 8], [6, 6], [3, 3]]
    with pytest.raises(InputError, match="each order once"):
        reduce_to_orders_without_torch(bundle, (3, 3), Goal())


@pytest.mark.parametrize("criterion", ["task-aware", "weighted", "gradient"])
def test_a_criterion_on_gradients_says_what_to_install(criterion):
    with pytest.raises(MissingToolError, match=r"ssmith\[train\].*empirical, exact, modal, complex"):
        reduce_without_torch(sample(), Goal(order=4), criterion=criterion)


def test_what_cannot_be_done_is_refused():
    with pytest.raises(MissingToolError, match="loss limit"):
        reduce_without_torch(sample(), Goal(max_loss=0.1))
    with pytest.raises(InputError, match="the layers have 12 and 8 states"):
        reduce_without_torch(sample(), Goal(order=13))
    with pytest.raises(InputError, match="no golden inputs"):
        reduce_without_torch(sample(golden_frames=()), Goal(order=4))
    with pytest.raises(InputError, match="give --data the recipe"):
        reduce_without_torch(sample(), Goal(order=4), recipe=finished.recipe())


def test_a_tensor_of_two_layers_is_refused():
    bundle = sample(orders=(6, 6))
    first, second = (op for op in bundle.meta.ops if isinstance(op, SSM))
    tied = second.model_copy(update={"lam": first.lam})
    ops = tuple(tied if op is second else op for op in bundle.meta.ops)
    tensors = {name: a for name, a in bundle.tensors.items() if name != second.lam}
    with pytest.raises(InputError, match="read by another op too"):
        reduce_without_torch(Bundle(bundle.meta.model_copy(update={"ops": ops}), tensors), Goal(order=4))


def test_fewer_frames_than_states_is_said():
    done = reduce_without_torch(sample(golden_frames=(20,)), Goal(order=4))
    assert any("20 time steps, fewer than the 24 real states" in note for note in done.cuts[0]["notes"])


def test_the_statistics_do_not_depend_on_how_a_recording_is_read(monkeypatch):
    whole = reduce_without_torch(sample(), Goal(order=4)).bundle
    monkeypatch.setattr(torchfree_cutter, "FRAMES", 37)
    pieces = reduce_without_torch(sample(), Goal(order=4)).bundle
    for a, b in zip(whole.systems(), pieces.systems(), strict=True):
        assert h2_error(a, b, relative=True) < 1e-5


def test_layer_states_are_those_of_the_network():
    """Frame by frame through ``run``, whose state after each frame is the layer's."""
    bundle = sample(golden_frames=(30,))
    block, ops = bundle.golden()[0].input, bundle.meta.ops
    for op in (op for op in ops if isinstance(op, SSM)):
        state, expected = None, []
        for frame in block:
            _, state = run(ops, bundle.tensors, frame[None], state)
            expected.append(state[op.state])
        found, after = layer_states(ops, bundle.tensors, op, block[:11])
        rest, _ = layer_states(ops, bundle.tensors, op, block[11:], after)
        np.testing.assert_allclose(np.concatenate([found, rest]), np.array(expected), rtol=1e-9, atol=1e-12)


def test_a_layer_goes_into_a_system_and_back():
    bundle = sample()
    for op in (op for op in bundle.meta.ops if isinstance(op, SSM)):
        back = ssm_tensors(op, ssm_system(op, bundle.tensors))
        assert set(back) == {op.lam, op.B, op.C}
        for name, array in back.items():
            np.testing.assert_array_equal(array, bundle.tensors[name])


def test_channels_are_cut_each_on_its_own(tmp_path):
    channels = [(3, 0, 4, 2, 3), (2, 2, 2, 2, 2)]
    bundle = random_bundle(np.random.default_rng(3), channels=channels)
    done = reduce_without_torch(bundle, Goal(order=(6, 5)))
    assert orders(done.bundle) == (6, 5)
    for system, before in zip(done.bundle.systems(), channels, strict=True):
        assert system.channels is not None
        assert all(a <= b for a, b in zip(system.channels, before, strict=True))
    done.bundle.write(tmp_path / "net.ssm")
    assert Bundle.read(tmp_path / "net.ssm").systems()[0].channels == done.bundle.systems()[0].channels
    budget = reduce_without_torch(bundle, Goal(max_cost=("parameters", 290)))
    assert sum(orders(budget.bundle)) < 22
