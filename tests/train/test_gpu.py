"""What only a GPU can show; python -m pytest -m gpu. Times: benchmarks/train_gpu.py."""

import copy

import pytest
import torch

from ssmith.recipe import ModelSettings, TrainSettings
from ssmith.train.loss import classification_loss
from ssmith.train.model import build_network, parameter_groups
from ssmith.train.scan import adjoint_states, lru_scan, scan_states
from ssmith.train.truncate import Truncator
from tests.train.scan_cases import expected, layer, results, worst

DEVICE = "cuda"
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine"),
]


def network():
    settings = ModelSettings(width=8, order=24, blocks=2, dropout=0.0)
    return build_network(settings, 3, 4, pooling="ema", seed=0)


def batches(count, device):
    """Sequences (12, 80, 3) whose class (12,) shows in the sign of their inputs' means."""
    generator = torch.Generator().manual_seed(0)
    for _ in range(count):
        labels = torch.randint(0, 4, (12,), generator=generator)
        shift = torch.stack((labels % 2, labels // 2, labels * 0), -1).float()
        x = shift[:, None] + torch.randn(12, 80, 3, generator=generator)
        yield x.to(device), labels.to(device)


def train(model, device, steps, hook=lambda optimizer: lambda step: None):
    """Losses of a plain loop; hook(optimizer) gives what is called after each step."""
    optimizer = torch.optim.AdamW(parameter_groups(model, TrainSettings()))
    after = hook(optimizer)
    losses = []
    for step, (x, labels) in enumerate(batches(steps, device), 1):
        optimizer.zero_grad()
        loss = classification_loss(model(x), labels)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        after(step)
    return losses


@pytest.mark.parametrize("method", ["auto", "ssd", "fused", "torch"])
@pytest.mark.parametrize("size", [(3, 100, 12, 5, 4), (2, 1023, 40, 2, 2)])
def test_the_scan_agrees_with_the_loop_on_the_cpu(method, size):
    arguments = [a.to(DEVICE) for a in layer(*size)]
    found = results(lambda *a: lru_scan(*a, method=method), arguments)
    assert all(a.device.type == DEVICE for a in found.values())
    error, whose = worst({name: a.cpu() for name, a in found.items()}, expected(*size, radius=0.999))
    assert error <= 1e-5, whose


def test_states_and_adjoints_agree_with_the_cpu():
    u, lam, B, C, x0 = layer(2, 300, 9, 3, 3)
    moved = [a.to(DEVICE) for a in (u, lam, B, C, x0)]
    torch.testing.assert_close(scan_states(*moved[:3], moved[4]).cpu(), scan_states(u, lam, B, x0))
    torch.testing.assert_close(
        adjoint_states(moved[0], lam.to(DEVICE), moved[3]).cpu(), adjoint_states(u, lam, C)
    )


def test_low_precision_settings_do_not_reach_the_recurrence():
    arguments = [a.to(DEVICE) for a in layer(4, 128, 48, 8, 8)]
    wanted = results(lru_scan, arguments)
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        with torch.autocast(DEVICE, dtype=torch.bfloat16):
            found = results(lru_scan, arguments)
    finally:
        torch.set_float32_matmul_precision(before)
    for name, exact in wanted.items():
        assert (found[name] - exact).norm() <= 1e-6 * exact.norm(), name


def test_training_steps_agree_with_the_cpu():
    model = network()
    moved = copy.deepcopy(model).to(DEVICE)
    here, there = train(model, "cpu", 5), train(moved, DEVICE, 5)
    assert there == pytest.approx(here, rel=1e-3)


def test_a_cut_on_the_gpu_keeps_the_model_there_and_training_goes_on():
    model = network().to(DEVICE)
    reports = []

    def cutting(optimizer):
        loader = list(batches(6, DEVICE))
        cut = Truncator(model, optimizer, loader, total_steps=60, order=8, cuts=2, max_loss_increase=10.0)
        return lambda step: reports.append(cut.step(step))

    losses = train(model, DEVICE, 60, cutting)
    assert [report.accepted for report in reports if report] == [True, True]
    assert model.orders == (8, 8)
    assert all(p.device.type == DEVICE for p in model.parameters())
    assert sum(losses[-5:]) < sum(losses[:5])
