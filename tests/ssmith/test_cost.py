"""Costs count what a bundle holds and what a frame takes, and grow with the order as the formulas say."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from ssmith.cost import ModelCost, model_cost, ssm_cost
from ssmith.ops import SSM, tensor_names
from tests.bundles import random_bundle

KINDS = ("states", "parameters", "macs", "bytes")


def cut_by_hand(bundle, order):
    """The first SSM with its leading modes only: another function, but honest shapes."""
    op = next(op for op in bundle.meta.ops if isinstance(op, SSM))
    tensors = dict(bundle.tensors)
    n = tensors[op.lam].shape[1]
    rows = np.r_[:order, n : n + order]
    tensors[op.lam] = tensors[op.lam][:, :order]
    tensors[op.B], tensors[op.C] = tensors[op.B][rows], tensors[op.C][:, rows]
    return replace(bundle, tensors=tensors)


@pytest.mark.parametrize(
    ("norm", "pool", "feedthrough"), list(product(("layer", "affine"), ("ema", "none"), (True, False)))
)
def test_parameters_are_the_numbers_in_the_file(norm, pool, feedthrough):
    bundle = random_bundle(np.random.default_rng(0), norm=norm, pool=pool, feedthrough=feedthrough)
    names = {name for op in bundle.meta.ops for name in tensor_names(op)}
    count = sum(bundle.tensors[name].size for name in names)
    assert model_cost("parameters", bundle.meta.ops, bundle.tensors) == count
    assert model_cost("bytes", bundle.meta.ops, bundle.tensors) == 4 * count


def test_a_cut_changes_a_model_by_what_its_layers_cost():
    bundle = random_bundle(np.random.default_rng(1), orders=(6, 3))
    smaller = cut_by_hand(bundle, 2)
    for kind in KINDS:
        cost = ModelCost.of(kind, bundle.meta.ops, bundle.tensors)
        assert cost.total((6, 3)) == model_cost(kind, bundle.meta.ops, bundle.tensors)
        assert cost.total((2, 3)) == model_cost(kind, smaller.meta.ops, smaller.tensors)


def test_states_have_no_fixed_part():
    bundle = random_bundle(np.random.default_rng(2), orders=(6, 3))
    cost = ModelCost.of("states", bundle.meta.ops, bundle.tensors)
    assert cost.fixed == 0
    assert cost.total((4, 2)) == 6


def test_macs_by_hand():
    """Encoder 3→5; block: norm 2·5, SSM of 4 modes 8·(2 + 5 + 5) + D 5, mixer 5→10, gate 5; head 5→2."""
    bundle = random_bundle(np.random.default_rng(3), inputs=3, outputs=2, width=5, orders=(4,), pool="none")
    by_hand = 15 + 10 + 8 * 12 + 5 + 50 + 5 + 10
    assert model_cost("macs", bundle.meta.ops, bundle.tensors) == by_hand


def test_a_table_is_looked_up_for_nothing_but_stored():
    bundle = random_bundle(np.random.default_rng(4), vocabulary=7, width=5)
    wider = random_bundle(np.random.default_rng(4), vocabulary=9, width=5)
    costs = {b: [model_cost(kind, b.meta.ops, b.tensors) for kind in KINDS] for b in (bundle, wider)}
    difference = np.subtract(costs[wider], costs[bundle])
    np.testing.assert_array_equal(difference, [0, 10, 0, 40])


@pytest.mark.parametrize("kind", KINDS)
def test_layers_grow_by_the_same_step(kind):
    cost = ssm_cost(kind, 3, 5, True)
    steps = np.diff([cost(n) for n in range(8)])
    assert (steps == steps[0]).all()
    assert steps[0] > 0
    without = ssm_cost(kind, 3, 5, False)
    assert cost(2) - without(2) == {"states": 0, "bytes": 20}.get(kind, 5)
