"""The curve over the order: its ends are the model itself and order 1, and a killed sweep goes on."""

import json

import numpy as np
import pytest

from ssmith.cost import model_cost
from ssmith.errors import InputError
from ssmith.train.evidence import Evidence
from ssmith.train.goal import Goal
from ssmith.train.posthoc import Request, reduce_posthoc
from ssmith.train.sweep import sweep
from tests.train import finished

TASKS = ("classification", "regression")


@pytest.fixture(scope="module", params=TASKS)
def curve(request, tmp_path_factory):
    path = tmp_path_factory.mktemp("sweep") / "sweep.json"
    task = request.param
    return task, path, sweep(finished.bundle(task), path, Request(Goal()), finished.recipe(task))


def test_the_upper_end_is_the_model_itself(curve):
    task, _, document = curve
    bundle, full = finished.bundle(task), document["points"][0]
    evidence = Evidence.gather(bundle, finished.recipe(task))
    found = evidence.measure(evidence.network(bundle))
    assert (full["order"], full["orders"]) == (16, [16, 12])
    assert (full["loss"], full["metric"]) == (found.loss, found.metric)
    assert full["output_error"] == full["predicted_tail"] == full["predicted_change"] == 0
    assert full["weight_bytes"] == model_cost("bytes", bundle.meta.ops, bundle.tensors)


def test_the_lower_end_is_order_one(curve):
    task, _, document = curve
    last = document["points"][-1]
    cut = reduce_posthoc(finished.bundle(task), Request(Goal(order=1)), finished.recipe(task))
    assert (last["order"], last["orders"], last["reached"]) == (1, [1, 1], True)
    assert last["loss"] == cut.facts["loss"]["after"]
    assert last["output_error"] == cut.facts["output_error"]
    assert last["weight_bytes"] == model_cost("bytes", cut.bundle.meta.ops, cut.bundle.tensors)
    assert last["states"] == 2


def test_between_the_ends(curve):
    _, path, document = curve
    assert document["complete"]
    assert json.loads(path.read_text()) == document
    columns = {name: [point[name] for point in document["points"]] for name in document["points"][0]}
    assert columns["order"] == [16, 11, 8, 6, 4, 3, 2, 1]
    assert (np.diff(columns["weight_bytes"]) < 0).all()
    assert (np.diff(columns["predicted_tail"]) > 0).all()
    assert all(0 <= change <= 1 for change in columns["predicted_change"])
    assert columns["output_error"][1] < 0.1 * columns["output_error"][-1]


def test_marks_say_what_they_mean(curve):
    task, _, document = curve
    marks = {mark["name"]: mark for mark in document["marks"]}
    points = {point["order"]: point for point in document["points"]}
    close = points[marks["close"]["order"]]["metric"]
    full = document["points"][0]["metric"]
    assert close >= full - 0.0101 if task == "classification" else close <= 1.0101 * full
    assert marks["tolerance 0.01"]["order"] <= marks["tolerance 0.001"]["order"]
    assert "drops 0.01 of Σσ²" in marks["tolerance 0.01"]["meaning"]
    assert 1 < marks["elbow"]["order"] < 16


def test_a_finished_sweep_is_not_made_again(curve):
    task, path, document = curve
    before = path.read_bytes()
    again = sweep(finished.bundle(task), path, Request(Goal()), finished.recipe(task))
    assert again == document
    assert path.read_bytes() == before


def test_a_killed_sweep_goes_on_with_the_same_points(tmp_path):
    """An interrupt after three points; the next call makes the other five and the same document."""

    def stop(progress):
        if progress.step == 3:
            raise KeyboardInterrupt

    whole = sweep(finished.bundle(), tmp_path / "whole.json", Request(Goal()), finished.recipe())
    path = tmp_path / "killed.json"
    with pytest.raises(KeyboardInterrupt):
        sweep(finished.bundle(), path, Request(Goal()), finished.recipe(), on_progress=stop)
    left = json.loads(path.read_text())
    assert [point["order"] for point in left["points"]] == [16, 11, 8]
    assert not left["complete"]
    left["points"][1]["loss"] = 77.0  # what was measured is not measured again
    path.write_text(json.dumps(left))
    document = sweep(finished.bundle(), path, Request(Goal()), finished.recipe())
    assert document["points"][1]["loss"] == 77.0
    document["points"][1]["loss"] = whole["points"][1]["loss"]
    assert document == whole


def test_other_settings_start_anew(curve, tmp_path):
    task, path, document = curve
    copy = tmp_path / "sweep.json"
    copy.write_bytes(path.read_bytes())
    request = Request(Goal(), criterion="empirical")
    other = sweep(finished.bundle(task), copy, request, finished.recipe(task), orders=[2])
    assert other["key"] != document["key"]
    assert [point["order"] for point in other["points"]] == [16, 2]


def test_chosen_orders_and_multiples(tmp_path):
    request = Request(Goal(multiple=4))
    document = sweep(finished.bundle(), tmp_path / "a.json", request, finished.recipe(), orders=[9, 1])
    assert [point["orders"] for point in document["points"]] == [[16, 12], [12, 12], [4, 4]]
    with pytest.raises(InputError, match="orders from 1 to 16"):
        sweep(finished.bundle(), tmp_path / "b.json", Request(Goal()), finished.recipe(), orders=[17])


def test_without_data_only_outputs_are_compared(tmp_path):
    document = sweep(finished.bundle(), tmp_path / "sweep.json", Request(Goal()))
    assert document["metric"] is None
    assert document["criterion"] == "exact"
    for point in document["points"]:
        assert point["loss"] is None
        assert point["metric"] is None
    errors = [point["output_error"] for point in document["points"]]
    assert errors[0] == 0 < errors[-1]


@pytest.mark.parametrize("text", ["precious", "{}", '{"key": 1, "points": 3}'])
def test_a_strange_file_is_left_alone(tmp_path, text):
    path = tmp_path / "letter.json"
    path.write_text(text)
    with pytest.raises(InputError, match="holds no sweep"):
        sweep(finished.bundle(), path, Request(Goal()), finished.recipe())
    assert path.read_text() == text
