"""What LRU, S4D and S5 promise alike, and the equations that S4D and S5 were published with."""

import copy

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ssmith.errors import InputError
from ssmith.imported import from_s4d, from_s5
from ssmith.recipe import ModelSettings
from ssmith.system import System
from ssmith.train import LRU, S4D, S5, SSMLayer
from ssmith.train.model import build_layer, build_network
from ssmith.train.s5 import hippo_normal
from tests.ssmith.test_imported import stream

KINDS = ("lru", "s4d", "s5")


def layer(kind: str, width: int = 3, order: int = 8, seed: int = 0, **settings_) -> SSMLayer:
    model = ModelSettings(layer=kind, width=width, order=order, **settings_)
    return build_layer(model, order, torch.Generator().manual_seed(seed))


def inputs(batch: int, steps: int, width: int = 3, seed: int = 1) -> torch.Tensor:
    return torch.randn(batch, steps, width, generator=torch.Generator().manual_seed(seed))


def relative(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a - b).abs().max() / b.abs().max())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("width", "order", "steps"), [(1, 1, 1), (4, 1, 30), (3, 8, 100), (2, 33, 50)])
@torch.no_grad()
def test_forward_steps_and_pieces_obey_the_systems_equation(kind, width, order, steps) -> None:
    ssm, u = layer(kind, width, order), inputs(2, steps, width)
    y, x, stepped = ssm(u), None, []
    for k in range(steps):
        out, x = ssm.step(u[:, k], x)
        stepped.append(out)
    first, state = ssm.process(u[:, : steps // 2 + 1])
    pieces = [first] if steps == 1 else [first, ssm.process(u[:, steps // 2 + 1 :], state)[0]]
    for i in range(2):
        expected = torch.tensor(stream(ssm.system(), u[i].double().numpy()))
        for found in (y[i], torch.stack(stepped, 1)[i], torch.cat(pieces, 1)[i]):
            assert relative(found.double(), expected) < 2e-5


@pytest.mark.parametrize("discretization", ["zoh", "bilinear"])
def test_s5_is_the_published_layer(discretization):
    ssm = layer("s5", discretization=discretization)
    lam = torch.complex(-ssm.log_A_real.exp(), ssm.A_imag).detach().numpy()
    re, im = (part.detach().numpy() for part in ssm.B.chunk(2))
    c_re, c_im = (part.detach().numpy() for part in ssm.C.chunk(2, 1))
    published = {
        "Lambda_re": lam.real,
        "Lambda_im": lam.imag,
        "B": np.stack([re, im], -1),
        "C": np.stack([c_re, -c_im], -1),
        "D": ssm.D.detach().numpy(),
        "log_step": ssm.log_dt.detach().numpy(),
    }
    expected = from_s5(published, discretization=discretization)
    assert_same(ssm.system(), expected)


def test_s4d_is_the_published_layer():
    ssm = layer("s4d", 3, 12)
    lam_log, imag = (p.detach().numpy().reshape(3, 4) for p in (ssm.log_A_real, ssm.A_imag))
    re, im = (part.detach().numpy().reshape(3, 4) for part in ssm.C.chunk(2))
    published = {
        "log_dt": ssm.log_dt.detach().numpy(),
        "log_A_real": lam_log,
        "A_imag": imag,
        "C": np.stack([re, -im], -1),
        "D": ssm.D.detach().numpy(),
    }
    np.testing.assert_allclose(imag[1], np.pi * np.arange(4), rtol=1e-6)
    ours = ssm.system()
    assert ours.channels == (4, 4, 4)
    assert_same(ours, from_s4d(published))


def assert_same(ours: System, published: System) -> None:
    np.testing.assert_allclose(ours.lam, published.lam, rtol=1e-6)
    product = np.einsum("yn,nu->nyu", ours.C, ours.B)
    np.testing.assert_allclose(
        product, np.einsum("yn,nu->nyu", published.C, published.B), rtol=1e-5, atol=1e-7
    )
    np.testing.assert_array_equal(ours.D, published.D)


@pytest.mark.parametrize("modes", [1, 2, 8, 32])
def test_hippo_blocks_are_diagonal_in_their_basis(modes: int) -> None:
    lam, vectors = hippo_normal(modes)
    n = np.arange(2 * modes)
    root = np.sqrt(n + 0.5)
    legs = -np.tril(np.outer(2 * root, root), -1) - np.diag(n + 1.0)  # HiPPO-LegS
    normal = legs + np.outer(root, root)
    found = np.linalg.eigvals(normal)
    both = np.concatenate([lam, lam.conj()])
    for one, other in ((found, both), (both, found)):
        assert np.abs(one[:, None] - other).min(1).max() < 1e-8 * np.abs(lam).max()
    np.testing.assert_allclose(normal @ vectors, vectors * lam, atol=1e-8 * np.abs(lam).max())
    np.testing.assert_allclose(vectors.conj().T @ vectors, np.eye(modes), atol=1e-10)
    assert (lam.imag > 0).all()


@settings(deadline=None, max_examples=30)
@given(st.sampled_from(KINDS), st.integers(0, 1000), st.booleans(), st.sampled_from(["zoh", "bilinear"]))
def test_its_own_system_comes_back_with_the_very_poles(kind, seed, rescale, discretization) -> None:
    ssm = layer(kind, 3, 7, seed, discretization=discretization)
    before, poles, u = ssm.system(), ssm.poles().detach(), inputs(1, 40)
    y = ssm(u).detach()
    loaded = ssm.load_system(before, rescale=rescale)
    assert torch.equal(ssm.poles(), poles)
    assert relative(ssm(u).detach(), y) < 1e-5
    if not rescale:
        np.testing.assert_allclose(ssm.system().B, before.B, rtol=1e-5, atol=1e-7)
    assert set(loaded.parameters) == set(loaded.replaced) <= set(ssm.tensors())
    again = copy.deepcopy(ssm)
    again.load_state_dict(ssm.state_dict())
    assert torch.equal(again.poles(), poles)


@pytest.mark.parametrize("kind", KINDS)
def test_extreme_poles_come_back_too(kind) -> None:
    lam = np.array([0, -0.5, 1 - 1e-5, 0.999j, -0.99999, 1e-9])
    system = System(lam, np.full((6, 1), 0.1), np.ones((1, 6)), [0.3])
    ssm = layer(kind, 1, 2)
    ssm.load_system(system, rescale=False)
    stored = lam.astype(np.complex64)
    np.testing.assert_array_equal(ssm.system().lam, stored)
    np.testing.assert_allclose(ssm.system().B, system.B, rtol=1e-5)
    u = inputs(1, 50, 1)
    assert torch.isfinite(ssm(u)).all()
    ssm(u).square().sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in ssm.parameters() if p.grad is not None)


@pytest.mark.parametrize("kind", ["s4d", "s5"])
@pytest.mark.parametrize("discretization", ["zoh", "bilinear"])
def test_gradients_are_those_of_the_formula(kind, discretization):
    ssm = layer(kind, 2, 4, discretization=discretization).double()
    u = inputs(1, 12, 2).double()
    loss = ssm(u).square().sum()
    loss.backward()
    for name, parameter in ssm.named_parameters():
        direction = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(3)).double()
        shift = 2e-3 if name in ("log_A_real", "A_imag", "log_dt") else 1e-5  # poles are rounded to float32
        values = []
        for sign in (1, -1):
            with torch.no_grad():
                parameter += sign * shift * direction
                values.append(float(ssm(u).square().sum()))
                parameter -= sign * shift * direction
        slope = (values[0] - values[1]) / (2 * shift)
        assert slope == pytest.approx(float((parameter.grad * direction).sum()), rel=2e-2, abs=1e-4), name


def test_channels_stay_apart_and_may_be_ragged() -> None:
    ssm = S4D(5, 7, generator=torch.Generator().manual_seed(0))
    assert sorted(ssm.channels) == [1, 1, 1, 2, 2]
    u = inputs(1, 30, 5)
    changed = u.clone()
    changed[..., 2] += 1
    difference = (ssm(changed) - ssm(u)).abs().amax((0, 1))
    assert (difference > 0).tolist() == [False, False, True, False, False]
    ragged = ssm.system()
    parts = list(ragged.split())
    parts[1] = None
    ssm.load_system(System.joined(parts, ragged.D))
    assert ssm.channels[1] == 0
    assert torch.isfinite(ssm(u)).all()
    with pytest.raises(InputError, match="keeps its channels apart"):
        ssm.load_system(LRU(5, 3).system())


@pytest.mark.parametrize("kind", KINDS)
def test_a_network_of_each_kind_is_made_from_its_seed(kind) -> None:
    model = ModelSettings(layer=kind, width=4, order=8, blocks=2)
    one, two = (build_network(model, 3, 2, pooling="mean", seed=5) for _ in range(2))
    other = build_network(model, 3, 2, pooling="mean", seed=6)
    state, twin, different = (n.state_dict() for n in (one, two, other))
    assert all(torch.equal(state[key], twin[key]) for key in state)
    assert any(not torch.equal(state[key], different[key]) for key in state)
    assert one.orders == (8, 8)
    x, lengths = inputs(2, 20), torch.tensor([20, 13])
    y = one(x, lengths)
    padded = torch.cat([x, 100 * torch.ones(2, 5, 3)], 1)
    assert relative(one(padded, lengths)[:, :13].detach(), y[:, :13].detach()) < 1e-5


@pytest.mark.parametrize("make", [S4D, S5])
def test_wrong_sizes_are_refused(make) -> None:
    for arguments, message in (
        ({"width": 0, "order": 2}, "is empty"),
        ({"width": 2, "order": 0}, "is empty"),
        ({"width": 2, "order": 2, "minimum_dt": 0.0}, "minimum_dt"),
        ({"width": 2, "order": 2, "minimum_dt": 0.2}, "minimum_dt"),
        ({"width": 2, "order": 2, "discretization": "euler"}, "zoh or bilinear"),
    ):
        with pytest.raises(InputError, match=message):
            make(**arguments)
