"""Rows of a parity report: what a comparison says, which one is the worst, and the file."""

import json

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from ssmith.errors import InputError
from ssmith.runtime.parity_rows import (
    Judgement,
    ParityReport,
    Where,
    compare,
    not_run,
    worst_rows,
)

WHERE = Where("onnx", "net.step.onnx", "float32")


def row_of(got, expected, tolerance, by_rms=False, case="noise_0/whole", check="golden"):
    return compare(got, expected, Judgement(tolerance, "why", by_rms), WHERE, check, case)


signals = arrays(np.float64, (5, 2), elements=st.floats(-1e3, 1e3, width=32))


@given(signals, signals, st.integers(-8, 8))
def test_relative_and_snr_do_not_depend_on_the_unit(expected, error, power):
    unit = 2.0**power  # exact, so both rows must be equal
    assume(np.abs(expected).max() > 1e-3)
    rows = [row_of(k * (expected + error), k * expected, 1e-3) for k in (1.0, unit)]
    assert rows[0].relative == rows[1].relative
    assert rows[0].worst_step == rows[1].worst_step
    assert rows[0].passed == rows[1].passed == (rows[0].relative <= 1e-3)
    assert rows[1].max_abs == rows[0].max_abs * unit
    if rows[0].snr_db is not None and rows[1].snr_db is not None:
        assert rows[0].snr_db == pytest.approx(rows[1].snr_db)


def test_compare_finds_the_worst_step():
    expected = np.ones((6, 2))
    got = expected.copy()
    got[4, 1] += 0.5
    row = row_of(got, expected, 0.4)
    assert (row.max_abs, row.relative, row.worst_step, row.passed) == (0.5, 0.5, 4, False)
    assert row.snr_db == pytest.approx(10 * np.log10(12 / 0.25))


def test_equal_bits_pass_a_tolerance_of_zero_and_one_bit_does_not():
    expected = np.ones((3, 1), np.float32)
    assert row_of(expected, expected, 0.0).passed
    assert row_of(expected, expected, 0.0).snr_db is None
    assert not row_of(np.nextafter(expected, np.float32(2)), expected, 0.0).passed


def test_a_nan_fails_whatever_the_tolerance():
    got = np.zeros((4, 1))
    got[2] = np.nan
    row = row_of(got, np.zeros((4, 1)), 1.0)
    assert (row.passed, row.worst_step, row.max_abs) == (False, 2, None)
    assert "not finite from frame 2" in row.reason


def test_root_mean_squares_where_they_are_asked_for():
    expected = np.array([[3.0], [-4.0]])
    got = expected + np.array([[0.0], [0.5]])
    row = row_of(got, expected, 0.1, by_rms=True)
    assert row.relative == pytest.approx(0.1, rel=1e-12)
    assert row.relative == pytest.approx(10 ** (-row.snr_db / 20))
    assert row.max_abs == 0.5


def test_the_worst_row_of_a_check_is_the_one_nearest_to_its_own_tolerance():
    expected = np.ones((3, 1))
    rows = [
        row_of(expected + 0.01, expected, 1.0, case="loose/whole"),
        row_of(expected + 0.001, expected, 0.002, case="tight/whole"),
        row_of(expected + 0.02, expected, 1.0, case="pieces/whole", check="pieces"),
        not_run(WHERE, "drift", "drift/whole", "no time"),
    ]
    assert [row.case for row in worst_rows(rows)] == ["tight/whole", "pieces/whole", "drift/whole"]
    off = np.full_like(expected, np.nan)
    failed = [row_of(expected + 1, expected, 0.0, case="bits"), row_of(off, expected, 9.0, case="nan")]
    assert worst_rows([*rows[:2], failed[0]])[0].case == "bits"
    assert worst_rows([*rows[:2], failed[1]])[0].case == "nan"


def test_what_did_not_run_is_no_pass_and_no_failure():
    row = not_run(WHERE, "golden", "all", "no compiler")
    assert not row.ran and not row.passed and row.reason == "not run: no compiler"


@pytest.fixture
def report():
    rows = (row_of(np.ones((2, 1)), np.ones((2, 1)), 0.0), not_run(WHERE, "validation", "all", "no data"))
    return ParityReport(name="net", bundle_sha256="0" * 64, rows=rows)


def test_a_report_round_trips_and_fails_with_one_row(report, tmp_path):
    report.write(tmp_path / "parity.json")
    assert ParityReport.read(tmp_path / "parity.json") == report
    assert report.passed
    bad = report.rows[0].model_copy(update={"passed": False})
    assert not report.model_copy(update={"rows": (*report.rows, bad)}).passed


def test_a_report_of_version_1_still_reads(report, tmp_path):
    new = ("precision", "check", "metric", "metric_value", "metric_delta")
    rows = [{k: v for k, v in row.model_dump().items() if k not in new} for row in report.rows]
    document = report.model_dump() | {"version": 1, "rows": rows}
    (tmp_path / "parity.json").write_text(json.dumps(document))
    assert ParityReport.read(tmp_path / "parity.json").passed


@pytest.mark.parametrize("text", ["", "{", "[]", '{"version": 3, "name": "net"}'])
def test_a_damaged_report_is_refused(tmp_path, text):
    (tmp_path / "parity.json").write_text(text)
    with pytest.raises(InputError, match="ssmith verify"):
        ParityReport.read(tmp_path / "parity.json")


def test_a_missing_report_is_refused(tmp_path):
    with pytest.raises(InputError, match="cannot read"):
        ParityReport.read(tmp_path / "parity.json")
