"""Layers of independent channels as ONNX: every precision passes, in both forms, and no zeros are stored."""

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from ssmith.export import onnx_channels
from ssmith.export.onnx import lower, to_bytes
from ssmith.runtime.oracle import Plan
from ssmith.runtime.parity import check_file
from ssmith.runtime.simulate import channel_products, roundings
from tests.bundles import random_bundle
from tests.calibrated import calibrated, planned

RAGGED = ((2, 0, 3, 1, 2, 1, 1, 2), (1, 1, 0, 0, 4, 0, 1, 1))
EQUAL = ((3,) * 8, (1,) * 8)
SHORT = Plan(drift=100, rounded_drift=100)


def small(channels):
    rng = np.random.default_rng(0)
    bundle = random_bundle(
        rng, channels=channels, width=8, norm="affine", golden_frames=(20, 10), pool="none"
    )
    return planned(calibrated(bundle))


@pytest.fixture
def elements(monkeypatch):
    monkeypatch.setattr(onnx_channels, "MATRIX_NUMBERS", 0)


def prove(bundle, folder, precisions, bits=16):
    for path in lower(bundle, folder, precisions=precisions, activation_bits=bits):
        rows = check_file(bundle, path, SHORT)
        assert [row for row in rows if not row.passed] == [], path.name


def test_matrices_of_equal_channels_pass(tmp_path):
    prove(small(EQUAL), tmp_path, ("float32", "int8", "int8-weights", "int4-weights"))


def test_elements_pass(tmp_path, elements):
    prove(small(EQUAL), tmp_path, ("float32", "float16", "int8", "int8-all", "mixed"))


def test_channels_of_any_size_pass(tmp_path, elements):
    prove(small(RAGGED), tmp_path, ("float32", "float16", "int8-dynamic", "int8-all", "mixed"))
    prove(small(RAGGED), tmp_path, ("int8",), bits=8)


def test_elements_have_no_matrix_and_ragged_channels_have(elements):
    def products(channels):
        nodes = onnx.load_from_string(to_bytes(small(channels), "step")).graph.node
        return {node.op_type for node in nodes if node.name.startswith(("/block0.ssm.B/", "/block0.ssm.C/"))}

    assert products(EQUAL) == {"Reshape", "Mul", "Add", "ReduceSum"}
    assert "Gemm" in products(RAGGED)


@pytest.mark.parametrize("form", ["step", "sequence"])
@pytest.mark.parametrize("precision", ["float32", "float16", "int8", "int8-dynamic", "mixed"])
def test_files_hold_one_number_a_mode_and_part(form, precision):
    bundle = small(EQUAL)
    model = onnx.load_from_string(to_bytes(bundle, form, precision=precision))
    stored = {w.name: numpy_helper.to_array(w) for w in model.graph.initializer}
    sizes = {name: values.size for name, values in stored.items() if name.endswith("/weight")}
    for block, channels in enumerate(EQUAL):
        for side in "BC":
            assert sizes[f"/block{block}.ssm.{side}/weight"] == 2 * sum(channels)
    assert max(values.size for name, values in stored.items() if ".ssm" in name) <= 8 * 2 * 3


@pytest.mark.parametrize("format", ["onnx", "executorch"])
def test_few_weights_a_scale_stay_float32_in_the_simulation_too(format):
    bundle = small(RAGGED)
    separate = channel_products(bundle)
    assert separate == {f"block{i}.ssm.{side}" for i in (0, 1) for side in "BC"}
    assert not separate & roundings(bundle, "int8-dynamic", format=format).keys()
    assert not separate & roundings(bundle, "int4-weights").keys()
    assert separate <= roundings(bundle, "int8", format=format).keys()
