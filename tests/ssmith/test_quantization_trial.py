"""Judgements are the recipe's own loss and metric, and signal to error as defined."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from ssmith.bundle import Bundle
from ssmith.errors import InputError
from ssmith.quantization import HeldOut
from ssmith.quantization_trial import Trial
from ssmith.recipe import Recipe
from ssmith.runtime.reference import run
from ssmith.runtime.simulate import roundings
from ssmith.train.loss import objective
from ssmith.train.splits import SequenceSet
from tests.bundles import random_bundle
from tests.calibrated import calibrated


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return calibrated(random_bundle(np.random.default_rng(0), outputs=3), 300)


@pytest.fixture(scope="module")
def inputs() -> list[np.ndarray]:
    rng = np.random.default_rng(1)
    return [rng.standard_normal((count, 3), np.float32) for count in (60, 60, 60)]


def recipe(task: str, **sections) -> Recipe:
    return Recipe.parse({"name": "mine", "task": task, "data": {"path": "x.csv"}, **sections}, "mine")


def outputs_of(bundle, inputs) -> list[np.ndarray]:
    return [run(bundle.meta.ops, bundle.tensors, u)[0] for u in inputs]


def test_without_a_recipe_the_rise_is_the_relative_error(bundle, inputs):
    trial = Trial(bundle, HeldOut(inputs, "these"))
    assert (trial.exact().snr_db, trial.exact().loss, trial.exact().rise) == (None, 0.0, 0.0)
    halves = trial.judge([0.5 * y for y in outputs_of(bundle, inputs)])
    assert halves.snr_db == pytest.approx(20 * math.log10(2)) and halves.rise == pytest.approx(0.5)
    assert halves.metric is None


@pytest.mark.parametrize(("pooling", "labels"), [("ema", np.array([0, 2, 1])), ("none", None)])
def test_the_loss_of_a_classifier_is_the_one_of_training(bundle, inputs, pooling, labels):
    made = recipe("classification", model={"pooling": pooling})
    rng = np.random.default_rng(2)
    targets = labels if labels is not None else tuple(rng.integers(0, 3, 60) for _ in inputs)
    held_out = HeldOut(inputs, "these", SequenceSet(tuple(inputs), targets), made)
    if pooling == "none":  # metric and loss at every step
        targets = np.stack(targets)
    logits = torch.tensor(np.stack(outputs_of(bundle, inputs)))
    expected = objective("classification", pooling)(logits, torch.tensor(np.asarray(targets)), None)
    found = Trial(bundle, held_out).exact()
    assert found.loss == pytest.approx(float(expected), rel=1e-9) and found.rise == 0.0
    assert 0 <= found.metric <= 1


def test_the_loss_of_a_regression_is_the_one_of_training(bundle, inputs):
    made = recipe("regression", train={"ignore_first": 5})
    rng = np.random.default_rng(3)
    targets = tuple(rng.standard_normal((60, 3), np.float32) * [1, 10, 100] for _ in inputs)
    held_out = HeldOut(inputs, "these", SequenceSet(tuple(inputs), targets), made)
    spread = np.concatenate([t[5:] for t in targets]).std(0)
    expected = objective("regression", "none", scale=torch.tensor(spread), ignore_first=5)(
        torch.tensor(np.stack(outputs_of(bundle, inputs))), torch.tensor(np.stack(targets)), None
    )
    assert Trial(bundle, held_out).exact().loss == pytest.approx(float(expected), rel=1e-6)


def test_rounding_more_costs_more(bundle, inputs):
    trial = Trial(bundle, HeldOut(inputs, "these"))
    found = [trial.rounded(roundings(bundle, "int8", bits)).snr_db for bits in (16, 8)]
    assert found[0] > found[1] > 0


def test_outputs_that_are_not_finite_are_the_worst(bundle, inputs):
    trial = Trial(bundle, HeldOut(inputs, "these"))
    found = trial.judge([np.full((60, 3), np.nan)] * 3)
    assert found.rise == math.inf and found.snr_db == -math.inf


def test_nothing_to_judge_with_is_refused(bundle):
    with pytest.raises(InputError, match="no held-out frames"):
        Trial(bundle, HeldOut([], "none"))
