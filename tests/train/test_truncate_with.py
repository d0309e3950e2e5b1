"""Cuts beside what else holds on to a model: torch.compile, averaged copies, GradScaler, other generators."""

import random

import numpy as np
import pytest
import torch
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader, RandomSampler, TensorDataset

from ssmith.train.average import follow
from ssmith.train.truncate import Truncator
from tests.train.cutting import STEPS, batches, loss_fn, network, run, train, trained, truncator

# torch's compiler looks at the .grad of intermediate tensors, and torch warns about it.
compiles = pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning")


def learn(model, optimizer, steps=2):
    for k in range(steps):
        optimizer.zero_grad()
        loss_fn(model, batches()[k]).backward()
        optimizer.step()


@pytest.mark.slow
@compiles
@pytest.mark.parametrize("in_place", [False, True])
def test_a_compiled_model_is_cut_and_compiled_anew(in_place):
    """Traced before the cuts; afterwards it computes and learns as the uncompiled one."""
    torch._dynamo.reset()
    model, twin = network(), network()
    if in_place:
        model.compile(backend="eager")
        compiled = model
    else:
        compiled = torch.compile(model, backend="eager")
    for m, front in ((model, compiled), (twin, twin)):
        optimizer = trained(m, 0)
        learn(front, optimizer)
        cut = truncator(front, optimizer, order=4, cuts=2)
        assert [row.layer for report in run(cut) for row in report.layers] == ["blocks.0.ssm"] * 2
        learn(front, optimizer)
        assert m.orders == (4,)
    with torch.compiler.set_stance("fail_on_recompile"):
        x = batches()[0][0]
        y = compiled(x)  # what runs is what was compiled for the small layer
    torch.testing.assert_close(y, twin(x), rtol=1e-5, atol=1e-6)
    for name, value in twin.state_dict().items():
        torch.testing.assert_close(model.state_dict()[name], value, rtol=1e-5, atol=1e-6)


def test_an_average_of_the_weights_follows_and_goes_on():
    model = network(blocks=2)
    optimizer = trained(model)
    ema = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.9))
    head = ema.module.head.weight.detach().clone()
    cut = truncator(model, optimizer, order=4, on_cut=lambda replaced: follow(ema.module, model))
    for step in range(1, STEPS + 1):
        train(model, optimizer, 1)
        cut.step(step)
        ema.update_parameters(model)
    assert model.orders == ema.module.orders == (4, 4)
    x = batches()[0][0]
    model.eval(), ema.eval()
    with torch.no_grad():
        away, size = (ema(x) - model(x)).norm(), model(x).norm()
    assert 0 < away < 0.5 * size
    assert not torch.equal(ema.module.head.weight, head)  # what was not cut went on averaging
    assert not {id(p) for p in ema.parameters()} & {id(p) for p in model.parameters()}


def test_a_copy_at_the_models_order_is_left_alone():
    model, other = network(), network()
    before = [id(p) for p in other.parameters()]
    follow(other, model)
    assert [id(p) for p in other.parameters()] == before


def test_on_cut_maps_old_to_new():
    model = network()
    optimizer = trained(model)
    average = {p: p.detach().clone() for p in model.parameters()}

    def move(replaced):
        for old, new in replaced.items():
            del average[old]
            average[new] = new.detach().clone()

    run(truncator(model, optimizer, order=4, on_cut=move), model, optimizer)
    assert {id(p) for p in average} == {id(p) for p in model.parameters()}
    assert all(value.shape == p.shape for p, value in average.items())


def test_a_gradient_scaler_goes_on():
    """Scaled gradients, an overflow between two cuts: skipped as ever, and the cut model learns on."""
    model = network()
    optimizer = trained(model)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10)
    cut = truncator(model, optimizer, order=4)
    losses = []
    for step in range(1, STEPS + 1):
        optimizer.zero_grad()
        loss = loss_fn(model, batches()[step % 4])
        losses.append(loss.item())
        scaler.scale(loss * (float("inf") if step == 14 else 1.0)).backward()
        before = model.blocks[0].ssm.C.detach().clone()
        scaler.step(optimizer)
        assert torch.equal(model.blocks[0].ssm.C, before) == (step == 14)
        scaler.update()
        cut.step(step)
    assert model.orders == (4,) and scaler.get_scale() == 2.0**9
    assert sum(losses[-4:]) < 0.8 * sum(losses[:4])


@pytest.mark.parametrize("max_loss_increase", [0.0, 100.0])
def test_no_generator_is_disturbed(max_loss_increase):
    """Neither by a cut that stands nor by one that is undone."""
    data = TensorDataset(*(torch.cat(part) for part in zip(*batches(), strict=True)))
    own = torch.Generator().manual_seed(1)
    sampler = RandomSampler(data, generator=torch.Generator().manual_seed(2))
    loader = DataLoader(data, batch_size=8, sampler=sampler, generator=own)
    model = network()

    def noisy(m, batch):
        random.random(), np.random.rand(), torch.rand(1)
        return loss_fn(m, batch) + (m.orders[0] < 16)

    settings = {"total_steps": STEPS, "order": 4, "cuts": 1, "loss_fn": noisy, "allow_larger": True}
    cut = Truncator(model, trained(model), loader, max_loss_increase=max_loss_increase, **settings)

    def states():
        generators = [g.get_state() for g in (own, sampler.generator, torch.default_generator)]
        return [*generators, random.getstate(), np.random.get_state()[1].tolist()]

    before = states()
    report = cut.step(STEPS)
    assert report.accepted == (max_loss_increase > 0)
    after = states()
    assert all(torch.equal(a, b) for a, b in zip(before[:3], after[:3], strict=True))
    assert before[3:] == after[3:]
