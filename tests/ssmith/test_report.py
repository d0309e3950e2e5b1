"""The report: complete from complete runs, honest about what is missing, safe with hostile text."""

import json
import re
import shutil
from html.parser import HTMLParser
from importlib import resources
from pathlib import Path

import jsonschema
import numpy as np
import pytest

from ssmith.bundle import Bundle
from ssmith.errors import InputError
from ssmith.measurement import read_measurements, write_measurements
from ssmith.report import build_report, render_html, report_schema, write_report
from ssmith.report_data import ReportData
from ssmith.report_plots import time_text
from ssmith.report_words import percent_text, ratio_text, share_text, size_text
from tests.bundles import random_bundle
from tests.report_run import write_run

VOID = {"meta", "link", "br", "use", "path", "img", "hr", "rect"}
FILES = (
    "train/metrics.jsonl",
    "train/cuts.json",
    "compare.json",
    "quantization.json",
    "artifacts/manifest.json",
    "parity.json",
    "measurements.json",
)


def without_training(folder: Path) -> Path:
    """A run whose page has few figures, for tests that look at something else."""
    run = write_run(folder)
    shutil.rmtree(run / "train")
    return run


class Page(HTMLParser):
    """Collects what the tests ask about, and that every element is closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.words: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        self.elements.append((tag, found))
        if found.get("id"):
            self.ids.append(str(found["id"]))
        for name in ("href", "src", "xlink:href", "action", "data"):
            if found.get(name):
                self.links.append(str(found[name]))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)


@pytest.fixture(scope="module")
def full(tmp_path_factory):
    return write_run(tmp_path_factory.mktemp("run") / "digits-s0")


@pytest.fixture(scope="module")
def full_html(full):
    return render_html(build_report(full))


def test_headline_figures_come_from_the_files(full):
    data = build_report(full)
    assert data.problems == {}
    assert data.name == "digits"
    summary = data.summary
    assert (summary.order_before, summary.order_after) == ([64, 64], [12, 12])
    assert (summary.metric_full, summary.metric_reduced) == (0.9648, 0.9611)
    assert (summary.fastest_backend, summary.fastest_precision) == ("native", "int8")
    native = next(m for m in data.measurements or [] if m.precision == "int8")
    assert native.timing is not None
    assert summary.step_p50_us == native.timing.p50_us
    assert (summary.parity_passed, summary.parity_run) == (10, 10)  # the row that did not run is no failure
    assert (summary.int8_snr_db, summary.int8_metric, summary.int8_flash_bytes) == (47.3, 0.9695, 11_344)


def test_report_json_follows_the_published_schema(full, tmp_path):
    published = (resources.files("ssmith") / "report.schema.json").read_text("utf-8")
    assert published == report_schema(), "run: python -m ssmith.report > ssmith/report.schema.json"
    _, document = write_report(build_report(full), tmp_path)
    written = json.loads(document.read_bytes(), parse_constant=pytest.fail)
    validator = jsonschema.validators.validator_for(json.loads(published))
    validator.check_schema(json.loads(published))
    jsonschema.validate(written, json.loads(published))
    assert ReportData.model_validate(written) == build_report(full)
    written["cuts"][0]["order_after"] = "twelve"
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(written, json.loads(published))


def test_page_is_self_contained_and_well_formed(full_html):
    page = Page(full_html)
    assert page.open == []
    assert all(link.startswith("#") for link in page.links)
    assert not re.search(r"https?://(?!www\.w3\.org/)|@import|<script|<link", full_html)
    assert not re.search(r"url\((?!#)", full_html)
    assert len(page.ids) == len(set(page.ids)), "two elements share an id"
    targets = {link[1:] for link in page.links}
    assert targets <= set(page.ids)


def test_page_follows_light_and_dark_and_every_figure_speaks(full_html):
    page = Page(full_html)
    figures = [attributes for tag, attributes in page.elements if tag == "svg"]
    assert len(figures) >= 11
    assert all(f.get("role") == "img" and f.get("aria-label") for f in figures)
    labels = [f["aria-label"] for f in figures]
    assert len(labels) == len(set(labels))
    drawings = "".join(re.findall(r"<svg.*?</svg>", full_html, flags=re.S))
    fixed = set(re.findall(r"(?:fill|stroke): (#[0-9a-f]+)", drawings))
    assert fixed == set(), "a colour that dark mode cannot change"
    used = set(re.findall(r"var\((--[a-z0-9-]+)\)", full_html))
    light, dark = full_html.split("prefers-color-scheme: dark", 1)
    for variable in used:
        assert f"{variable}:" in light and f"{variable}:" in dark
    tables = [a for tag, a in page.elements if tag == "div" and a.get("class") == "table"]
    assert all(a.get("role") == "region" and a.get("aria-label") for a in tables)


def test_equal_data_gives_equal_bytes(full, full_html):
    assert render_html(build_report(full)) == full_html


def test_numbers_of_every_section_are_on_the_page(full_html):
    words = " ".join("".join(Page(full_html).words).split())
    for expected in ("96.1 %", "89.5 %", "64 → 42", "undone", "digits.step.onnx", "task-aware", "10 / 10"):
        assert expected in words
    assert "has no rate" in words and "Missed" not in words


def test_model_with_a_rate_shows_its_deadlines(tmp_path):
    run = write_run(tmp_path, period_s=1e-3)
    data = build_report(run)
    words = " ".join("".join(Page(render_html(data)).words).split())
    assert "One frame every 1 ms" in words and "Missed" in words
    assert "Error (NRMSE)" in words and "0.433" in words
    assert data.summary.deadline_misses == 0


@pytest.mark.parametrize("gone", FILES)
def test_a_stage_that_did_not_run_says_so(tmp_path, gone):
    run = write_run(tmp_path)
    (run / gone).unlink()
    data = build_report(run)
    assert len(data.problems) == 1
    (problem,) = data.problems.values()
    assert problem.startswith("not run") and Path(gone).name in problem


@pytest.mark.parametrize("broken", FILES)
@pytest.mark.parametrize("content", ["", "{", "[1]\n", "null\n", '{"rows": 3, "files": 3}\n', "\udcff"])
def test_a_damaged_file_costs_its_section_only(tmp_path, broken, content):
    run = write_run(tmp_path)
    (run / broken).write_bytes(content.encode("utf-8", "surrogateescape"))
    data = build_report(run)
    assert len(data.problems) <= 1
    assert all(text.startswith("unreadable") for text in data.problems.values())
    assert sum(getattr(data, part) is None for part in data.problems) == len(data.problems)


def test_an_empty_folder_makes_a_page(tmp_path):
    data = build_report(tmp_path)
    page, document = write_report(data, tmp_path)
    parsed = Page(page.read_text("utf-8"))
    assert parsed.open == []
    assert len(json.loads(document.read_bytes())["problems"]) == len(FILES)
    assert all(problem in "".join(parsed.words) for problem in data.problems.values())


def test_half_a_line_of_a_killed_run_is_left_out(tmp_path):
    run = write_run(tmp_path)
    path = run / "train" / "metrics.jsonl"
    whole = build_report(run).training
    path.write_bytes(path.read_bytes()[:-20])
    assert whole is not None
    assert build_report(run).training == whole[:-1]


def test_text_from_files_cannot_become_markup(tmp_path):
    run = without_training(tmp_path)
    attack = "<script>alert(1)</script>"
    for name, path in (("parity.json", ("rows", 0, "case")), ("compare.json", ("rows", 1, "name"))):
        document = json.loads((run / name).read_text())
        document[path[0]][path[1]][path[2]] = attack
        (run / name).write_text(json.dumps(document))
    bundle = random_bundle(np.random.default_rng(0), name="digits")
    meta = bundle.meta.model_copy(update={"provenance": {attack: attack}})
    Bundle(meta, bundle.tensors).write(run / "digits.ssm")
    html = render_html(build_report(run))
    assert "<script" not in html and "&lt;script&gt;" in html


def test_a_file_is_no_run_folder(tmp_path):
    path = tmp_path / "x"
    path.write_text("")
    with pytest.raises(InputError, match="not a folder"):
        build_report(path)


def test_int8_is_told_beside_float32(full_html):
    words = " ".join("".join(Page(full_html).words).split())
    for expected in (
        "197 validation sequences of digits (25 216 frames) the outputs stand 47.3 dB above their error",
        "predicted from the model and its ranges: 48.9 dB",
        "Their accuracy is 97.0 %; in floating point it is 97.0 %",
        "most often those of the states of block0.ssm",
        "0.30 × what float32 takes",
        "int8, a16",
    ):
        assert expected in words, expected


@pytest.mark.parametrize("precisions", [("float32",), ("int8",)])
def test_a_precision_that_was_not_measured_leaves_its_figures_out(tmp_path, precisions):
    run = without_training(tmp_path)
    kept = [m for m in read_measurements(run / "measurements.json") if m.precision in precisions]
    write_measurements(run / "measurements.json", kept)
    words = " ".join("".join(Page(render_html(build_report(run))).words).split())
    assert "47.3 dB above" in words and "what float32 takes" not in words


def test_why_there_is_no_int8_is_told(tmp_path):
    run = without_training(tmp_path)
    document = json.loads((run / "quantization.json").read_text())
    document = {key: document[key] for key in ("version", "bundle_sha256", "activation_bits")}
    (run / "quantization.json").write_text(json.dumps(document | {"refused": "a sum needs 33 bits"}))
    html = render_html(build_report(run))
    assert "There is none: a sum needs 33 bits" in html and "Float32 and int8" not in html


def test_a_failed_check_is_seen_without_a_click(tmp_path):
    run = without_training(tmp_path)
    summary = "<summary>The worst case of each check: 10 of 11 comparisons"
    assert f"<details>{summary}" in render_html(build_report(run))
    document = json.loads((run / "parity.json").read_text())
    document["rows"][0] |= {"passed": False, "relative": 0.1, "reason": "another sum"}
    (run / "parity.json").write_text(json.dumps(document))
    html = render_html(build_report(run))
    assert f"<details open>{summary}" in html and "FAILED" in html and "9 / 10" in html
    assert html.count("another sum") == 1  # below the table, by number


def test_parity_of_before_there_were_checks_shows_every_row(tmp_path):
    run = without_training(tmp_path)
    document = json.loads((run / "parity.json").read_text())
    for row in document["rows"]:
        row.pop("check", None)
    (run / "parity.json").write_text(json.dumps(document))
    assert "The worst case of each check: 11 of 11" in render_html(build_report(run))


def test_scores_of_artifacts_and_what_they_lost(tmp_path):
    words = " ".join("".join(Page(render_html(build_report(without_training(tmp_path)))).words).split())
    assert "97.0 %" in words and "-0.07 points" in words


def test_an_exported_backend_without_a_measurement_is_named(tmp_path):
    run = without_training(tmp_path)
    kept = [m for m in read_measurements(run / "measurements.json") if m.backend != "onnx"]
    write_measurements(run / "measurements.json", kept)
    words = " ".join("".join(Page(render_html(build_report(run))).words).split())
    assert "onnx" in words.split("not measured here: ")[1].split(".")[0].split(", ")


@pytest.mark.parametrize(
    ("function", "value", "text"),
    [
        (time_text, 0.621, "621 ns"),
        (time_text, 0.9996, "1 µs"),
        (time_text, 999.7, "1 ms"),
        (time_text, 1.5e6, "1.5 s"),
        (time_text, None, "–"),
        (size_text, 1023, "1023 B"),
        (size_text, 38_000, "37.1 KB"),
        (ratio_text, 1.44, "1.4"),
        (ratio_text, 41.2, "41"),
        (ratio_text, 13_030.2, "13\u202f000"),
        (share_text, 0.0018, "0.18\u00a0%"),
        (share_text, 1.031, "103\u00a0%"),
        (share_text, 3e-6, "less than 0.001\u00a0%"),
        (percent_text, 0.00012, "+0.012\u00a0%"),
        (percent_text, -0.0123, "−1.2\u00a0%"),
    ],
)
def test_numbers_read_well(function, value, text):
    assert function(value) == text


def test_every_field_is_explained_in_the_docs():
    text = (Path(__file__).parents[2] / "docs" / "report.md").read_text("utf-8")
    explained = set(re.findall(r"`([a-z0-9_]+)`", text))
    schema = ReportData.model_json_schema()
    for form in (schema, *schema["$defs"].values()):
        assert f"`{form['title']}`" in text
        missing = set(form["properties"]) - explained
        assert not missing, f"docs/report.md does not explain {sorted(missing)} of {form['title']}"
