"""A row for each precision that can be had: simulated figures, and bytes as they are stored."""

from __future__ import annotations

import numpy as np
import pytest

from ssmith.quant import product_weights
from ssmith.quantization import HeldOut, Quantization, examine, facts_of
from ssmith.quantization_plan import with_plan
from ssmith.quantization_rows import precision_rows, weight_bytes
from ssmith.recipe import WRITES, ExportSettings
from tests.bundles import random_bundle
from tests.calibrated import calibrated
from tests.op_lists import frames


@pytest.fixture(scope="module")
def bundle():
    return calibrated(
        random_bundle(np.random.default_rng(0), width=64, orders=(32,), radius=(0.6, 0.95)), 400
    )


@pytest.fixture(scope="module")
def held_out(bundle):
    return HeldOut([frames(bundle, 300, 0)], "these")


def test_each_rounding_has_a_row_once(bundle, held_out):
    ready = with_plan(bundle, held_out, 0.03)
    rows = precision_rows(ready, held_out, ExportSettings(precisions=WRITES["onnx"]))
    assert [(row.precision, row.format, row.activation_bits) for row in rows[:4]] == [
        ("float16", "onnx", 32),
        ("int8", "c99", 16),  # ONNX has the same codes
        ("int8", "executorch", 8),
        ("int8-all", "onnx", 8),
    ]
    assert {row.precision for row in rows} == set(WRITES["onnx"]) - {"float32"}
    snr = {(row.precision, row.format): row.snr_db for row in rows}
    assert snr["int8", "c99"] > snr["int8-dynamic", "onnx"] > 10
    assert snr["int8-weights", "onnx"] > snr["int4-weights", "onnx"] > 5
    assert [row.simulated for row in rows if row.precision == "int8-all"] == [False]
    found = examine(ready, held_out, 16).model_copy(update={"precisions": rows})
    assert Quantization.model_validate_json(found.model_dump_json()) == found
    assert any(name.startswith("int8-dynamic") for name in facts_of(found))


def test_the_integer_reference_agrees_with_its_row(bundle, held_out):
    (row,) = precision_rows(bundle, held_out, ExportSettings(formats=("c99",), activation_bits=8))
    assert examine(bundle, held_out, 8).measured_snr_db == pytest.approx(row.snr_db, abs=1.5)


def test_what_a_bundle_cannot_have_has_no_row(bundle, held_out):
    wanted = ExportSettings(precisions=("int8", "mixed", "int8-weights"))
    bare = bundle.without_calibration()
    assert [row.precision for row in precision_rows(bare, held_out, wanted)] == ["int8-weights"]
    assert "mixed" not in {row.precision for row in precision_rows(bundle, held_out, wanted)}


def test_bytes_are_those_of_the_matrices(bundle):
    sizes = [bundle.tensors[name].shape for name in product_weights(bundle.meta.ops).values()]
    values, rows = sum(m * k for m, k in sizes), sum(m for m, _ in sizes)
    assert weight_bytes(bundle, "float32") == 4 * values == 2 * weight_bytes(bundle, "float16")
    assert weight_bytes(bundle, "int8") == values + 4 * rows
    assert weight_bytes(bundle, "int4-weights") < weight_bytes(bundle, "int8-weights") <= 2 * values


def test_a_document_of_the_version_before_is_still_read():
    old = {"version": 1, "bundle_sha256": "0" * 64, "activation_bits": 16, "measured_snr_db": 44.0}
    assert Quantization.model_validate(old).precisions == []
