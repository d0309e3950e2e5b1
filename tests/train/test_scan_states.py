"""States with gradients: the loop over time says the same, and so do finite differences."""

import pytest
import torch

from ssmith.train.scan import scan_states
from ssmith.train.scan_states import driven_states


def case(seed=0, batch=2, steps=7, order=3):
    generator = torch.Generator().manual_seed(seed)
    v, x0 = (
        torch.randn(shape, generator=generator, dtype=torch.float64)
        for shape in ((batch, steps, 2 * order), (batch, 2 * order))
    )
    angle = torch.rand(order, generator=generator, dtype=torch.float64) * 3
    lam = 0.95 * torch.stack([angle.cos(), angle.sin()])
    return v, lam, x0


def looped(v, lam, x0):
    x, states = x0, []
    for drive in v.unbind(1):
        re, im = x.chunk(2, -1)
        x = torch.cat([lam[0] * re - lam[1] * im, lam[1] * re + lam[0] * im], -1) + drive
        states.append(x)
    return torch.stack(states, 1)


@pytest.mark.parametrize("seed", range(3))
def test_the_loop_over_time_says_the_same(seed):
    v, lam, x0 = case(seed)
    torch.testing.assert_close(driven_states(v, lam, x0), looped(v, lam, x0))
    torch.testing.assert_close(driven_states(v, lam), looped(v, lam, torch.zeros_like(x0)))


def test_it_is_the_scan_that_statistics_use():
    v, lam, x0 = case()
    B = torch.eye(v.shape[-1], dtype=torch.float64)
    torch.testing.assert_close(driven_states(v, lam, x0), scan_states(v, lam, B, x0))


def test_gradients_are_those_of_finite_differences():
    inputs = [tensor.requires_grad_() for tensor in case()]
    assert torch.autograd.gradcheck(driven_states, inputs)


def test_what_is_given_stays_as_it_is():
    v, lam, x0 = case()
    before = [tensor.clone() for tensor in (v, lam, x0)]
    driven_states(v, lam, x0)
    assert all(torch.equal(a, b) for a, b in zip(before, (v, lam, x0), strict=True))
