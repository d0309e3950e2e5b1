import math

import numpy as np
import pytest
import torch

from ssmith.errors import InputError
from ssmith.train.checkpoint import Checkpoint
from ssmith.train.distill import Teacher, distillation_loss
from ssmith.train.evaluate import on_device, relevant
from ssmith.train.loop import load_network, train
from ssmith.train.run import fresh_network
from tests.train.tiny_training import data, recipe

CPU = torch.device("cpu")


def pair(task="classification", **sections):
    splits = data(task)
    one = recipe(task=task, model={"dropout": 0.0, **sections}, reduce={"order": None})
    return one, splits, fresh_network(one, splits, 1).eval(), fresh_network(one, splits, 2).eval()


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_nothing_is_lost_against_oneself_and_something_against_another(task):
    one, splits, student, other = pair(task, **({} if task == "classification" else {"pooling": "none"}))
    x, _, lengths = on_device(splits.train, range(9), CPU)
    outputs, _ = relevant(one, student, x, lengths)
    same = distillation_loss(one, Teacher(student), student, x, lengths, outputs)
    different = distillation_loss(one, Teacher(other), student, x, lengths, outputs)
    assert abs(float(same.detach())) < 1e-6 < float(different.detach())


def test_the_divergence_is_the_one_in_the_formula():
    one, splits, student, teacher = pair()
    x, _, lengths = on_device(splits.train, range(9), CPU)
    z, _ = relevant(one, student, x, lengths)
    found = distillation_loss(one, Teacher(teacher, temperature=3.0), student, x, lengths, z)
    zt, _ = relevant(one, teacher, x, lengths)

    def soft(a):
        e = np.exp(a.detach().double().numpy()[:, 0] / 3.0)
        return e / e.sum(1, keepdims=True)

    p, q = soft(zt), soft(z)
    assert math.isclose(float(found.detach()), 9 * (p * np.log(p / q)).sum(1).mean(), rel_tol=1e-4)


def test_padding_teaches_nothing():
    one, splits, student, teacher = pair(pooling="none")
    x, _, lengths = on_device(splits.train, range(9), CPU)
    outputs, _ = relevant(one, student, x, lengths)
    longer = torch.cat([x, torch.full_like(x[:, :5], 1e3)], 1)
    padded, _ = relevant(one, student, longer, lengths)
    short = distillation_loss(one, Teacher(teacher), student, x, lengths, outputs)
    torch.testing.assert_close(
        distillation_loss(one, Teacher(teacher), student, longer, lengths, padded), short
    )


def test_a_student_comes_nearer_to_its_teacher_who_stays_what_he_was(tmp_path):
    splits = data()
    one = recipe(reduce={"order": None}, model={"dropout": 0.0}, train={"steps": 200})
    train(one, splits, tmp_path / "teacher", threads=1)
    network = load_network(one, splits, Checkpoint.read(tmp_path / "teacher" / "best.safetensors"))
    before = {name: value.clone() for name, value in network.state_dict().items()}
    small = recipe(reduce={"order": None}, model={"dropout": 0.0, "order": 4}, train={"steps": 200})
    distances = []
    for name, weight in (("alone", 0.0), ("taught", 1.0)):
        train(small, splits, tmp_path / name, threads=1, teacher=Teacher(network, weight=weight))
        student = load_network(small, splits, Checkpoint.read(tmp_path / name / "last.safetensors"))
        x, _, lengths = on_device(splits.train, range(40), CPU)
        outputs, _ = relevant(small, student, x, lengths)
        distances.append(distillation_loss(small, Teacher(network), student, x, lengths, outputs).item())
    assert distances[1] < 0.8 * distances[0]
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())


def test_another_teacher_is_another_run(tmp_path):
    splits, one = data(), recipe(reduce={"order": None}, train={"steps": 6})
    first, second = fresh_network(one, splits, 1), fresh_network(one, splits, 2)
    train(one, splits, tmp_path, threads=1, teacher=Teacher(first))
    with pytest.raises(InputError, match="other settings"):
        train(one, splits, tmp_path, threads=1, teacher=Teacher(second))


@pytest.mark.parametrize("wrong", [{"weight": -0.1}, {"weight": 1.5}, {"temperature": 0.0}])
def test_weights_and_temperatures_that_mean_nothing(wrong):
    with pytest.raises(InputError, match="distillation"):
        Teacher(torch.nn.Linear(1, 1), **wrong)
