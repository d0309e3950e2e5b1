"""The oracle against a plain loop; pieces against whole; purity; causality."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ssmith.errors import InputError
from ssmith.ops import Pool
from ssmith.runtime.reference import (
    ReferenceBackend,
    describe,
    initial_state,
    open_backend,
    run,
    run_streams,
)
from tests.bundles import plain_run, random_bundle
from tests.op_lists import any_bundle, frames

seeds = st.integers(0, 2**32 - 1)


@settings(max_examples=60, deadline=None)
@given(seeds)
def test_float64_is_what_the_op_list_says(seed):
    bundle = any_bundle(seed)
    block = frames(bundle, 12, seed)
    output, _ = run(bundle.meta.ops, bundle.tensors, block)
    expected = plain_run(bundle.meta.ops, bundle.tensors, block)
    assert output == pytest.approx(expected, rel=1e-9, abs=1e-9 * max(1, np.abs(expected).max()))


@settings(max_examples=40, deadline=None)
@given(seeds)
def test_float32_is_close_to_float64(seed):
    bundle = random_bundle(np.random.default_rng(seed), width=17, norm="layer")
    case = bundle.golden()[0]
    output, _ = run(bundle.meta.ops, bundle.tensors, case.input, precision="float32")
    assert output.dtype == np.float32
    assert np.abs(output - case.output).max() < 1e-5 * case.scale


@settings(max_examples=40, deadline=None)
@given(seeds, st.lists(st.integers(0, 30), min_size=1, max_size=6), st.sampled_from(["float64", "float32"]))
def test_fed_in_pieces_equals_fed_whole(seed, lengths, precision):
    bundle = any_bundle(seed)
    block = frames(bundle, sum(lengths), seed)
    whole, last = run(bundle.meta.ops, bundle.tensors, block, precision=precision)
    state, pieces = None, []
    for piece in np.split(block, np.cumsum(lengths)[:-1]):
        output, state = run(bundle.meta.ops, bundle.tensors, piece, state, precision=precision)
        pieces.append(output)
    assert np.array_equal(np.concatenate(pieces), whole)
    assert state.keys() == last.keys()
    assert all(np.array_equal(state[name], last[name]) for name in last)


@settings(max_examples=30, deadline=None)
@given(seeds, st.integers(1, 5), st.sampled_from(["float64", "float32"]))
def test_streams_side_by_side_have_the_bits_of_each_alone(seed, batch, precision):
    bundle = any_bundle(seed)
    streams = np.stack([frames(bundle, 300, seed % 1000 + i) for i in range(batch)])  # more than a chunk
    together = run_streams(bundle.meta.ops, bundle.tensors, streams, precision=precision)
    for stream, output in zip(streams, together, strict=True):
        alone, _ = run(bundle.meta.ops, bundle.tensors, stream, precision=precision)
        assert output.tobytes() == alone.tobytes()


def test_long_blocks_cross_the_chunk_border():
    bundle = random_bundle(np.random.default_rng(1), golden_frames=(700,))
    case = bundle.golden()[0]
    output, _ = run(bundle.meta.ops, bundle.tensors, case.input)
    assert np.abs(output - case.output).max() < 1e-6 * case.scale


def test_the_future_does_not_change_the_past():
    bundle = random_bundle(np.random.default_rng(2))
    block = frames(bundle, 30)
    changed = block.copy()
    changed[20:] += 1
    a, _ = run(bundle.meta.ops, bundle.tensors, block)
    b, _ = run(bundle.meta.ops, bundle.tensors, changed)
    assert np.array_equal(a[:20], b[:20])
    assert not np.array_equal(a[20:], b[20:])


def test_run_is_pure():
    bundle = random_bundle(np.random.default_rng(3))
    block = frames(bundle, 5)
    kept = block.copy()
    _, state = run(bundle.meta.ops, bundle.tensors, block)
    before = {name: value.copy() for name, value in state.items()}
    run(bundle.meta.ops, bundle.tensors, block, state)
    assert np.array_equal(block, kept)
    assert all(np.array_equal(state[name], before[name]) for name in before)


def test_no_frames_change_nothing():
    bundle = random_bundle(np.random.default_rng(4))
    output, state = run(bundle.meta.ops, bundle.tensors, np.zeros((0, 3)))
    assert output.shape == (0, 2)
    assert not any(value.any() for value in state.values())


def test_ten_thousand_frames_do_not_drift():
    bundle = random_bundle(np.random.default_rng(5), radius=(0.99, 0.9999), golden_frames=())
    block = frames(bundle, 10_000)
    exact, _ = run(bundle.meta.ops, bundle.tensors, block)
    rounded, _ = run(bundle.meta.ops, bundle.tensors, block, precision="float32")
    error = np.abs(rounded - exact).max(axis=1) / np.abs(exact).max()
    assert error.max() < 1e-4
    assert error[-1000:].max() < 5 * error[:5000].max()


@pytest.mark.parametrize("precision", ["float64", "float32"])
def test_backend_resumes_exactly(precision):
    bundle = random_bundle(np.random.default_rng(6))
    block = frames(bundle, 20)
    backend = ReferenceBackend(bundle, precision)
    backend.process(block[:7])
    saved = backend.state_get()
    expected = backend.process(block[7:])
    backend.reset()
    backend.state_set(saved)
    assert np.array_equal(backend.process(block[7:]), expected)
    assert backend.step(block[0]).shape == (2,)


def test_state_get_is_a_copy():
    backend = ReferenceBackend(random_bundle(np.random.default_rng(7)))
    backend.state_get()["state_0"][:] = 1
    assert not backend.state_get()["state_0"].any()


def test_a_pool_that_comes_first_is_as_wide_as_the_input():
    ops = (Pool(name="pool", decay=1.0, sum="sum", count="count"),)
    assert initial_state(ops, {}, 3, np.float32)["sum"].shape == (3,)
    output, _ = run(ops, {}, np.array([[1.0, 2.0, 3.0], [3.0, 2.0, 1.0]]))
    assert np.array_equal(output, [[1, 2, 3], [2, 2, 2]])


def test_description_and_states_agree():
    bundle = random_bundle(np.random.default_rng(8))
    said = describe(bundle)
    state = initial_state(bundle.meta.ops, bundle.tensors, 3, np.float32)
    assert said["states"] == [[name, len(value)] for name, value in state.items()]
    assert said["bundle_sha256"] == bundle.sha256
    assert [signal["unit"] for signal in said["outputs"]] == ["m/s", "m/s"]


def test_opening_something_else_is_refused(tmp_path):
    (tmp_path / "net.ssm").write_bytes(b"no bundle")
    with pytest.raises(InputError, match="not a usable bundle"):
        open_backend(tmp_path / "net.ssm")
