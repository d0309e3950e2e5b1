"""Several targets, each measured as far as it goes: what fails is a row of its own, the rest goes on."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ssmith.devices.bench import bench, present
from ssmith.devices.fleet import Board
from ssmith.devices.registry import find_target, is_remote
from ssmith.devices.target import Plan, Target
from ssmith.errors import SsmithError
from ssmith.measurement import Measurement
from ssmith.runtime.artifacts import MANIFEST
from ssmith.runtime.session import BackendName

OnRow = Callable[[Measurement], None]


def bench_everywhere(
    artifacts: Path,
    boards: Mapping[str, Board],
    *,
    backends: Collection[BackendName] | None = None,
    plan: Plan | None = None,
    on_row: OnRow | None = None,
) -> list[Measurement]:
    """Measure every artifact on every board: those with a processor of their own at once, then the others.

    Variants at other orders, each in its ``orderN/``, are measured natively on the first board and on
    emulators.

    Args:
        artifacts: the artifact folder.
        boards: by the name that their rows get; see ``fleet``.
        backends: only these, where a board has them; None takes all that the folder holds.
        plan: how long to measure.
        on_row: called with each row as it comes, from several threads.

    Returns:
        Rows in the order of ``boards``.

    Raises:
        InputError: there is no such target.
    """
    places = {name: board.opened(find_target(board.target)) for name, board in boards.items()}
    held = [name for name in present(artifacts) if backends is None or name in backends]

    def all_of(name: str) -> list[Measurement]:
        board = boards[name]
        wanted = [b for b in held if board.backends is None or b in board.backends]
        return _on_one(name, board, places[name], artifacts, wanted, plan or Plan(), on_row)

    def variants_of(name: str, folder: Path, order: int) -> list[Measurement]:
        def tell(row: Measurement) -> None:
            if on_row is not None:
                on_row(row.model_copy(update={"order": order}))

        rows = _on_one(name, boards[name], places[name], folder, ["native"], plan or Plan(), tell)
        return [row.model_copy(update={"order": order}) for row in rows]

    apart = [name for name in boards if is_remote(boards[name].target)]
    with ThreadPoolExecutor(max(1, len(apart))) as pool:
        found = dict(zip(apart, pool.map(all_of, apart), strict=True))
    found |= {name: all_of(name) for name in boards if name not in found}
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
) -> list[Measurement]:
    """Every backend of one board; a board that is absent gives one row, a backend that fails too."""
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
    for backend in wanted:
        if backend not in probe.backends and (reason := probe.missing.get(backend)):
            add(_failed(place.name, backend, reason, emulated=probe.emulated))

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
