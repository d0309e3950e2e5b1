import numpy as np
import pytest
import torch

from ssmith.train import evaluate as module
from ssmith.train.evaluate import evaluate, in_batches, loss_function, outputs_function, score
from ssmith.train.run import fresh_network
from tests.train.tiny_training import data, recipe

CPU = torch.device("cpu")


def setup(task):
    pooling = {"classification": "mean", "regression": "none"}[task]
    settings = recipe(task=task, model={"pooling": pooling, "norm": "layer"}, train={"ignore_first": 3})
    splits = data(task)
    return settings, splits, fresh_network(settings, splits, 0).eval()


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_only_the_outputs_that_the_loss_looks_at_have_a_gradient(task):
    """outputs_function is zero exactly where d loss / d output is."""
    settings, splits, network = setup(task)
    batch = next(in_batches(splits.train, CPU, 5))
    kept = []
    hook = network.register_forward_hook(lambda m, args, y: kept.append(y) or y.retain_grad())
    loss_function(settings)(network, batch).backward()
    hook.remove()
    touched = kept[0].grad.abs().sum(-1) > 0
    outputs = outputs_function(settings)(network, batch)
    assert torch.equal(outputs.abs().sum(-1) > 0, touched)
    where = outputs != 0
    assert torch.allclose(outputs[where], (kept[0] / network.output_std)[where])


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_the_size_of_evaluation_batches_does_not_matter(task, monkeypatch):
    settings, splits, network = setup(task)
    network.train()
    whole = evaluate(settings, network, splits.validation, CPU)
    assert network.training
    if task == "classification":  # a mean over sequences; a regression's is one over a batch's steps
        monkeypatch.setattr(module, "EVALUATION_BATCH", 4)
        assert evaluate(settings, network, splits.validation, CPU).loss == pytest.approx(whole.loss, rel=1e-5)
    monkeypatch.setattr(module, "EVALUATION_BATCH", 5)
    assert evaluate(settings, network, splits.validation, CPU).metric == pytest.approx(whole.metric, rel=1e-5)


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_outputs_from_elsewhere_have_the_score_of_the_network(task):
    settings, splits, network = setup(task)
    outputs = [network(torch.tensor(u)[None])[0].detach().numpy() for u in splits.validation.inputs]
    expected = evaluate(settings, network, splits.validation, CPU).metric
    assert score(settings, outputs, splits.validation) == pytest.approx(expected, rel=1e-5)
    wrong = score(settings, [-y for y in outputs], splits.validation)
    assert wrong != pytest.approx(expected, rel=1e-2)
    if task == "regression":
        early = score(settings, [y[:9] for y in outputs[:2]], splits.validation)
        assert np.isfinite(early) and early != expected


def test_batches_hold_the_set_in_order():
    _, splits, _ = setup("regression")
    found = [
        (x[i, : lengths[i]], y[i, : lengths[i]])
        for x, y, lengths in in_batches(splits.train, CPU)
        for i in range(len(x))
    ]
    assert len(found) == len(splits.train)
    for (x, y), u, target in zip(found, splits.train.inputs, splits.train.targets, strict=True):
        assert np.array_equal(x, u) and np.array_equal(y, target)
