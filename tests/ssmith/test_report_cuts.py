"""The certificate of a cut: read from old and new records, and what follows from its numbers."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ssmith.recipe import ReduceSettings
from ssmith.report_cuts import CutRow, plan_of
from ssmith.report_plots import predicted_and_measured

OLD = {  # as the first release wrote it
    "step": 30,
    "layer": "blocks.0.ssm",
    "order_before": 4,
    "order_after": 2,
    "singular_values": [8, 4, 2, 1, 1, 0.5, 0.25, 0.25],
    "criterion": "task-aware",
    "loss_before": 0.5,
    "loss_after": 0.6,
    "accepted": True,
}


def test_an_old_record_reads_with_what_it_has():
    row = CutRow.model_validate(OLD)
    assert (row.layer, row.outcome, row.kept_values, row.order_tried) == (0, "kept", 4, 2)
    assert row.cost == pytest.approx(0.2)
    assert (row.output_error, row.hinf_error, row.error_bound, row.notes) == (None, None, None, [])


def test_the_dropped_share_counts_what_the_criterion_counts():
    row = CutRow.model_validate(OLD)
    energy = (1 + 0.25 + 2 * 0.0625) / (64 + 16 + 4 + 1 + 1 + 0.25 + 2 * 0.0625)
    assert row.share_cut == pytest.approx(energy)
    assert row.predicted_change == pytest.approx(math.sqrt(energy))
    for criterion in ("exact", "complex", "modal"):
        alone = row.model_copy(update={"criterion": criterion})
        assert alone.share_cut == alone.predicted_change == pytest.approx(2 / 17)


def test_what_stayed_follows_from_the_tail_where_poles_are_real_or_slots_padding():
    sigma = [8.0, 4.0, 2.0, 1.0, 0.5, 0.25, 0.12, 0.0]
    row = CutRow.model_validate(OLD | {"order_after": 2, "singular_values": sigma, "tail": sum(sigma[3:])})
    assert (row.kept_values, row.order_tried) == (3, 2)
    assert row.model_copy(update={"tail": 0.0}).kept_values == 7


def test_an_undone_cut_shows_what_it_tried():
    sigma = [8.0, 4.0, 2.0, 1.0, 0.5, 0.25, 0.12, 0.06]
    undone = {"order_after": 4, "singular_values": sigma, "tail": sum(sigma[4:]), "accepted": False}
    row = CutRow.model_validate(OLD | undone)
    assert (row.outcome, row.kept_values, row.order_tried) == ("undone", 4, 2)
    skipped = row.model_copy(update={"loss_after": None, "tail": 0.0})
    assert (skipped.outcome, skipped.order_tried) == ("not cut", 4)
    assert predicted_and_measured(skipped, "cost") is None


@given(st.lists(st.floats(1e-12, 1e6), min_size=2, max_size=24), st.integers(1, 12), st.booleans())
def test_shares_are_shares(values, after, exact):
    order = max(1, len(values) // 2)
    record = {
        "order_before": order,
        "order_after": min(after, order),
        "singular_values": sorted(values, reverse=True),
        "criterion": "exact" if exact else "empirical",
    }
    row = CutRow.model_validate(OLD | record)
    assert row.share_cut is not None
    assert row.predicted_change is not None
    assert 0 <= row.share_cut <= row.predicted_change <= 1 + 1e-12
    kept, dropped = values_of(row)
    assert not kept or not dropped or min(kept) >= max(dropped)


def values_of(row: CutRow) -> tuple[list[float], list[float]]:
    return row.singular_values[: row.kept_values], row.singular_values[row.kept_values :]


def test_a_cut_that_moved_nothing_has_no_place_on_a_logarithmic_scale():
    row = CutRow.model_validate(OLD | {"output_error": 0.0})
    assert predicted_and_measured(row, "output_error") is None
    assert predicted_and_measured(row, "cost") == (row.predicted_change, row.cost)


def test_the_plan_is_the_goal_of_the_recipe():
    settings = ReduceSettings(order=12, window=(0.1, 0.2), cuts=2)
    plan = plan_of({"reduce": settings.model_dump(mode="json")})
    assert plan is not None
    assert (plan.goal, plan.target, plan.cuts, plan.window) == ("order", 12, 2, [0.1, 0.2])
    assert plan_of({"reduce": ReduceSettings().model_dump(mode="json")}) is None
    assert plan_of({}) is plan_of([]) is plan_of({"reduce": 3}) is None
