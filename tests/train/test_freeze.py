import copy
import itertools

import numpy as np
import pytest
import torch
from torch import nn

from ssmith import ops
from ssmith.bundle import Bundle, Signal
from ssmith.errors import InputError, SsmithError
from ssmith.golden import TOLERANCE
from ssmith.recipe import ModelSettings
from ssmith.train.freeze import GoldenInput, freeze
from ssmith.train.layers import LRU
from ssmith.train.model import build_network
from ssmith.train.pool import Pool
from ssmith.train.ssm_layer import MAX_RADIUS
from tests.bundles import plain_run

KINDS = list(itertools.product(("layer", "batch", "none"), ("mean", "ema", "none"), ("linear", "embedding")))


def signals(prefix, count):
    return [Signal(name=f"{prefix}{i}", unit="m") for i in range(count)]


def frozen(module, frames, outputs=2, **changes):
    settings = {
        "name": "net",
        "task": "regression",
        "inputs": signals("u", frames.shape[1]),
        "outputs": signals("y", outputs),
        "period_s": 0.01,
        "golden_inputs": [GoldenInput("noise", frames)],
    }
    return freeze(module, **{**settings, **changes})


def trained(norm="layer", pooling="ema", encoder="linear", *, steps=60, **changes):
    """A network whose norms, statistics and normalisation are not at their starting values, and frames."""
    rng = np.random.default_rng(0)
    vocabulary = 7 if encoder == "embedding" else None
    inputs = 1 if vocabulary else 3
    model = ModelSettings(
        **{"width": 6, "order": 5, "blocks": 2, "norm": norm, "encoder": encoder, **changes},
        vocabulary=vocabulary,
    )
    network = build_network(model, inputs, 2, pooling=pooling, seed=1)
    network.set_normalisation(output_mean=[3.0, -4.0], output_std=[0.2, 50.0])
    if vocabulary is None:
        network.set_normalisation(input_mean=[1.0, -2.0, 30.0], input_std=[0.5, 1.0, 9.0])
        frames = rng.normal([1.0, -2.0, 30.0], [0.5, 1.0, 9.0], (steps, 3)).astype(np.float32)
    else:
        frames = rng.integers(0, vocabulary, (steps, 1)).astype(np.float32)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if name.endswith(("scale", "shift", "bias")):
                parameter.add_(0.3 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(2)))
        network(torch.tensor(frames)[None])
    return network, frames


def check_golden(bundle):
    """A float64 walk over the op list gives what the model gave, whole and streamed."""
    for case in bundle.golden():
        expected = plain_run(bundle.meta.ops, bundle.tensors, case.input)
        for recorded in (case.output, case.streamed):
            assert np.abs(recorded - expected).max() <= case.relative_tolerance / 4 * case.scale


@pytest.mark.parametrize("norm,pooling,encoder", KINDS)
def test_the_op_list_computes_what_the_network_computes(norm, pooling, encoder):
    network, frames = trained(norm, pooling, encoder)
    bundle = frozen(network, frames)
    check_golden(bundle)
    network.eval()
    with torch.no_grad():
        whole = network(torch.tensor(frames)[None])[0].numpy()
    np.testing.assert_array_equal(bundle.golden()[0].output, whole)
    assert bundle.golden()[0].relative_tolerance == TOLERANCE
    assert list(bundle.states) == list(network.initial_state(1))
    kinds = [op.op for op in bundle.meta.ops]
    # Normalisation is gone; of a BatchNorm one affine op stays, between the saved vector and the SSM.
    assert kinds.count("affine") == (2 if norm == "batch" else 0)
    assert kinds[0] == encoder and kinds[-1] == "linear"
    for system, layer in zip(bundle.systems(), network.layers, strict=True):
        own = layer.system(0.01)
        np.testing.assert_array_equal(system.lam, own.lam)
        np.testing.assert_array_equal(system.B, own.B)
        np.testing.assert_array_equal(system.C, own.C)


@pytest.mark.parametrize(
    "changes",
    [
        {"steps": 1},
        {"order": 1},
        {"width": 1},
        {"width": 1, "order": 1, "blocks": 1, "steps": 2},
        {"minimum_radius": 0.9999, "maximum_radius": 0.99999, "steps": 2000},
    ],
)
def test_small_and_slow_networks(changes):
    check_golden(frozen(*trained(**changes)))


def test_a_pole_at_the_limit():
    network, frames = trained(blocks=1, steps=1500)
    with torch.no_grad():
        network.layers[0].nu_log.fill_(-25.0)
    bundle = frozen(network, frames)
    check_golden(bundle)
    radius = np.abs(bundle.systems()[0].lam)
    assert (radius <= MAX_RADIUS).all() and (radius > MAX_RADIUS - 3e-7).all()


def test_the_batch_norm_folds_into_the_ssm_where_it_has_no_shift():
    network, frames = trained("batch")
    for block in network.blocks:
        with torch.no_grad():
            block.norm.running_mean.zero_()
            block.norm.shift.zero_()
    bundle = frozen(network, frames)
    assert not any(isinstance(op, ops.Affine) for op in bundle.meta.ops)
    check_golden(bundle)


def test_the_model_is_not_touched_and_equal_models_give_equal_bytes():
    network, frames = trained("batch", dropout=0.3)
    network.train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    state = torch.get_rng_state()
    first, second = frozen(network, frames), frozen(copy.deepcopy(network), frames)
    assert first.to_bytes() == second.to_bytes()
    assert Bundle.from_bytes(first.to_bytes()).to_bytes() == first.to_bytes()
    assert network.training and torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_metadata_arrives():
    network, frames = trained()
    cut = {"step": 3, "order_after": 5}
    bundle = frozen(network, frames, reduction=[cut], provenance={"seed": "1"}, task="classification")
    assert bundle.meta.reduction == (cut,) and bundle.meta.provenance == {"seed": "1"}
    assert bundle.meta.period_s == 0.01 and bundle.meta.task == "classification"
    assert [s.name for s in bundle.meta.inputs] == ["u0", "u1", "u2"]


def test_only_the_valid_frames_of_a_golden_input_are_recorded():
    network, frames = trained()
    cut = frozen(network, frames, golden_inputs=[GoldenInput("a", frames, 10), GoldenInput("b", frames[:10])])
    a, b = cut.golden()
    np.testing.assert_array_equal(a.input, frames[:10])
    np.testing.assert_array_equal(a.output, b.output)


def test_a_sequence_of_known_modules_freezes():
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Linear(3, 8, bias=False),
        nn.Sequential(nn.LayerNorm(8), LRU(8, 4), nn.GELU(), nn.Dropout(0.5)),
        nn.LayerNorm(8, elementwise_affine=False),
        nn.Linear(8, 12),
        nn.GLU(),
        LRU(6, 3),
        Pool(0.9),
        nn.Identity(),
        nn.Linear(6, 2),
    )
    bundle = frozen(model, np.random.default_rng(0).standard_normal((50, 3)))
    check_golden(bundle)
    assert bundle.states == {"state_0": (8,), "state_1": (6,), "pool_sum": (6,), "pool_count": (1,)}


def test_a_model_without_memory_freezes_with_its_batch_norm_folded():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.GELU(), nn.Linear(8, 2, bias=False))
    frames = np.random.default_rng(0).standard_normal((50, 3)).astype(np.float32)
    model(2 * torch.tensor(frames) + 1)
    bundle = frozen(model, frames)
    check_golden(bundle)
    assert [op.op for op in bundle.meta.ops] == ["linear", "gelu", "linear"]


def test_what_float32_cannot_carry_is_refused_and_what_it_barely_can_gets_room():
    network, frames = trained("none", "none")
    network.set_normalisation(output_mean=[0.0, 0.0])
    for offset, error in ((3e3, None), (1e7, "does not carry it")):
        network.set_normalisation(input_mean=[offset] * 3, input_std=[1.0] * 3)
        shifted = (frames + offset).astype(np.float32)
        if error is None:
            bundle = frozen(network, shifted)
            assert TOLERANCE < bundle.golden()[0].relative_tolerance < 1e-2
            check_golden(bundle)
        else:
            with pytest.raises(SsmithError, match=error):
                frozen(network, shifted)


def test_exploded_weights_are_refused():
    network, frames = trained()
    with torch.no_grad():
        network.head.weight[0, 0] = float("nan")
    with pytest.raises(InputError, match="NaN"):
        frozen(network, frames)


@pytest.mark.parametrize(
    "golden,message",
    [
        ([], "no golden inputs"),
        ([GoldenInput("a", np.zeros((5, 2)))], "3 inputs"),
        ([GoldenInput("a", np.zeros(3))], "3 inputs"),
        ([GoldenInput("a", np.zeros((5, 3)), 6)], "length 6"),
        ([GoldenInput("a", np.zeros((5, 3)), 0)], "length 0"),
    ],
)
def test_golden_inputs_that_do_not_fit_are_refused(golden, message):
    network, frames = trained()
    with pytest.raises(InputError, match=message):
        frozen(network, frames, golden_inputs=golden)


def test_a_sequence_that_does_not_run_itself_is_refused():
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), LRU(4, 2), nn.Linear(4, 2))
    with pytest.raises(InputError, match="does not run"):
        frozen(model, np.zeros((5, 3)))
