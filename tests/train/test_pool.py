import pytest
import torch

from ssmith.errors import InputError
from ssmith.train.pool import Pool, decayed_sum


def plain(v, decay):
    """The defining recurrence in float64."""
    total, count, out = torch.zeros_like(v[:, 0]).double(), 0.0, []
    for k in range(v.shape[1]):
        total, count = decay * total + v[:, k].double(), decay * count + 1
        out.append(total / count)
    return torch.stack(out, 1)


@pytest.mark.parametrize("decay", [1.0, 1 - 1 / 64, 0.5, 1e-3, 1 - 1e-6])
@pytest.mark.parametrize("steps", [1, 2, 3, 16, 17, 1000])
def test_sequence_form_and_stepping_obey_the_recurrence(decay, steps):
    pool, v = Pool(decay), torch.randn(2, steps, 3, generator=torch.Generator().manual_seed(steps)) + 1
    expected = plain(v, pool.decay)
    torch.testing.assert_close(pool(v).double(), expected, rtol=0, atol=1e-6 * float(expected.abs().max()))
    state, out = None, []
    for k in range(steps):
        y, state = pool.step(v[:, k], state)
        out.append(y)
    # Stepping rounds the float32 sum at each of up to 1000 steps.
    torch.testing.assert_close(torch.stack(out, 1).double(), expected, rtol=0, atol=1e-5)
    assert state[0].shape == (2, 3) and state[1].shape == (2, 1)


def test_constant_input_is_reproduced_from_the_first_step():
    v = torch.full((1, 200, 2), 3.0)
    torch.testing.assert_close(Pool(0.9)(v), v, rtol=1e-6, atol=0)


def test_gradient_is_the_reversed_recurrence():
    v = torch.randn(1, 37, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: decayed_sum(x, 0.9), v)


def test_the_decay_is_a_float32_number():
    assert Pool(0.9).decay == float(torch.tensor(0.9, dtype=torch.float32))


@pytest.mark.parametrize("decay", [0.0, -0.1, 1.5, float("nan")])
def test_other_decays_are_refused(decay):
    with pytest.raises(InputError, match="decay"):
        Pool(decay)


@pytest.mark.parametrize("decay", [1.0, 0.9, 1 - 1 / 64])
def test_last_is_the_output_at_the_last_valid_step(decay):
    pool, v = Pool(decay), torch.randn(5, 40, 3)
    lengths = torch.tensor([1, 2, 17, 39, 40])
    every = pool(v)[torch.arange(5), lengths - 1][:, None]
    torch.testing.assert_close(pool.last(v, lengths), every, rtol=1e-5, atol=1e-6)
    whole = torch.full((5,), 40)
    torch.testing.assert_close(pool.last(v), pool.last(v, whole), rtol=1e-6, atol=1e-7)
