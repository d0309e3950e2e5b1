import json
import math
from collections import Counter

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import numpy_helper

from ssmith.bundle import Bundle, BundleMeta, Signal
from ssmith.errors import InputError, MissingToolError
from ssmith.export.onnx import FORMS, OPSET, check, lower, to_bytes
from ssmith.export.onnx_graph import CHUNK
from ssmith.export.onnx_turn import DENSE_NUMBERS
from ssmith.ops import SSM, Affine, Embedding, Save
from ssmith.runtime.reference import describe
from ssmith.runtime.simulate import run_simulated
from tests.bundles import plain_run, random_bundle
from tests.unsealed import save_unsealed

WIDE = math.isqrt(DENSE_NUMBERS) // 2 + 1  # the first order whose poles make no matrix


def bundles(**fixed):
    """Random bundles over every kind of op."""
    options = {
        "inputs": st.integers(1, 4),
        "outputs": st.integers(1, 3),
        "width": st.sampled_from([1, 2, 7, 16]),
        "orders": st.lists(st.sampled_from([1, 2, 9, WIDE]), min_size=1, max_size=2),
        "norm": st.sampled_from(["layer", "affine", "none"]),
        "pool": st.sampled_from(["mean", "ema", "none"]),
        "vocabulary": st.sampled_from([None, None, 6]),
        "feedthrough": st.booleans(),
    }
    options |= {key: st.just(value) for key, value in fixed.items()}
    seeds = st.integers(0, 2**32 - 1).map(np.random.default_rng)
    return st.builds(random_bundle, seeds, golden_frames=st.just((12,)), **options)


def open_session(data):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])


def zeros(bundle, batch):
    return {name: np.zeros((batch, *shape), np.float32) for name, shape in bundle.states.items()}


def feed_steps(bundle, block, opset=OPSET):
    """(batch, T, U) through the step model → (batch, T, Y), last states."""
    session, states, rows = open_session(to_bytes(bundle, "step", opset)), zeros(bundle, len(block)), []
    for t in range(block.shape[1]):
        y, *after = session.run(None, {"input": block[:, t], **states})
        states = dict(zip(states, after, strict=True))
        rows.append(y)
    return np.stack(rows, axis=1), states


def feed_blocks(bundle, block, cuts, opset=OPSET):
    """(batch, T, U) through the sequence model in pieces → (batch, T, Y), last states."""
    session, states, rows = open_session(to_bytes(bundle, "sequence", opset)), zeros(bundle, len(block)), []
    for piece in np.split(block, cuts, axis=1):
        y, *after = session.run(None, {"input": piece, **states})
        states = dict(zip(states, after, strict=True))
        rows.append(y)
    return np.concatenate(rows, axis=1), states


def two_streams(bundle):
    """A golden input and its reverse: a batch of two different streams."""
    block = bundle.golden()[0].input
    batch = np.stack([block, block[::-1]])
    expected = np.stack([plain_run(bundle.meta.ops, bundle.tensors, stream) for stream in batch])
    return batch, expected


def near(got, expected):
    return np.abs(got - expected).max() <= 2e-5 * max(1.0, np.abs(expected).max())


@settings(max_examples=25, deadline=None)
@given(bundles(), st.sampled_from([18, 19, 20]))
def test_both_forms_compute_the_op_list(bundle, opset):
    block, expected = two_streams(bundle)
    stepped, stepped_states = feed_steps(bundle, block, opset)
    pieces, pieces_states = feed_blocks(bundle, block, [1, 8], opset)
    assert near(stepped, expected)
    assert near(pieces, expected)
    for name, value in stepped_states.items():
        assert near(pieces_states[name], value), name


@settings(max_examples=10, deadline=None)
@given(bundles(pool="ema"), st.integers(1, 11))
def test_the_future_does_not_change_the_past(bundle, t):
    block, _ = two_streams(bundle)
    changed = block.copy()
    changed[:, t:] = np.flip(block[:, t:], axis=1) + 1.0
    before, _ = feed_blocks(bundle, block, [])
    after, _ = feed_blocks(bundle, changed, [])
    np.testing.assert_array_equal(before[:, :t], after[:, :t])


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("order", [3, WIDE])
def test_files_are_valid_and_every_shape_is_known(form, order):
    bundle = random_bundle(np.random.default_rng(0), orders=(order, order))
    model = onnx.load_from_string(to_bytes(bundle, form))
    onnx.checker.check_model(model, full_check=True)
    inferred = {v.name: v.type.tensor_type for v in [*model.graph.value_info, *model.graph.output]}
    for node in model.graph.node:
        for output in node.output:
            assert inferred[output].HasField("shape"), output
            last = inferred[output].shape.dim[-1:]
            in_time = output == "/_time/padded" or output.endswith(("/turn_moved", "/turn_long"))
            assert in_time or inferred[output].elem_type != 1 or last[0].dim_value > 0, output


@pytest.mark.parametrize("form", FORMS)
def test_equal_bundles_give_equal_bytes(form, tmp_path):
    bundle = random_bundle(np.random.default_rng(3))
    bundle.write(tmp_path / "net.ssm")
    again = Bundle.read(tmp_path / "net.ssm")
    assert to_bytes(bundle, form) == to_bytes(again, form)
    assert to_bytes(bundle, form) != to_bytes(random_bundle(np.random.default_rng(4)), form)


def computed(graph):
    """The nodes that depend on an input; a runtime makes the others once, when it opens the file."""
    known, nodes = {port.name for port in graph.input}, []
    for node in graph.node:
        if known.intersection(node.input):
            known.update(node.output)
            nodes.append(node)
    return nodes


@pytest.mark.parametrize(
    ("norm", "order", "nodes"),
    [("none", 8, 10), ("layer", 8, 11), ("affine", 8, 10), ("none", WIDE, 9), ("affine", WIDE, 9)],
)
def test_a_block_of_the_step_model_is_few_nodes(norm, order, nodes):
    bundle = random_bundle(np.random.default_rng(0), orders=(order, order), norm=norm)
    graph = onnx.load_from_string(to_bytes(bundle, "step")).graph
    count = Counter(node.name.split(".")[0] for node in computed(graph))
    assert count["/block0"] == count["/block1"] == nodes
    together = sum(node.name.startswith("/_turns/") for node in graph.node)
    assert together == (0 if order == 8 else 9 if norm == "affine" else 8)


@pytest.mark.parametrize("orders", [(WIDE, WIDE), (WIDE, 4), (6, WIDE, 9), (WIDE + 1,)])
def test_layers_of_any_orders_are_turned_together(orders):
    bundle = random_bundle(np.random.default_rng(1), orders=orders, norm="affine", golden_frames=(12,))
    block, expected = two_streams(bundle)
    assert near(feed_steps(bundle, block)[0], expected)


@pytest.mark.parametrize("pool", ["none", "mean", "ema"])
def test_poles_next_to_one_keep_their_memory_over_100_000_frames(pool):
    bundle = random_bundle(
        np.random.default_rng(2),
        orders=(4, 3),
        norm="affine",
        radius=(0.9999, 0.99999),
        pool=pool,
        decay=0.9999,
    )
    block = np.random.default_rng(3).standard_normal((1, 100_000, 3), np.float32)
    expected, states = run_simulated(bundle, {}, block)
    got, after = feed_blocks(bundle, block, [1, 40_001])
    first = np.abs(got[:, :1000] - expected[:, :1000]).max()
    assert first <= 2e-6 * np.abs(expected[:, :1000]).max()
    assert np.abs(got - expected).max() <= 5e-5 * np.abs(expected).max()
    for name, value in states.items():
        assert np.abs(after[name] - value).max() <= 1e-4 * np.abs(value).max()


@pytest.mark.parametrize("frames", [1, 2, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK])
def test_blocks_that_are_no_whole_chunks(frames):
    bundle = random_bundle(np.random.default_rng(4), orders=(3,), pool="mean", golden_frames=(frames,))
    block, expected = two_streams(bundle)
    got, states = feed_blocks(bundle, block, [])
    assert got.shape == expected.shape and near(got, expected)
    _, stepped_states = feed_steps(bundle, block)
    for name, value in stepped_states.items():
        assert near(states[name], value), name


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("orders", [(64,) * 4, (12,) * 4])
def test_no_matrix_of_poles_is_stored(form, orders):
    """A step model is its weights and little more; a sequence model has powers of the poles too."""
    bundle = random_bundle(
        np.random.default_rng(0), inputs=40, outputs=12, width=64, orders=orders, norm="affine", pool="none"
    )
    weights = sum(t.nbytes for key, t in bundle.tensors.items() if not key.startswith("golden."))
    allowed = {"step": 1.1, "sequence": 1.25 if orders[0] == 12 else 1.2}[form]
    assert len(to_bytes(bundle, form)) <= allowed * weights


def test_old_opsets_get_no_newer_operator():
    bundle = random_bundle(np.random.default_rng(0))
    kinds = {n.op_type for n in onnx.load_from_string(to_bytes(bundle, "step", 18)).graph.node}
    assert "Gelu" not in kinds
    assert "Erf" in kinds
    assert "Gelu" in {n.op_type for n in onnx.load_from_string(to_bytes(bundle, "step", 20)).graph.node}


@pytest.mark.parametrize("form", FORMS)
def test_a_file_says_what_it_is(form):
    bundle = random_bundle(np.random.default_rng(0), outputs=3)
    relabelled = bundle.meta.model_copy(update={"task": "classification"})
    bundle = Bundle(relabelled, bundle.tensors)
    properties = {p.key: p.value for p in onnx.load_from_string(to_bytes(bundle, form)).metadata_props}
    assert json.loads(properties["ssmith"]) == {"form": form, **describe(bundle)}
    assert properties["bundle_sha256"] == bundle.sha256
    assert json.loads(properties["labels"]) == ["out_0", "out_1", "out_2"]
    assert float(properties["period_s"]) == bundle.meta.period_s
    assert "0BSD" in properties["license"]
    assert "_out" in properties["how_to_use"]


def test_an_index_is_rounded_to_even_and_clamped():
    table = np.arange(5, dtype=np.float32)[:, None]
    meta = BundleMeta(
        name="rows",
        task="regression",
        inputs=(Signal(name="index"),),
        outputs=(Signal(name="row"),),
        ops=(Embedding(name="rows", weight="rows"),),
    )
    bundle = Bundle(meta, {"rows": table})
    index = np.float32([-3.0, -0.4, 0.5, 0.51, 1.5, 2.5, 3.6, 4.4, 99.0])
    expected = [0, 0, 0, 1, 2, 2, 4, 4, 4]
    [step] = open_session(to_bytes(bundle, "step")).run(None, {"input": index[:, None]})
    [block] = open_session(to_bytes(bundle, "sequence")).run(None, {"input": index[None, :, None]})
    assert step[:, 0].tolist() == expected
    assert block[0, :, 0].tolist() == expected


def test_a_model_that_only_passes_its_input_on_still_has_an_output():
    meta = BundleMeta(
        name="wire",
        task="regression",
        inputs=(Signal(name="u"),),
        outputs=(Signal(name="y"),),
        ops=(Save(name="save", slot=0),),
    )
    bundle = Bundle(meta, {})
    value = np.float32([[[1.5], [-2.0]]])
    [y] = open_session(to_bytes(bundle, "sequence")).run(None, {"input": value})
    np.testing.assert_array_equal(y, value)


@pytest.mark.parametrize("state", ["input", "output", "input_out", "a/b"])
def test_a_state_named_like_something_else_is_refused(state):
    bundle = random_bundle(np.random.default_rng(0), orders=(2,))
    ops = tuple(
        op.model_copy(update={"state": state}) if isinstance(op, SSM) else op for op in bundle.meta.ops
    )
    if state == "input_out":  # meets `input` of the other layer only through its `_out`
        ops = tuple(op.model_copy(update={"sum": "input_out_out"}) if op.op == "pool" else op for op in ops)
    broken = Bundle(bundle.meta.model_copy(update={"ops": ops}), bundle.tensors)
    with pytest.raises(InputError, match="rename it"):
        to_bytes(broken, "step")


@pytest.mark.parametrize("opset", [17, 21])
def test_other_opsets_are_refused(opset):
    with pytest.raises(InputError, match="write one of 18 to 20"):
        to_bytes(random_bundle(np.random.default_rng(0)), "step", opset)


def test_without_onnx_the_message_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setitem(__import__("sys").modules, "onnx", None)
    with pytest.raises(MissingToolError, match=r"ssmith\[export\]"):
        lower(random_bundle(np.random.default_rng(0)), tmp_path)
    assert not list(tmp_path.iterdir())


def test_lower_writes_and_check_passes(tmp_path):
    bundle = random_bundle(np.random.default_rng(5), orders=(3, WIDE), golden_frames=(20, 1))
    paths = lower(bundle, tmp_path / "artifacts")
    assert [path.name for path in paths] == ["net.step.onnx", "net.sequence.onnx"]
    rows = check(bundle, tmp_path / "artifacts")
    assert {row.artifact for row in rows} == {"net.step.onnx", "net.sequence.onnx"}
    assert all(row.passed for row in rows), [row for row in rows if not row.passed]


@pytest.mark.parametrize("form", FORMS)
def test_check_notices_one_changed_weight(form, tmp_path):
    bundle = random_bundle(np.random.default_rng(5), orders=(3,))
    lower(bundle, tmp_path)
    path = tmp_path / f"net.{form}.onnx"
    model = onnx.load(path)
    [b] = [w for w in model.graph.initializer if w.name == "/block0.ssm.B/weight"]
    values = numpy_helper.to_array(b).copy()
    values[0, 0] += 0.02
    b.CopyFrom(numpy_helper.from_array(values, b.name))
    save_unsealed(model, path)
    failed = {row.artifact for row in check(bundle, tmp_path) if not row.passed}
    assert failed == {path.name}


def test_every_kind_of_op_is_covered():
    """The generator above reaches every op there is, so no emitter goes untested."""
    from typing import get_args

    from ssmith.ops import Op

    kinds = {cls for cls in get_args(get_args(Op)[0])}
    rng = np.random.default_rng(0)
    seen = {type(op) for op in random_bundle(rng).meta.ops}
    seen |= {type(op) for op in random_bundle(rng, vocabulary=3, norm="affine").meta.ops}
    assert seen == kinds
    assert {Affine, Embedding} <= seen
