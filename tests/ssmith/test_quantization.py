"""What int8 costs is what it costs: the same figures as from sessions, ranges from where they should be."""

from __future__ import annotations

import math

import numpy as np
import pytest

from ssmith import quantization
from ssmith.bundle import Bundle
from ssmith.errors import InputError
from ssmith.quantization import HeldOut, calibrated, check_integer, examine, facts_of, snr_text
from ssmith.recipe import Recipe
from ssmith.runtime import Session
from ssmith.runtime.reference import run
from ssmith.train.splits import SequenceSet
from tests.bundles import kept_modes, random_bundle


@pytest.fixture(scope="module")
def plain() -> Bundle:
    return random_bundle(np.random.default_rng(0), orders=(6, 4), golden_frames=(200,))


@pytest.fixture(scope="module")
def sequences(plain) -> list[np.ndarray]:
    rng = np.random.default_rng(1)
    return [rng.standard_normal((frames, len(plain.meta.inputs)), np.float32) for frames in (150, 90, 120)]


@pytest.fixture(scope="module")
def ready(plain, sequences) -> Bundle:
    return calibrated(plain, sequences)


def test_ranges_come_from_evenly_chosen_sequences(plain, monkeypatch):
    sequences = [np.full((10, len(plain.meta.inputs)), value, np.float32) for value in range(40)]
    monkeypatch.setattr(quantization, "CALIBRATION_FRAMES", 100)
    facts = calibrated(plain, sequences).meta.calibration
    assert (facts.sequences, facts.frames) == (10, 100)
    low, high, *_ = calibrated(plain, sequences).tensors["calibration.input"]
    assert (low.max(), high.min()) == (0, 36)  # from the first to nearly the last
    long = np.arange(3_000, dtype=np.float32).reshape(1_000, len(plain.meta.inputs))
    one = calibrated(plain, [long])
    assert one.meta.calibration.frames == 100


def test_ranges_come_from_all_long_recordings_with_their_knobs(plain, monkeypatch):
    sequences = [np.full((300, len(plain.meta.inputs)), value, np.float32) for value in range(8)]
    monkeypatch.setattr(quantization, "CALIBRATION_FRAMES", 100)
    monkeypatch.setattr(quantization, "PIECE", 50)
    found = calibrated(plain, sequences)
    assert (found.meta.calibration.sequences, found.meta.calibration.frames) == (8, 8 * 50)
    assert found.tensors["calibration.input"][1].min() == 7
    monkeypatch.setattr(quantization, "LONG_RECORDINGS", 4)
    assert calibrated(plain, sequences).meta.calibration.sequences == 4


def test_every_variant_gets_ranges_of_its_own(plain, sequences):
    both = calibrated(plain.with_variants([kept_modes(plain, 3)]), sequences)
    assert both.calibrated and all(variant.calibrated for variant in both.variants)
    check_integer(both, 16)


@pytest.mark.parametrize("bits", [16, 8])
def test_the_error_is_that_of_sessions(ready, sequences, bits, tmp_path):
    found = examine(ready, HeldOut(sequences, "these"), bits)
    ready.write(tmp_path / "net.ssm")
    exact = Session.open(tmp_path / "net.ssm")
    integer = Session.open(tmp_path / "net.ssm", precision="int8" if bits == 16 else "int8-a8")
    signal = noise = 0.0
    for block in sequences:
        for session in (exact, integer):
            session.reset()
        y = exact.process(block).astype(float)
        signal += (y**2).sum()
        noise += ((integer.process(block) - y) ** 2).sum()
    assert found.measured_snr_db == pytest.approx(10 * math.log10(signal / noise), abs=1e-3)
    assert (found.sequences, found.frames, found.activation_bits) == (3, 360, bits)
    assert (found.bundle_sha256, found.measured_on) == (ready.sha256, "these")
    assert (found.metric, found.refused) == (None, "")
    assert found.predicted_snr_db == pytest.approx(found.measured_snr_db, abs=4)


def test_what_goes_beyond_the_ranges_is_counted(ready, sequences):
    rows = {row.vector: row for row in examine(ready, HeldOut(sequences, "these"), 16).saturation}
    inputs = len(ready.meta.inputs)
    assert next(iter(rows)) == "input" and rows["input"].codes == 360 * inputs
    assert sum(row.saturated for row in rows.values()) == 0
    widths = {f"{op.name}": op for op in ready.meta.ops if op.op in ("linear", "ssm")}
    assert set(rows) == {"input", *widths, *(f"{n}.state" for n, op in widths.items() if op.op == "ssm")}
    loud = [block.copy() for block in sequences]
    loud[1][5] = 1e4
    rows = {row.vector: row for row in examine(ready, HeldOut(loud, "these"), 16).saturation}
    assert rows["input"].saturated == inputs


def test_the_metric_is_the_recipes(ready, sequences):
    def truth(block: np.ndarray) -> np.ndarray:
        return run(ready.meta.ops, ready.tensors, block)[0].astype(np.float32)

    raw = {"name": "mine", "task": "regression", "data": {"path": "x.csv"}}
    targets = SequenceSet(tuple(sequences), tuple(truth(block) for block in sequences))
    held_out = HeldOut(sequences, "these", targets, Recipe.parse(raw, "mine"))
    found = examine(ready, held_out, 16)
    assert found.metric == "nrmse"
    assert found.metric_float == pytest.approx(0.0, abs=1e-6)
    assert 1e-5 < found.metric_int8 < 0.1


def test_without_ranges_there_is_no_int8_and_the_document_says_why(plain, sequences):
    with pytest.raises(InputError, match="ssmith quantize"):
        check_integer(plain, 16)
    found = examine(plain, HeldOut(sequences, "these"), 16)
    assert "ssmith quantize" in found.refused and found.measured_snr_db is None
    assert list(facts_of(found)) == ["int8"]


def test_a_name_too_long_for_c_is_refused_before_anything_is_written(sequences):
    bundle = random_bundle(np.random.default_rng(0), name="n" * 38)
    ready = calibrated(bundle, [case.input for case in bundle.golden()])
    with pytest.raises(InputError, match="shorter name"):
        check_integer(ready, 16)


def test_facts_for_the_user(ready, sequences):
    facts = facts_of(examine(ready, HeldOut(sequences, "these"), 16))
    assert facts["measured on"] == "3 these, 360 frames"
    assert facts["signal to error, measured"].endswith(" dB")
    assert facts["saturated codes"].startswith("0 of ")
    assert snr_text(None) == "exact" and snr_text(47.26) == "47.3 dB"
