"""Quantised ONNX files in ONNX Runtime against the simulation of the same precision."""

import json
import math

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ssmith.bundle import Bundle
from ssmith.errors import InputError, MissingToolError
from ssmith.export.onnx import FORMS, forms_of, lower, to_bytes
from ssmith.export.onnx_turn import DENSE_NUMBERS
from ssmith.quant import product_weights
from ssmith.recipe import WRITES
from ssmith.runtime.onnx import open_backend
from ssmith.runtime.simulate import roundings, run_simulated
from tests.bundles import random_bundle
from tests.calibrated import calibrated, with_scales
from tests.op_lists import frames

WIDE = math.isqrt(DENSE_NUMBERS) // 2 + 1  # the first order whose poles make no matrix
FRAMES = 16
CASES = [("int8", 16), ("int8", 8), ("int8-dynamic", 16), ("int8-weights", 16), ("int4-weights", 16)]
CASES += [("mixed", 16), ("float16", 16)]

# An output changes by this much, relative to the largest, where float32 and float64 put the same value on
# the two sides of a tie. Rare: a median over all outputs never sees one.
FLIP = {("int8", 8): 0.1, ("int8-dynamic", 16): 0.1, ("mixed", 16): 0.1, ("int8", 16): 1e-3}


def planned(bundle):
    """A plan that has every kind of product in turn."""
    kinds = ["int8-a8", "float32", "int8-a16"]
    keys = product_weights(bundle.meta.ops)
    plan = {key: kinds[i % 3] for i, key in enumerate(keys)}
    return Bundle(bundle.meta.model_copy(update={"plan": plan}), bundle.tensors)


def bundles():
    options = {
        "inputs": st.integers(1, 4),
        "outputs": st.integers(1, 3),
        "width": st.sampled_from([1, 2, 7, 16, 33]),
        "orders": st.lists(st.sampled_from([1, 2, 9, WIDE]), min_size=1, max_size=2),
        "norm": st.sampled_from(["layer", "affine", "none"]),
        "pool": st.sampled_from(["mean", "ema", "none"]),
        "vocabulary": st.sampled_from([None, None, 6]),
        "feedthrough": st.booleans(),
    }
    seeds = st.integers(0, 2**32 - 1).map(np.random.default_rng)
    made = st.builds(random_bundle, seeds, golden_frames=st.just((12,)), **options)
    return made.map(calibrated).map(planned)


def open_session(data):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])


def fresh(bundle, batch):
    return {name: np.zeros((batch, *shape), np.float32) for name, shape in bundle.states.items()}


def feed(bundle, data, streams, cuts):
    """(batch, T, U) in pieces through a model of either form → (batch, T, Y), last states."""
    session, states, rows = open_session(data), fresh(bundle, len(streams)), []
    step = len(session.get_inputs()[0].shape) == 2
    pieces = np.split(streams, range(1, streams.shape[1]) if step else cuts, axis=1)
    for piece in pieces:
        y, *after = session.run(None, {"input": piece[:, 0] if step else piece, **states})
        states = dict(zip(states, after, strict=True))
        rows.append(y[:, None] if step else y)
    return np.concatenate(rows, axis=1), states


def relative_errors(got, expected):
    """Of the outputs and of each state, relative to the largest."""
    pairs = [(got[0], expected[0]), *((got[1][name], value) for name, value in expected[1].items())]
    return [np.abs(a - b) / max(1.0, np.abs(b).max()) for a, b in pairs]


@settings(max_examples=12, deadline=None)
@given(bundles(), st.sampled_from(CASES), st.sampled_from([18, 20]))
def test_a_file_computes_what_the_simulation_says(bundle, case, opset):
    precision, bits = case
    batch = 1 if precision == "int8-dynamic" else 7
    streams = np.stack(
        [frames(bundle, FRAMES, i) for i in range(batch)]
    )  # saturates codes of 8 bits at times
    expected = run_simulated(bundle, roundings(bundle, precision, bits), streams)
    exact = run_simulated(bundle, {}, streams)
    plain = relative_errors(feed(bundle, to_bytes(bundle, "step", opset), streams, []), exact)
    # A norm of two features can make much of the last bit: no file is asked to be better than float32 is.
    allowed = max(FLIP.get(case, 0), 1e-5, 4 * max(error.max() for error in plain))
    for form in forms_of(precision):
        got = feed(bundle, to_bytes(bundle, form, opset, precision, bits), streams, [1, 9])
        errors = relative_errors(got, expected)
        assert max(error.max() for error in errors) <= allowed
        assert np.median(errors[0]) <= max(2e-6, 4 * np.median(plain[0]))


@pytest.mark.parametrize("case", CASES[:2])
def test_scales_of_a_training_are_used_as_they_are(case):
    bundle = with_scales(calibrated(random_bundle(np.random.default_rng(2), norm="affine")))
    streams = frames(bundle, FRAMES, 1)[None]
    expected, _ = run_simulated(bundle, roundings(bundle, *case), streams)
    got, _ = feed(bundle, to_bytes(bundle, "sequence", 20, *case), streams, [5])
    assert np.median(np.abs(got - expected)) <= 1e-5 * max(1.0, np.abs(expected).max())


@pytest.mark.parametrize("case", [case for case in CASES if case[0] != "int8-dynamic"])
def test_any_split_gives_the_same_numbers(case):
    bundle = planned(calibrated(random_bundle(np.random.default_rng(3), orders=(5, WIDE))))
    streams = np.stack([frames(bundle, 40, i) for i in range(2)])
    data = to_bytes(bundle, "sequence", 20, *case)
    whole, _ = feed(bundle, data, streams, [])
    pieces, _ = feed(bundle, data, streams, [1, 2, 17, 39])
    error = np.abs(whole - pieces)
    assert np.median(error) <= 1e-6
    assert error.max() <= FLIP.get(case, 1e-5) * max(1.0, np.abs(whole).max())


def test_inputs_far_beyond_the_ranges_saturate_at_the_limit():
    bundle = calibrated(random_bundle(np.random.default_rng(4)))
    streams = np.stack([1e3 * frames(bundle, 8, 0), -1e3 * frames(bundle, 8, 0)])
    for bits in (16, 8):
        expected, _ = run_simulated(bundle, roundings(bundle, "int8", bits), streams)
        got, _ = feed(bundle, to_bytes(bundle, "step", 20, "int8", bits), streams, [])
        assert np.abs(got - expected).max() <= 1e-5 * max(1.0, np.abs(expected).max())


@pytest.mark.parametrize("bits", [16, 8])
def test_optimising_changes_nothing(bits):
    """ONNX Runtime may rewrite a graph into one that rounds more; it does so with weights behind a DQ."""
    bundle = calibrated(random_bundle(np.random.default_rng(5), width=64, orders=(64,)))
    data, u = to_bytes(bundle, "step", 20, "int8", bits), frames(bundle, 1, 1).astype(np.float32)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    plain = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    inputs = {"input": u, **fresh(bundle, 1)}
    for a, b in zip(plain.run(None, inputs), open_session(data).run(None, inputs), strict=True):
        assert np.abs(a - b).max() <= 2e-6 * max(1.0, np.abs(a).max())


@pytest.mark.parametrize("form", ["step", "sequence"])
def test_all_ops_in_int8_keep_poles_and_states_in_float32(form):
    bundle = random_bundle(np.random.default_rng(6), orders=(3, WIDE), golden_frames=(60, 60))
    data = to_bytes(bundle, form, 20, "int8-all")
    model = onnx.load_from_string(data)
    made = {output: node for node in model.graph.node for output in node.output}
    for name in bundle.states:
        node = made[f"{name}_out"]
        assert node.op_type in (("Add",) if form == "step" else ("Gather", "Split"))
        assert form == "step" or made[node.input[0]].op_type in ("Reshape", "Gather")
    rounded = {node.input[0] for node in model.graph.node if node.op_type == "QuantizeLinear"}
    assert not rounded & set(bundle.states)
    assert not {name for name in rounded if "/turn" in name or name.startswith(("/_turns", "/_chunks"))}
    assert len(rounded) > 10
    block = bundle.golden()[0].input[None]
    exact, _ = run_simulated(bundle, {}, block)
    got, _ = feed(bundle, data, block, [7])
    assert np.sqrt(np.mean((got - exact) ** 2)) < 0.1 * np.sqrt(np.mean(exact**2))


@pytest.mark.parametrize("precision", ["int8", "int8-all", "int8-dynamic", "int4-weights", "mixed"])
def test_equal_bundles_give_equal_bytes_that_say_what_they_are(precision):
    bundle = planned(calibrated(random_bundle(np.random.default_rng(7))))
    data = to_bytes(bundle, "step", 20, precision, 8)
    assert data == to_bytes(bundle, "step", 20, precision, 8)
    document = json.loads({p.key: p.value for p in onnx.load_from_string(data).metadata_props}["ssmith"])
    assert document["precision"] == precision
    assert document.get("activation_bits") == (8 if precision == "int8" else None)


def test_lower_writes_every_precision_and_sessions_open_them(tmp_path):
    bundle = planned(calibrated(random_bundle(np.random.default_rng(8))))
    precisions = ["int8", "int8-all", "int8-dynamic", "int8-weights", "int4-weights", "mixed", "float16"]
    paths = lower(bundle, tmp_path, precisions=precisions, activation_bits=8)
    assert [path.name for path in paths[:4]] == [
        "net_int8.step.onnx",
        "net_int8.sequence.onnx",
        "net_int8_all.step.onnx",
        "net_int8_all.sequence.onnx",
    ]
    assert len(paths) == 13
    for path in paths:
        backend = open_backend(path)
        stem = path.name.partition(".")[0].removeprefix("net_").replace("_", "-")
        assert backend.precision == ("int8-a8" if stem == "int8" else stem)
        assert np.isfinite(backend.process(bundle.golden()[0].input)).all()


def test_rounded_weights_need_less_room():
    """A quarter of the weights' bytes and the graph around them; λ is not stored as a matrix."""
    bundle = calibrated(
        random_bundle(
            np.random.default_rng(9), inputs=40, outputs=12, width=64, orders=[64] * 4, norm="affine"
        )
    )
    weights = sum(array.nbytes for array in bundle.without_calibration().tensors.values())
    for precision in ("int8", "int8-dynamic", "int8-weights", "int4-weights"):
        for form in forms_of(precision):
            assert len(to_bytes(bundle, form, 20, precision)) <= 0.5 * weights


def test_float16_is_half_of_float32_and_the_simulation_to_its_last_digits():
    bundle = random_bundle(
        np.random.default_rng(9), inputs=40, outputs=12, width=64, orders=[64] * 4, norm="affine", pool="none"
    )
    # Half of the weights; λ, biases and the graph around them stay.
    assert len(to_bytes(bundle, "step", 20, "float16")) <= 0.54 * len(to_bytes(bundle, "step"))
    streams = frames(bundle, FRAMES, 1)[None]
    expected, _ = run_simulated(bundle, roundings(bundle, "float16"), streams)
    for form in FORMS:
        got, _ = feed(bundle, to_bytes(bundle, form, 20, "float16"), streams, [5])
        assert np.abs(got - expected).max() <= 2e-6 * np.abs(expected).max()


def test_a_weight_beyond_float16_is_refused():
    bundle = random_bundle(np.random.default_rng(0))
    tensors = {**bundle.tensors, "head.weight": bundle.tensors["head.weight"] * np.float32(1e6)}
    with pytest.raises(InputError, match=r"head has a weight of .* float16 ends at 65504"):
        to_bytes(Bundle(bundle.meta, tensors), "step", 20, "float16")


EVERY = [(precision, form) for precision in WRITES["onnx"] for form in forms_of(precision)]


@pytest.mark.parametrize(("precision", "form"), EVERY)
def test_opset_18_is_written_in_every_precision_and_computes_the_same(precision, form):
    bundle = planned(calibrated(random_bundle(np.random.default_rng(10), orders=(3, WIDE))))
    streams, results = frames(bundle, 12, 1)[None], []
    for opset in (18, 20):
        data = to_bytes(bundle, form, opset, precision)
        model = onnx.load_from_string(data)
        assert {entry.domain: entry.version for entry in model.opset_import}[""] == opset
        onnx.checker.check_model(model, full_check=True)
        results.append(feed(bundle, data, streams, [5])[0])
    error = np.abs(results[0] - results[1])
    allowed = {"int8-all": 0.2}.get(precision, FLIP.get((precision, 16), 1e-5))
    assert error.max() <= allowed * max(1.0, np.abs(results[1]).max())


@pytest.mark.parametrize(("precision", "form"), [case for case in EVERY if case[0] != "int8-dynamic"])
def test_seven_streams_at_once_are_seven_alone(precision, form):
    """int8-dynamic has one scale for all frames of a call, and its file says so."""
    bundle = planned(calibrated(random_bundle(np.random.default_rng(11), orders=(3, WIDE), norm="affine")))
    streams = np.stack([frames(bundle, 21, seed) for seed in range(7)])
    data = to_bytes(bundle, form, 20, precision)
    together, states = feed(bundle, data, streams, [5])
    for i, stream in enumerate(streams):
        alone, own = feed(bundle, data, stream[None], [5])
        for a, b in [(together[i], alone[0]), *((states[name][i], own[name][0]) for name in own)]:
            error = np.abs(a - b)
            assert error.max() <= FLIP.get((precision, 16), 0.1) * max(1.0, np.abs(b).max())
            assert np.median(error) <= 1e-6 * max(1.0, np.abs(b).max())


def test_what_a_precision_needs_is_asked_for(monkeypatch):
    bare = random_bundle(np.random.default_rng(0), golden_frames=())
    with pytest.raises(InputError, match="no calibration"):
        to_bytes(bare, "step", 20, "int8")
    with pytest.raises(InputError, match="no plan"):
        to_bytes(calibrated(bare), "step", 20, "mixed")
    with pytest.raises(InputError, match="no golden inputs"):
        to_bytes(bare, "step", 20, "int8-all")
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    with pytest.raises(MissingToolError, match=r"ssmith\[onnx\]"):
        to_bytes(random_bundle(np.random.default_rng(0)), "step", 20, "int8-all")
