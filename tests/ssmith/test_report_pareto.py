"""The front of accuracy and cost: by definition, on each device alone, in one kind of cost."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from ssmith.measurement import Measurement
from ssmith.report_cuts import BundleRow, CutRow
from ssmith.report_pareto import ParetoPoint, mark_front, pareto
from ssmith.report_pareto_plot import _ticks, frontiers
from ssmith.report_precisions import PrecisionCost

COST = PrecisionCost(format="c99", precision="int8", file="m_int8.ssmc", file_bytes=1, metric=0.93)


def point(cost, metric, target="host", **more):
    return ParetoPoint(
        target=target,
        backend="native",
        precision="int8",
        cost_kind="latency",
        p50_us=cost,
        metric=metric,
        **more,
    )


def row(precision="float32", count=100.0, **more):
    return Measurement(
        target="emulated:cortex-m4",
        backend="native",
        precision=precision,
        emulated=True,
        metric_kind="instructions",
        instructions_per_step=count,
        **more,
    )


@given(
    st.lists(st.tuples(st.integers(1, 6), st.integers(0, 6), st.sampled_from("ab")), max_size=12),
    st.booleans(),
)
def test_the_front_is_what_nothing_on_the_device_beats(spots, lower):
    points = mark_front([point(c, m, t) for c, m, t in spots], lower_is_better=lower)
    sign = -1 if lower else 1
    for p in points:
        beaten = [
            q
            for q in points
            if q.target == p.target
            and q.cost <= p.cost
            and sign * q.metric >= sign * p.metric
            and (q.cost < p.cost or sign * q.metric > sign * p.metric)
        ]
        assert p.on_front is not bool(beaten)
    for name in {p.target for p in points}:
        assert any(p.on_front for p in points if p.target == name)


def test_a_point_is_a_time_or_a_count():
    with pytest.raises(ValidationError, match="nothing has both"):
        point(1.0, 0.9, count=5.0)
    with pytest.raises(ValidationError, match="nothing has both"):
        ParetoPoint(target="t", backend="b", precision="p", cost_kind="fuel", p50_us=1.0, metric=0.9)


def test_scores_come_from_the_file_its_precision_or_the_last_cut():
    cut = CutRow(
        step=0, layer=0, order_before=8, order_after=4, singular_values=[1.0], accepted=True, metric_after=0.9
    )
    small = BundleRow(file="m.ssm", model="m_order4", bytes=1, sha256="", orders=[4, 4], cuts=[cut])
    rows = [row("int8"), row(order=4, count=50.0, artifact="m_order4.c"), row("mixed"), row(order=2)]
    found = pareto(rows, [COST], [small], {})
    assert [(p.name, p.metric) for p in found] == [("native int8", 0.93), ("native float32 order 4", 0.9)]
    assert all(p.on_front and p.p50_us is None for p in found)
    (same, better) = pareto(rows[:2], [COST], [small], {"m_order4.c": 0.95})
    assert better.metric == 0.95 and better.on_front and not same.on_front


def test_a_figure_names_the_front_in_words_and_never_counts_in_time():
    points = mark_front(
        [
            ParetoPoint(
                target="wasm", backend="native", precision=name, cost_kind="fuel", count=cost, metric=score
            )
            for name, cost, score in (
                ("int8", 500.0, 0.9),
                ("float32", 900.0, 0.95),
                ("float16", 950.0, 0.94),
            )
        ]
    )
    (drawn,) = frontiers(points, "accuracy")
    assert drawn.front == ["native int8 (90.0\u00a0%, 500 fuel)", "native float32 (95.0\u00a0%, 900 fuel)"]
    assert 'aria-label="Score against fuel of a step on wasm' in drawn.figure and "µs" not in drawn.figure
    assert frontiers(points[:1], "accuracy") == []
    assert frontiers(points, "accuracy") == [drawn]


@given(st.floats(1e-3, 1e9), st.floats(1.2, 1e4))
def test_an_axis_of_costs_always_has_two_to_four_ticks(low, ratio):
    ticks = _ticks(low, low * ratio)
    assert 2 <= len(ticks) <= 4 and all(low <= tick <= low * ratio for tick in ticks)
