"""`ssmith bench` on targets that the command line names, of a run or an artifact folder, with a gate."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ssmith.devices.command import command_of
from ssmith.devices.everywhere import bench_everywhere
from ssmith.devices.fleet import Board, boards_of
from ssmith.devices.gate import Condition, judge, parse
from ssmith.devices.target import Plan
from ssmith.errors import InputError, SsmithError
from ssmith.files import check_writable
from ssmith.measurement import Measurement, Measurements, read_measurements, write_measurements
from ssmith.run import find_run, locked
from ssmith.runtime.artifacts import MANIFEST
from ssmith.runtime.session import BackendName
from ssmith.stages import tell

Facts = dict[str, Any]
FILE = "measurements.json"


def bench_on(
    source: Path,
    targets: Sequence[str] | None,
    *,
    fleet: Path,
    backends: Sequence[BackendName] | None = None,
    plan: Plan | None = None,
    toolchain: Path | None = None,
    cc_on_target: bool = False,
    out: Path | None = None,
    baseline: Path | None = None,
    fail_if: Sequence[str] = (),
    layers: bool = False,
    quiet: bool = True,
) -> Facts:
    """Measure on targets, boards or the whole fleet; rows of other targets that were there stay.

    Args:
        source: a run, whose measurements.json gets the rows, or an artifact folder.
        targets: names of targets, boards of the fleet file, or "fleet" for all of them; None takes the run's
            own, or the host.
        fleet: the fleet file; only read if it is needed.
        backends: only these.
        plan: how long to measure.
        toolchain: a CMake toolchain file to compile with for boards.
        cc_on_target: compile on the boards.
        out: where rows of an artifact folder go; None only returns them.
        baseline: a report.json or measurements.json to compare with.
        fail_if: conditions on the comparison, see ``devices.gate``.
        layers: tell what each op costs, too, where the target knows.
        quiet: no progress on stderr.

    Raises:
        InputError: the folder, a target, a condition or the baseline is wrong; nothing is measured.
        SsmithError: the gate is closed; the rows are written all the same.
    """
    conditions = [parse(text) for text in fail_if]
    before = None if baseline is None else read_baseline(baseline)
    if conditions and before is None:
        raise InputError("--fail-if compares with something: write --baseline report.json too")
    if before is not None and not conditions:
        raise InputError("--baseline is for a comparison: write --fail-if 'instructions>+2%' too")
    lone = (source / MANIFEST).is_file()
    own = ("host",) if lone else find_run(source).recipe.bench.targets
    boards = boards_of(targets or own, fleet)
    if toolchain is not None or cc_on_target:
        own_way = {"toolchain": toolchain, "cc_on_target": cc_on_target}
        boards = {name: board.model_copy(update=own_way) for name, board in boards.items()}

    def on_row(row: Measurement) -> None:
        tell(f"  {row.target} {row.label}: {row.told}", quiet)

    def on_skip(name: str, why: str) -> None:
        tell(f"  {name}: {why}", quiet)

    def measured(artifacts: Path) -> list[Measurement]:
        found = bench_everywhere(
            artifacts, boards, backends=backends, plan=plan, on_row=on_row, on_skip=on_skip
        )
        return [with_command(row, source, plan or Plan(), boards[row.target], fleet) for row in found]

    if lone:
        if out is not None:
            check_writable(out)
        rows = measured(source)
        if out is not None:
            write_measurements(out, rows)
    else:
        run = find_run(source)
        if out is not None:
            raise InputError(f"{source} is a run, whose rows go into its {FILE}; leave --out away")
        with locked(run):
            rows = measured(run.artifacts)
            path = run.folder / FILE
            kept = (
                [row for row in read_measurements(path) if row.target not in boards] if path.exists() else []
            )
            write_measurements(path, [*kept, *rows])
    facts: Facts = {f"{row.target} {row.label}": row.told for row in rows}
    if layers:
        facts["layers"] = layer_table(rows) or "no target here knows what each op costs; emulated:* do"
    return facts | _gate(before, rows, conditions)


def layer_table(rows: Sequence[Measurement]) -> list[Facts]:
    """A row an op, in their order: whole instructions a step on each target in each precision."""
    known = {f"{row.target} {row.label}": row.layers for row in rows if row.layers}
    ops = dict.fromkeys(layer.layer for layers in known.values() for layer in layers)
    costs = {
        name: {layer.layer: round(layer.instructions or 0) for layer in layers}
        for name, layers in known.items()
    }
    return [{"op": op} | {name: cost.get(op) for name, cost in costs.items()} for op in ops]


def with_command(
    row: Measurement, source: Path, plan: Plan, board: Board, fleet: Path | None = None
) -> Measurement:
    """The row with the command that gives it again; ``fleet`` is only named for a board of that file."""
    file = fleet if board.target != row.target else None
    command = command_of(source, row, plan, fleet=file)
    if board.target == row.target and board.toolchain is not None:
        command += f" --toolchain {shlex.quote(str(board.toolchain))}"
    if board.target == row.target and board.cc_on_target:
        command += " --cc-on-target"
    return row.model_copy(update={"command": command})


def read_baseline(path: Path) -> list[Measurement]:
    """The measurements in a ``report.json`` or a ``measurements.json``.

    Raises:
        InputError: the file cannot be read, is neither, or holds none.
    """
    try:
        document = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read the baseline {path}: {error}") from error
    found = document.get("measurements") if isinstance(document, dict) else None
    if not found:
        raise InputError(
            f"{path} holds no measurements; give the report.json or measurements.json of an earlier bench"
        )
    try:
        return list(Measurements.model_validate({"measurements": found}).measurements)
    except ValueError as error:
        raise InputError(f"the measurements in {path} are damaged: {error}") from error


def _gate(before: list[Measurement] | None, rows: list[Measurement], conditions: list[Condition]) -> Facts:
    """Whether anything moved.

    Raises:
        SsmithError: it did; every row that moved or was lost is named. Or there was nothing to compare.
    """
    if before is None:
        return {}
    verdict = judge(before, rows, conditions)
    if not verdict.passed:
        lines = [*map(str, verdict.moved), *verdict.lost]
        raise SsmithError("dearer than the baseline:\n  " + "\n  ".join(lines))
    if not verdict.held:
        raise SsmithError(
            "nothing could be compared: the baseline has no row of these targets with what --fail-if names"
        )
    return {"gate": f"{verdict.held} comparisons with the baseline held"}
