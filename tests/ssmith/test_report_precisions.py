"""What each precision costs, on the page and in the document: figures from four stages in one row."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pytest

from ssmith.bundle import Bundle
from ssmith.measurement import read_measurements, write_measurements
from ssmith.report import build_report, render_html
from ssmith.report_precision_plot import LETTER, LINE, placed, precision_plot
from ssmith.report_precision_words import difference_text, precisions
from ssmith.report_precisions import PrecisionCost
from tests.report_run import qat, write_run
from tests.ssmith.test_report import Page, without_training


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return without_training(tmp_path_factory.mktemp("run") / "digits-s0")


def words(run: Path) -> str:
    return " ".join("".join(Page(render_html(build_report(run))).words).split())


def said(run: Path) -> str:
    """The sentences alone, without the page."""
    found = precisions(build_report(run))
    scores = [name for name, _, _ in found.scores]
    return " ".join([*found.sentences, *found.training, *scores]).replace("\u00a0", " ")


def changed(run: Path, name: str, **fields: object) -> None:
    document = json.loads((run / name).read_text())
    (run / name).write_text(json.dumps(document | fields))


def by_name(run: Path) -> dict[tuple[str, str], PrecisionCost]:
    return {(cost.format, cost.precision): cost for cost in build_report(run).precisions}


def test_a_row_a_format_and_precision_with_what_each_stage_knows(run):
    costs = by_name(run)
    manifest = json.loads((run / "artifacts" / "manifest.json").read_text())["files"]
    written = {(f["path"].rpartition(".")[2], f["precision"]) for f in manifest if f["kind"] != "c-header"}
    assert len(costs) == len(written - {("c", p) for p in ("float32", "int8")})
    sizes = {f["path"]: f["bytes"] for f in manifest}
    measured = {(m.backend, m.precision): m for m in read_measurements(run / "measurements.json")}
    for cost in costs.values():
        assert cost.file_bytes == sizes[cost.file]
        assert cost.file_ratio == cost.file_bytes / costs[cost.format, "float32"].file_bytes
    assert costs["c99", "int8"].step_p50_us == measured["native", "int8"].timing.p50_us
    assert costs["onnx", "int8"].step_p50_us is None
    assert costs["executorch", "int8"].weight_ratio == 9_300 / 34_000


def test_where_a_score_is_known_from(run):
    costs = by_name(run)
    known = {name: cost.known_from for name, cost in costs.items()}
    assert known["c99", "float32"] == known["onnx", "float32"] == "reference"
    assert known["c99", "int8"] == "integers" and known["onnx", "int8"] == "simulation"
    assert (costs["c99", "int8"].snr_db, costs["c99", "int8"].metric) == (47.3, 0.9695)
    assert known["onnx", "int8-all"] == "golden vectors" and costs["onnx", "int8-all"].snr_db == 21.7
    assert costs["onnx", "int8-all"].metric is None
    assert costs["onnx", "float32"].metric_difference is None
    assert costs["onnx", "int8"].metric_difference == pytest.approx(-0.0007)


def test_what_verify_saw_of_the_file_itself_counts_most(tmp_path):
    run = without_training(tmp_path)
    rows = json.loads((run / "parity.json").read_text())["rows"]
    for artifact, delta in (
        ("digits.step.onnx", 0.0),
        ("digits_int8.step.onnx", -0.004),
        ("digits_int8.ssmc", 0.0),
    ):
        seen = {"artifact": artifact, "check": "validation", "case": "validation/whole"}
        rows.append(
            rows[0] | seen | {"metric": "accuracy", "metric_value": 0.9702 + delta, "metric_delta": delta}
        )
    changed(run, "parity.json", rows=rows)
    costs = by_name(run)
    known = {name: cost.known_from for name, cost in costs.items()}
    assert known["onnx", "float32"] == known["onnx", "int8"] == known["c99", "int8"] == "file"
    assert known["onnx", "mixed"] == "simulation" and known["c99", "float32"] == "reference"
    assert costs["onnx", "int8"].metric_difference == -0.004 and costs["onnx", "int8"].snr_db == 47.4
    assert costs["c99", "int8"].snr_db == 47.3 and costs["onnx", "float32"].metric_difference == 0.0


def test_int8_of_other_activation_bits_is_another_rounding(run):
    """ONNX and C have 16 bits here, ExecuTorch 8; the row of C tells about ONNX, not about ExecuTorch."""
    costs = by_name(run)
    assert (costs["onnx", "int8"].activation_bits, costs["onnx", "int8"].snr_db) == (16, 47.4)
    assert (costs["executorch", "int8"].activation_bits, costs["executorch", "int8"].snr_db) == (8, 32.1)
    assert costs["onnx", "int4-weights"].activation_bits is None  # float32 vectors


def test_without_quantization_sizes_and_times_stay(tmp_path):
    run = without_training(tmp_path)
    (run / "quantization.json").unlink()
    costs = by_name(run)
    assert costs["onnx", "int8"].metric is None and costs["onnx", "int8"].known_from is None
    assert costs["onnx", "int8"].file_bytes == 17_904 and costs["c99", "int8"].step_p50_us
    text = words(run)
    assert "ONNX int8-dynamic" in text and "the smallest file" not in text


def test_a_format_without_float32_has_no_ratios(tmp_path):
    run = without_training(tmp_path)
    manifest = json.loads((run / "artifacts" / "manifest.json").read_text())
    kept = [f for f in manifest["files"] if f["precision"] != "float32"]
    (run / "artifacts" / "manifest.json").write_text(json.dumps(manifest | {"files": kept}))
    costs = by_name(run)
    assert all(cost.file_ratio is None for cost in costs.values())
    assert costs["c99", "int8"].metric_difference is not None
    assert "ONNX: the smallest file" in said(run)


def test_the_page_tells_the_smallest_that_is_close(run):
    text = words(run)
    for expected in (
        "ONNX: the smallest file within half a point of floating point is int8-dynamic, 16.1 KB, 0.40 ×",
        "C99: the smallest file within half a point of floating point is int8, 11.1 KB, 0.30 ×",
        "−4.10",
        "0.27 ×",
        "golden vectors, the file itself",
    ):
        assert expected in text, expected


def test_where_nothing_is_close_that_is_said(tmp_path):
    run = without_training(tmp_path)
    document = json.loads((run / "quantization.json").read_text())
    rows = [row | {"metric_rounded": row["metric_float"] - 0.0051} for row in document["precisions"]]
    changed(run, "quantization.json", precisions=rows, metric_int8=0.95)
    assert "ONNX: nothing within half a point of floating point is smaller than float32 itself." in said(run)
    rows = [row | {"metric_rounded": row["metric_float"] - 0.0049} for row in document["precisions"]]
    changed(run, "quantization.json", precisions=rows)
    assert "is int4-weights" in said(run)


def test_nrmse_changes_are_relative(tmp_path):
    run = write_run(tmp_path, period_s=1e-3)
    costs = by_name(run)
    assert difference_text(costs["onnx", "int4-weights"], "nrmse") == "+9.4\u00a0%"
    assert difference_text(costs["onnx", "mixed"], "nrmse") == "0"
    assert "within 3 % of floating point is int8-dynamic" in said(run)


def test_the_plan_of_mixed_is_told(run):
    plan = Bundle.read(run / "digits.ssm").meta.plan
    assert plan
    assert build_report(run).precision_plan == plan
    text = words(run)
    assert all(f"{key}{chosen}" in text.replace(" ", "") for key, chosen in plan.items())


def test_training_with_rounding_is_told(tmp_path):
    run = without_training(tmp_path)
    assert "Trained on for 120 steps for int8 with activations of 8 bits" in words(run)
    for document, expected, absent in (
        (qat(True, helped=False), "found nothing better than rounding after training", "float32 after it"),
        (qat(True, helped=False, steps=0), "changes the validation loss by +10.0 %", "trained with rounding"),
    ):
        (run / "qat" / "result.json").write_text(json.dumps(document))
        assert expected in said(run) and absent not in said(run)
    (run / "qat" / "result.json").unlink()
    assert "Training with rounding" not in words(run)
    assert set(build_report(run).problems) == {"training", "cuts"}, "that it was not asked for is no news"


def test_sensitive_tensors_are_told_with_the_rest_folded(run):
    html = render_html(build_report(run))
    section = html.split('id="precisions"')[1].split("</section>")[0]
    table, folded = section.split("Table of sensitive tensors")[1].split("The other 2")
    assert table.count("<tr>") == 1 + 10 and folded.count("<tr>") == 1 + 2
    assert "diverges" in folded and "measured on\n197 validation sequences of digits" in section


def test_sensitivity_of_another_model_is_refused(tmp_path):
    run = without_training(tmp_path)
    changed(run, "sensitivity.json", bundle_sha256="0" * 64)
    data = build_report(run)
    assert data.sensitivity is None and "another model" in data.problems["sensitivity"]
    changed(run, "sensitivity.json", bundle_sha256=Bundle.read(run / "digits.ssm").sha256)
    assert build_report(run).sensitivity is not None


@pytest.mark.parametrize("name", ["sensitivity.json", "qat/result.json"])
@pytest.mark.parametrize("content", ["", "[1]\n", '{"rows": 3, "steps": -1}\n'])
def test_a_damaged_file_costs_its_own_part(tmp_path, name, content):
    run = without_training(tmp_path)
    (run / name).write_text(content)
    data = build_report(run)
    assert [why for why in data.problems.values() if why.startswith("unreadable")]
    assert data.precisions
    if name == "sensitivity.json" and content:
        assert data.problems["sensitivity"] in words(run)


def test_an_unmeasured_precision_is_named(run):
    assert "executorch int8-dynamic" in words(run).split("not measured here:")[1].split(".")[0]


def test_the_fastest_may_be_any_precision(tmp_path):
    run = without_training(tmp_path)
    found = read_measurements(run / "measurements.json")
    changes = {"backend": "onnx", "precision": "mixed"}
    mixed = [m.model_copy(update=changes) for m in found if m.precision == "int8"]
    write_measurements(run / "measurements.json", mixed)
    assert "One step, onnx mixed" in words(run)
    assert by_name(run)["onnx", "mixed"].step_p50_us == mixed[0].timing.p50_us


def test_the_figure_without_a_metric_shows_the_error(run):
    costs = build_report(run).precisions
    drawn = precision_plot(costs, None)
    assert drawn is not None and "Signal to error against bytes of the file, for 9 artifacts" in drawn
    assert precision_plot(costs[:1], "accuracy") is None
    assert precision_plot([], "accuracy") is None


def test_names_in_the_figure_never_touch():
    """However the dots lie, a name is beside its own dot and covers nothing, or is left out."""
    dots = [(40.0 + 7 * (i % 5), 50.0 + 4 * (i // 5)) for i in range(20)] + [(300.0, 50.0)]
    names = ["int8-dynamic", "int8", "float32"] * 7
    places = placed(dots, names)
    assert places[-1] is not None and None in places
    boxes = [(x - 3, y - 3, x + 3, y + 3) for x, y in dots]
    for (x, y), name, place in zip(dots, names, places, strict=True):
        if place is not None:
            left, middle = x + place[0], y + place[1]
            boxes.append((left, middle - LINE / 2, left + LETTER * len(name), middle + LINE / 2))
            assert abs(place[1]) <= LINE
    named = boxes[len(dots) :]
    for one in named:
        for other in (box for box in boxes if box is not one):
            apart = one[2] <= other[0] or other[2] <= one[0] or one[3] <= other[1] or other[3] <= one[1]
            assert apart


def test_every_order_of_rows_names_as_many_dots_where_they_are_far_apart():
    dots = [(0.0, 0.0), (200.0, 0.0), (0.0, 200.0)]
    for some in itertools.permutations(dots):
        assert None not in placed(some, ["int8"] * 3)


def test_words_without_anything():
    found = precisions(build_report(Path(__file__).parent))
    assert found.rows == [] and found.sentences == [] and found.training == []
