"""How far the cuts of a training go, and when they happen."""

import json
import math

import pytest
import torch

from ssmith.errors import InputError
from ssmith.recipe import LayerSettings
from ssmith.train.goal import Goal, module_cost
from ssmith.train.layers import LRU
from ssmith.train.truncate import OrderNotReachedError, Truncator
from tests.train.cutting import STEPS, batches, loss_fn, network, run, train, trained, truncator


def accepted(reports):
    return [row for report in reports for row in report.layers if row.accepted]


def orders_by_step(schedule, model, **settings):
    optimizer = trained(model)
    reports = run(truncator(model, optimizer, schedule=schedule, **settings), model, optimizer)
    return {report.step: [row.order_after for row in report.layers] for report in reports}


def test_once_cuts_at_the_windows_end():
    assert orders_by_step("once", network(), order=4) == {24: [4]}


def test_gradual_cuts_often_and_less_and_less():
    """N(t) = r + (N - r)(1 - t)³ at every interval of the window, no gate."""
    found = orders_by_step("gradual", network(order=32), order=4, gate=0.9)
    assert set(found) <= set(range(12, 25)) and len(found) > 6
    orders = [orders[0] for orders in found.values()]
    assert orders == sorted(orders, reverse=True) and orders[-1] == 4
    attempts = 21  # 30 % to 60 % of the training in steps of 1.5 %, both ends
    for step, order in zip(found, orders, strict=True):
        k = sum(round(40 * (0.3 + 0.3 * j / 20)) <= step for j in range(21))
        assert order <= max(4, round(4 + 28 * (1 - k / attempts) ** 3))


def test_plateau_cuts_once_when_the_spectrum_has_settled_and_tells_what_it_saw():
    """Nothing trains, so the second look finds no change."""
    model = network(blocks=2)
    reports = run(truncator(model, trained(model), order=4, schedule="plateau"))
    first, second = reports
    assert first.step == 12 and not first.layers and all(math.isnan(s.change) for s in first.spectra)
    assert second.step == 13 and [row.order_after for row in second.layers] == [4, 4]
    assert [s.change for s in second.spectra] == [0.0, 0.0]
    assert [s.layer for s in second.spectra] == [row.layer for row in second.layers]
    assert list(second.spectra[0].singular_values) == pytest.approx(second.layers[0].singular_values, rel=0.5)
    assert "measured, for the first time" in str(first) and "0.00% of its spectrum" in str(second)
    row = first.spectra_as_json()[0]
    assert row["change"] is None and row["step"] == 12 and len(row["singular_values"]) == 32


def test_plateau_cuts_at_the_windows_end_at_the_latest():
    """Somebody writes other numbers into B at every step, so the spectrum never rests."""
    model = network()
    generator = torch.Generator().manual_seed(0)
    cut = truncator(model, trained(model), order=4, schedule="plateau")
    reports = []
    for step in range(1, STEPS + 1):
        B = model.blocks[0].ssm.B
        with torch.no_grad():
            B.copy_(torch.randn(B.shape, generator=generator))
        reports += [report] if (report := cut.step(step)) is not None else []
    assert [report.step for report in reports if report.layers] == [24] and model.orders == (4,)
    assert [report.step for report in reports] == list(range(12, 25))
    assert all(s.change > 0.01 for report in reports[1:] for s in report.spectra)


@pytest.mark.parametrize("schedule", ["window", "gradual", "plateau"])
@pytest.mark.parametrize("stop", [11, 13, 18])
def test_a_resumed_truncator_goes_on_alike(schedule, stop):
    outcomes = []
    for interrupted in (False, True):
        model = network()
        optimizer = trained(model)
        settings = {"tolerance": 1e-2, "gate": 0.0, "schedule": schedule}
        cut = truncator(model, optimizer, **settings)
        reports = []
        for step in range(1, STEPS + 1):
            train(model, optimizer, 1)
            if interrupted and step == stop:
                state = json.loads(json.dumps(cut.state_dict()))
                cut = truncator(model, optimizer, **settings)
                cut.load_state_dict(state)
            reports.append(str(cut.step(step)))
        outcomes.append((model.state_dict(), cut.state_dict(), reports))
    (weights, state, reports), (others, other_state, other_reports) = outcomes
    assert state == other_state and reports == other_reports and state["finished"]
    assert all(torch.equal(v, others[k]) for k, v in weights.items())


@pytest.mark.parametrize("schedule", ["window", "gradual", "once"])
@pytest.mark.parametrize("kind,limit", [("states", 13), ("bytes", 1600), ("parameters", 400), ("macs", 420)])
def test_a_budget_counts_the_whole_model_and_is_kept(schedule, kind, limit):
    model = network(blocks=2)
    optimizer = trained(model)
    start = module_cost(kind, model)
    assert start.total(model.orders) > limit
    run(truncator(model, optimizer, goal=Goal(max_cost=(kind, limit)), schedule=schedule))
    assert module_cost(kind, model).total(model.orders) <= limit
    assert start.total([n + 1 for n in model.orders]) > limit  # no more was cut than had to be


@pytest.mark.parametrize("norm", ["layer", "batch"])
def test_two_ways_to_share_a_budget_are_tried_and_nothing_remains_of_it(norm):
    """Undone trials leave weights, statistics of norms and the optimiser as they were."""
    model = network(blocks=2, norm=norm)
    optimizer = trained(model)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    objects = [id(p) for p in model.parameters()]
    lost = []
    never = lambda m, b: loss_fn(m, b) + (m.orders != (16, 16)) * 1e6  # noqa: E731

    def watched(m, batch):
        lost.append(m.orders)
        return never(m, batch)

    goal = Goal(max_cost=("states", 9), split="best")
    cut = truncator(model, optimizer, goal=goal, cuts=1, loss_fn=watched, allow_larger=True)
    (report,) = run(cut)
    assert not report.accepted
    assert len({orders for orders in lost if 16 not in orders}) == 2  # the equal and the marginal one
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert [id(p) for p in model.parameters()] == objects


def test_a_rise_of_the_loss_is_one_budget_over_all_cuts():
    model = network(blocks=2)
    optimizer = trained(model, 20)
    cut = truncator(model, optimizer, goal=Goal(max_loss=0.2), gate=0.0)
    reports = run(cut)
    assert sum(model.orders) < 24
    spent = dict.fromkeys(cut.spent, 0.0)
    for report in reports:  # every rise counts as a share of the loss before the first layer was cut
        for row in accepted([report]):
            spent[row.layer] += max(0, row.loss_after - row.loss_before) / report.layers[0].loss_before
    assert 0 < sum(spent.values()) <= 0.2
    assert cut.spent == pytest.approx(spent)


def test_the_order_found_for_a_loss_is_the_smallest_that_keeps_it():
    model = network()
    optimizer = trained(model, 20)
    by_order = lambda m, b: 1.0 + 0.01 * (16 - m.orders[0]) + 0 * loss_fn(m, b)  # noqa: E731
    run(truncator(model, optimizer, goal=Goal(max_loss=0.055), cuts=1, loss_fn=by_order, gate=0.0))
    assert model.orders == (11,)


@pytest.mark.parametrize("criterion", ["exact", "complex", "modal"])
def test_a_bound_is_kept_by_all_cuts_together_and_measured_errors_stay_below(criterion):
    model = network(order=32)
    optimizer = trained(model)
    goal = Goal(bound=0.3)
    cut = truncator(model, optimizer, goal=goal, criterion=criterion, gate=0.0, cuts=2)
    rows = accepted(run(cut))
    assert rows and model.orders[0] < 32
    assert 0 < cut.spent["blocks.0.ssm"] <= 0.3
    assert sum(row.hinf_error for row in rows) <= 0.3 + 1e-4


def test_layers_with_settings_of_their_own():
    own = {0: LayerSettings(keep=True), 1: LayerSettings(order=6), 2: LayerSettings(minimum_order=5)}
    model = network(blocks=4)
    run(truncator(model, trained(model), goal=Goal(order=3, layers=own)))
    assert model.orders == (16, 6, 5, 3)
    model = network(blocks=2)
    run(truncator(model, trained(model), goal=Goal(layers={1: LayerSettings(order=7)})))
    assert model.orders == (16, 7)
    model = network(blocks=2)
    run(truncator(model, trained(model), goal=Goal(max_cost=("states", 14), layers={1: own[1]})))
    assert model.orders == (8, 6)


def test_a_budget_that_is_missed_is_an_error_that_tells_why():
    model = network(blocks=2)
    costly = lambda m, b: loss_fn(m, b) + (m.orders != (16, 16))  # noqa: E731
    cut = truncator(
        model, trained(model), goal=Goal(max_cost=("states", 9)), loss_fn=costly, max_loss_increase=0.0
    )
    with pytest.raises(OrderNotReachedError, match=r"32 states after the last cut, not the 9.*rose"):
        run(cut)


@pytest.mark.parametrize("schedule", ["window", "plateau"])
def test_a_budget_below_the_fixed_part_is_refused_at_the_first_step(schedule):
    model = network()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    fixed = int(module_cost("bytes", model).fixed)
    cut = truncator(model, trained(model, 0), goal=Goal(max_cost=("bytes", 64)), schedule=schedule)
    with pytest.raises(InputError, match=f"64 bytes is below .*{fixed} that no order changes"):
        cut.step(1)
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


def test_an_unfrozen_kind_of_model_has_a_budget_of_states():
    class Theirs(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = LRU(1, 9), LRU(1, 9)

        def forward(self, x):
            return self.b(torch.sin(self.a(x)))

    model = Theirs()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    settings = {"total_steps": STEPS, "loss_fn": loss_fn, "max_loss_increase": 100.0}
    run(Truncator(model, optimizer, batches(), goal=Goal(max_cost=("states", 7)), **settings))
    assert 6 <= model.a.order + model.b.order <= 7
    with pytest.raises(InputError, match="a budget of bytes counts what the frozen model holds"):
        Truncator(model, optimizer, batches(), goal=Goal(max_cost=("bytes", 4000)), **settings)


@pytest.mark.parametrize(
    "changes,message",
    [
        ({"goal": Goal()}, "nothing says how far"),
        ({"goal": Goal(order=4), "order": 4}, "goal is given beside"),
        ({"goal": Goal(order=4), "multiple": 2}, "goal is given beside"),
        ({"goal": Goal(bound=0.1)}, "'task-aware' has none; .*exact, modal, complex"),
        ({"goal": Goal(bound=0.1), "criterion": "exact", "refit": True}, "a refit of C voids it"),
        ({"goal": Goal(max_loss=0.1), "loss_fn": None}, "needs a loss"),
        ({"goal": Goal(order=4, layers={3: LayerSettings(order=2)})}, "names layer 3"),
        ({"order": 4, "schedule": "sometimes"}, "window, once, gradual, plateau"),
    ],
)
def test_refusals(changes, message):
    model = network()
    with pytest.raises(InputError, match=message):
        truncator(model, trained(model, 0), **changes)
