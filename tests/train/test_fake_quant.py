"""Rounding with gradients: the codes of the integer code, and a gradient that ends where a code does."""

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from ssmith.runtime.integer_weights import Seen, TrainedScales, make_product
from ssmith.runtime.products import codes_of
from ssmith.train.fake_quant import FakeProduct, straight_through


def some(seed, bits=8, rows=3, columns=5) -> TrainedScales:
    rng = np.random.default_rng(seed)
    parts = (rng.uniform(0.02, 0.1, columns), rng.uniform(-1, 1, columns), rng.uniform(0.5, 2, rows) / 1e3)
    step, offset, row = (part.astype(np.float32).astype(float) for part in parts)
    return TrainedScales(step, offset, row, bits)


@given(st.integers(0, 2**32 - 1), st.sampled_from([8, 16]))
def test_values_are_those_of_the_integer_product(seed, bits):
    rng = np.random.default_rng(seed)
    scales, u = some(seed, bits), rng.standard_normal((40, 5)) * 3
    weight, shift = rng.standard_normal((3, 5)).astype(np.float32), rng.standard_normal(5)
    seen = Seen(u.min(0), u.max(0), u.mean(0), np.cov(u.T, bias=True))
    product = make_product(weight, seen, bits, shift=shift, trained=scales)
    fake = FakeProduct(scales)
    rounded, limit = fake.rounded(torch.tensor(weight, dtype=torch.float64))
    assert float(limit) == product.codes.limit
    real = scales.row[:, None] * product.weight / scales.step
    np.testing.assert_allclose(rounded.numpy(), real, rtol=1e-12)
    found = fake.codes(torch.tensor(u), limit, torch.tensor(shift)).numpy()
    expected = product.codes.step * codes_of(u, product.codes) + product.codes.offset
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)


def test_wide_products_have_room_for_fewer_codes():
    scales = TrainedScales(np.ones(400), np.zeros(400), np.full(1, 1 / 127), 16)
    _, limit = FakeProduct(scales).rounded(torch.ones(1, 400))
    assert float(limit) == (2**30 - 1) // (127 * 400)


def test_the_gradient_passes_inside_the_range_and_ends_at_the_limit():
    fake = FakeProduct(TrainedScales(np.full(3, 0.1), np.zeros(3), np.ones(2), 8))
    u = torch.tensor([[0.26, 12.7, -99.0]], requires_grad=True)
    y = fake.codes(u, torch.tensor(127.0))
    torch.testing.assert_close(y, torch.tensor([[0.3, 12.7, -12.7]]))
    y.backward(torch.tensor([[5.0, 3.0, 2.0]]))
    assert torch.equal(u.grad, torch.tensor([[5.0, 3.0, 0.0]]))


def test_the_gradient_of_a_weight_passes_until_its_code_is_the_largest():
    fake = FakeProduct(TrainedScales(np.ones(3), np.zeros(3), np.full(1, 0.01), 8))
    weight = torch.tensor([[0.123, 1.27, -1.5]], requires_grad=True)
    rounded, _ = fake.rounded(weight)
    torch.testing.assert_close(rounded, torch.tensor([[0.12, 1.27, -1.27]]))
    rounded.backward(torch.tensor([[2.0, 3.0, 4.0]]))
    torch.testing.assert_close(weight.grad, torch.tensor([[2.0, 3.0, 0.0]]))


def test_a_shift_moves_the_codes_by_whole_steps():
    """What an affine op adds is not in the vector that the integers quantise."""
    fake = FakeProduct(TrainedScales(np.full(1, 0.5), np.full(1, 0.2), np.ones(1), 8))
    shift = torch.tensor([0.33])
    y = fake.codes(torch.tensor([[1.0]]) + shift, torch.tensor(127.0), shift)
    torch.testing.assert_close(y, torch.tensor([[1.33]]))


def test_straight_through_has_the_values_of_one_and_the_gradient_of_the_other():
    x = torch.tensor([0.4, 1.6], requires_grad=True)
    y = straight_through(x, x.round())
    (y * torch.tensor([2.0, 3.0])).sum().backward()
    assert y.tolist() == [0.0, 2.0] and x.grad.tolist() == [2.0, 3.0]
