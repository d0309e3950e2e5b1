"""Proof of rounded ONNX files and of ExecuTorch programs: their simulation, in any split."""

import json

import numpy as np
import onnx
import pytest

from ssmith.export.onnx import lower
from ssmith.runtime.oracle import QUICK, Oracle, Plan
from ssmith.runtime.parity import check_file
from ssmith.runtime.parity_integer import NOISE_MARGIN_DB
from ssmith.runtime.parity_rounded import FLOORS_DB, TIES, RoundedOracle
from tests.bundles import random_bundle
from tests.calibrated import calibrated
from tests.unsealed import save_unsealed

PRECISIONS = ("int8", "int8-dynamic", "int8-weights", "int4-weights", "float16", "int8-all")


@pytest.fixture(scope="module")
def bundle():
    return calibrated(random_bundle(np.random.default_rng(0), golden_frames=(60, 30), orders=(4, 3), width=8))


@pytest.fixture(scope="module")
def folder(bundle, tmp_path_factory):
    folder = tmp_path_factory.mktemp("artifacts")
    lower(bundle, folder, precisions=PRECISIONS)
    return folder


def failed(rows):
    return [(row.case, row.relative, row.tolerance) for row in rows if not row.passed]


@pytest.mark.parametrize(
    ("precision", "form"),
    [
        (p, form)
        for p in PRECISIONS
        for form in ("step", "sequence")
        if (p, form) != ("int8-dynamic", "sequence")
    ],
)
def test_every_precision_passes_and_says_what_it_is(bundle, folder, precision, form):
    path = folder / f"net_{precision.replace('-', '_')}.{form}.onnx"
    rows = check_file(bundle, path, Plan(drift=500, rounded_drift=400))
    assert not failed(rows)
    assert {row.precision for row in rows} == {precision}
    assert {"golden", "zeros", "full-scale", "denormals", "pieces", "state", "drift", "batch"} <= {
        row.check for row in rows
    }
    batch = {row.reason for row in rows if row.check == "batch"}
    assert all(("copies of one stream" in why) == (precision == "int8-dynamic") for why in batch)
    drift = [row for row in rows if row.check == "drift"]
    known = precision not in FLOORS_DB
    assert {row.case for row in drift} == ({"drift/simulated", "drift/noise"} if known else {"drift/noise"})
    if known:
        assert "400 frames" in next(row.reason for row in drift if row.case == "drift/simulated")
        for row in rows:
            if row.case.endswith("/noise"):
                assert row.snr_db > row.predicted_snr_db - NOISE_MARGIN_DB


def test_rounding_that_is_not_the_simulated_one_fails(bundle, folder, tmp_path):
    """The int8 model with one row's scale a tenth off: its noise is hardly more, and it is another model."""
    model = onnx.load(folder / "net_int8.step.onnx")
    weights = [
        w for w in model.graph.initializer if w.data_type == onnx.TensorProto.FLOAT and len(w.dims) == 1
    ]
    scale = max((w for w in weights if "head" in w.name), key=lambda w: np.prod(w.dims))
    values = onnx.numpy_helper.to_array(scale) * np.float32(1.1)
    scale.CopyFrom(onnx.numpy_helper.from_array(values, scale.name))
    save_unsealed(model, tmp_path / "net.onnx")
    rows = check_file(bundle, tmp_path / "net.onnx")
    assert {case.split("/")[1] for case, *_ in failed(rows)} >= {"simulated"}


def test_what_ties_may_add_is_a_share_of_the_noise(bundle):
    oracle = Oracle(bundle, QUICK)
    simulated = RoundedOracle(oracle, "int8", 16, "onnx")
    assert simulated.roundings
    assert simulated.usual_noise == max(simulated.noise(s) for s in oracle.golden) > 0
    assert TIES < 1
    eight = RoundedOracle(oracle, "int8", 8, "onnx")
    assert eight.usual_noise > 10 * simulated.usual_noise  # 8 bits fewer in every code


def test_executorch_s_int8_has_eight_bits_whatever_onnx_has(bundle):
    pte = RoundedOracle(Oracle(bundle, QUICK), "int8", None, "executorch")
    onnx8 = RoundedOracle(Oracle(bundle, QUICK), "int8", 8, "onnx")
    s = pte.oracle.golden[0]
    np.testing.assert_array_equal(pte.answer(s), onnx8.answer(s))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("form", "precision"),
    [
        ("step", "float32"),
        ("stream", "float32"),
        ("sequence", "float32"),
        ("portable", "float32"),
        ("step", "int8"),
        ("stream", "int8"),
        ("sequence", "int8"),
        ("step", "int8-dynamic"),
    ],
)
def test_every_program_of_executorch_passes_alone(bundle, tmp_path, form, precision):
    pytest.importorskip("executorch")
    from ssmith.export.executorch import to_program
    from ssmith.files import seal

    path = tmp_path / f"net.{form}.pte"
    path.write_bytes(seal(to_program(bundle, form, precision).data))
    rows = check_file(bundle, path)
    assert not failed(rows)
    assert {row.backend for row in rows} == {"executorch"}
    cases = {row.case.split("/")[1] for row in rows}
    assert cases >= {"steps", "pieces", "resumed", "reopened"}
    assert cases >= ({"whole", "state"} if precision == "float32" else {"simulated", "noise"})
    assert json.loads(rows[0].model_dump_json())["artifact"] == path.name
