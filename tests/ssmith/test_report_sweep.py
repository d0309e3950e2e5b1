"""The sweep's drawing is a whole SVG file: every order, every mark, no colour left to a style sheet."""

import xml.etree.ElementTree as ElementTree

import pytest

from ssmith.report_sweep import sweep_plot


def document(metric="accuracy", orders=(64, 16, 4, 1)):
    points = [
        {
            "order": order,
            "reached": True,
            "metric": 1 - 0.3 / order,
            "output_error": 1 / order,
            "predicted_change": 0.8 / order,
        }
        for order in orders
    ]
    marks = [
        {"name": "tolerance 0.01", "order": 4, "meaning": "drops 0.01 of Σσ²"},
        {"name": "close", "order": 16, "meaning": "accuracy within a point of full"},
        {"name": "elbow", "order": 4, "meaning": "the curve bends most"},
    ]
    return {"model": "a<b", "metric": metric, "power": 2, "points": points, "marks": marks}


def texts(drawing):
    root = ElementTree.fromstring(drawing)
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    return [text for element in root.iter() if (text := (element.text or "").strip())], root


@pytest.mark.parametrize("metric", ["accuracy", "nrmse", None])
def test_the_drawing_stands_alone_and_says_what_it_shows(metric):
    drawing = sweep_plot(document(metric))
    found, root = texts(drawing)
    for order in ("64", "16", "4", "1"):
        assert order in found
    assert "4: drops 0.01 of Σσ²; the curve bends most" in found
    assert "16: accuracy within a point of full" in found
    assert any("order" in text for text in found)
    assert (f"held-out {metric}" in found) == (metric is not None)
    assert "measured" in found
    assert root.get("aria-label", "").startswith("a<b")
    assert "var(" not in drawing
    assert "#0a0a0" not in drawing


def test_points_that_were_not_reached_and_figures_that_are_missing_are_left_out():
    facts = document()
    facts["points"][1]["reached"] = False
    facts["points"][3]["metric"] = None
    found, _ = texts(sweep_plot(facts))
    assert "64" in found
    assert "16" not in found


def test_many_orders_are_not_all_written():
    orders = tuple(range(40, 0, -1))
    found, _ = texts(sweep_plot(document(orders=orders)))
    assert sum(text in {str(order) for order in orders} for text in found) <= 20


def test_equal_documents_give_equal_bytes():
    assert sweep_plot(document()) == sweep_plot(document())
