import numpy as np
import pytest
import torch
from torch import nn

from ssmith.errors import InputError
from ssmith.reduce import balanced_truncation
from ssmith.system import System
from ssmith.train.layers import LRU
from ssmith.train.surgery import Snapshot, exchange, recalibrate


def redundant_layer():
    """An LRU of order 6 whose last two modes nothing drives: order 4 is exactly the same system."""
    layer = LRU(3, 6, r_min=0.5, r_max=0.9, generator=torch.Generator().manual_seed(0))
    system = layer.system()
    b = system.B.copy()
    b[4:] = 0
    layer.load_system(System(system.lam, b, system.C, system.D))
    return layer


def gradients(layer, u, e):
    layer.zero_grad()
    (layer(u) * e).sum().backward()
    return {name: p.grad.clone() for name, p in layer.named_parameters()}


def data():
    generator = torch.Generator().manual_seed(3)
    return torch.randn(4, 50, 3, generator=generator), torch.randn(4, 50, 3, generator=generator)


def test_carried_moments_are_the_gradients_of_the_new_layer():
    """Where the cut is exact, so is the chain rule: m after the cut = the gradient after the cut."""
    layer, (u, e) = redundant_layer(), data()
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.0, momentum=0.9)
    gradients(layer, u, e)
    optimizer.step()  # the first step sets momentum_buffer = gradient
    before = layer(u).detach()
    exchange(layer, balanced_truncation(layer.system(), order=4), optimizer, "carry")
    assert layer.order == 4
    assert torch.allclose(layer(u), before, atol=1e-4 * float(before.abs().max()))
    expected = gradients(layer, u, e)
    for name in ("B", "C", "D"):
        moment = optimizer.state[getattr(layer, name)]["momentum_buffer"]
        assert torch.allclose(moment, expected[name], atol=1e-4 * float(expected[name].abs().max())), name
    for name in ("nu_log", "theta", "gamma_log"):
        assert not optimizer.state[getattr(layer, name)]["momentum_buffer"].any()


def test_second_moments_follow_a_mere_permutation_of_modes_exactly():
    """The square map is exact where each new state is a multiple of one old state: diagonal Gramians."""
    layer = LRU(2, 3, generator=torch.Generator().manual_seed(0))
    (u, e) = (t[..., :2] for t in data())
    optimizer = torch.optim.AdamW(layer.parameters(), lr=0.0)
    gradients(layer, u, e)
    optimizer.step()
    old = optimizer.state[layer.C]["exp_avg_sq"].clone()
    weights = np.array([1.0, 3.0, 2.0])  # the second mode matters most, then the third
    gramian = np.diag(np.concatenate([weights, weights * 0.9999]))
    reduction = balanced_truncation(layer.system(), order=2, controllability=gramian, observability=gramian)
    exchange(layer, reduction, optimizer, "carry")
    new = optimizer.state[layer.C]["exp_avg_sq"]
    # Each kept mode is one old mode turned and scaled, so energies over (Re, Im) keep their pattern.
    energy = lambda v, n: v[:, :n] + v[:, n:]  # noqa: E731
    kept = {tuple(np.round(row / row.sum(), 3)) for row in energy(new, 2).numpy().T}
    expected = {tuple(np.round(row / row.sum(), 3)) for row in energy(old, 3).numpy().T[1:]}
    assert kept == expected


@pytest.mark.parametrize("how", ["carry", "keep"])
def test_groups_and_step_counts_stay(how):
    layer, (u, e) = redundant_layer(), data()
    optimizer = torch.optim.AdamW([{"params": [layer.B, layer.nu_log], "lr": 1e-3}, {"params": [layer.C]}])
    for _ in range(3):
        gradients(layer, u, e)
        optimizer.step()
    old = [list(group["params"]) for group in optimizer.param_groups]
    replaced, _ = exchange(layer, balanced_truncation(layer.system(), order=4), optimizer, how)
    assert [[p is layer.B, p is layer.nu_log] for p in optimizer.param_groups[0]["params"]] == [
        [True, False],
        [False, True],
    ]
    assert optimizer.param_groups[1]["params"][0] is layer.C
    assert set(optimizer.state) == {layer.B, layer.nu_log, layer.C}
    assert all(replaced[p] in optimizer.state and p not in optimizer.state for group in old for p in group)
    for p, state in optimizer.state.items():
        assert float(state["step"]) == 3
        assert state["exp_avg"].shape == p.shape and state["exp_avg_sq"].min() >= 0
    gradients(layer, u, e)
    optimizer.step()  # shapes fit


def test_keep_takes_the_leading_modes_of_both_planes():
    layer, (u, e) = redundant_layer(), data()
    optimizer = torch.optim.AdamW(layer.parameters())
    gradients(layer, u, e)
    optimizer.step()
    old = {k: optimizer.state[getattr(layer, k)]["exp_avg"].clone() for k in ("B", "C", "theta")}
    exchange(layer, balanced_truncation(layer.system(), order=4), optimizer, "keep")
    new = {k: optimizer.state[getattr(layer, k)]["exp_avg"] for k in old}
    rows = [0, 1, 2, 3, 6, 7, 8, 9]
    assert torch.equal(new["B"], old["B"][rows])
    assert torch.equal(new["C"], old["C"][:, rows])
    assert torch.equal(new["theta"], old["theta"][:4])


def test_restore_brings_back_the_same_objects_and_bits():
    model = nn.Sequential(redundant_layer(), nn.BatchNorm1d(50))
    layer, (u, e) = model[0], data()
    optimizer = torch.optim.AdamW(model.parameters())
    (model(u) * e).sum().backward()
    optimizer.step()
    bits = {k: v.clone() for k, v in model.state_dict().items()}
    parameters, state = list(model.parameters()), dict(optimizer.state)
    snapshot = Snapshot(model, layer, optimizer)
    exchange(layer, balanced_truncation(layer.system(), order=4), optimizer, "carry")
    recalibrate(model, [u], model)
    assert not torch.equal(model[1].running_mean, bits["1.running_mean"])
    snapshot.restore()
    assert all(a is b for a, b in zip(model.parameters(), parameters, strict=True))
    assert all(torch.equal(v, bits[k]) for k, v in model.state_dict().items())
    assert [p for g in optimizer.param_groups for p in g["params"]] == parameters
    assert all(optimizer.state[p] is state[p] for p in parameters)


def test_a_frozen_parameter_stays_frozen_and_needs_no_optimizer():
    layer = redundant_layer()
    layer.B.requires_grad_(False)
    optimizer = torch.optim.SGD([layer.C], lr=0.1)
    exchange(layer, balanced_truncation(layer.system(), order=4), optimizer, "carry")
    assert not layer.B.requires_grad and layer.C.requires_grad
    assert not optimizer.state


def test_unknown_optimizer_state_is_refused():
    layer, (u, e) = redundant_layer(), data()
    optimizer = torch.optim.Rprop(layer.parameters())
    gradients(layer, u, e)
    optimizer.step()
    with pytest.raises(InputError, match="moments = 'keep'"):
        exchange(layer, balanced_truncation(layer.system(), order=4), optimizer, "carry")


def test_torch_batchnorm_is_recalibrated():
    """Running statistics become the plain average over the batches; the counter and modes stay."""
    norm = nn.BatchNorm1d(3)
    model = nn.Sequential(norm, nn.Dropout(0.5))
    model.train()
    model(torch.full((4, 3), 7.0) + torch.randn(4, 3, generator=torch.Generator().manual_seed(0)))
    batches = [torch.randn(100, 3, generator=torch.Generator().manual_seed(s)) * 2 + s for s in (1, 2)]
    recalibrate(model, batches, model)
    assert torch.allclose(norm.running_mean, torch.stack([b.mean(0) for b in batches]).mean(0), atol=1e-5)
    assert torch.allclose(norm.running_var, torch.stack([b.var(0) for b in batches]).mean(0), atol=1e-5)
    assert int(norm.num_batches_tracked) == 1 and norm.momentum == 0.1 and norm.training
