import torch

from ssmith.train.moments import Basis, carry, keep


def basis(full=5, reduced=3, seed=0):
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    return Basis(
        normal(2 * full, 2 * reduced),
        normal(2 * reduced, 2 * full),
        normal(full).exp(),
        normal(reduced).exp(),
    )


def adam(*shape):
    generator = torch.Generator().manual_seed(1)
    moments = {key: torch.rand(*shape, generator=generator) for key in ("exp_avg", "exp_avg_sq")}
    return {**moments, "step": torch.tensor(17.0)}


def test_first_moments_obey_the_chain_rule():
    """Autograd through γB = X γ'B' and through C = C' Y gives what `carry` makes of the old gradient."""
    change = basis()
    weight = torch.randn(10, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    new = torch.zeros(6, 4, dtype=torch.float64, requires_grad=True)
    gamma_old, gamma_new = (g.repeat(2)[:, None] for g in (change.gain_old, change.gain_new))
    (weight * (change.to_full @ (gamma_new * new) / gamma_old)).sum().backward()
    assert torch.allclose(carry("B", {"exp_avg": weight}, change)["exp_avg"], new.grad)
    new_c = torch.zeros(4, 6, dtype=torch.float64, requires_grad=True)
    (weight.T * (new_c @ change.to_reduced)).sum().backward()
    assert torch.allclose(carry("C", {"exp_avg": weight.T}, change)["exp_avg"], new_c.grad)


def test_second_moments_are_the_variance_of_independent_gradients():
    change, state = basis(), adam(10, 4)
    draws = torch.randn(4000, 10, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    gradients = draws * state["exp_avg_sq"].sqrt()
    moved = torch.stack([carry("B", {"exp_avg": g}, change)["exp_avg"] for g in gradients])
    expected = carry("B", state, change)["exp_avg_sq"].double()
    assert torch.allclose(moved.square().mean(0), expected, rtol=0.15)


def test_poles_start_afresh_at_the_usual_step_size():
    state = adam(5)
    new = carry("nu_log", state, basis())
    assert not new["exp_avg"].any() and new["exp_avg"].shape == (3,)
    assert torch.allclose(new["exp_avg_sq"], state["exp_avg_sq"].mean().expand(3))


def test_scalars_and_d_are_copied_not_shared():
    for name in ("D", "B"):
        state = adam(4) if name == "D" else adam(10, 4)
        for new in (carry(name, state, basis()), keep(name, state, 5, 3)):
            assert float(new["step"]) == 17 and new["step"] is not state["step"]
    new = carry("D", adam(4), basis())
    assert torch.equal(new["exp_avg"], adam(4)["exp_avg"])


def test_precision_and_layout_are_the_optimisers():
    for how in (carry("C", adam(4, 10), basis()), keep("C", adam(4, 10), 5, 3)):
        assert how["exp_avg"].dtype == torch.float32 and how["exp_avg"].shape == (4, 6)
        assert how["exp_avg"].is_contiguous()


def test_first_moments_obey_it_with_complex_gains_and_with_channels():
    """What S4D and S5 store is B divided by a complex gain; S4D stores one entry a mode, its channel's."""
    generator = torch.Generator().manual_seed(5)
    masks = (torch.eye(2).bool()[[0, 0, 0, 1, 1]].repeat(2, 1), torch.eye(2).bool()[[0, 1, 1]].repeat(2, 1))
    x, y = basis().to_full, basis().to_reduced
    for inside in ((None, None), masks):
        gains = (torch.randn(n, dtype=torch.complex128, generator=generator) + 2 for n in (5, 3))
        change = Basis(x, y, *gains, *inside)
        old, new = (10,) if inside[0] is not None else (10, 2), (6,) if inside[1] is not None else (6, 2)
        weight = torch.randn(*old, dtype=torch.float64, generator=generator)
        small = torch.zeros(*new, dtype=torch.float64, requires_grad=True)
        whole = small
        if inside[1] is not None:
            whole = torch.zeros(6, 2, dtype=torch.float64).masked_scatter(inside[1], small)
        whole = change.gain_new[:, None] * torch.complex(*whole.chunk(2))
        full = torch.complex(*(x @ torch.cat([whole.real, whole.imag])).chunk(2)) / change.gain_old[:, None]
        stored = torch.cat([full.real, full.imag])
        (weight * (stored if inside[0] is None else stored[inside[0]])).sum().backward()
        assert torch.allclose(carry("B", {"exp_avg": weight}, change)["exp_avg"], small.grad)
        if inside[0] is not None:
            assert carry("C", {"exp_avg": weight}, change)["exp_avg"].shape == (6,)
            assert keep("C", {"exp_avg": weight}, 5, 3)["exp_avg"].shape == (6,)
