"""Several targets, each measured as far as it goes: what fails is a row of its own, the rest goes on."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ssmith.devices.bench import bench, present
from ssmith.devices.registry import find_target
from ssmith.devices.target import Plan, Target
from ssmith.errors import SsmithError
from ssmith.measurement import Measurement
from ssmith.runtime.session import BackendName

OnRow = Callable[[Measurement], None]


def bench_everywhere(
    artifacts: Path,
    targets: Sequence[str],
    *,
    backends: Collection[BackendName] | None = None,
    plan: Plan | None = None,
    on_row: OnRow | None = None,
    parallel: bool = False,
) -> list[Measurement]:
    """Measure every artifact on every target.

    Args:
        artifacts: the artifact folder.
        targets: their names; an unknown one is refused before anything runs.
        backends: only these, where a target has them; None takes all that the folder holds.
        plan: how long to measure.
        on_row: called with each row as it comes, from several threads if ``parallel``.
        parallel: all targets at once, for boards that do not share a processor.

    Raises:
        InputError: there is no such target.
    """
    places = [find_target(name) for name in dict.fromkeys(targets)]
    wanted = [name for name in present(artifacts) if backends is None or name in backends]

    def all_of(place: Target) -> list[Measurement]:
        return _on_one(place, artifacts, wanted, plan or Plan(), on_row or (lambda row: None))

    with ThreadPoolExecutor(len(places) if parallel and places else 1) as pool:
        return [row for rows in pool.map(all_of, places) for row in rows]


def _on_one(
    place: Target, artifacts: Path, wanted: Sequence[BackendName], plan: Plan, on_row: OnRow
) -> list[Measurement]:
    """Every backend of one target; a target that is absent gives one row, a backend that fails too."""
    rows: list[Measurement] = []

    def add(*found: Measurement) -> None:
        for row in found:
            rows.append(row)
            on_row(row)

    try:
        probe = place.probe()
    except SsmithError as error:
        add(_failed(place.name, "-", str(error), emulated=False))
        return rows
    if probe.absent is not None:
        add(_failed(place.name, "-", probe.absent, emulated=probe.emulated))
        return rows
    for backend in wanted:
        if backend not in probe.backends:
            if reason := probe.missing.get(backend):
                add(_failed(place.name, backend, reason, emulated=probe.emulated))
            continue
        for precision in present(artifacts)[backend]:
            try:
                add(*bench(artifacts, place, backends=[backend], precisions=[precision], plan=plan))
            except SsmithError as error:
                add(_failed(place.name, backend, str(error), emulated=probe.emulated, precision=precision))
    return rows


def _failed(target: str, backend: str, reason: str, *, emulated: bool, precision: str = "-") -> Measurement:
    return Measurement(
        target=target,
        backend=backend,
        precision=precision,
        metric_kind="correctness",
        emulated=emulated,
        error=reason,
    )
