import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from ssmith.errors import InputError
from ssmith.recipe import ModelSettings, TrainSettings
from ssmith.train.layers import LRU
from ssmith.train.loss import objective
from ssmith.train.model import Embedding, build_network, count_parameters, parameter_groups
from ssmith.train.norm import BatchNorm

KINDS = list(itertools.product(("layer", "batch", "none"), ("mean", "ema", "none")))


def randn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def network(norm="layer", pooling="ema", *, inputs=3, outputs=2, seed=0, orders=None, **changes):
    model = ModelSettings(**{"width": 6, "order": 5, "blocks": 2, "norm": norm, **changes})
    return build_network(model, inputs, outputs, pooling=pooling, seed=seed, orders=orders)


@settings(deadline=None, max_examples=40)
@given(
    st.sampled_from(KINDS),
    st.lists(st.integers(1, 12), min_size=1, max_size=4),
    st.integers(0, 9),
    st.integers(0, 2**31),
    st.sampled_from(["classification", "regression"]),
)
def test_appended_padding_changes_nothing(kind, lengths, padding, seed, task):
    norm, pooling = kind
    short = torch.tensor(lengths)
    steps = max(lengths)
    x, targets = randn(len(lengths), steps, 3, seed=seed), randn(len(lengths), steps, 2, seed=seed + 1)
    junk = 100 * randn(len(lengths), steps + padding, 3, seed=seed + 2)
    valid = torch.arange(steps + padding) < short[:, None]
    padded = nn.functional.pad(x, (0, 0, 0, padding))
    padded = torch.where(valid[..., None], padded, junk)
    wanted = nn.functional.pad(targets, (0, 0, 0, padding), value=float("nan"))
    labels = torch.arange(len(lengths)) % 2
    results = []
    for inputs, aims in ((x, targets), (padded, wanted)):
        model = network(norm, pooling)
        loss = objective(task, pooling, scale=torch.tensor([0.5, 2.0]))
        y = model(inputs, short)
        value = loss(y, labels if task == "classification" else aims, short)
        value.backward()
        kept = torch.cat([row[:n] for row, n in zip(y, lengths, strict=True)])
        buffers = [b for m in model.modules() if isinstance(m, BatchNorm) for b in m.buffers()]
        results.append([kept, value, *buffers, *(p.grad for p in model.parameters())])
    for plain, other in zip(*results, strict=True):
        scale = max(float(plain.detach().abs().max()), 1e-2)
        # BatchNorm over a single valid frame divides by sqrt(eps): rounding grows by 300.
        tolerance = 1e-5 if sum(lengths) > 4 or norm != "batch" else 3e-3
        torch.testing.assert_close(plain, other, rtol=0, atol=tolerance * scale)


@pytest.mark.parametrize("norm,pooling", KINDS)
@pytest.mark.parametrize("steps", [1, 50])
def test_stepping_is_the_whole_sequence_and_the_future_changes_nothing(norm, pooling, steps):
    model, x = network(norm, pooling), randn(2, steps, 3)
    model.set_normalisation(
        input_mean=[1, 2, 3], input_std=[1, 2, 3], output_mean=[5, 6], output_std=[0.1, 10]
    )
    with torch.no_grad():
        model(x)  # moves the running statistics
        model.eval()
        whole, state, stepped = model(x), None, []
        for k in range(steps):
            y, state = model.step(x[:, k], state)
            stepped.append(y)
        changed = x.clone()
        changed[:, steps // 2 :] += 5
        past = model(changed)[:, : steps // 2]
    scale = float(whole.abs().max())
    torch.testing.assert_close(torch.stack(stepped, 1), whole, rtol=0, atol=2e-6 * scale)
    torch.testing.assert_close(past, whole[:, : steps // 2], rtol=0, atol=1e-6 * scale)


def test_states_have_the_names_and_shapes_of_the_contract():
    model = network(pooling="mean", orders=(5, 3))
    shapes = {name: tuple(s.shape) for name, s in model.initial_state(4).items()}
    assert shapes == {"state_0": (4, 10), "state_1": (4, 6), "pool_sum": (4, 6), "pool_count": (4, 1)}
    _, after = model.step(randn(4, 3))
    assert {name: tuple(s.shape) for name, s in after.items()} == shapes
    assert list(network(pooling="none").initial_state(1)) == ["state_0", "state_1"]


def test_mean_pooling_of_the_last_step_is_the_mean_over_time():
    model, x = network(pooling="mean").eval(), randn(2, 30, 3)
    bare = network(pooling="none").eval()  # the same weights
    torch.testing.assert_close(model(x)[:, -1], bare(x).mean(1), rtol=1e-4, atol=1e-5)


def test_equal_seeds_give_equal_weights_and_the_global_generator_stays():
    before = torch.get_rng_state()
    one, two, other = network(seed=1), network(seed=1), network(seed=2)
    assert torch.equal(torch.get_rng_state(), before)
    pairs = list(zip(one.parameters(), two.parameters(), strict=True))
    assert all(torch.equal(a, b) for a, b in pairs)
    assert not torch.equal(one.encoder.weight, other.encoder.weight)


def test_dropout_follows_torchs_seed_and_is_off_in_evaluation():
    model, x = network(dropout=0.5), randn(2, 20, 3)
    torch.manual_seed(3)
    first, second = model(x), model(x)
    torch.manual_seed(3)
    assert torch.equal(model(x), first) and not torch.equal(first, second)
    model.eval()
    assert torch.equal(model(x), model(x))


def test_embedding_rounds_to_even_and_clamps():
    table = Embedding(4, 2)
    with torch.no_grad():
        table.weight.copy_(torch.arange(8.0).view(4, 2))
    rows = table(torch.tensor([[-3.0], [0.5], [1.5], [2.4], [9.0]]))[:, 0] / 2
    assert rows.tolist() == [0, 0, 2, 2, 3]


def test_parameter_count():
    h, n, u, y = 6, 5, 3, 2
    block = 3 * n + 2 * 2 * n * h + h + (h + 1) * 2 * h + 2 * h
    assert count_parameters(network()) == (u + 1) * h + 2 * block + (h + 1) * y


def test_groups_hold_every_parameter_once_and_only_matrices_decay():
    settings = TrainSettings(learning_rate=1e-2, ssm_learning_rate_factor=0.5, weight_decay=0.1)
    model = nn.ModuleDict({"own": nn.Sequential(nn.Linear(2, 3), LRU(3, 4)), "net": network()})
    frozen = next(model["own"].parameters()).requires_grad_(False)
    groups = {g["name"]: g for g in parameter_groups(model, settings)}
    grouped = [p for g in groups.values() for p in g["params"]]
    assert len(grouped) == len({id(p) for p in grouped})
    assert {id(p) for p in grouped} == {id(p) for p in model.parameters()} - {id(frozen)}
    dynamics = {"nu_log", "theta", "gamma_log", "B"}
    names = {id(p): name.rsplit(".", 1)[-1] for name, p in model.named_parameters()}
    assert {names[id(p)] for p in groups["ssm"]["params"]} == dynamics
    assert len(groups["ssm"]["params"]) == 4 * 3
    assert all(p.ndim == 2 for p in groups["matrices"]["params"])
    assert all(p.ndim == 1 for p in groups["vectors"]["params"])
    rates = {name: (g["lr"], g["weight_decay"]) for name, g in groups.items()}
    assert rates == {"ssm": (5e-3, 0.0), "matrices": (1e-2, 0.1), "vectors": (1e-2, 0.0)}
    torch.optim.AdamW(list(groups.values()))


@pytest.mark.parametrize(
    "values,message",
    [
        ({"input_mean": [1.0]}, "needs 3"),
        ({"output_std": [1.0, 0.0]}, "above zero"),
        ({"input_std": [1.0, -1.0, 1.0]}, "above zero"),
        ({"output_mean": [float("nan"), 0.0]}, "finite"),
    ],
)
def test_unusable_normalisation_is_refused(values, message):
    with pytest.raises(InputError, match=message):
        network().set_normalisation(**values)


def test_indices_are_not_normalised():
    model = network(encoder="embedding", vocabulary=5, inputs=1)
    model.set_normalisation(output_mean=[1.0, 1.0])
    with pytest.raises(InputError, match="index"):
        model.set_normalisation(input_mean=[1.0])


@pytest.mark.parametrize(
    "changes,message",
    [
        ({"inputs": 0}, "at least one"),
        ({"outputs": 0}, "at least one"),
        ({"orders": (1, 2, 3)}, "3 orders for 2 blocks"),
        ({"encoder": "embedding", "vocabulary": 5, "inputs": 2}, "one index"),
    ],
)
def test_networks_that_cannot_be_are_refused(changes, message):
    with pytest.raises(InputError, match=message):
        network(**changes)
