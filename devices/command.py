"""The command that gives a row of measurements again."""

from __future__ import annotations

import shlex
from pathlib import Path

from ssmith.devices.fleet import FILE
from ssmith.devices.target import Plan
from ssmith.measurement import Measurement

_OPTIONS = {  # of `ssmith bench`, by the field of the plan that each one sets
    "steps": "--steps",
    "time_limit_s": "--seconds",
    "repeats": "--repeats",
    "rt_priority": "--rt-priority",
    "core": "--cpu",
}


def command_of(source: Path, row: Measurement, plan: Plan, *, fleet: Path | None = None) -> str:
    """``ssmith bench SOURCE --on TARGET --backend B`` with whatever of the plan is not the default.

    Args:
        source: the run or the artifact folder, as the user named it.
        row: what was measured.
        plan: how it was.
        fleet: the fleet file, where the row's target is a board of it.
    """
    words = ["ssmith", "bench", str(source), "--on", row.target]
    if fleet is not None and str(fleet) != FILE:
        words += ["--fleet", str(fleet)]
    if row.backend != "-":
        words += ["--backend", row.backend]
    usual = Plan()
    for field, option in _OPTIONS.items():
        if (value := getattr(plan, field)) is not None and value != getattr(usual, field):
            words += [option, f"{value:g}" if isinstance(value, float) else str(value)]
    if plan.period_s is not None:
        words += ["--period", f"{plan.period_s * 1e6:.10g}us"]
    if plan.paced_limit_s != usual.paced_limit_s:
        words += ["--duration", f"{plan.paced_limit_s:g}s"]
    if plan.rt_fallback:
        words += ["--rt-fallback"]
    if plan.blocks is not None:
        words += ["--blocks", ",".join(map(str, plan.blocks)) or "none"]
    return shlex.join(words)
