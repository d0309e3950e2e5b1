"""Every kind of layer is cut in training and after it, keeps its optimiser, and comes back from a bundle."""

import numpy as np
import pytest
import torch
from torch import nn

from ssmith.bundle import Bundle, Signal
from ssmith.recipe import ModelSettings, TrainSettings
from ssmith.reduce import reduce_system
from ssmith.train import Truncator, build_network
from ssmith.train.average import follow
from ssmith.train.freeze import GoldenInput, freeze
from ssmith.train.goal import Goal, module_cost
from ssmith.train.model import parameter_groups
from ssmith.train.posthoc import Request, reduce_posthoc
from ssmith.train.surgery import Snapshot, exchange
from ssmith.train.thaw import thaw

KINDS = ("lru", "s4d", "s5")
WIDTH = 4


def network(kind: str, order: int = 12, blocks: int = 2, seed: int = 0):
    model = ModelSettings(layer=kind, width=WIDTH, order=order, blocks=blocks, norm="layer")
    return build_network(model, 3, 2, pooling="none", seed=seed)


def data(batches: int = 6, seed: int = 1) -> list[tuple[torch.Tensor, torch.Tensor]]:
    generator = torch.Generator().manual_seed(seed)
    xs = torch.randn(batches, 4, 60, 3, generator=generator)
    return [(x, torch.stack([x.cumsum(1)[..., 0] / 8, x[..., 1]], -1)) for x in xs]


def loss_fn(model: nn.Module, batch) -> torch.Tensor:
    return (model(batch[0]) - batch[1]).square().mean()


def trained(kind: str, steps: int = 12, **truncator):
    net, batches = network(kind), data()
    optimizer = torch.optim.AdamW(parameter_groups(net, TrainSettings(steps=steps)))
    average = torch.optim.swa_utils.AveragedModel(net)
    cut = Truncator(
        net,
        optimizer,
        batches,
        total_steps=steps,
        loss_fn=loss_fn,
        max_loss_increase=5.0,
        on_cut=lambda replaced: follow(average.module, net),
        **truncator,
    )
    reports = []
    for step in range(1, steps + 1):
        loss = loss_fn(net, batches[step % len(batches)])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        average.update_parameters(net)
        if report := cut.step(step):
            reports.append(report)
    return net, optimizer, reports, average


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("criterion", ["task-aware", "exact"])
def test_a_training_that_cuts(kind, criterion) -> None:
    net, optimizer, reports, average = trained(
        kind, order=6, criterion=criterion, refit=criterion == "task-aware"
    )
    assert all(n <= 6 for n in net.orders)
    assert reports
    known = {p for group in optimizer.param_groups for p in group["params"]}
    assert known == set(net.parameters()) == set(optimizer.state)
    for parameter, state in optimizer.state.items():
        assert state["exp_avg"].shape == state["exp_avg_sq"].shape == parameter.shape
        assert torch.isfinite(state["exp_avg"]).all()
        assert (state["exp_avg_sq"] >= 0).all()
    groups = {group["name"]: {id(p) for p in group["params"]} for group in optimizer.param_groups}
    for layer in net.layers:
        assert {id(getattr(layer, name)) for name in layer.SSM_PARAMETERS} <= groups["ssm"]
    assert average.module.orders == net.orders


@pytest.mark.parametrize("kind", KINDS)
def test_undoing_a_cut_leaves_no_trace(kind) -> None:
    net = network(kind, blocks=1)
    optimizer = torch.optim.AdamW(net.parameters())
    loss_fn(net, data(1)[0]).backward()
    optimizer.step()
    x = data(1)[0][0]
    before, objects = net(x).detach(), {id(p) for p in net.parameters()}
    snapshot = Snapshot(net, net.layers[0], optimizer)
    exchange(
        net.layers[0], reduce_system(net.layers[0].system(), criterion="exact", order=5), optimizer, "carry"
    )
    assert net.layers[0].order == 5
    snapshot.restore()
    assert torch.equal(net(x), before)
    assert {id(p) for p in net.parameters()} == objects


@pytest.mark.parametrize("kind", KINDS)
def test_frozen_thawed_and_reduced_afterwards(kind, tmp_path) -> None:
    net, *_ = trained(kind, tolerance=1e-3)
    x = data(1)[0][0][:1]
    bundle = freeze(
        net.eval(),
        name="net",
        task="regression",
        inputs=tuple(Signal(name=name) for name in "abc"),
        outputs=tuple(Signal(name=name) for name in "yz"),
        golden_inputs=[GoldenInput("noise", x[0].numpy())],
    )
    bundle.write(tmp_path / "net.ssm")
    again = Bundle.read(tmp_path / "net.ssm")
    assert [s.channels for s in again.systems()] == [layer.channels for layer in net.layers]
    thawed = thaw(again)
    torch.testing.assert_close(thawed(x), net(x), rtol=1e-4, atol=1e-4)
    for ours, stored in zip(thawed.layers, again.systems(), strict=True):
        np.testing.assert_array_equal(ours.system().lam, stored.lam)
    assert module_cost("parameters", net).total(net.orders) > 0
    done = reduce_posthoc(again, Request(Goal(order=4), "exact"), None)
    assert all(system.order <= 4 for system in done.bundle.systems())
