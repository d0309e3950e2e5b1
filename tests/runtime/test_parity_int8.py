"""Proof of int8 artifacts: the reference's bits, and noise as predicted."""

import numpy as np
import pytest

from ssmith.compiler import find_compiler
from ssmith.export import c99
from ssmith.runtime.integer_lower import lower_integer
from ssmith.runtime.parity import check_file
from ssmith.runtime.parity_integer import NOISE_MARGIN_DB, OTHER_INTEGERS
from tests.bundles import random_bundle
from tests.calibrated import calibrated

pytestmark = pytest.mark.skipif(find_compiler() is None, reason="no C compiler")


@pytest.fixture(scope="module")
def bundle():
    return calibrated(random_bundle(np.random.default_rng(0), golden_frames=(30,), orders=(3,)))


@pytest.fixture
def folder(bundle, tmp_path):
    c99.lower(bundle, tmp_path, precisions=("int8",))
    return tmp_path


def by_how(rows):
    return {row.case.split("/")[1]: row for row in rows if row.case.startswith("noise_0/")}


@pytest.mark.parametrize("suffix", ["c", "ssmc"])
def test_int8_has_the_bits_of_the_integer_reference_and_the_noise_that_was_predicted(bundle, folder, suffix):
    rows = check_file(bundle, folder / f"net_int8.{suffix}")
    assert all(row.passed for row in rows)
    found = by_how(rows)
    assert set(found) == {"bits", "state", "noise", "steps", "pieces", "resumed", "reopened"}
    exact = [row for row in rows if not row.case.endswith("/noise")]
    assert len(exact) > 20 and all(row.max_abs == 0 and row.tolerance == 0 for row in exact)
    assert {"full-scale", "denormals", "silence-step", "drift"} < {row.check for row in exact}
    assert {row.precision for row in rows} == {"int8"}
    assert found["noise"].snr_db > found["noise"].predicted_snr_db - NOISE_MARGIN_DB


def test_one_changed_weight_is_found(bundle, folder):
    weights = folder / "net_int8_weights.h"
    text = weights.read_text()
    at = text.index("127", text.index("int8_t net_int8_head_weight"))
    weights.write_text(text[:at] + "126" + text[at + 3 :])
    assert not by_how(check_file(bundle, folder / "net_int8.c"))["bits"].passed


def test_integers_made_by_another_machine_are_told_from_wrong_bits(bundle, folder):
    header = folder / "net_int8.h"
    header.write_text(header.read_text().replace(lower_integer(bundle).sha256, "0" * 64))
    rows = check_file(bundle, folder / "net_int8.c")
    bits = [row for row in rows if row.case.endswith("/bits")]
    assert bits and all(row.reason == OTHER_INTEGERS and not row.ran for row in bits)
    assert all(row.passed for row in rows if row.ran)
    assert by_how(rows)["noise"].ran


def test_the_digest_tells_models_apart_by_what_they_compute(bundle):
    digest = lower_integer(bundle).sha256
    assert lower_integer(bundle).sha256 == digest
    assert lower_integer(bundle, 8).sha256 != digest
    other = calibrated(random_bundle(np.random.default_rng(1), golden_frames=(30,), orders=(3,)))
    assert lower_integer(other).sha256 != digest
