"""From a goal to a trial: the rule that was asked for, layers with their own settings, and honest failure."""

from dataclasses import replace

import pytest

from ssmith.cost import ModelCost
from ssmith.errors import InputError, SsmithError
from ssmith.recipe import LayerSettings
from ssmith.train.evidence import Evidence
from ssmith.train.goal import Goal, split_budget
from ssmith.train.search import reach
from ssmith.train.trial import Trials
from tests.train import finished


@pytest.fixture(scope="module")
def trials():
    return floored(1)


def floored(minimum):
    """Trials of a model whose layers go no lower, as long as nothing else is said about one."""
    bundle = finished.bundle()
    evidence = Evidence.gather(bundle, finished.recipe())
    return Trials(evidence.network(bundle), evidence, "task-aware", minimum_order=minimum)


def costs(kind):
    bundle = finished.bundle()
    return ModelCost.of(kind, bundle.meta.ops, bundle.tensors)


@pytest.mark.parametrize("rule", ["marginal", "equal"])
def test_a_named_rule_is_kept_to(trials, rule):
    goal = Goal(max_cost=("states", 10.0), split=rule)
    expected = split_budget(goal, trials.spectra(), costs("states"), power=2).orders
    assert reach(goal, trials, costs).network.orders == expected
    limited = Goal(max_loss=0.5, split=rule)
    found = reach(limited, trials, costs).network.orders
    again = split_budget(limited, trials.spectra(), costs("states"), power=2, limit=sum(found)).orders
    assert found == again


def test_layers_with_settings_of_their_own(trials):
    keep = {0: LayerSettings(keep=True)}
    assert reach(Goal(tolerance=0.01, layers=keep), trials, costs).network.orders[0] == 16
    pinned = {1: LayerSettings(order=7)}
    assert reach(Goal(max_cost=("states", 12.0), layers=pinned), trials, costs).network.orders == (5, 7)
    floor = {0: LayerSettings(minimum_order=9)}
    orders = reach(Goal(tolerance=0.5, layers=floor), trials, costs).network.orders
    assert orders[0] == 9 > orders[1]
    lower = Goal(order=6, minimum_order=6, layers={1: LayerSettings(order=3, minimum_order=2)})
    assert reach(lower, floored(6), costs).network.orders == (6, 3)
    with pytest.raises(InputError, match=r"names layer 5"):
        reach(Goal(order=4, layers={5: LayerSettings(order=2)}), trials, costs)


def test_a_loss_limit_of_nothing_at_worst_keeps_the_model(trials):
    """With max_loss = 0 only cuts that cost nothing at all stand; the model itself is always within."""
    found = reach(Goal(max_loss=0.0), trials, costs)
    assert found.found.loss <= trials.start.found.loss


def test_real_poles_leave_the_model_itself_within_a_loss_limit():
    """Real poles have as many σ = 0: shared by σ alone, all of the states would mean half of the modes."""
    bundle = finished.bundle()
    evidence = Evidence.gather(bundle, finished.recipe())
    network = evidence.network(bundle)
    system = network.layers[1].system()
    real = replace(system, lam=abs(system.lam) + 0j, B=system.B.real + 0j, C=system.C.real + 0j)
    network.layers[1].load_system(real)
    trials = Trials(network, evidence, "task-aware")
    assert reach(Goal(max_loss=0.0), trials, costs).found.loss <= trials.start.found.loss


def test_an_order_that_no_cut_reaches_is_an_error():
    """Statistics of silence: a layer that was seen to do nothing is not cut, and that is said."""
    bundle = finished.bundle()
    evidence = Evidence.gather(bundle, finished.recipe())
    network = evidence.network(bundle)
    network.layers[1].C.data.zero_()
    with pytest.raises(SsmithError, match=r"layer 1 stays at 12 states, not the 4 asked for: .*Nothing was"):
        reach(Goal(order=4), Trials(network, evidence, "exact"), costs)
