import numpy as np
import pytest
import torch

from ssmith.train.exact import exact_products, powers_of


def test_powers_are_those_of_the_float32_poles_in_float64():
    angle = torch.tensor([0.0, 0.1, 3.0, -2.0])
    lam = (1 - 1e-5) * torch.stack((angle.cos(), angle.sin()))
    lam = torch.cat((lam, torch.zeros(2, 1)), 1)
    exact = (lam[0].double().numpy() + 1j * lam[1].double().numpy()) ** np.arange(301)[:, None]
    np.testing.assert_allclose(powers_of(lam, 300).numpy(), exact, rtol=1e-12)


@pytest.mark.parametrize("highest", [0, 1, 2, 3, 31, 32])
def test_there_are_as_many_powers_as_asked_for(highest):
    assert powers_of(torch.ones(2, 3), highest).shape == (highest + 1, 3)


def test_powers_are_differentiable_also_at_zero():
    lam = torch.tensor([[0.0, 0.9], [0.0, -0.3]], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda a: torch.view_as_real(powers_of(a, 9)), (lam,))


def test_products_are_full_float32_inside_and_settings_come_back():
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    a = torch.randn(64, 64, generator=torch.Generator().manual_seed(0))
    try:
        with pytest.raises(ZeroDivisionError), torch.autocast("cpu", dtype=torch.bfloat16):
            with exact_products(a.device):
                assert torch.get_float32_matmul_precision() == "highest"
                product = a @ a
                assert product.dtype == torch.float32
                assert (product.double() - a.double() @ a.double()).norm() < 1e-5 * product.norm()
            assert torch.get_float32_matmul_precision() == "medium"
            assert (a @ a).dtype == torch.bfloat16
            with exact_products(a.device):
                raise ZeroDivisionError
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision(before)
