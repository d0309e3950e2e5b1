"""Cutting finished models: every goal is met or refused, the bundle tells, the model given stays the same."""

import math
from dataclasses import replace

import numpy as np
import pytest

from ssmith.bundle import Bundle
from ssmith.cost import model_cost
from ssmith.errors import InputError
from ssmith.recipe import LayerSettings
from ssmith.reduce import hinf_error, hinf_norm
from ssmith.train.evidence import Evidence
from ssmith.train.goal import Goal
from ssmith.train.posthoc import Request, reduce_posthoc, reduce_to_orders
from tests.train import finished

TASKS = ("classification", "regression")


def reduced(goal, task="classification", data=True, **request):
    bundle = finished.bundle(task)
    sha = bundle.sha256
    done = reduce_posthoc(bundle, Request(Goal(**goal), **request), finished.recipe(task) if data else None)
    assert bundle.sha256 == sha
    assert Bundle.from_bytes(done.bundle.to_bytes()).sha256 == done.bundle.sha256
    return done


def orders(bundle):
    return tuple(system.order for system in bundle.systems())


def measured(bundle, task="classification"):
    evidence = Evidence.gather(bundle, finished.recipe(task))
    return evidence.measure(evidence.network(bundle))


@pytest.mark.parametrize("data", [True, False])
@pytest.mark.parametrize("task", TASKS)
def test_an_order_with_and_without_data(task, data):
    done = reduced({"order": 4}, task, data)
    assert orders(done.bundle) == (4, 4)
    assert done.facts["criterion"] == ("task-aware" if data else "exact")
    assert done.bundle.meta.provenance["reduced_from"] == finished.bundle(task).sha256
    for row, n in zip(done.cuts, finished.ORDERS, strict=True):
        assert (row["order_before"], row["order_after"], row["accepted"]) == (n, 4, True)
        assert row["goal"] == "order 4"
        assert 0 < row["output_error"] < 1
        assert (row["loss_after"] is not None) == data
        assert (row["error_bound"] is None) == data
    assert list(done.bundle.meta.reduction) == list(done.cuts)


@pytest.mark.parametrize("task", TASKS)
def test_the_figures_are_those_of_the_bundle(task):
    """Loss and metric in the report are what the written model does, and each cut starts where one ended."""
    done = reduced({"order": 3}, task)
    before, after = measured(finished.bundle(task), task), measured(done.bundle, task)
    metric = "accuracy" if task == "classification" else "nrmse"
    assert done.facts["loss"]["before"] == pytest.approx(before.loss, rel=1e-4)
    assert done.facts["loss"]["after"] == pytest.approx(after.loss, rel=1e-4)
    assert done.facts[metric]["after"] == pytest.approx(after.metric, rel=1e-4)
    first, second = done.cuts
    assert second["loss_before"] == first["loss_after"]
    assert second["metric_before"] == first["metric_after"]
    assert second["loss_after"] == pytest.approx(after.loss, rel=1e-4)
    assert 0 <= done.facts[f"test_{metric}"]["after"]


def test_the_golden_vectors_are_the_cut_models():
    done = reduced({"order": 2})
    for ours, full in zip(done.bundle.golden(), finished.bundle().golden(), strict=True):
        np.testing.assert_array_equal(ours.input, full.input)
        assert np.abs(ours.output - full.output).max() > 1e-3


def test_a_tolerance_is_a_share_of_each_spectrum():
    tight, loose = (reduced({"tolerance": share}).bundle for share in (1e-4, 1e-2))
    for narrow, wide, full in zip(orders(loose), orders(tight), finished.ORDERS, strict=True):
        assert narrow < wide <= full
    for row in reduced({"tolerance": 1e-2}).cuts:
        squares = np.square(row["singular_values"])
        assert squares[2 * row["order_after"] :].sum() <= 1e-2 * squares.sum()


def test_a_bound_holds_and_needs_a_criterion_that_has_one():
    done = reduced({"bound": 0.3}, data=False)
    assert sum(orders(done.bundle)) < sum(finished.ORDERS)
    cuts = [row for row in done.cuts if row["accepted"]]
    assert cuts
    for row in cuts:
        layer = int(row["layer"].split(".")[1])
        full, cut = finished.bundle().systems()[layer], done.bundle.systems()[layer]
        assert hinf_error(full, cut) <= row["error_bound"] <= 0.3 * hinf_norm(full) * 1.001
    with pytest.raises(InputError, match=r"--bound needs a criterion.*task-aware has none.*exact"):
        reduced({"bound": 0.3})
    with pytest.raises(InputError, match=r"--bound and --refit"):
        reduced({"bound": 0.3}, data=False, refit=True)


@pytest.mark.parametrize("kind", ["states", "parameters", "macs", "bytes"])
@pytest.mark.parametrize("data", [True, False])
def test_a_budget_is_kept_and_used(kind, data):
    bundle = finished.bundle()
    whole = model_cost(kind, bundle.meta.ops, bundle.tensors)
    limit = round(0.6 * whole)
    done = reduced({"max_cost": (kind, float(limit))}, data=data)
    cost = model_cost(kind, done.bundle.meta.ops, done.bundle.tensors)
    assert 0.9 * limit <= cost <= limit
    assert done.cuts[0]["goal"] == f"max_{kind} {limit}"


def test_a_budget_takes_the_rule_that_measures_better():
    done = reduced({"max_cost": ("states", 10.0)})
    assert len(done.probes) == 2
    assert done.facts["loss"]["after"] == min(probe["loss"] for probe in done.probes)


def test_impossible_budgets_and_roomy_ones():
    with pytest.raises(InputError, match=r"100 bytes is below the (\d+) that stay: 900 .* allow at least \1"):
        reduced({"max_cost": ("bytes", 100.0)})
    done = reduced({"max_cost": ("bytes", 1e6)})
    assert done.bundle is finished.bundle()
    assert done.facts["result"] == "nothing was cut"


@pytest.mark.parametrize("task", TASKS)
def test_a_loss_limit_is_kept_and_every_probe_told(task):
    said = []
    bundle, recipe = finished.bundle(task), finished.recipe(task)
    done = reduce_posthoc(bundle, Request(Goal(max_loss=0.3)), recipe, say=said.append)
    limit = 1.3 * done.facts["loss"]["before"]
    assert done.facts["loss"]["after"] <= limit
    assert len(said) == len(done.probes) > 3
    kept = sum(orders(done.bundle))
    assert kept < sum(finished.ORDERS) / 2
    # Smaller probes of the same search were tried, and each broke the limit.
    smaller = [probe for probe in done.probes if sum(probe["orders"]) < kept]
    assert smaller
    assert all(probe["loss"] > limit for probe in smaller)
    assert list(orders(done.bundle)) in [probe["orders"] for probe in done.probes]


def test_single_layers_can_be_kept():
    done = reduced({"order": 4, "layers": {0: LayerSettings(keep=True)}})
    assert orders(done.bundle) == (16, 4)
    assert [row["layer"] for row in done.cuts] == ["blocks.1.ssm"]
    np.testing.assert_array_equal(done.bundle.systems()[0].lam, finished.bundle().systems()[0].lam)


def test_orders_are_multiples():
    assert orders(reduced({"order": 5, "multiple": 4}).bundle) == (8, 8)
    for r in orders(reduced({"tolerance": 1e-2, "multiple": 4}).bundle):
        assert r % 4 == 0


@pytest.mark.parametrize("criterion", ["empirical", "weighted", "gradient", "modal", "complex"])
@pytest.mark.parametrize("data", [True, False])
def test_every_criterion_runs(criterion, data):
    done = reduced({"order": 4}, data=data, criterion=criterion)
    assert orders(done.bundle) == (4, 4)
    assert {row["criterion"] for row in done.cuts} == {criterion}


def test_refit_lowers_the_error_of_the_first_layer():
    """C is fitted on the training sequences; held-out ones gain from it too where much was cut."""
    plain, fitted = (reduced({"order": 1}, "regression", refit=refit) for refit in (False, True))
    assert fitted.facts["output_error"] < plain.facts["output_error"]
    assert any("C fitted" in note for note in fitted.cuts[0]["notes"])


@pytest.mark.parametrize("distill", [False, True])
def test_fine_tuning_after_the_cut(distill):
    steps = []
    bundle, recipe = finished.bundle("regression"), finished.recipe("regression")
    request = Request(Goal(order=1), fine_tune=60, distill=distill)
    done = reduce_posthoc(bundle, request, recipe, on_progress=lambda progress: steps.append(progress.step))
    losses = done.facts["loss"]
    assert steps == list(range(1, 61))
    assert losses["after"] < losses["cut"]
    assert orders(done.bundle) == (1, 1)
    assert measured(done.bundle, "regression").loss == pytest.approx(losses["after"], rel=1e-4)
    assert "60 steps on waves" in done.bundle.meta.provenance["fine_tuned"]
    assert ("taught" in done.bundle.meta.provenance["fine_tuned"]) == distill
    for row in done.cuts:
        assert row["error_bound"] is None
        assert "after the cut" in row["notes"][-1]


def test_several_orders_in_one_bundle():
    bundle, recipe = finished.bundle(), finished.recipe()
    done = reduce_to_orders(bundle, (2, 16, 6), Request(Goal()), recipe)
    assert done.bundle.orders == (16, 6, 2)
    assert orders(done.bundle) == finished.ORDERS
    assert done.bundle.sha256 != bundle.sha256
    alone = reduce_posthoc(bundle, Request(Goal(order=6)), recipe).bundle
    assert orders(done.bundle.variant(6)) == (6, 6)
    for name, tensor in alone.tensors.items():
        np.testing.assert_array_equal(done.bundle.variant(6).tensors[name], tensor)
    smaller = reduce_to_orders(bundle, (4, 8), Request(Goal()), recipe).bundle
    assert smaller.orders == (8, 4)
    with pytest.raises(InputError, match="each order once"):
        reduce_to_orders(bundle, (4, 4), Request(Goal()), recipe)


@pytest.mark.parametrize(
    ("goal", "data", "request_", "words"),
    [
        ({}, True, {}, "nothing says how far"),
        ({"order": 17}, True, {}, r"order 17: the layers have 16 and 12 states, .* write 16 or less"),
        ({"order": (16, 13)}, True, {}, r"the layers have 16 and 12"),
        ({"order": (4, 4, 4)}, True, {}, "3 orders for 2 layers"),
        ({"max_loss": 0.1}, False, {}, "--max-loss needs sequences with targets; give --data"),
        ({"order": 4}, False, {"fine_tune": 5}, "--fine-tune needs sequences with targets; give --data"),
        ({"order": 4}, True, {"distill": True}, "--distill .* give --fine-tune STEPS"),
        ({"order": 4}, True, {"fine_tune": -1}, "--fine-tune -1"),
    ],
)
def test_requests_that_make_no_sense(goal, data, request_, words):
    with pytest.raises(InputError, match=words):
        reduced(goal, data=data, **request_)


def test_a_full_order_leaves_the_model_alone():
    done = reduced({"order": 16})
    assert done.bundle is finished.bundle()
    assert done.cuts == ()
    assert not math.isnan(done.facts["loss"]["after"])


def test_a_bundle_can_be_cut_again():
    once = reduced({"order": 6}).bundle
    twice = reduce_posthoc(once, Request(Goal(order=3)), finished.recipe()).bundle
    assert orders(twice) == (3, 3)
    assert [row["order_after"] for row in twice.meta.reduction] == [6, 6, 3, 3]
    assert twice.meta.provenance["reduced_from"] == once.sha256


def test_a_bundle_whose_main_model_has_variants_is_cut_by_its_main_model():
    several = reduce_to_orders(finished.bundle(), (8, 4), Request(Goal()), finished.recipe()).bundle
    done = reduce_posthoc(several, Request(Goal(order=2)), finished.recipe())
    assert done.bundle.orders == (2,)
    assert replace(done.bundle, variants=()).sha256 == done.bundle.sha256
