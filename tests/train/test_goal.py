"""One goal for a model: what is refused, which orders follow, and budgets that are never exceeded."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ssmith.cost import ModelCost, model_cost, ssm_cost
from ssmith.errors import InputError
from ssmith.recipe import LayerSettings, ReduceSettings
from ssmith.train.data import load
from ssmith.train.goal import Goal, mode_tails, module_cost, split_budget
from ssmith.train.run import fresh_network
from tests.train import finished

KINDS = ("states", "parameters", "macs", "bytes")


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"order": 8, "tolerance": 0.1}, "order and tolerance"),
        ({"bound": 0.1, "max_cost": ("bytes", 100.0)}, "bound and max_bytes"),
        ({"order": 0}, "at least 1 state"),
        ({"order": (4, 0)}, "at least 1 state"),
        ({"tolerance": 1.0}, "below 1"),
        ({"bound": 0.0}, "above 0"),
        ({"max_loss": -0.1}, "0 or more"),
        ({"max_loss": float("nan")}, "0 or more"),
        ({"max_cost": ("macs", 0.0)}, "max_macs 0"),
    ],
)
def test_contradictions_are_refused(fields, words):
    with pytest.raises(InputError, match=words):
        Goal(**fields)


def test_a_goal_comes_from_a_recipe():
    goal = Goal.from_settings(ReduceSettings(max_macs=5000, split="equal", multiple=4, minimum_order=2))
    assert goal.named == ("max_macs",)
    assert goal.max_cost == ("macs", 5000.0)
    assert (goal.split, goal.multiple, goal.minimum_order) == ("equal", 4, 2)
    assert Goal.from_settings(ReduceSettings()).named == ()
    layered = Goal.from_settings(ReduceSettings(order=8, layers={1: LayerSettings(keep=True)}))
    assert [layered.fixed_order(i, 16) for i in range(3)] == [8, 16, 8]


def test_single_layers_have_their_own_say():
    layers = {0: LayerSettings(order=5), 1: LayerSettings(minimum_order=6), 2: LayerSettings(keep=True)}
    goal = Goal(tolerance=0.1, minimum_order=2, multiple=4, layers=layers)
    assert [goal.fixed_order(i, 16) for i in range(4)] == [8, None, 16, None]
    assert [goal.minimum(i) for i in range(4)] == [4, 8, 4, 4]
    assert goal.fixed_order(0, 7) == 7  # no cut goes up
    goal.check_layers(3)
    with pytest.raises(InputError, match="layer 2, the model has layers 0 to 1"):
        goal.check_layers(2)
    with pytest.raises(InputError, match="2 orders for 3 layers"):
        Goal(order=(4, 4)).check_layers(3)


@pytest.mark.parametrize("power", [1, 2])
def test_a_tail_drops_two_values_a_mode(power):
    tails = mode_tails(np.array([4.0, 3, 2, 1]), power)
    assert tails == (sum(k**power for k in (4, 3, 2, 1)), sum(k**power for k in (2, 1)), 0.0)


spectrum = st.lists(st.floats(0, 10), min_size=1, max_size=9).map(lambda v: np.repeat(sorted(v)[::-1], 2))


@settings(deadline=None, max_examples=60)
@given(
    spectra=st.lists(spectrum, min_size=1, max_size=4),
    kind=st.sampled_from(KINDS),
    split=st.sampled_from(("best", "marginal", "equal")),
    share=st.floats(0, 1),
    multiple=st.integers(1, 3),
    kept=st.booleans(),
)
def test_a_budget_is_never_exceeded(spectra, kind, split, share, multiple, kept):
    present = [len(sigma) // 2 for sigma in spectra]
    costs = tuple(ssm_cost(kind, 3 + i, 3 + i, True) for i in range(len(spectra)))
    cost = ModelCost(kind, 100.0, costs)
    layers = {0: LayerSettings(keep=True)} if kept else {}
    goal = Goal(split=split, multiple=multiple, layers=layers, max_cost=(kind, 1.0))
    smallest = [
        min(goal.minimum(i), n) if goal.fixed_order(i, n) is None else n for i, n in enumerate(present)
    ]
    lowest, whole = cost.total(smallest), cost.total(present)
    limit = lowest + share * (whole - lowest)
    found = split_budget(goal, spectra, cost, power=2, limit=limit)
    assert cost.total(found.orders) <= limit * (1 + 1e-12)
    assert all(low <= r <= n for low, r, n in zip(smallest, found.orders, present, strict=True))
    lost = sum(mode_tails(sigma, 2)[r] for sigma, r in zip(spectra, found.orders, strict=True))
    assert found.predicted == pytest.approx(lost)
    with pytest.raises(InputError):
        split_budget(goal, spectra, cost, power=2, limit=lowest - 1)


def test_the_measured_loss_decides_between_the_rules():
    """Marginal cost favours one layer, which wins by prediction; equal wins where it measures better."""
    spectra = [np.repeat([9.0, 8, 7, 6], 2), np.repeat([1.0, 0.1, 0.1, 0.1], 2)]
    cost = ModelCost("states", 0.0, tuple(ssm_cost("states", 1, 1, True) for _ in spectra))
    goal = Goal(max_cost=("states", 4.0))
    predicted = split_budget(goal, spectra, cost, power=2)
    assert predicted.orders == (3, 1)
    equal = split_budget(goal, spectra, cost, power=2, loss=lambda orders: abs(orders[0] - orders[1]))
    assert equal.orders == (2, 2)
    assert equal.rule == "equal"


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_in_training_costs_what_its_bundle_will(kind):
    bundle, recipe = finished.bundle(), finished.recipe()
    network = fresh_network(recipe, load(recipe), 0)
    cost = module_cost(kind, network)
    assert cost.total((16, 12)) == model_cost(kind, bundle.meta.ops, bundle.tensors)
    assert network.training  # untouched
