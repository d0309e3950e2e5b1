"""Fine-tuning mends what a cut broke, never ends worse than it began, repeats itself, may have a teacher."""

import copy

import pytest
import torch

from ssmith.errors import InputError, SsmithError
from ssmith.train.distill import Teacher
from ssmith.train.evidence import Evidence
from ssmith.train.finetune import fine_tune
from tests.train import finished


@pytest.fixture(scope="module", params=["classification", "regression"])
def workshop(request):
    """Evidence, the finished network, and one damaged by noise on its weights."""
    bundle = finished.bundle(request.param)
    evidence = Evidence.gather(bundle, finished.recipe(request.param))
    network = evidence.network(bundle)
    damaged = copy.deepcopy(network)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for layer in damaged.layers:
            layer.C += 0.3 * torch.randn(layer.C.shape, generator=generator)
    return evidence, network, damaged


def tuned(workshop, steps=60, **options):
    evidence, _, damaged = workshop
    network = copy.deepcopy(damaged)
    return network, fine_tune(network, evidence.recipe, evidence.splits, steps, **options)


def test_it_mends_and_reports_what_it_kept(workshop):
    evidence, _, damaged = workshop
    network, result = tuned(workshop)
    assert result.before == evidence.measure(damaged)
    assert result.after == evidence.measure(network)
    assert result.after.loss < 0.8 * result.before.loss
    assert 0 < result.best_step <= 60
    assert not network.training


def test_the_teacher_teaches(workshop):
    """With the teacher's share at 1 the targets do not count, and the outputs still come back to its own."""
    evidence, network, damaged = workshop
    teacher = Teacher(copy.deepcopy(network), weight=1.0)
    before = {name: value.clone() for name, value in teacher.network.state_dict().items()}
    taught, _ = tuned(workshop, teacher=teacher)
    goal = evidence.answers(network)

    def distance(student):
        pairs = zip(evidence.answers(student), goal, strict=True)
        return sum(float((ours - theirs).square().sum()) for ours, theirs in pairs)

    assert distance(taught) < 0.7 * distance(damaged)
    for name, value in teacher.network.state_dict().items():
        assert torch.equal(value, before[name])


def test_equal_arguments_give_equal_bits(workshop):
    first, second = (tuned(workshop, steps=25)[0].state_dict() for _ in range(2))
    for name, value in first.items():
        assert torch.equal(value, second[name]), name


def test_it_never_ends_worse_than_it_began(workshop):
    """A rate far too high ruins every step; the start is kept then."""
    evidence, network, _ = workshop
    settings = evidence.recipe.train.model_copy(update={"learning_rate": 3.0, "warmup": 0.0})
    wild = evidence.recipe.model_copy(update={"train": settings})
    student = copy.deepcopy(network)
    result = fine_tune(student, wild, evidence.splits, 20)
    assert result.best_step == 0
    assert result.after == result.before == evidence.measure(network)
    for name, value in network.state_dict().items():
        assert torch.equal(student.state_dict()[name], value)


def test_progress_counts_every_step(workshop):
    seen = []
    tuned(workshop, steps=5, on_progress=seen.append)
    assert [progress.step for progress in seen] == [1, 2, 3, 4, 5]
    assert seen[-1].steps == 5
    assert seen[-1].train_loss is not None


def test_what_cannot_be_done_is_said(workshop):
    with pytest.raises(InputError, match="0 steps"):
        tuned(workshop, steps=0)
    evidence, network, _ = workshop
    broken = copy.deepcopy(network)
    with torch.no_grad():
        broken.head.weight.fill_(float("inf"))
    with pytest.raises(SsmithError, match=r"stopped being finite at step 1.*Nothing was written"):
        fine_tune(broken, evidence.recipe, evidence.splits, 3)
