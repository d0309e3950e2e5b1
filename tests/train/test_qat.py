"""Training with rounding computes what integers compute, and never ends worse than rounding alone."""

import functools
from typing import Any

import numpy as np
import pytest
import torch

from ssmith.bundle import Bundle
from ssmith.errors import InputError
from ssmith.quant import SCALES, product_weights
from ssmith.runtime.calibrate import calibrate
from ssmith.runtime.integer import run_integer
from ssmith.runtime.integer_lower import lower_integer
from ssmith.runtime.integer_model import LinearOp, SsmOp
from ssmith.runtime.products import rounded_products
from ssmith.runtime.reference import run
from ssmith.train.convert import Draft, convert
from ssmith.train.data import load
from ssmith.train.fake_quant_model import rounded_table
from ssmith.train.qat import quantisation_aware, rounded_from
from ssmith.train.thaw import thaw
from tests.bundles import kept_modes, random_bundle
from tests.train import finished

# dB below the rounding noise: a code of 8 bits on the other side of a tie weighs as much as the noise of many
MARGIN = {8: 6, 16: 15}
TASKS = ("classification", "regression")


def always(recipe):
    """Train, however little rounding costs."""
    return recipe.model_copy(update={"quantize": recipe.quantize.model_copy(update={"qat_above": -1.0})})


@functools.cache
def trained(task="regression", bits=8, steps=60):
    recipe = always(finished.recipe(task))
    return quantisation_aware(finished.bundle(task), recipe, load(recipe), steps, activation_bits=bits)


def decibels(signal, error) -> float:
    return 10 * np.log10((signal**2).sum() / (error**2).sum())


def integers_of(bundle: Bundle, bits: Any, block):
    model = lower_integer(bundle, bits)
    return model.decode(run_integer(model, model.encode(block))[0]).astype(np.float64)


@torch.no_grad()
def rounded_outputs(bundle: Bundle, bits: Any, block):
    network = rounded_from(bundle, bits).double()
    return network(torch.tensor(block).double()[None])[0].numpy()


@pytest.mark.parametrize("task", TASKS)
def test_it_wins_back_what_8_bits_lose(task):
    found = trained(task)
    assert found.helped and 0 < found.best_step <= 60
    assert found.rounded_after.loss < found.rounded_before.loss
    if task == "regression":
        assert found.rounded_after.metric < found.rounded_before.metric
    facts = found.facts()
    assert facts["rounded_after"] == {"loss": found.rounded_after.loss, "metric": found.rounded_after.metric}


@pytest.mark.parametrize("task", TASKS)
def test_the_bundle_is_whole(task):
    """Written, read, with ranges, scales and golden vectors of its own; its history goes on."""
    found, given = trained(task).bundle, finished.bundle(task)
    again = Bundle.from_bytes(found.to_bytes())
    assert again.sha256 == found.sha256
    assert again.meta.rounding.activation_bits == 8 and again.meta.rounding.steps == 60
    assert again.meta.provenance == {**given.meta.provenance, "quantisation_aware_steps": "60"}
    for case, before in zip(again.golden(), given.golden(), strict=True):
        exact, _ = run(again.meta.ops, again.tensors, case.input)
        scale = np.abs(exact).max()
        assert np.array_equal(case.input, before.input)
        assert np.abs(case.output - exact).max() <= case.relative_tolerance * scale
        assert np.abs(case.output - before.output).max() > 1e-4 * scale  # of the new weights


def test_weights_and_poles_lie_on_their_codes():
    """Float and integer forms have the same weights: rounding moves them by nothing but float32."""
    bundle = trained().bundle
    model, codes = lower_integer(bundle, 8), {}
    for op in model.ops:
        if isinstance(op, LinearOp):
            codes[op.name] = op.weight
        if isinstance(op, SsmOp):
            codes |= {f"{op.name}.B": op.B, f"{op.name}.C": op.C}
    fakes = rounded_from(bundle, 8).products()
    for key, name in product_weights(bundle.meta.ops).items():
        step, row = (bundle.tensors[f"{SCALES}{key}.{part}"].astype(float) for part in ("step", "row"))
        exact = bundle.tensors[name] * step / row[:, None]
        assert np.abs(exact - codes[key]).max() < 1e-3, key
        rounded, _ = fakes[key].rounded(torch.tensor(bundle.tensors[name]))
        assert np.array_equal((rounded.double().numpy() * step / row[:, None]).round(), codes[key]), key
    poles = [op.lam * 2.0**-31 for op in model.ops if isinstance(op, SsmOp)]
    stored = [np.stack([s.lam.real, s.lam.imag]) for s in bundle.systems()]
    assert all(np.array_equal(a, b) for a, b in zip(poles, stored, strict=True))


@pytest.mark.parametrize(("bits", "task"), [(8, "classification"), (8, "regression"), (16, "regression")])
def test_the_network_computes_what_integers_compute(bits, task):
    """The difference is a few codes that lie next to a tie, below what rounding does to the model."""
    found, data = trained(task, bits).bundle, load(finished.recipe(task)).validation
    plain = calibrate(finished.bundle(task), list(data.inputs))
    whole = [np.zeros(0)] * 4
    for block in data.inputs[:8]:
        exact, _ = run(plain.meta.ops, plain.tensors, block)
        parts = (
            exact,
            integers_of(plain, bits, block) - exact,
            integers_of(found, bits, block),
            rounded_outputs(found, bits, block) - integers_of(found, bits, block),
        )
        whole = [np.append(a, b) for a, b in zip(whole, parts, strict=True)]
    assert decibels(whole[2], whole[3]) > decibels(whole[0], whole[1]) + MARGIN[bits]


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("norm", ["layer", "affine", "none"])
@pytest.mark.parametrize("vocabulary", [None, 7])
def test_every_kind_of_network_is_rounded_as_integers_do(bits, norm, vocabulary):
    """Without trained scales too, means taken back and all."""
    rng = np.random.default_rng(3)
    bundle = random_bundle(rng, norm=norm, vocabulary=vocabulary, pool="mean", radius=(0.8, 0.95))
    shape = (300, 1 if vocabulary else 3)
    block = rng.integers(0, 7, shape) if vocabulary else rng.standard_normal(shape)
    block = block.astype(np.float32)
    bundle = calibrate(bundle, [block])
    exact, _ = run(bundle.meta.ops, bundle.tensors, block)
    integer = integers_of(bundle, bits, block)
    difference = rounded_outputs(bundle, bits, block) - integer
    assert decibels(exact, difference) > decibels(exact, integer - exact) + MARGIN[bits]


@pytest.mark.parametrize("bits", [8, 16])
def test_channels_are_rounded_apart_and_as_integers_do(bits):
    channels = [(2, 0, 3, 1, 2), (2, 2, 2, 2, 2)]
    bundle = random_bundle(np.random.default_rng(3), channels=channels, radius=(0.8, 0.95))
    block = np.random.default_rng(4).standard_normal((300, 3)).astype(np.float32)
    bundle = calibrate(bundle, [block])
    for key, product in rounded_products(bundle, bits).items():
        outside = bundle.tensors[product_weights(bundle.meta.ops)[key]] == 0
        assert not product.weight[outside].any(), key
    exact, _ = run(bundle.meta.ops, bundle.tensors, block)
    integer = integers_of(bundle, bits, block)
    difference = rounded_outputs(bundle, bits, block) - integer
    assert decibels(exact, difference) > decibels(exact, integer - exact) + MARGIN[bits]


def test_the_state_has_more_digits_than_its_codes_tell():
    """Int32 states are not rounded in training: a unit is far below a step of their codes."""
    model = lower_integer(trained().bundle, 8)
    for op in model.ops:
        if isinstance(op, SsmOp):
            used = op.lam.any(0)
            unit, step = (model.scales[f"{op.name}.{key}"].reshape(2, -1) for key in ("state", "state_codes"))
            assert (unit[:, used] < 1e-3 * step[:, used]).all()
            multiples = unit / step * 2.0**31
            np.testing.assert_allclose(multiples, multiples.round(), rtol=1e-9)  # their codes are exact


def test_step_by_step_is_the_whole_sequence():
    network = rounded_from(trained().bundle, 8)
    block = torch.tensor(load(finished.recipe("regression")).validation.inputs[0])[None]
    state, frames = None, []
    with torch.no_grad():
        for frame in block.unbind(1):
            y, state = network.step(frame, state)
            frames.append(y)
        torch.testing.assert_close(torch.stack(frames, 1), network(block), rtol=1e-3, atol=1e-2)


def test_equal_arguments_give_equal_bytes():
    recipe, given = always(finished.recipe("regression")), finished.bundle("regression")
    pair = [
        quantisation_aware(given, recipe, load(recipe), 12, activation_bits=8).bundle.to_bytes()
        for _ in range(2)
    ]
    assert pair[0] == pair[1]


def test_what_does_not_help_is_not_kept():
    """A rate far too high ruins every step; the result is the given model, rounded after training."""
    recipe = always(finished.recipe("regression"))
    settings = recipe.train.model_copy(update={"learning_rate": 3.0, "warmup": 0.0})
    wild = recipe.model_copy(update={"train": settings})
    given = finished.bundle("regression")
    found = quantisation_aware(given, wild, load(recipe), 5, activation_bits=8)
    assert not found.helped and found.best_step == 0
    assert found.bundle.without_calibration().sha256 == given.sha256 and found.bundle.calibrated
    assert found.rounded_after == found.rounded_before and found.bundle.meta.rounding is None
    assert "rounding after training, which is kept" in found.words(recipe)["kept"]


def test_where_rounding_costs_nothing_nothing_is_trained():
    recipe = finished.recipe("regression")
    found = quantisation_aware(finished.bundle("regression"), recipe, load(recipe), 60, activation_bits=16)
    assert (found.helped, found.steps, found.best_step) == (False, 0, 0)
    assert found.rounded_after == found.rounded_before and found.bundle.meta.rounding is None
    assert "no step done" in found.words(recipe)["kept"]


def test_what_cannot_be_done_is_said():
    recipe, given = finished.recipe("regression"), finished.bundle("regression")
    splits = load(recipe)
    with pytest.raises(InputError, match="0 steps"):
        quantisation_aware(given, recipe, splits, 0, activation_bits=8)
    several = given.with_variants([kept_modes(given, 5)])
    with pytest.raises(InputError, match=r"holds 2 orders.*bundle\.variant"):
        quantisation_aware(several, recipe, splits, 3, activation_bits=8)


def test_progress_counts_every_step():
    recipe, seen = always(finished.recipe("regression")), []
    given = finished.bundle("regression")
    quantisation_aware(given, recipe, load(recipe), 4, activation_bits=8, on_progress=seen.append)
    assert [progress.step for progress in seen] == [1, 2, 3, 4]


def test_a_table_is_rounded_by_channel():
    table = torch.tensor([[1.27, 0.0], [-0.014, 0.0], [0.5, 0.0]])
    torch.testing.assert_close(rounded_table(table), torch.tensor([[1.27, 0], [-0.01, 0], [0.5, 0]]))


def test_a_rounded_network_cannot_be_frozen_by_mistake():
    network = rounded_from(trained().bundle, 8)
    with pytest.raises(InputError, match="cannot freeze RoundedNetwork"):
        convert(network, "", Draft())
    assert thaw(trained().bundle) is not None
