"""Several targets, each measured as far as it goes: what fails is a row of its own, the rest goes on."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ssmith.devices.bench import bench, present
from ssmith.devices.fleet import Board
from ssmith.devices.registry import find_target, is_counted, is_remote
from ssmith.devices.target import Plan, Target
from ssmith.errors import SsmithError
from ssmith.measurement import Measurement
from ssmith.runtime.artifacts import MANIFEST
from ssmith.runtime.session import BackendName

OnRow = Callable[[Measurement], None]
NO_RUNTIME = "no runtime for it there"
AT_ONCE = 2  # emulators: while one compiles, another one counts


def bench_everywhere(
    artifacts: Path,
    boards: Mapping[str, Board],
    *,
    backends: Collection[BackendName] | None = None,
    plan: Plan | None = None,
    on_row: OnRow | None = None,
    on_skip: Callable[[str, str], None] | None = None,
) -> list[Measurement]:
    """Measure every artifact on every board.

    Those with a processor of their own work at once; then this machine is timed, alone; then come those that
    count, two at once. A backend that a board has no runtime for is a row with the reason where it was
    asked for by name, else one line of ``on_skip``.

    Variants at other orders, each in its ``orderN/``, are measured natively on the first board and on
    emulators.

    Args:
        artifacts: the artifact folder.
        boards: by the name that their rows get; see ``fleet``.
        backends: only these, where a board has them; None takes all that the folder holds.
        plan: how long to measure.
        on_row: called with each row as it comes, from several threads.
        on_skip: called with a board's name and what it cannot run.

    Returns:
        Rows in the order of ``boards``.

    Raises:
        InputError: there is no such target.
    """
    places = {name: board.opened(find_target(board.target)) for name, board in boards.items()}
    held = [name for name in present(artifacts) if backends is None or name in backends]

    def skip(name: str, impossible: Sequence[str]) -> None:
        if on_skip is not None:
            on_skip(name, f"not measured there: {', '.join(impossible)} ({NO_RUNTIME})")

    def all_of(name: str) -> list[Measurement]:
        board = boards[name]
        wanted = [b for b in held if board.backends is None or b in board.backends]
        asked = backends is not None or board.backends is not None
        return _on_one(
            name, board, places[name], artifacts, wanted, plan or Plan(), on_row, None if asked else skip
        )

    def variants_of(name: str, folder: Path, order: int) -> list[Measurement]:
        def tell(row: Measurement) -> None:
            if on_row is not None:
                on_row(row.model_copy(update={"order": order}))

        rows = _on_one(name, boards[name], places[name], folder, ["native"], plan or Plan(), tell, skip)
        return [row.model_copy(update={"order": order}) for row in rows]

    apart = [name for name in boards if is_remote(boards[name].target)]
    with ThreadPoolExecutor(max(1, len(apart))) as pool:
        found = dict(zip(apart, pool.map(all_of, apart), strict=True))
    counted = [name for name in boards if is_counted(boards[name].target)]
    found |= {name: all_of(name) for name in boards if name not in found and name not in counted}
    with ThreadPoolExecutor(AT_ONCE) as pool:
        found |= dict(zip(counted, pool.map(all_of, counted), strict=True))
    for name in _with_variants(boards, found) if "native" in held else []:
        if "native" in (boards[name].backends or held):
            for order, folder in variant_folders(artifacts):
                if "native" in present(folder):
                    found[name] += variants_of(name, folder, order)
    return [row for name in boards for row in found[name]]


def _with_variants(boards: Mapping[str, Board], found: Mapping[str, list[Measurement]]) -> list[str]:
    """Boards on which other orders are measured too: the first, and emulators, which are quick and exact."""
    worked = [name for name in boards if any(row.error is None for row in found[name])]
    return [n for n in worked if n == next(iter(boards)) or any(row.emulated for row in found[n])]


def variant_folders(artifacts: Path) -> list[tuple[int, Path]]:
    """(order, folder) of the variants that were exported beside the main model, largest first."""
    folders = [path for path in artifacts.glob("order*") if (path / MANIFEST).is_file()]
    numbers = [(path.name.removeprefix("order"), path) for path in folders]
    return sorted(((int(n), path) for n, path in numbers if n.isdecimal()), reverse=True)


def _on_one(
    name: str,
    board: Board,
    place: Target,
    artifacts: Path,
    wanted: Sequence[BackendName],
    plan: Plan,
    on_row: OnRow | None,
    skip: Callable[[str, Sequence[str]], None] | None,
) -> list[Measurement]:
    """Every backend of one board; a board that is absent gives one row, a backend that fails too.

    What the board has no runtime for goes to ``skip``, or is a row each where that is None.
    """
    rows: list[Measurement] = []

    def add(*found: Measurement) -> None:
        for row in found:
            notes = [board.note, *row.notes] if board.note else row.notes
            rows.append(row.model_copy(update={"target": name, "notes": notes}))
            if on_row is not None:
                on_row(rows[-1])

    try:
        probe = place.probe()
    except SsmithError as error:
        add(_failed(place.name, "-", str(error), emulated=False))
        return rows
    if probe.absent is not None:
        add(_failed(place.name, "-", probe.absent, emulated=probe.emulated))
        return rows
    gone = [backend for backend in wanted if backend not in probe.backends]
    for backend in gone:
        if skip is None or backend in probe.missing:
            add(_failed(place.name, backend, probe.missing.get(backend, NO_RUNTIME), emulated=probe.emulated))
    impossible = [backend for backend in gone if backend not in probe.missing]
    if skip is not None and impossible:
        skip(name, impossible)

    def failed(backend: str, precision: str, error: SsmithError) -> None:
        add(_failed(place.name, backend, str(error), emulated=probe.emulated, precision=precision))

    usable = [backend for backend in wanted if backend in probe.backends]
    if usable:
        bench(artifacts, place, backends=usable, plan=plan, on_row=add, on_error=failed)
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
