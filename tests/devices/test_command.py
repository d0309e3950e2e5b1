"""The command of a row: the plan's own numbers come back from it, whatever they are."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from typer.main import get_command

from ssmith.cli import app
from ssmith.devices.command import command_of
from ssmith.devices.target import Plan
from ssmith.devices.timing import seconds
from ssmith.measurement import Measurement

BENCH: Any = get_command(app).commands["bench"]  # type: ignore[attr-defined]
ROW = Measurement(target="ssh:a b@c", backend="native", precision="int8", metric_kind="correctness")


def parsed(command: str) -> dict[str, Any]:
    """What `ssmith bench` reads from the words."""
    name, verb, *words = shlex.split(command)
    assert (name, verb) == ("ssmith", "bench")
    found: dict[str, Any] = BENCH.make_context("bench", words).params
    return found


@given(
    st.integers(100, 10**6),
    st.integers(1, 90).map(lambda n: n / 4),
    st.integers(1, 9),
    st.none() | st.integers(1, 10**6).map(lambda n: n / 1e6),
    st.none() | st.lists(st.integers(1, 512), max_size=3).map(tuple),
)
def test_the_options_say_what_the_plan_says(steps, limit, repeats, period, blocks):
    plan = Plan(
        steps=steps,
        time_limit_s=limit,
        repeats=repeats,
        period_s=period,
        blocks=blocks,
        paced_limit_s=limit + 3.5,
    )
    found = parsed(command_of(Path("runs/my run"), ROW, plan))
    assert str(found["source"]) == "runs/my run" and list(found["on"]) == ["ssh:a b@c"]
    assert list(found["backend"]) == ["native"]
    usual = Plan()
    assert (found["steps"] or usual.steps, found["seconds"] or usual.time_limit_s) == (steps, limit)
    assert (found["repeats"] or 1) == repeats
    assert seconds(found["duration"]) == limit + 3.5
    assert (found["period"] is None) == (period is None)
    assert period is None or abs(seconds(found["period"]) - period) < 1e-12
    texts = None if blocks is None else ",".join(map(str, blocks)) or "none"
    assert found["blocks"] == texts


def test_a_plain_bench_has_a_plain_command():
    row = ROW.model_copy(update={"target": "bench-pi", "backend": "-"})
    assert command_of(Path("artifacts"), row, Plan()) == "ssmith bench artifacts --on bench-pi"
    assert command_of(Path("a"), row, Plan(), fleet=Path("devices.toml")) == "ssmith bench a --on bench-pi"
    found = parsed(
        command_of(Path("a"), row, Plan(rt_priority=80, rt_fallback=True, core=1), fleet=Path("x.toml"))
    )
    assert str(found["fleet"]) == "x.toml"
    assert (found["rt_priority"], found["rt_fallback"], found["cpu"]) == (80, True, 1)
