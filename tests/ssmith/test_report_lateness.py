"""The paced run and blocks on the report's page: every step once, misses marked, the worst with its time."""

import numpy as np
import pytest

from ssmith.devices.deadlines import summarise_deadlines
from ssmith.measurement import read_measurements, write_measurements
from ssmith.report import build_report, render_html
from ssmith.report_lateness import late_table, latenesses, worst_text
from ssmith.report_words import PERCENT
from tests.report_run import write_run
from tests.ssmith.test_report_devices import several

PERIOD_S = 0.002


def paced(row, late_us):
    late = np.round(1e3 * np.array(late_us)).astype(np.int64)
    busy = np.full(len(late), 900)
    deadline = summarise_deadlines(busy, late, period_s=PERIOD_S, steady_mean_us=0.9)
    return row.model_copy(update={"deadline": deadline})


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = write_run(tmp_path_factory.mktemp("late") / "run", period_s=PERIOD_S)
    rows = several(read_measurements(folder / "measurements.json"))
    write_measurements(folder / "measurements.json", rows)
    return folder


def test_the_table_holds_every_step_once_and_marks_the_misses(run):
    row = read_measurements(run / "measurements.json")[0]
    rows = [
        paced(row, [4.2] * 50 + [2_500.0, 9.5]),
        paced(row.model_copy(update={"precision": "int8"}), [4.2]),
    ]
    table = late_table(rows, lambda m: m.label)
    assert table.names == ["native", "native int8"]
    assert [sum(column) for column in zip(*(counts for _, _, counts in table.rows), strict=True)] == [52, 1]
    assert table.rows == [
        ("3 µs to 5 µs", False, [50, 1]),
        ("7 µs to 10 µs", False, [1, 0]),
        ("2 ms to 3 ms", True, [1, 0]),
    ]
    first, second = latenesses(rows, lambda m: m.label)
    assert first.worst == worst_text(rows[0].deadline) == "2.5 ms, 0.1 s after the first"
    assert "52 paced steps" in first.figure and "1 beyond the period of 2 ms" in first.figure
    assert "took 3 µs to 5 µs" in first.figure and "0 beyond" in second.figure
    assert "--series-2" in first.figure and "--series-2" not in second.figure, "misses in another colour"


def test_a_run_without_a_histogram_has_no_figure(run):
    row = read_measurements(run / "measurements.json")[0]
    bare = row.deadline.model_copy(update={"late_counts": [], "late_edges_us": []})
    rows = [row.model_copy(update={"deadline": bare})]
    assert latenesses(rows, lambda m: m.label) == [] and late_table(rows, lambda m: m.label).rows == []


def test_the_page_shows_histograms_and_blocks(run):
    html = render_html(build_report(run))
    latency = html.split('<section id="latency"')[1].split("</section>")[0]
    late = latency.split("How late each step was")[1].split("</details>")[0]
    assert late.count("<svg") == late.count("<figcaption>") == 5 and late.count('role="img"') == 5
    assert "Steps by the time from due to done" in late and "after the first" in late
    table = latency.split("Blocks of frames")[1]
    assert table.count("<tr><th") == 4 and "48000 Hz" in table and "21.3 ms" in table
    assert table.count('<td class="bad">') == 1 and f"125{PERCENT}" in table, (
        "one block takes longer than it lasts"
    )
