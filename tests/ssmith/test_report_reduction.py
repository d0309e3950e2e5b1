"""Which cuts the page explains, from one to hundreds, in training and after it."""

import json
import re

import numpy as np
import pytest

from ssmith.bundle import Bundle
from ssmith.report import build_report, render_html
from ssmith.report_cuts import CutRow
from ssmith.report_reduction import SHOWN, notable, reductions
from tests.bundles import kept_modes, random_bundle
from tests.report_run import cut, write_run


def words(html: str) -> str:
    return " ".join(re.sub(r"<style>.*?</style>|<[^>]+>", " ", html, flags=re.S).split())


def with_history(name: str, cuts: list, seed: int = 1) -> Bundle:
    bundle = random_bundle(np.random.default_rng(seed), name=name)
    return Bundle(bundle.meta.model_copy(update={"reduction": tuple(cuts)}), bundle.tensors)


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """Forty cuts in training, and a bundle that was cut once more afterwards."""
    rng = np.random.default_rng(0)
    run = write_run(tmp_path_factory.mktemp("many"), attempts=20)
    later = [cut(rng, 0, 0, (12, 8), criterion="exact"), cut(rng, 0, 1, (12, 8))]
    smaller = with_history("digits", [cut(rng, 900, 0, (64, 12)), *later])
    origin = {"reduced_to": "order 8", "fine_tuned": "90 of 120 steps on digits"}
    meta = smaller.meta.model_copy(update={"provenance": origin})
    Bundle(meta, smaller.tensors).write(run / "digits-8.ssm")
    return run


def test_few_cuts_are_all_explained_and_of_many_the_ones_that_tell(many):
    data = build_report(many)
    cuts = data.cuts or []
    assert len(cuts) == 40
    shown = notable(cuts)
    assert len(shown) <= SHOWN
    assert notable(cuts[:3]) == cuts[:3]
    assert {c.layer for c in shown if c.order_after == 12} == {0, 1}
    kept = [c for c in cuts if c.outcome == "kept"]
    assert max(kept, key=lambda c: c.cost or 0) in shown
    assert [c for c in shown if c.outcome == "undone"] == [c for c in cuts if c.outcome == "undone"]
    assert [c.step for c in shown] == sorted(c.step for c in shown)


def test_a_deep_model_does_not_make_a_long_page():
    rng = np.random.default_rng(0)
    cuts = [CutRow.model_validate(cut(rng, 9, layer, (64, 12))) for layer in range(48)]
    assert len(notable(cuts)) == SHOWN


def test_a_gradual_schedule_stays_readable(many):
    html = render_html(build_report(many))
    assert html.count('<article class="certificate"') <= 2 * SHOWN
    assert len(html) < 500_000
    text = words(html)
    assert "little by little, in many small cuts between 22.5 % and 45 %" in text
    assert "39 of 40 cuts stand; 1 cost too much and was undone" in text
    assert "<details><summary>All 40 cuts in numbers" in html
    assert "<details open><summary>All 2 cuts in numbers" in html
    assert re.search(r"Of any two of these \d+ cuts", text)


def test_cuts_after_training_come_from_the_bundles(many):
    data = build_report(many)
    later = [row for row in data.bundles if row.cuts]
    assert [(row.file, len(row.cuts)) for row in later] == [("digits-8.ssm", 2)]
    parts = reductions(data)
    assert [part.key for part in parts] == ["training", "after-0"]
    kinds = {s.kind for certificate in parts[1].certificates for s in certificate.sentences}
    assert kinds == {"guaranteed", "no guarantee", "measured", "predicted"}
    text = words(render_html(data))
    assert "Cuts after training" in text
    assert "asked for 8 states a layer, then trained on: 90 of 120 steps on digits." in text


def test_a_lone_bundle_brings_its_history(tmp_path):
    rng = np.random.default_rng(0)
    with_history("digits", [cut(rng, 900, 0, (64, 12)), {"layer": "nonsense"}]).write(tmp_path / "digits.ssm")
    data = build_report(tmp_path)
    assert "cuts" not in data.problems
    assert [c.order_after for c in data.cuts or []] == [12]
    assert "Layer 1 kept 12 of its 64 states." in words(render_html(data))


def test_several_orders_in_one_bundle_are_several_models(tmp_path):
    rng = np.random.default_rng(0)
    first = cut(rng, 0, 0, (12, 8))
    main = with_history("digits", [first])
    small = kept_modes(main, 2)
    history = {"reduction": (first, cut(rng, 0, 0, (8, 4)))}
    main.with_variants([Bundle(small.meta.model_copy(update=history), small.tensors)]).write(
        tmp_path / "digits.ssm"
    )
    rows = build_report(tmp_path).bundles
    assert [len(row.cuts) for row in rows] == [1, 1], "a variant repeats its main model's history"
    assert len({row.sha256 for row in rows}) == len({row.model for row in rows}) == 2
    assert "Models in the bundles" in words(render_html(build_report(tmp_path)))


def test_looks_at_a_spectrum_are_drawn_and_their_absence_is_no_problem(tmp_path):
    run = write_run(tmp_path)
    assert build_report(run).spectra is None
    assert "spectra" not in build_report(run).problems
    looks = [
        {"step": 100 * i, "layer": f"blocks.{layer}.ssm", "order": 64, "change": 0.3 / i if i > 1 else None}
        for i in range(1, 9)
        for layer in range(2)
    ]
    (run / "train" / "spectra.json").write_text(json.dumps(looks))
    data = build_report(run)
    assert [(s.step, s.layer) for s in data.spectra or []][:3] == [(100, 0), (100, 1), (200, 0)]
    assert "How much each layer&#39;s spectrum still moved" in render_html(data).replace("&#x27;", "&#39;")
    (run / "train" / "spectra.json").write_text("[3]")
    broken = build_report(run)
    assert list(broken.problems) == ["spectra"]
    assert broken.problems["spectra"] in words(render_html(broken))


def test_the_page_of_old_records_says_what_they_know(tmp_path):
    run = write_run(tmp_path)
    new = ("output_error", "h2_error", "hinf_error", "stable", "clamped", "notes", "attempt")
    records = json.loads((run / "train" / "cuts.json").read_text())
    old = [{key: value for key, value in record.items() if key not in new} for record in records]
    (run / "train" / "cuts.json").write_text(json.dumps(old))
    (run / "recipe.json").write_text("{}")
    text = words(render_html(build_report(run)))
    assert "On held-out data the loss went from" in text
    assert "outputs moved by" not in text
    assert "The recipe asked" not in text
