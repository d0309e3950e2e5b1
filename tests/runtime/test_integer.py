"""The integer reference: one semantics however frames come, and edges that round as they say."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ssmith.runtime.calibrate import calibrate
from ssmith.runtime.integer import initial_state, run_integer
from ssmith.runtime.integer_lower import lower_integer
from ssmith.runtime.integer_model import IntegerModel
from tests.op_lists import any_bundle, frames


def model_of(seed, bits=16):
    bundle = any_bundle(seed, count=8, max_width=12, max_order=6)
    return lower_integer(calibrate(bundle, [frames(bundle, 60, seed)]), bits)


def codes_of(model: IntegerModel, count: int, seed: int):
    width = len(model.input_scale)
    return np.random.default_rng(seed).integers(-32768, 32768, (count, width)).astype(np.int16)


@given(st.integers(0, 10_000), st.sampled_from([16, 8]))
@settings(max_examples=40, deadline=None)
def test_pieces_equal_the_whole(seed, bits):
    model, rng = model_of(seed, bits), np.random.default_rng(seed)
    codes = codes_of(model, 30, seed)
    whole, after = run_integer(model, codes)
    assert whole.dtype == np.int32
    state, parts, start = None, [], 0
    while start < len(codes):
        length = int(rng.integers(0, 10))
        part, state = run_integer(model, codes[start : start + length], state)
        parts.append(part)
        start += length
    assert np.array_equal(np.concatenate(parts), whole)
    assert all(np.array_equal(state[name], after[name]) for name in after)


def test_inputs_and_states_stay_as_they_are():
    model = model_of(3)
    codes = codes_of(model, 10, 3)
    _, state = run_integer(model, codes)
    before, kept = codes.copy(), {name: value.copy() for name, value in state.items()}
    run_integer(model, codes, state)
    assert np.array_equal(codes, before)
    assert all(np.array_equal(state[name], kept[name]) for name in kept)


def test_states_have_their_own_types():
    model = next(m for m in map(model_of, range(50)) if {s.bits for s in m.states} == {32, 64})
    state = initial_state(model)
    _, after = run_integer(model, codes_of(model, 5, 0), state)
    for values in (state, after):
        assert [(n, len(v), v.dtype.itemsize * 8) for n, v in values.items()] == [
            (s.name, s.length, s.bits) for s in model.states
        ]


def edges(scale: float = 0.125) -> IntegerModel:
    return IntegerModel(
        name="edges",
        activation_bits=16,
        input_scale=np.array([scale], np.float32),
        input_shift=14,
        output_scale=np.array([scale], np.float32),
        ops=(),
        states=(),
    )


@given(st.lists(st.floats(-(2.0**100), 2.0**100, width=32), min_size=1))
def test_encoding_rounds_to_nearest_even_and_saturates(values):
    x = np.array(values, np.float32)[:, None]
    expected = np.clip(np.rint(x.astype(np.float64) * 8), -32767, 32767)
    assert np.array_equal(edges().encode(x), expected.astype(np.int16))


def test_encoding_survives_the_largest_floats():
    top = np.finfo(np.float32).max
    assert edges(1e-6).encode(np.array([[top], [-top]], np.float32)).ravel().tolist() == [32767, -32767]


@given(st.integers(-(2**30), 2**30))
def test_decoding_rounds_twice(v):
    assert edges().decode(np.array([[v]], np.int32))[0, 0] == np.float32(v) * np.float32(0.125)


def test_saturated_codes_are_counted():
    model = next(m for m in map(model_of, range(50)) if any(hasattr(op, "quantize") for op in m.ops))
    quiet, loud = dict[str, int](), dict[str, int]()
    run_integer(model, np.zeros((20, len(model.input_scale)), np.int16), saturated=quiet)
    run_integer(model, np.full((20, len(model.input_scale)), 32767, np.int16), saturated=loud)
    assert set(quiet) == set(loud) and sum(quiet.values()) == 0


@pytest.mark.parametrize("frames_in", [0, 1])
def test_no_frames_are_frames_too(frames_in):
    model = model_of(1)
    out, state = run_integer(model, codes_of(model, frames_in, 0))
    assert out.shape == (frames_in, len(model.output_scale))
    assert set(state) == {s.name for s in model.states}
