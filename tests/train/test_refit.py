import numpy as np
import pytest
import torch
from torch import nn

from ssmith.errors import InputError
from ssmith.reduce import reduce_system
from ssmith.train.batches import all_outputs
from ssmith.train.layers import LRU
from ssmith.train.refit import refitted


class Behind(nn.Module):
    """A layer that sees coloured inputs: what comes out of a first one."""

    def __init__(self):
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.first, self.second = (LRU(3, 8, generator=generator) for _ in range(2))

    def forward(self, x, lengths=None):
        return self.second(torch.tanh(self.first(x)))


def batches():
    generator = torch.Generator().manual_seed(1)
    lengths = torch.tensor([50, 20, 35, 50])
    return [(torch.randn(4, 50, 3, generator=generator), None, lengths) for _ in range(3)]


def error(model, layer_system, c):
    """Mean squared error of the layer with this system and C in place of its own, over valid steps."""
    small = LRU(3, layer_system.order)
    small.load_system(type(layer_system)(layer_system.lam, layer_system.B, c, layer_system.D))
    total, count = 0.0, 0
    for x, _, lengths in batches():
        with torch.no_grad():
            u = torch.tanh(model.first(x))
            difference = (small(u) - model.second(u)).double()
        valid = torch.arange(50) < lengths[:, None]
        total, count = total + float(difference[valid].square().sum()), count + int(valid.sum())
    return total / count


def refit(model, reduction, name="second"):
    return refitted(reduction, model, name, model.second, batches(), all_outputs)


def test_no_other_output_matrix_does_better():
    model = Behind().train()
    before = [p.clone() for p in model.parameters()]
    reduction = reduce_system(model.second.system(), criterion="exact", order=3)
    fitted = refit(model, reduction)
    at_best = error(model, reduction.system, fitted.system.C)
    assert at_best < 0.97 * error(model, reduction.system, reduction.system.C)
    rng = np.random.default_rng(0)
    for _ in range(5):
        noise = rng.standard_normal((2, *fitted.system.C.shape))
        aside = fitted.system.C + 0.05 * np.abs(fitted.system.C).mean() * (noise[0] + 1j * noise[1])
        assert error(model, reduction.system, aside) > at_best
    assert model.training and all(torch.equal(p, b) for p, b in zip(model.parameters(), before, strict=True))


def test_poles_and_inputs_stay_and_the_bound_goes():
    model = Behind()
    reduction = reduce_system(model.second.system(), criterion="exact", order=3)
    fitted = refit(model, reduction)
    assert np.isfinite(reduction.error_bound) and np.isnan(fitted.error_bound)
    assert np.array_equal(fitted.system.lam, reduction.system.lam)
    assert np.array_equal(fitted.system.B, reduction.system.B)
    assert "C fitted to the full layer's outputs on 465 time steps" in fitted.notes


def test_a_layer_that_is_not_called_cannot_be_fitted():
    model = Behind()
    model.forward = lambda x, lengths=None: model.first(x)
    reduction = reduce_system(model.second.system(), criterion="exact", order=3)
    with pytest.raises(InputError, match="did not call layer 'second'"):
        refit(model, reduction)
