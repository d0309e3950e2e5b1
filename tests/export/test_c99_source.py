"""The text of the generated files: exact numbers, honest macros, nothing that breaks out of a comment."""

import json
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ssmith.bundle import Bundle, Signal
from ssmith.export.c99_form import header, source
from ssmith.export.c99_plan import plan
from ssmith.export.c99_source import float_form, literal, weights_text
from ssmith.ops import Gate, Linear
from tests.bundles import random_bundle
from tests.op_lists import any_bundle


def header_text(bundle):
    return header(float_form(bundle))


def source_text(bundle):
    return source(float_form(bundle))


@given(st.floats(width=32, allow_nan=False, allow_infinity=False))
def test_literals_read_back_exactly(value):
    text = literal(value)
    assert re.fullmatch(r"-?\d+(\.\d+)?(e[+-]\d+)?f", text)
    assert "." in text or "e" in text
    assert np.float32(text[:-1]).tobytes() == np.float32(value).tobytes()


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_macros_tell_the_truth(seed):
    bundle = any_bundle(seed)
    text, layout = header_text(bundle), plan(bundle)

    def macro(name):
        return re.search(rf"#define NET_{name} (.*)", text)[1]

    assert int(macro("INPUTS")) == len(bundle.meta.inputs)
    assert int(macro("OUTPUTS")) == len(bundle.meta.outputs)
    states = sum(shape[0] for shape in bundle.states.values())
    assert int(macro("STATE_BYTES").split()[0]) == 16 + 4 * states
    assert int(macro("FLASH_BYTES").split()[0]) <= 4 * sum(t.size for t in bundle.tensors.values())
    assert macro("MODEL_SHA256") == f'"{bundle.sha256}"'
    assert "NET_PERIOD_US" not in text
    numbers = re.findall(r"(?<=\s)-?\d[^,;{}\s]*f\b", weights_text(bundle))
    assert 4 * len(numbers) == int(macro("FLASH_BYTES").split()[0])
    assert len(layout.steps) == len(bundle.meta.ops)


def test_rate_is_written_where_there_is_one():
    text = header_text(random_bundle(np.random.default_rng(0), period_s=1 / 44100))
    assert float(re.search(r"_RATE_HZ (\S+)", text)[1]) == pytest.approx(44100, rel=1e-12)
    assert float(re.search(r"_PERIOD_US (\S+)", text)[1]) == pytest.approx(1e6 / 44100, rel=1e-12)


def test_one_sees_the_network_op_by_op():
    bundle = random_bundle(np.random.default_rng(0), width=17, orders=(5, 9))
    text = source_text(bundle)
    places = [text.index(f"/* {op.name}: ") for op in bundle.meta.ops]
    assert places == sorted(places)
    assert "17 -> 5 modes -> 17" in text


def with_names(*names):
    bundle = random_bundle(np.random.default_rng(0), inputs=len(names))
    signals = tuple(Signal(name=name, unit="*/ /*") for name in names)
    return Bundle(bundle.meta.model_copy(update={"inputs": signals}), bundle.tensors)


@settings(max_examples=40, deadline=None)
@given(st.text(min_size=1, max_size=80))
def test_no_name_breaks_out_of_a_comment(name):
    text = header_text(with_names(name))
    comments = re.sub(r"/\*.*?\*/", "", text, flags=re.S)
    assert "ssmith-meta" not in comments
    assert "*/" not in comments
    for comment in re.findall(r"/\*(.*?)\*/", text, flags=re.S):
        assert "/*" not in comment
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f\u202a-\u202e\u2066-\u2069]", text)


@settings(max_examples=40, deadline=None)
@given(st.text(min_size=1, max_size=80))
def test_tools_read_back_the_exact_names(name):
    bundle = with_names(name)
    meta = json.loads(re.search(r"ssmith-meta: (\{.*\}) \*/", header_text(bundle))[1])
    assert meta["inputs"][0]["name"] == name
    assert meta["bundle_sha256"] == bundle.sha256


def test_a_shared_tensor_is_written_once_and_names_never_collide():
    bundle = random_bundle(np.random.default_rng(0), width=4, orders=(2,))
    extra = tuple(Linear(name=name, weight="block0.glu.weight", bias=None) for name in ("a.b", "a_b"))
    gates = [Gate(name=name) for name in ("gate_0", "gate_1")]
    ops = (*bundle.meta.ops[:5], extra[0], gates[0], extra[1], gates[1], *bundle.meta.ops[7:])
    tensors = {name: t for name, t in bundle.tensors.items() if name != "block0.glu.bias"}
    tied = Bundle(bundle.meta.model_copy(update={"ops": ops}), tensors)
    text = weights_text(tied)
    names = re.findall(r"static const float (\w+)\[", text)
    assert len(names) == len(set(names))
    assert sum(name.startswith("net_a_b") for name in names) == 1
    assert source_text(tied).count("net_a_b_weight") == 2
