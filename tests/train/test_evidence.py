"""The data of a finished model: the split it was trained with, its loss and metric, units and all."""

import numpy as np
import pytest
import torch

from ssmith.bundle import Bundle
from ssmith.errors import InputError
from ssmith.train.data import load
from ssmith.train.evidence import Evidence
from ssmith.train.thaw import thaw
from tests.bundles import random_bundle
from tests.train import finished

TASKS = ("classification", "regression")


@pytest.mark.parametrize("task", TASKS)
def test_the_network_is_the_bundle_in_normalised_units(task):
    bundle = finished.bundle(task)
    evidence = Evidence.gather(bundle, finished.recipe(task))
    network, folded = evidence.network(bundle), thaw(bundle).eval()
    np.testing.assert_array_equal(network.input_mean, evidence.splits.input_mean)
    np.testing.assert_array_equal(network.output_std, evidence.splits.output_std)
    for x, _, lengths in evidence.held_out:
        with torch.no_grad():
            ours, theirs = network(x, lengths), folded(x, lengths)
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4 * float(theirs.abs().max()))


@pytest.mark.parametrize("task", TASKS)
def test_it_measures_what_training_reported(task):
    evidence = Evidence.gather(finished.bundle(task), finished.recipe(task))
    found = evidence.measure(evidence.network(finished.bundle(task)))
    if task == "classification":
        assert evidence.metric == "accuracy"
        assert found.metric > 0.8
    else:
        assert evidence.metric == "nrmse"
        assert found.metric < 0.5
        # The loss is the squared error over the targets' variance, so near the squared nrmse.
        assert found.loss == pytest.approx(found.metric**2, rel=0.2)


def test_the_bundle_says_which_sequences_were_held_out():
    """A model trained with seed 3 has learned from sequences that seed 0 would hold out."""
    bundle = finished.bundle(seed=3)
    evidence = Evidence.gather(bundle, finished.recipe())
    assert evidence.recipe.seed == 3
    trained = load(finished.recipe().model_copy(update={"seed": 3})).validation.inputs
    for ours, theirs in zip(evidence.splits.validation.inputs, trained, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    stranger = finished.recipe().model_copy(update={"name": "others"})
    assert Evidence.gather(bundle, stranger).recipe.seed == 0


@pytest.mark.parametrize("seed", ["²", "-1", "", "9" * 30, str(2**32)])
def test_a_recorded_seed_that_is_none_is_refused(seed):
    bundle = finished.bundle()
    damaged = bundle.meta.model_copy(update={"provenance": {**bundle.meta.provenance, "seed": seed}})
    with pytest.raises(InputError, match="is no seed"):
        Evidence.gather(Bundle(damaged, bundle.tensors), finished.recipe())


def test_without_data_the_golden_inputs_are_all_there_is():
    bundle = finished.bundle()
    evidence = Evidence.gather(bundle, None)
    network = evidence.network(bundle)
    assert evidence.metric is None
    assert np.isnan(evidence.measure(network).loss)
    for answer, case in zip(evidence.answers(network), bundle.golden(), strict=True):
        np.testing.assert_allclose(answer[0], case.output, rtol=1e-4, atol=1e-4)


def test_answers_leave_no_trace():
    evidence = Evidence.gather(finished.bundle(), finished.recipe())
    network = evidence.network(finished.bundle())
    network.train()
    state = torch.random.get_rng_state()
    evidence.answers(network)
    assert network.training
    assert (torch.random.get_rng_state() == state).all()


def test_strange_data_is_refused():
    rng = np.random.default_rng(0)
    wrong_width = random_bundle(rng, inputs=2, outputs=3)
    with pytest.raises(InputError, match="2 inputs and 3 outputs, the data 1 and 3"):
        Evidence.gather(wrong_width, finished.recipe())
    wrong_task = random_bundle(rng, inputs=1, outputs=3)
    with pytest.raises(InputError, match="does regression, the data are for classification"):
        Evidence.gather(wrong_task, finished.recipe())
    bare = random_bundle(rng, golden_frames=())
    assert isinstance(bare, Bundle)
    with pytest.raises(InputError, match=r"no golden inputs.*--data"):
        Evidence.gather(bare, None)
