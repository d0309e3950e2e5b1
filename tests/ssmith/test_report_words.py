"""A cut in words: nothing is said that was not measured, proven or predicted, and each says which."""

import re
from typing import get_args

import numpy as np
import pytest

from ssmith.recipe import GOALS, CriterionName, Schedule
from ssmith.report_cuts import SYSTEM_ONLY, CutRow, ReductionPlan
from ssmith.report_words import (
    CRITERIA,
    agreement,
    asked_text,
    headline,
    metric_title,
    outcome_text,
    plan_text,
    score_text,
    sentences,
)
from tests.report_run import cut


def row(**changes) -> CutRow:
    made = cut(np.random.default_rng(0), 30, 0, (64, 12))
    return CutRow.model_validate(made | changes)


def said(cut_row: CutRow) -> dict[str, str]:
    found: dict[str, str] = {}
    for sentence in sentences(cut_row):
        text = sentence.text.replace("\u00a0", " ")
        found[sentence.kind] = f"{found.get(sentence.kind, '')} {text}".strip()
    return found


def test_every_figure_of_a_full_record_is_said():
    text = said(row(hinf_error=0.02, h2_error=0.006, output_error=0.009, loss_before=1.389, loss_after=1.391))
    assert headline(row()) == "Layer 1 kept 12 of its 64 states."
    assert "2 % of the largest gain at the worst frequency, and by 0.6 % on average" in text["measured"]
    assert "outputs moved by 0.9 %, and the loss went from 1.389 to 1.391 (+0.1 %)" in text["measured"]
    assert "% of the energy that the states pass on" in text["predicted"]
    assert "task-aware" in text["no guarantee"]


def test_a_cut_after_training_tells_the_score():
    scored = row(metric="accuracy", metric_before=0.8426, metric_after=0.8376)
    assert "the accuracy from 84.3 % to 83.8 %." in said(scored)["measured"]


def test_what_nobody_measured_is_not_said():
    blank = row(hinf_error=None, h2_error=None, output_error=None, loss_before=None, loss_after=None)
    assert set(said(blank)) == {"predicted", "no guarantee"}
    assert not re.search(r"None|nan|–", " ".join(said(blank).values()))
    assert set(said(blank.model_copy(update={"criterion": "made up", "singular_values": []}))) == set()


def test_a_bound_is_a_guarantee_and_only_a_bound_is():
    assert "at most 0.034 ×" in said(row(criterion="exact", error_bound=0.034))["guaranteed"]
    known = said(row(criterion="exact", error_bound=0.034, gain=1.7))["guaranteed"]
    assert "at most 0.034 × the strength of its input, 2 % of its largest gain" in known
    voided = said(row(criterion="exact", error_bound=None, clamped=2))
    assert "guaranteed" not in voided
    assert "poles had to be moved" in voided["no guarantee"]
    assert "2 poles that came out unstable were moved" in voided["measured"]
    refitted = said(row(criterion="exact", error_bound=None))
    assert "changed after the cut" in refitted["no guarantee"]


def test_an_undone_cut_says_why_and_one_not_made_says_nothing_else():
    undone = row(
        accepted=False, order_after=64, reason="undone: the held-out loss rose to 9, above the limit of 5"
    )
    assert headline(undone) == (
        "Layer 1 was cut from 64 to 12 states, and got them back: the held-out loss rose to 9, above the"
        " limit of 5."
    )
    assert "differed from" in said(undone)["measured"]
    not_made = undone.model_copy(update={"loss_after": None, "tail": None, "reason": "skipped: too little"})
    assert headline(not_made) == "Layer 1 stayed at 64 states: too little."
    assert sentences(not_made) == []


def test_the_criteria_of_a_recipe_are_explained_and_promise_what_the_reduction_promises():
    from ssmith.reduce.criteria import CRITERIA as criteria

    assert set(CRITERIA) == set(get_args(CriterionName)) == set(criteria)
    for name, criterion in criteria.items():
        assert CRITERIA[name].bound == criterion.bound, name
        assert (name in SYSTEM_ONLY) == (criterion.power == 1), name


@pytest.mark.parametrize("goal", GOALS)
@pytest.mark.parametrize("schedule", get_args(Schedule))
def test_every_goal_and_schedule_has_its_words(goal, schedule):
    target = 12 if goal == "order" or (goal.startswith("max_") and goal != "max_loss") else 0.01
    plan = ReductionPlan(
        goal=goal, target=target, schedule=schedule, cuts=30, window=[0.1, 0.4], criterion="exact"
    )
    text = plan_text(plan).replace("\u00a0", " ")
    assert ("12" if target == 12 else "1 %") in text
    assert f"schedule {schedule}, criterion exact" in text
    assert ("at 40 %" if schedule == "once" else "between 10 % and 40 %") in text


def test_orders_given_one_a_layer():
    assert "for 12, 8 states in its layers" in plan_text(ReductionPlan(goal="order", target=[12, 8], cuts=1))


def test_the_outcome_counts_and_names_the_costliest():
    cuts = [
        row(loss_before=1.0, loss_after=1.02),
        row(loss_before=1.0, loss_after=0.99, layer=1),
        row(accepted=False, loss_before=1.0, loss_after=2.0),
        row(accepted=False, loss_after=None),
    ]
    text = outcome_text(cuts).replace("\u00a0", " ")
    assert text.startswith("2 of 4 cuts stand; 1 cost too much and was undone; 1 was not made.")
    assert "raised the held-out loss by 2 % (layer 1, to 12 states)" in text
    assert "No cut that stands raised" in outcome_text(cuts[1:])
    assert outcome_text(cuts[:1]) == ""


@pytest.mark.parametrize(
    ("goal", "text"),
    [
        ("order 8", "for 8 states a layer"),
        ("order 8 4", "for 8, 4 states in its layers"),
        ("max_bytes 65536", "for at most 65\u202f536 bytes of weights"),
        ("max_loss 0.01", "that the held-out loss rises by at most 1\u00a0%"),
        ("something new", "for something new"),
        ("order", "for order"),
    ],
)
def test_a_recorded_goal_in_words(goal, text):
    assert asked_text(goal) == text


def test_agreement_is_one_for_equal_ranks_and_zero_for_opposite():
    assert agreement([(1, 10), (2, 20), (3, 21)]) == 1
    assert agreement([(1, 3), (2, 2), (3, 1)]) == 0
    assert agreement([(1, 1), (2, 3), (3, 2)]) == pytest.approx(2 / 3)
    assert agreement([(1, 1), (1, 2)]) is None
    assert agreement([]) is None


@pytest.mark.parametrize(
    ("metric", "title", "score"),
    [
        ("accuracy", "Accuracy", "4.3\u00a0%"),
        ("nrmse", "Error (NRMSE)", "0.043"),
        ("esr", "Error (ESR)", "0.0432"),
        (None, "Metric", "0.043"),
    ],
)
def test_a_metric_has_a_name_and_digits(metric, title, score):
    assert (metric_title(metric), score_text(0.04318, metric)) == (title, score)
