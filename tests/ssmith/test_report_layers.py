"""What each op costs, on the report's page: columns add up, bars share a scale."""

import re

import pytest
from pydantic import ValidationError

from ssmith.measurement import LayerCost, read_measurements, write_measurements
from ssmith.report import build_report, render_html
from ssmith.report_layers import layer_tables
from ssmith.report_words import PERCENT
from tests.report_run import write_run
from tests.ssmith.test_report import Page
from tests.ssmith.test_report_devices import COUNTED, OPS, by_op, counted, several


def test_columns_add_up_and_bars_share_a_scale():
    rows = [counted(layers=by_op(COUNTED)), counted(precision="int8", layers=by_op(COUNTED)[::-1])]
    (table,) = layer_tables([*rows, counted(order=6), counted(target="wasm")])
    assert table.target == "emulated:cortex-m4" and [op for op, _ in table.rows] == list(OPS)
    for column, (label, whole) in enumerate(table.columns):
        cells = [cells[column] for _, cells in table.rows]
        assert sum(cell.cost.value for cell in cells) == pytest.approx(whole.value), label
        assert sum(cell.share for cell in cells) == pytest.approx(1.0)
    assert max(cell.bar for _, cells in table.rows for cell in cells) == 1.0


def test_an_op_that_another_model_lacks_is_a_dash():
    short = counted(precision="int8", layers=[LayerCost(layer="encoder", instructions=COUNTED)])
    (table,) = layer_tables([counted(layers=by_op(COUNTED)), short])
    assert [cells[1] is None for _, cells in table.rows] == [False, True, True, True, True]
    assert layer_tables([counted()]) == []


def test_layers_that_do_not_add_up_are_refused():
    with pytest.raises(ValidationError, match="not those of the whole step"):
        counted(layers=by_op(COUNTED)[:-1])


def test_the_page_shows_them(tmp_path):
    path = write_run(tmp_path / "run", period_s=0.002) / "measurements.json"
    write_measurements(path, several(read_measurements(path)))
    html = render_html(build_report(tmp_path / "run"))
    section = html.split("What each op costs</h3>")[1].split("<h3>")[0]
    page = Page(section)
    heads = [found for tag, found in page.elements if tag == "th"]
    assert heads and all(found.get("scope") in ("row", "col") for found in heads)
    for op in OPS:
        assert f'<th scope="row">{op}</th>' in section
    assert "2\u202f160" in section and f"50{PERCENT}" in section and "4\u202f321" in section
    widths = [float(width) for width in re.findall(r'style="width:([\d.]+)%"', section)]
    assert len(widths) == 2 * len(OPS) and max(widths) == 100
    assert " µs" not in section, "an emulator knows no time"
