import numpy as np
import pytest
import torch
from torch import nn

from ssmith.errors import InputError
from ssmith.recipe import ModelSettings
from ssmith.reduce import CRITERIA, controllability_gramian, observability_gramian, reduce_system
from ssmith.train.layers import LRU
from ssmith.train.model import build_network
from ssmith.train.statistics import collect, measured


class Tower(nn.Module):
    """Not ours: LRU, a nonlinearity, LRU, a head. (batch, T, 3) → (batch, T, 2)."""

    def __init__(self, orders=(5, 4)):
        super().__init__()
        generator = torch.Generator().manual_seed(1)
        self.first = LRU(3, orders[0], generator=generator)
        self.second = LRU(3, orders[1], generator=generator)
        self.head = nn.Linear(3, 2)

    def forward(self, x, lengths=None):
        return self.head(self.second(torch.tanh(self.first(x))))


def sequences(batch, steps, width=3, seed=0):
    return torch.randn(batch, steps, width, generator=torch.Generator().manual_seed(seed))


def layers_of(model):
    return {name: m for name, m in model.named_modules() if isinstance(m, LRU)}


def states_by_step(layer, u, noise=None):
    """States (batch, T, 2N) one step at a time; `noise` (batch, T, 2N) is added to each as it arises."""
    x, states, outputs = layer.initial_state(len(u)), [], []
    for k in range(u.shape[1]):
        _, x = layer.step(u[:, k], x)
        if noise is not None:
            x = x + noise[:, k]
        states.append(x)
        outputs.append(x @ layer.C.T + layer.D * u[:, k])
    return torch.stack(states, 1), torch.stack(outputs, 1)


def relative(a, b):
    return np.abs(a - b).max() / np.abs(b).max()


def test_states_are_those_of_stepping_and_padding_does_not_count():
    model, x = Tower(), sequences(4, 12)
    lengths = torch.tensor([12, 7, 1, 9])
    with torch.no_grad():
        states, _ = states_by_step(model.first, x)
    valid = torch.arange(12) < lengths[:, None]
    rows = states[valid].double().numpy()
    padded = torch.where(valid[..., None], x, torch.full_like(x, 1e6))
    found = collect(model, {"first": model.first}, [(padded, None, lengths)], gradients=False)["first"]
    assert found.steps == int(lengths.sum())
    assert found.observability is None
    assert relative(found.controllability, rows.T @ rows / len(rows)) < 1e-5


def test_gradients_are_the_derivatives_by_an_injected_state():
    model, x, seed = Tower(), sequences(3, 10), 5
    lengths = torch.tensor([10, 6, 8])
    noise = torch.zeros(3, 10, 2 * model.first.order, requires_grad=True)
    _, y = states_by_step(model.first, x, noise)
    f = model.head(model.second(torch.tanh(y)))
    signs = torch.randint(0, 2, f.shape, generator=torch.Generator().manual_seed(seed)) * 2.0 - 1
    valid = torch.arange(10) < lengths[:, None]
    (signs * f * valid[..., None]).sum().backward()
    g = noise.grad[valid].double().numpy()
    found = collect(model, {"first": model.first}, [(x, None, lengths)], seed=seed)["first"]
    assert relative(found.observability, g.T @ g / len(g)) < 1e-4


def test_the_output_weight_is_the_second_moment_of_the_gradients_at_the_output():
    model, x, seed = Tower(), sequences(3, 10), 5
    lengths = torch.tensor([10, 6, 8])
    y = model.first(x).detach().requires_grad_()
    f = model.head(model.second(torch.tanh(y)))
    signs = torch.randint(0, 2, f.shape, generator=torch.Generator().manual_seed(seed)) * 2.0 - 1
    valid = torch.arange(10) < lengths[:, None]
    (signs * f * valid[..., None]).sum().backward()
    e = y.grad[valid].double().numpy()
    found = collect(model, {"first": model.first}, [(x, None, lengths)], seed=seed)["first"]
    assert relative(found.output_weight, e.T @ e / len(e)) < 1e-5
    assert found.steps == found.measured.samples == len(e)
    assert found.measured.output_weight is found.output_weight


@pytest.mark.parametrize("criterion", list(CRITERIA))
def test_a_criterion_gets_what_it_needs(criterion):
    model = Tower()
    found = measured(criterion, model, layers_of(model), [sequences(3, 10)])
    for name, layer in layers_of(model).items():
        reduction = reduce_system(layer.system(), criterion=criterion, measured=found[name], order=2)
        assert reduction.order <= 2


def test_without_need_of_data_nothing_runs():
    model = Tower()
    assert set(measured("exact", model, layers_of(model), ["no batch"])) == {"first", "second"}


def test_fewer_steps_than_states_are_said_and_regularised():
    model = Tower()
    found = measured("task-aware", model, layers_of(model), [sequences(1, 6)])["first"]
    reduction = reduce_system(model.first.system(), measured=found, order=3)
    assert any("6 time steps, fewer than the 10 real states" in note for note in reduction.notes)


def test_white_inputs_and_signs_give_the_exact_gramians():
    layer = LRU(3, 4, r_min=0.5, r_max=0.9, generator=torch.Generator().manual_seed(0))
    found = collect(layer, {"": layer}, [sequences(40, 2000, seed=s) for s in range(4)])[""]
    system = layer.system()
    assert relative(found.controllability, controllability_gramian(system)) < 0.03
    assert relative(found.observability, observability_gramian(system)) < 0.03


def test_nothing_is_left_behind():
    settings = ModelSettings(width=4, order=6, blocks=2, norm="batch", dropout=0.5)
    model = build_network(settings, 3, 2, pooling="mean", seed=0)
    model.train()
    model.blocks[0].eval()
    model(sequences(5, 9)).sum().backward()
    modes = [m.training for m in model.modules()]
    before = {k: v.clone() for k, v in model.state_dict().items()}
    grads = [p.grad.clone() for p in model.parameters()]
    random = torch.get_rng_state()
    collect(model, layers_of(model), [sequences(5, 9)])
    assert [m.training for m in model.modules()] == modes
    assert torch.equal(torch.get_rng_state(), random)
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert all(torch.equal(p.grad, g) for p, g in zip(model.parameters(), grads, strict=True))


def test_dropout_is_off_and_the_seed_decides():
    settings = ModelSettings(width=4, order=6, dropout=0.9)
    model = build_network(settings, 3, 2, pooling="none", seed=0)
    model.train()
    runs = [
        collect(model, layers_of(model), [sequences(5, 9)], seed=seed)["blocks.0.ssm"] for seed in (3, 3, 4)
    ]
    assert np.array_equal(runs[0].observability, runs[1].observability)
    assert not np.array_equal(runs[0].observability, runs[2].observability)
    assert np.array_equal(runs[0].controllability, runs[2].controllability)


def test_batches_add_up():
    model, x = Tower(), sequences(6, 8)
    whole = collect(model, layers_of(model), [x], gradients=False)
    pieces = collect(model, layers_of(model), [x[:2], x[2:]], gradients=False)
    for name in whole:
        assert relative(pieces[name].controllability, whole[name].controllability) < 1e-12


def test_a_frozen_model_has_gradients_too():
    model, x = Tower(), sequences(3, 10)
    free = collect(model, layers_of(model), [x])
    model.requires_grad_(False)
    frozen = collect(model, layers_of(model), [x])
    for name in free:
        assert np.array_equal(free[name].observability, frozen[name].observability)


def test_a_layer_whose_output_is_unused_has_no_observability():
    class Deaf(Tower):
        def forward(self, x, lengths=None):
            self.second(x)
            return self.head(self.first(x))

    model = Deaf()
    found = collect(model, layers_of(model), [sequences(3, 10)])
    assert not found["second"].observability.any()
    assert found["first"].observability.any()


def test_refusals():
    model, x = Tower(), sequences(3, 10)
    with pytest.raises(InputError, match="did not call layer 'elsewhere'"):
        collect(model, {"elsewhere": LRU(3, 4)}, [x])
    with pytest.raises(InputError, match="its states on the training data are not finite, so nothing"):
        collect(model, layers_of(model), [x * float("nan")])
    with pytest.raises(InputError, match="its gradients of the outputs on the training data are not finite"):
        collect(model, layers_of(model), [x], outputs=lambda m, batch: m(batch) * float("inf"))
    with pytest.raises(InputError, match="lengths go up to 11"):
        collect(model, layers_of(model), [(x, None, torch.tensor([11, 3, 2]))], gradients=False)
    with pytest.raises(InputError, match="yield x"):
        collect(model, layers_of(model), ["text"])
