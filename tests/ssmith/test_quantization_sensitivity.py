"""Every tensor is rounded alone; fewer bits cost more; poles and states in 8 bits cost most."""

from __future__ import annotations

import json

import numpy as np
import pytest

from ssmith.errors import InputError
from ssmith.quant import product_weights
from ssmith.quantization import HeldOut
from ssmith.quantization_sensitivity import SensitivityRow, exact_inputs, sensitivity
from ssmith.runtime.products import rounded_products
from ssmith.runtime.rounding import Static
from tests.bundles import random_bundle
from tests.calibrated import calibrated
from tests.op_lists import frames


@pytest.fixture(scope="module")
def bundle():
    return calibrated(random_bundle(np.random.default_rng(0), vocabulary=9, radius=(0.95, 0.999)), 400)


@pytest.fixture(scope="module")
def rows(bundle) -> list[SensitivityRow]:
    return sensitivity(bundle, HeldOut([frames(bundle, 300, 0)], "these"))


def test_every_tensor_has_its_rows_and_the_worst_stands_first(bundle, rows):
    found = {(row.tensor, row.part, row.bits) for row in rows}
    for key in product_weights(bundle.meta.ops):
        assert {(key, "weights", 8), (key, "weights", 4)} <= found
        assert {(key, "activations", 16), (key, "activations", 8)} <= found
    layers = [op.name for op in bundle.meta.ops if op.op == "ssm"]
    assert {(name, part, bits) for name in layers for part in ("poles", "state") for bits in (16, 8)} <= found
    assert {("encoder", "table", 8), ("encoder", "table", 4)} <= found
    assert len(found) == len(rows)
    assert [row.rise for row in rows] == sorted((row.rise for row in rows), reverse=True)


def test_fewer_bits_cost_more(rows):
    rise = {(row.tensor, row.part, row.bits): row.rise for row in rows}
    for (tensor, part, bits), value in rise.items():
        finer = rise.get((tensor, part, 2 * bits))
        if finer is not None and finer > 1e-6:
            assert value > finer


def test_slow_poles_need_16_bits(rows):
    worst = {
        part: max(r.rise for r in rows if r.part == part and r.bits == 8) for part in ("poles", "weights")
    }
    assert worst["poles"] > 3 * worst["weights"]


def test_a_document_is_json_whatever_diverged(rows):
    row = SensitivityRow("a", "poles", 8, 4, float("-inf"), float("inf"), float("inf"), None)
    assert row.document()["rise"] is None
    json.dumps([row.document(), *(one.document() for one in rows)], allow_nan=False)


def test_weights_alone_are_the_product_where_codes_tell_the_inputs_exactly(bundle):
    rng = np.random.default_rng(0)
    for product in rounded_products(bundle, 8).values():
        codes = product.codes
        u = codes.offset + codes.step * rng.integers(-codes.limit, codes.limit + 1, (40, len(codes.step)))
        alone = exact_inputs(product)(u)
        assert np.allclose(alone, Static(product)(u), rtol=1e-9, atol=1e-12)


def test_progress_counts_to_the_end(bundle):
    seen = []
    held_out = HeldOut([frames(bundle, 20, 0)], "these")
    sensitivity(bundle, held_out, on_progress=lambda done, total: seen.append((done, total)))
    assert seen == [(i + 1, len(seen)) for i in range(len(seen))]


def test_no_ranges_no_table(bundle):
    with pytest.raises(InputError, match="no calibration"):
        sensitivity(bundle.without_calibration(), HeldOut([frames(bundle, 20)], "these"))
