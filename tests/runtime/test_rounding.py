"""Each rounding keeps the bounds of its number format; ONNX's per-frame codes are those of ONNX Runtime."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from ssmith.runtime.products import rounded_products
from ssmith.runtime.rounding import (
    ActivationsOnly,
    Dynamic,
    Static,
    WeightsOnly,
    _onnx_codes,
    _xnnpack_codes,
    halved,
    rounded_rows,
)
from tests.bundles import random_bundle
from tests.calibrated import calibrated

VALUES = st.floats(-1e3, 1e3, width=32).map(lambda x: x if abs(x) > 1e-20 else 0.0)
FRAMES = hnp.arrays(np.float64, (4, 5), elements=VALUES)


@pytest.fixture(scope="module")
def product():
    return rounded_products(calibrated(random_bundle(np.random.default_rng(0))), 8)["block0.ssm.B"]


def test_static_is_its_equation(product):
    u = np.random.default_rng(0).standard_normal((30, product.weight.shape[1]))
    q = np.clip(np.rint((u - product.codes.offset) / product.codes.step), -127, 127)
    expected = product.scale * (q @ product.weight.T.astype(float)) + product.bias
    assert np.allclose(Static(product)(u), expected, rtol=1e-12)
    heard = product.codes.step * q + product.codes.offset
    assert np.allclose(Static(product).heard(u), heard, rtol=1e-12)
    weight = np.random.default_rng(1).standard_normal(product.weight.shape)
    assert np.allclose(ActivationsOnly(weight, product.codes)(u), heard @ weight.T)


@given(FRAMES, st.sampled_from([_onnx_codes, _xnnpack_codes]))
def test_codes_of_a_frame_cover_it_to_a_step_and_keep_zero(u, codes):
    q, step = codes(u)
    span = np.maximum(u.max(-1), 0) - np.minimum(u.min(-1), 0)
    assert (np.abs(q) <= 255).all() and (step[:, 0] <= span / 255 * (1 + 1e-5) + (span == 0)).all()
    assert (np.abs(q * step - u) <= step * 1.01).all()  # half a step, and half of the zero point's
    assert (q[u == 0] == 0).all()


@settings(deadline=None)  # opens onnxruntime at first
@given(FRAMES)
def test_onnx_codes_are_those_of_onnx_runtime(u):
    q, step = _onnx_codes(u)
    session = _dynamic_quantize_linear()
    for frame, own, own_step in zip(u.astype(np.float32), q, step, strict=True):
        codes, scale, zero = session.run(None, {"x": frame})
        if frame.any():
            assert scale == pytest.approx(own_step[0], rel=1e-6)
            assert np.abs(codes.astype(int) - int(zero) - own).max() <= 1  # a tie may go either way


_SESSIONS: list[object] = []


def _dynamic_quantize_linear():
    if not _SESSIONS:
        onnx, ort = pytest.importorskip("onnx"), pytest.importorskip("onnxruntime")
        from onnx import TensorProto, helper

        node = helper.make_node("DynamicQuantizeLinear", ["x"], ["q", "s", "z"])
        kinds = {"q": (TensorProto.UINT8, [5]), "s": (TensorProto.FLOAT, []), "z": (TensorProto.UINT8, [])}
        outputs = [helper.make_tensor_value_info(name, *kind) for name, kind in kinds.items()]
        inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [5])]
        graph = helper.make_graph([node], "g", inputs, outputs)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
        onnx.checker.check_model(model)
        _SESSIONS.append(ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"]))
    return _SESSIONS[0]


@given(hnp.arrays(np.float64, (3, 4), elements=st.floats(-1e3, 1e3, width=32)), st.sampled_from([127, 7]))
@example(np.full((3, 4), 2.0**-149), 127)
def test_rows_are_rounded_to_half_a_step_of_their_own(weight, limit):
    rows, scale = rounded_rows(weight, limit)
    assert (np.abs(rows) <= limit).all() and (scale > 0).all()
    assert (np.abs(rows * scale[:, None] - weight) <= scale[:, None] * 0.5 * (1 + 1e-5) + 1e-30).all()


@pytest.mark.parametrize("kind", ["onnx", "executorch"])
def test_dynamic_is_close_to_exact_and_exact_on_silence(kind):
    rng = np.random.default_rng(2)
    weight, u = rng.standard_normal((6, 20)), rng.standard_normal((50, 20))
    rounding = Dynamic.of(weight, kind)
    error = rounding(u) - u @ weight.T
    assert 0 < np.abs(error).max() < 0.02 * np.abs(u @ weight.T).max()
    assert not rounding(np.zeros((3, 20))).any()
    assert rounding.heard(u) is u


def test_float16_and_weights_only():
    rng = np.random.default_rng(4)
    weight, u = rng.standard_normal((6, 20)), rng.standard_normal((50, 20))
    error = halved(weight) - weight
    assert (0 < np.abs(error)).any() and (np.abs(error) <= 2.0**-11 * np.abs(weight)).all()
    assert np.isinf(halved(np.array([[1e5]]))).all()
    assert np.array_equal(WeightsOnly(weight)(u), u @ weight.T)
    assert np.allclose(WeightsOnly(weight, np.ones(6))(u), u @ weight.T + 1)


@pytest.mark.parametrize("kind", ["onnx", "executorch"])
@pytest.mark.parametrize("size", [0.0, 1e-45, 1e-40, 1e-37])
def test_a_dynamic_frame_of_almost_nothing_comes_out_as_that(kind, size):
    weight = np.random.default_rng(0).standard_normal((3, 4))
    frames = size * np.array([[1.0, -1.0, 0.0, 1.0], [0.0, 0.0, 1.0, 0.0]])
    y = Dynamic.of(weight, kind)(frames)
    assert (np.abs(y) <= 4 * np.abs(weight).max() * 1e-30).all()
