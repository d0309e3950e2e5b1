"""Trials leave the model alone, are made once, and say what was measured."""

import copy

import numpy as np
import torch

from ssmith.train.batches import relative_change
from ssmith.train.evidence import Evidence
from ssmith.train.trial import Trials
from tests.train import finished


def bench(**options):
    bundle = finished.bundle()
    evidence = Evidence.gather(bundle, finished.recipe())
    return Trials(evidence.network(bundle), evidence, "task-aware", **options)


def test_the_model_stays_as_it_was():
    trials = bench()
    before = copy.deepcopy(trials.network.state_dict())
    random = torch.random.get_rng_state()
    trials.to_orders((4, 3))
    trials.spectra()
    for name, value in trials.network.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert torch.equal(torch.random.get_rng_state(), random)
    assert trials.network.orders == finished.ORDERS


def test_equal_orders_are_cut_once():
    said = []
    trials = bench(say=said.append)
    first = trials.to_orders((4, 3))
    assert trials.to_orders((4, 3)) is first
    assert trials.loss((4, 3)) == first.found.loss
    assert len(said) == len(trials.probes) == 1
    trials.forget()
    again = trials.to_orders((4, 3))
    assert again is not first
    for name, value in again.network.state_dict().items():
        assert torch.equal(value, first.network.state_dict()[name])


def test_the_present_orders_are_the_model_itself():
    trials = bench()
    assert trials.to_orders(finished.ORDERS) is trials.start
    assert trials.probes == []
    assert trials.start.output_error == 0


def test_a_trial_tells_what_its_copy_does():
    trials = bench()
    trial = trials.to_orders((2, 12))
    assert trial.network.orders == (2, 12)
    assert [row["layer"] for row in trial.rows] == ["blocks.0.ssm"]
    assert trial.found == trials.evidence.measure(trial.network)
    answers = [trials.evidence.answers(network) for network in (trials.network, trial.network)]
    assert trial.output_error == relative_change(*answers)
    assert trials.probes == [
        {
            "orders": [2, 12],
            "output_error": trial.output_error,
            "loss": trial.found.loss,
            "accuracy": trial.found.metric,
        }
    ]


def test_spectra_are_of_the_uncut_model():
    """The first layer is cut with the same statistics, so its record shows the same spectrum."""
    trials = bench()
    spectra = trials.spectra()
    assert [len(sigma) for sigma in spectra] == [32, 24]
    [row] = trials.to_orders((2, 12)).rows
    np.testing.assert_allclose(spectra[0], row["singular_values"], rtol=1e-6, atol=1e-9 * spectra[0][0])
