"""A small network in training, and a truncator for it: what the tests of cuts share."""

import torch
from torch import nn

from ssmith.recipe import ModelSettings, TrainSettings
from ssmith.train.model import build_network, parameter_groups
from ssmith.train.truncate import Truncator

STEPS = 40


def loss_fn(model, batch):
    x, y = batch
    return nn.functional.mse_loss(model(x), y)


def batches(count=4, seed=0):
    """A moving sum to learn: x (8, 30, 1) → y (8, 30, 1)."""
    generator = torch.Generator().manual_seed(seed)
    inputs = [torch.randn(8, 30, 1, generator=generator) for _ in range(count)]
    return [(x, x.cumsum(1) - torch.cat([torch.zeros(8, 5, 1), x.cumsum(1)[:, :-5]], 1)) for x in inputs]


def network(blocks=1, order=16, norm="layer", dropout=0.0):
    settings = ModelSettings(width=4, order=order, blocks=blocks, norm=norm, dropout=dropout)
    return build_network(settings, 1, 1, pooling="none", seed=0)


def trained(model, steps=5):
    optimizer = torch.optim.AdamW(parameter_groups(model, TrainSettings()))
    train(model, optimizer, steps)
    return optimizer


def train(model, optimizer, steps):
    for k in range(steps):
        optimizer.zero_grad()
        loss_fn(model, batches()[k % 4]).backward()
        optimizer.step()


def truncator(model, optimizer, **changes):
    """A `Truncator` whose check lets nearly everything pass."""
    settings = {"total_steps": STEPS, "loss_fn": loss_fn, "max_loss_increase": 100.0}
    return Truncator(model, optimizer, batches(), **{**settings, **changes})


def run(cut, model=None, optimizer=None):
    """Call every step; train on the way if there is an optimiser."""
    reports = []
    for step in range(1, STEPS + 1):
        if optimizer is not None:
            train(model, optimizer, 1)
        reports.append(cut.step(step))
    return [r for r in reports if r is not None]
