"""A system of independent channels: split and joined, stored without its zeros, refused where it mixes."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ssmith.bundle import Bundle
from ssmith.cost import ModelCost, model_cost
from ssmith.errors import InputError
from ssmith.ops import SSM, packed
from ssmith.runtime.reference import run
from ssmith.system import System
from tests.bundles import plain_run, random_bundle

CHANNELS = ((2, 0, 3, 1, 2), (1, 1, 1, 1, 1))


@given(st.lists(st.integers(0, 4), min_size=1, max_size=5).filter(any), st.integers(0, 2**32 - 1))
def test_joined_is_split_backwards(channels: list[int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    parts = [None if n == 0 else _siso(rng, n) for n in channels]
    D = rng.standard_normal(len(channels))
    system = System.joined(parts, D, 0.5)
    assert system.channels == tuple(channels)
    z = np.exp(1j * rng.uniform(0, np.pi))
    whole = _transfer(system, z)
    for h, (part, again) in enumerate(zip(parts, system.split(), strict=True)):
        assert (part is None) == (again is None)
        own = 0.0 if part is None else _transfer(part, z)[0, 0]
        np.testing.assert_allclose(whole[h, h], own, rtol=1e-12)
        assert not np.delete(whole[h], h).any()
        if part is not None and again is not None:
            for name in ("lam", "B", "C"):
                np.testing.assert_array_equal(getattr(part, name), getattr(again, name))
            assert again.D == D[h]


def test_mixed_channels_are_refused() -> None:
    rng = np.random.default_rng(0)
    system = System.joined([_siso(rng, 2), _siso(rng, 1)], np.zeros(2))
    wrong = np.array(system.B)
    wrong[0, 1] = 1.0
    with pytest.raises(InputError, match="another channel"):
        System(system.lam, wrong, system.C, system.D, channels=(2, 1))
    with pytest.raises(InputError, match="share out"):
        System(system.lam, system.B, system.C, system.D, channels=(2, 2))
    with pytest.raises(InputError, match="one number of modes"):
        System(system.lam, system.B, system.C, system.D, channels=(3,))


def test_a_file_holds_no_zeros_and_comes_back() -> None:
    bundle = random_bundle(np.random.default_rng(1), channels=CHANNELS)
    data = bundle.to_bytes()
    again = Bundle.from_bytes(data)
    assert again.to_bytes() == data
    for name, tensor in bundle.tensors.items():
        np.testing.assert_array_equal(tensor, again.tensors[name])
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    assert header["block0.ssm.b"]["shape"] == [16, 1]
    assert header["block0.ssm.c"]["shape"] == [1, 16]
    assert json.loads(header["__metadata__"]["ssmith"])["version"] == 5
    assert [system.channels for system in again.systems()] == [*CHANNELS]


def test_versions_before_do_not_mention_channels() -> None:
    data = random_bundle(np.random.default_rng(1)).to_bytes()
    assert b"channels" not in data


@pytest.mark.parametrize("channels", [(2, 0, 3, 1), (2, 0, 3, 1, 1), (2, 0, 3, 2, 2)])
def test_channels_that_do_not_fit_are_refused(channels: tuple[int, ...]) -> None:
    bundle = random_bundle(np.random.default_rng(1), channels=CHANNELS)
    text = f"[{', '.join(map(str, CHANNELS[0]))}]"
    new = f"[{', '.join(map(str, channels))}]"
    data = bundle.to_bytes()
    length = int.from_bytes(data[:8], "little")
    header = data[8 : 8 + length].replace(text.encode(), new.encode())
    with pytest.raises(InputError, match=r"channels|shape"):
        Bundle.from_bytes(len(header).to_bytes(8, "little") + header + data[8 + length :])


def test_the_network_computes_what_it_says() -> None:
    rng = np.random.default_rng(2)
    bundle = random_bundle(rng, channels=CHANNELS)
    block = rng.standard_normal((50, 3)).astype(np.float32)
    output, _ = run(bundle.meta.ops, bundle.tensors, block)
    np.testing.assert_allclose(
        output, plain_run(bundle.meta.ops, bundle.tensors, block), rtol=1e-9, atol=1e-12
    )


def test_zeros_cost_nothing() -> None:
    bundle = random_bundle(np.random.default_rng(3), channels=CHANNELS)
    ops, tensors = bundle.meta.ops, bundle.tensors
    first = next(op for op in ops if isinstance(op, SSM))
    cost = ModelCost.of("parameters", ops, tensors)
    assert cost.layers[0](8) == 2 * 8 * 3 + 5
    assert cost.total(bundle_orders(bundle)) == model_cost("parameters", ops, tensors)
    assert packed(ops, tensors)[first.B].size == 16


def bundle_orders(bundle: Bundle) -> list[int]:
    return [system.order for system in bundle.systems()]


def _siso(rng: np.random.Generator, n: int) -> System:
    lam = rng.uniform(0.1, 0.99, n) * np.exp(1j * rng.uniform(0, np.pi, n))
    b, c = rng.standard_normal((2, n)) + 1j * rng.standard_normal((2, n))
    return System(lam, b[:, None], c[None], [0.5], 0.5)


def _transfer(system: System, z: complex) -> np.ndarray:
    return (system.C * (z / (z - system.lam))) @ system.B
