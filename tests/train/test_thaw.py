import numpy as np
import pytest
import torch
from torch import nn

from ssmith.errors import InputError
from ssmith.train.layers import LRU
from ssmith.train.model import Network
from ssmith.train.thaw import thaw
from tests.bundles import random_bundle
from tests.train.test_freeze import KINDS, frozen, trained


@pytest.mark.parametrize("norm,pooling,encoder", KINDS)
def test_thawing_and_freezing_again_gives_the_same_function(norm, pooling, encoder):
    network, frames = trained(norm, pooling, encoder)
    first = frozen(network, frames)
    before = torch.get_rng_state()
    thawed = thaw(first)
    assert torch.equal(torch.get_rng_state(), before)
    second = frozen(thawed, frames)
    assert second.meta.ops == first.meta.ops
    old, new = first.golden()[0], second.golden()[0]
    assert np.abs(new.output - old.output).max() <= old.relative_tolerance / 4 * old.scale
    for name, tensor in first.tensors.items():
        if name.endswith((".b", ".c")):  # γ goes out and in again
            np.testing.assert_allclose(second.tensors[name], tensor, rtol=3e-7, atol=0)
        elif not name.startswith("golden."):
            np.testing.assert_array_equal(second.tensors[name], tensor)


@pytest.mark.parametrize("norm", ["layer", "affine", "none"])
def test_foreign_bundles_thaw_and_learn(norm):
    bundle = random_bundle(np.random.default_rng(0), norm=norm, feedthrough=norm == "none", orders=(1, 3))
    network = thaw(bundle)
    case = bundle.golden()[0]
    assert isinstance(network, Network) and network.orders == (1, 3)
    y = network(torch.tensor(case.input)[None])[0]
    assert np.abs(y.detach().numpy() - case.output).max() <= 1e-5 * case.scale
    y.square().mean().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in network.parameters())


def test_what_is_no_network_is_refused_by_name():
    frames = np.random.default_rng(0).standard_normal((9, 3))
    torch.manual_seed(0)
    bare = frozen(nn.Sequential(nn.Linear(3, 4), LRU(4, 2), nn.Linear(4, 2)), frames)
    with pytest.raises(InputError, match="op 'm1' is a ssm where a network has a linear"):
        thaw(bare)
    tail = frozen(nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 2), nn.GELU()), frames)
    with pytest.raises(InputError, match="op 'm2' stands behind the head"):
        thaw(tail)
    short = frozen(nn.Sequential(nn.Linear(3, 2)), frames)
    with pytest.raises(InputError, match="the list ends where a network has a linear"):
        thaw(short)
