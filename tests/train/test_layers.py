import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from ssmith.errors import InputError
from ssmith.system import System
from ssmith.train.layers import LRU
from ssmith.train.ssm_layer import MAX_RADIUS


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def random_system(rng, order, width, radius=(0.3, 0.999)):
    lam = rng.uniform(*radius, order) * np.exp(1j * rng.uniform(-np.pi, np.pi, order))
    b = rng.standard_normal((order, width)) + 1j * rng.standard_normal((order, width))
    c = rng.standard_normal((width, order)) + 1j * rng.standard_normal((width, order))
    return System(lam, b * np.sqrt(1 - np.abs(lam) ** 2)[:, None], c, rng.standard_normal(width), 0.01)


def simulate(system, u):
    """y (T, Y) and x (T, N) of the defining equation in complex128, u (T, U)."""
    x, states = np.zeros(system.order, complex), []
    for frame in u:
        x = system.lam * x + system.B @ frame
        states.append(x)
    states = np.array(states)
    return (states @ system.C.T).real + system.D * u, states


def relative(a, b):
    return np.abs(a - b).max() / np.abs(b).max()


@pytest.mark.parametrize("width,order,steps", [(1, 1, 1), (1, 5, 40), (4, 1, 40), (3, 12, 200)])
@pytest.mark.parametrize("radii", [(0.0, 0.5), (0.9, 0.999), (0.9999, 0.99999)])
def test_forward_and_step_obey_the_equation(width, order, steps, radii):
    layer = LRU(width, order, r_min=radii[0], r_max=radii[1], generator=seeded())
    u = torch.randn(2, steps, width, generator=seeded(1))
    with torch.no_grad():
        y, x = layer(u), None
        stepped = []
        for k in range(steps):
            out, x = layer.step(u[:, k], x)
            stepped.append(out)
    for i in range(2):
        expected, _ = simulate(layer.system(), u[i].double().numpy())
        assert relative(y[i].numpy(), expected) < 1e-5
        assert relative(torch.stack(stepped, 1)[i].numpy(), expected) < 1e-5


@pytest.mark.parametrize("cut", [1, 17, 59])
def test_in_pieces_is_whole_and_the_future_changes_nothing(cut):
    layer = LRU(3, 8, generator=seeded())
    u = torch.randn(2, 60, 3, generator=seeded(1))
    with torch.no_grad():
        whole = layer(u)
        first, x = layer.process(u[:, :cut])
        second, _ = layer.process(u[:, cut:], x)
        changed = u.clone()
        changed[:, cut:] += 10
        other = layer(changed)
    assert relative(torch.cat([first, second], 1).numpy(), whole.numpy()) < 1e-6
    assert relative(other[:, :cut].numpy(), whole[:, :cut].numpy()) < 1e-6


@settings(deadline=None, max_examples=50)
@given(
    hnp.arrays(np.float32, (2, 6), elements=st.floats(-30, 5, width=32)),
    st.floats(-10, 10, width=32),
)
def test_poles_are_float32_inside_the_limit_and_rounding_is_final(values, turn):
    layer = LRU(1, 6, generator=seeded())
    with torch.no_grad():
        layer.nu_log.copy_(torch.from_numpy(values[0]))
        layer.theta.copy_(torch.from_numpy(values[1]) * turn)
    lam = layer.poles().detach()
    assert lam.dtype == torch.float32
    radius = torch.hypot(*lam.double())
    assert float(radius.max()) <= MAX_RADIUS
    expected = torch.exp(-torch.exp(layer.nu_log.detach().double())).clamp(max=MAX_RADIUS)
    torch.testing.assert_close(radius, expected, rtol=2e-7, atol=1e-7)
    layer.load_system(layer.system())
    assert torch.equal(layer.poles(), lam)


def test_the_limit_holds_at_every_angle():
    layer = LRU(1, 100_000, r_min=0.5, r_max=0.9, generator=seeded())
    radius = MAX_RADIUS + torch.linspace(-1e-6, 1e-6, layer.order, dtype=torch.float64)
    with torch.no_grad():
        layer.nu_log.copy_(torch.log(-torch.log(radius)))
    lam = layer.poles().detach()
    assert float(torch.hypot(*lam.double()).max()) <= MAX_RADIUS
    layer.load_system(layer.system())
    assert torch.equal(layer.poles(), lam)


def test_gradients_pass_the_rounding_and_the_limit_as_if_neither_were_there():
    layer = LRU(1, 3, generator=seeded())
    with torch.no_grad():
        layer.nu_log.copy_(torch.tensor([-20.0, -12.0, -3.0]))  # the first two are beyond the limit
    weight = torch.randn(2, 3, generator=seeded(2))
    (layer.poles() * weight).sum().backward()
    nu, theta = (p.detach().double().requires_grad_() for p in (layer.nu_log, layer.theta))
    radius = torch.exp(-torch.exp(nu))
    free = torch.stack([radius * torch.cos(theta), radius * torch.sin(theta)])
    (free * weight.double()).sum().backward()
    torch.testing.assert_close(layer.nu_log.grad.double(), nu.grad, rtol=1e-6, atol=0)
    torch.testing.assert_close(layer.theta.grad.double(), theta.grad, rtol=1e-6, atol=0)
    assert (layer.nu_log.grad != 0).all()


def test_initial_values_lie_on_the_ring_and_leave_the_global_generator_alone():
    before = torch.get_rng_state()
    layer, twin = (LRU(8, 4096, r_min=0.5, r_max=0.9, max_phase=1.0, generator=seeded(3)) for _ in range(2))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(a, b) for a, b in zip(layer.parameters(), twin.parameters(), strict=True))
    lam = layer.system().lam
    radius, angle = np.abs(lam), np.angle(lam)
    assert 0.5 - 1e-6 <= radius.min() and radius.max() <= 0.9 + 1e-6
    assert 0 <= angle.min() and angle.max() <= 1.0
    # |λ|² is uniform: mean (a + b) / 2, standard error (b - a) / sqrt(12 n).
    assert abs((radius**2).mean() - (0.25 + 0.81) / 2) < 5 * 0.56 / math.sqrt(12 * 4096)
    gamma = torch.exp(layer.gamma_log.detach().double()).numpy()
    np.testing.assert_allclose(gamma, np.sqrt(1 - radius**2), rtol=1e-5)


@pytest.mark.parametrize("rescale", [True, False])
@pytest.mark.parametrize("order", [1, 5, 20])
def test_a_loaded_system_is_computed_exactly(order, rescale):
    rng = np.random.default_rng(order)
    layer, system = LRU(3, 8, generator=seeded()), random_system(rng, order, 3)
    inputs = {name: getattr(system, name).copy() for name in ("lam", "B", "C", "D")}
    loaded = layer.load_system(system, rescale=rescale)
    u = rng.standard_normal((300, 3))
    expected, states = simulate(system, u)
    # Rounding λ to float32 is the only thing that grows with the memory: 2⁻²⁵ / (1 - |λ|).
    got, own_states = simulate(layer.system(), u)
    assert relative(got, expected) < 2e-5
    np.testing.assert_allclose(
        own_states, states * loaded.scale, rtol=0, atol=1e-4 * np.abs(own_states).max()
    )
    np.testing.assert_array_equal(layer.system().lam.real, system.lam.real.astype(np.float32))
    np.testing.assert_array_equal(layer.system().lam.imag, system.lam.imag.astype(np.float32))
    np.testing.assert_allclose(loaded.gain_new, np.sqrt(1 - np.abs(system.lam) ** 2), rtol=1e-6)
    assert (layer.order, layer.initial_state(2).shape) == (order, (2, 2 * order))
    assert rescale or (loaded.scale == 1).all()
    for name, value in inputs.items():
        np.testing.assert_array_equal(getattr(system, name), value)


def ratios(layer):
    n = layer.order
    b, c = layer.B.detach().double(), layer.C.detach().double()
    rows = torch.hypot(b[:n].norm(dim=1), b[n:].norm(dim=1))
    return (rows / torch.hypot(c[:, :n].norm(dim=0), c[:, n:].norm(dim=0))).numpy()


def test_each_mode_keeps_the_layers_median_ratio_of_b_to_c():
    layer = LRU(3, 8, generator=seeded())
    before = np.median(ratios(layer))
    layer.load_system(random_system(np.random.default_rng(0), 6, 3))
    np.testing.assert_allclose(ratios(layer), before, rtol=1e-5)


def test_real_and_zero_poles_and_padded_slots():
    lam = np.array([0.9, -0.9, 0.0, 0.0])
    b = np.array([[1.0], [1.0], [2.0], [0.0]])
    system = System(lam, b, [[1.0, 1.0, 1.0, 0.0]])
    layer = LRU(1, 2, generator=seeded())
    layer.load_system(system)
    np.testing.assert_array_equal(layer.system().lam, lam.astype(np.float32))
    assert all(torch.isfinite(p).all() for p in layer.parameters())
    u = np.random.default_rng(0).standard_normal((50, 1))
    assert relative(simulate(layer.system(), u)[0], simulate(system, u)[0]) < 1e-6
    layer(torch.randn(1, 20, 1)).sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in layer.parameters())
    assert (layer.B.grad.view(2, 4)[:, 3] == 0).all() and (layer.C.grad.view(2, 4)[:, 3] == 0).all()


def test_poles_beyond_the_limit_move_to_it():
    layer = LRU(1, 2, generator=seeded())
    layer.load_system(System([(1 - 1e-9) * np.exp(1j)], [[1e-4]], [[1.0]]))
    radius = np.abs(layer.system().lam)
    assert MAX_RADIUS - 2e-7 < radius <= MAX_RADIUS


def test_parameters_are_new_objects_and_can_be_put_back():
    layer = LRU(2, 6, generator=seeded())
    u = torch.randn(1, 30, 2, generator=seeded(1))
    before, y = layer.tensors(), layer(u)
    copies = {name: tensor.detach().clone() for name, tensor in before.items()}
    loaded = layer.load_system(random_system(np.random.default_rng(0), 3, 2))
    assert set(loaded.parameters) == set(loaded.replaced) == {"nu_log", "theta", "gamma_log", "B", "C", "D"}
    for name, new in loaded.parameters.items():
        assert getattr(layer, name) is new is not before[name]
        assert loaded.replaced[name] is before[name]
        assert new.is_contiguous() and new.requires_grad
    y.sum().backward()  # the graph of the old parameters still stands
    assert loaded.replaced["B"].grad.shape == (12, 2)
    layer(u).sum().backward()
    assert layer.B.grad.shape == (6, 2)
    layer.put(before)
    assert all(tensor is before[name] for name, tensor in layer.tensors().items())
    assert all(torch.equal(tensor, copies[name]) for name, tensor in layer.tensors().items())
    assert torch.equal(layer(u), y)


def test_an_unchanged_feedthrough_keeps_its_parameter():
    layer = LRU(2, 6, generator=seeded())
    d = layer.D
    assert "D" not in layer.load_system(layer.system()).parameters and layer.D is d


def test_autocast_leaves_the_recurrence_alone():
    layer = LRU(2, 4, generator=seeded())
    u = torch.randn(1, 30, 2, generator=seeded(1)).bfloat16()  # what a linear before it gives there
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = layer(u).detach()
    expected, _ = simulate(layer.system(), u[0].double().numpy())
    assert inside.dtype == torch.float32 and relative(inside[0].numpy(), expected) < 1e-5


@pytest.mark.parametrize(
    "system,message",
    [
        (System([0.5], [[1.0, 0.0]], [[1.0]]), "width 2"),
        (System([[0.5]], [[[1.0, 0.0]]], [[[1.0], [0.0]]]), "poles of shape"),
        (System([0.5], [[1.0, 0.0]], [[1.0], [0.0]], [[1.0, 0.1], [0.0, 1.0]]), "full matrix"),
    ],
)
def test_systems_that_do_not_fit_are_refused(system, message):
    with pytest.raises(InputError, match=message):
        LRU(2, 3, generator=seeded()).load_system(system)


def test_a_diagonal_feedthrough_may_come_as_a_matrix():
    layer = LRU(2, 3, generator=seeded())
    layer.load_system(System([0.5], [[1.0, 0.0]], [[1.0], [0.0]], np.diag([2.0, 3.0])))
    assert layer.D.tolist() == [2.0, 3.0]


@pytest.mark.parametrize(
    "sizes,radii,message",
    [((0, 4), (0.9, 0.99), "empty"), ((4, 0), (0.9, 0.99), "empty"), ((2, 2), (0.9, 1.0), "radii")],
)
def test_bad_sizes_are_refused(sizes, radii, message):
    with pytest.raises(InputError, match=message):
        LRU(*sizes, r_min=radii[0], r_max=radii[1])
