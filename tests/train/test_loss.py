import math

import numpy as np
import pytest
import torch
from torch.nn import functional

from ssmith.errors import InputError
from ssmith.train.loss import Accuracy, Nrmse, classification_loss, metric, objective, regression_loss


def randn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


LENGTHS = torch.tensor([7, 1, 4])
LOGITS, LABELS = randn(3, 7, 5), torch.tensor([0, 4, 2])


def test_a_pooled_classifier_answers_at_the_last_valid_step():
    rows = torch.stack([LOGITS[0, 6], LOGITS[1, 0], LOGITS[2, 3]])
    expected = functional.cross_entropy(rows, LABELS)
    torch.testing.assert_close(objective("classification", "ema")(LOGITS, LABELS, LENGTHS), expected)
    unpadded = functional.cross_entropy(LOGITS[:, -1], LABELS)
    torch.testing.assert_close(classification_loss(LOGITS, LABELS), unpadded)


def test_without_pooling_every_valid_step_answers():
    rows = torch.cat([LOGITS[i, :n] for i, n in enumerate(LENGTHS)])
    expected = functional.cross_entropy(rows, LABELS.repeat_interleave(LENGTHS))
    loss = objective("classification", "none")
    torch.testing.assert_close(loss(LOGITS, LABELS, LENGTHS), expected)
    framewise = LABELS[:, None].repeat(1, 7)
    framewise[1, 1:] = -7  # no class: padding may hold anything
    torch.testing.assert_close(loss(LOGITS, framewise, LENGTHS), expected)


def test_regression_counts_valid_steps_after_the_first_ones_in_output_units():
    y, t, scale = randn(3, 7, 2, seed=1), randn(3, 7, 2, seed=2), torch.tensor([2.0, 0.5])
    t[1, 1:] = float("nan")
    y.requires_grad_()
    loss = objective("regression", "none", scale=scale, ignore_first=2)(y, t, LENGTHS)
    errors = torch.cat([((y - t) / scale)[0, 2:7], ((y - t) / scale)[2, 2:4]])
    torch.testing.assert_close(loss, errors.square().mean())
    loss.backward()
    assert torch.isfinite(y.grad).all()
    assert (y.grad[:, :2] == 0).all() and (y.grad[1] == 0).all() and (y.grad[2, 4:] == 0).all()
    plain = regression_loss(y[:1], t[:1])
    torch.testing.assert_close(plain, (y[0] - t[0]).square().mean())


def test_nothing_left_to_count_is_refused():
    y = randn(2, 5, 1)
    for lengths in (None, torch.tensor([5, 2])):
        with pytest.raises(InputError, match="ignore_first = 5"):
            regression_loss(y, y, lengths, ignore_first=5)


@pytest.mark.parametrize("every_step", [False, True])
def test_accuracy_is_the_share_of_right_answers_however_batches_are_cut(every_step):
    whole, parts = Accuracy(every_step=every_step), Accuracy(every_step=every_step)
    whole.add(LOGITS, LABELS, LENGTHS)
    for i in range(3):
        parts.add(LOGITS[i : i + 1], LABELS[i : i + 1], LENGTHS[i : i + 1])
    best = LOGITS.argmax(-1)
    steps = [range(n) if every_step else [int(n) - 1] for n in LENGTHS]
    right = [int(best[i, k] == LABELS[i]) for i in range(3) for k in steps[i]]
    assert whole.value() == parts.value() == sum(right) / len(right)


@pytest.mark.parametrize("offset", [0.0, 1e4])
def test_nrmse_is_rmse_over_the_targets_deviation_however_batches_are_cut(offset):
    y, t = randn(3, 7, 2, seed=3).double() + offset, randn(3, 7, 2, seed=4).double() + offset
    whole, parts = metric("regression", "none", ignore_first=1), Nrmse(ignore_first=1)
    whole.add(y, t, torch.tensor([7, 2, 4]))
    for i, n in enumerate((7, 2, 4)):
        parts.add(y[i : i + 1], t[i : i + 1], torch.tensor([n]))
    frames = [torch.cat([a[0, 1:7], a[1, 1:2], a[2, 1:4]]).numpy() for a in (y, t)]
    rmse = np.sqrt(((frames[0] - frames[1]) ** 2).mean(0))
    expected = (rmse / frames[1].std(0)).mean()
    assert whole.value() == pytest.approx(expected, rel=1e-6)
    assert parts.value() == pytest.approx(expected, rel=1e-6)


def test_metrics_at_their_limits():
    t = torch.ones(1, 4, 1)
    met, missed = Nrmse(), Nrmse()
    met.add(t, t)
    missed.add(t + 1, t)
    assert (met.value(), missed.value()) == (0.0, math.inf)
    assert math.isnan(Nrmse().value()) and math.isnan(Accuracy().value())
    perfect = metric("classification", "mean")
    perfect.add(functional.one_hot(LABELS, 5)[:, None].float(), LABELS)
    assert perfect.value() == 1.0
    assert perfect.higher_is_better and not met.higher_is_better
