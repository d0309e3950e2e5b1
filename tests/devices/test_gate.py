"""The gate: what may rise, by how much, and what counts as lost."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ssmith.devices.gate import QUANTITIES, judge, parse
from ssmith.devices.timing import summarise
from ssmith.errors import InputError
from ssmith.measurement import Measurement


def counted(instructions, target="emulated:cortex-m4", **more):
    return Measurement(
        target=target,
        backend="native",
        precision="float32",
        metric_kind="instructions",
        emulated=True,
        artifact="net.c",
        instructions_per_step=instructions,
        **more,
    )


def failed(target="emulated:cortex-m4"):
    return Measurement(
        target=target, backend="native", precision="float32", metric_kind="correctness", emulated=True,
        artifact="net.c", error="the toolchain is gone",
    )  # fmt: skip


@given(before=st.integers(1, 10**9), rise=st.integers(0, 10**9), percent=st.integers(0, 300))
def test_a_share_is_of_what_it_was(before, rise, percent):
    verdict = judge([counted(before)], [counted(before + rise)], [parse(f"instructions>+{percent}%")])
    assert verdict.passed == (before + rise <= before * (1 + percent / 100))
    assert verdict.held + len(verdict.moved) == 1
    assert not verdict.lost


def test_an_amount_is_in_the_unit_of_the_quantity():
    before, now = counted(10, flash_bytes=1000), counted(10, flash_bytes=1100)
    assert judge([before], [now], [parse("flash>+100")]).passed
    (moved,) = judge([before], [now], [parse("flash>99")]).moved
    assert (moved.before, moved.after, moved.allowed) == (1000, 1100, 1099)
    assert str(moved) == "emulated:cortex-m4 native: 1000 → 1100 (+10.0 %), flash>99 allows 1099"


def test_times_by_name():
    def timed(scale):
        samples = [scale * t for t in range(1000, 12_000)]
        timing = summarise(np.array(samples), overhead_ns=0)
        return Measurement(
            target="host", backend="native", precision="float32", metric_kind="latency", timing=timing
        )

    conditions = [parse("latency.p99.9>+15%"), parse("latency.p50>+15%"), parse("latency.max>+15%")]
    assert judge([timed(10)], [timed(11)], conditions).held == 3
    assert len(judge([timed(10)], [timed(12)], conditions).moved) == 3


def test_a_failure_is_no_progress():
    conditions = [parse("instructions>+2%")]
    for now in (failed(), counted(5).model_copy(update={"artifact": "other.c"})):
        verdict = judge([counted(10)], [now], conditions)
        assert not verdict.passed
        assert verdict.held == 0
        assert len(verdict.lost) == 1
    assert "the toolchain is gone" in judge([counted(10)], [failed()], conditions).lost[0]


def test_targets_that_were_not_measured_today_are_left_out():
    verdict = judge([counted(10), counted(10, target="wasm")], [counted(10)], [parse("instructions>+0%")])
    assert verdict.passed and verdict.held == 1


def test_a_new_row_is_no_failure():
    assert judge([], [counted(10)], [parse("instructions>+0%")]).passed


@pytest.mark.parametrize("text", ["", "instructions", "instructions<2%", "instructions>+2%%", "p99>", ">2%"])
def test_what_is_no_condition_is_refused(text):
    with pytest.raises(InputError, match=r"is no condition; write QUANTITY"):
        parse(text)


def test_an_unknown_quantity_is_refused_with_those_there_are():
    with pytest.raises(InputError, match=r"latency\.p99, .*stack") as refusal:
        parse("latency.p98>+1%")
    assert all(name in str(refusal.value) for name in QUANTITIES)
