"""Columns of numbers or text with one row a frame, read from CSV or NPZ, and cut into sequences."""

from __future__ import annotations

import csv
import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssmith.bundle import Signal
from ssmith.errors import InputError
from ssmith.recipe import DataSettings
from ssmith.train.splits import Float32, Label, Recording, Recordings, Task

JITTER = 0.1  # largest deviation of a time step, as a share of the median one
RATE_TOLERANCE = 0.01  # largest relative difference between two statements of the rate


@dataclass(frozen=True, eq=False)
class Table:
    """Columns of equal length.

    Args:
        source: the file, for messages.
        columns: name → values of shape (rows,), text or numbers.
        lines: the line of the file each row stands in, shape (rows,); for messages.
    """

    source: Path
    columns: dict[str, NDArray[Any]]
    lines: NDArray[np.int64]

    def column(self, name: str) -> NDArray[Any]:
        """One column as it is.

        Raises:
            InputError: there is none of that name; the nearest is suggested.
        """
        if name not in self.columns:
            raise InputError(f"{self.source} has no column {name!r}; {nearest(name, self.columns)}")
        return self.columns[name]

    def numbers(self, name: str) -> NDArray[np.float64]:
        """One column as finite numbers, shape (rows,).

        Raises:
            InputError: a cell is empty, text, NaN or infinite (its line is named).
        """
        values = self.column(name)
        try:
            result: NDArray[np.float64] = values.astype(np.float64)
        except (ValueError, TypeError):
            row = next(i for i, cell in enumerate(values) if not _is_number(cell))
            cell = str(values[row])
            what = f"holds {cell!r}, which is no number" if cell.strip() else "is empty"
            hint = "write a decimal point, not a comma" if "," in cell else "fill or remove the row"
            raise InputError(
                f"{self.source}, line {self.lines[row]}, column {name!r} {what}; {hint}"
            ) from None
        with np.errstate(over="ignore"):
            bad = np.flatnonzero(~np.isfinite(result.astype(np.float32)))
        if len(bad):
            raise InputError(
                f"{self.source}, line {self.lines[bad[0]]}, column {name!r} is {values[bad[0]]}, not a"
                " finite float32, and one such value poisons all of training; fill or remove the row"
            )
        return result


def nearest(name: str, known: Sequence[str] | dict[str, Any]) -> str:
    """The half-sentence that helps who mistyped a name."""
    names = list(known)
    folded = {other.lower(): other for other in names}
    if close := difflib.get_close_matches(name.lower(), folded, n=1, cutoff=0.5):
        return f"did you mean {folded[close[0]]!r}?"
    return f"there are: {', '.join(map(repr, names[:20]))}{', …' if len(names) > 20 else ''}"


def signal(name: str) -> Signal:
    """A column's name as a signal; a trailing [unit] or (unit) becomes the unit."""
    match = re.fullmatch(r"(.*\S)\s*[\[(]([^\])]*)[\])]", name.strip())
    text, unit = match.groups() if match else (name.strip(), "")
    return Signal(name=text[:80], unit=unit)


def read_csv(path: Path) -> Table:
    """Read a table with a header row, separated by commas, semicolons or tabs.

    Raises:
        InputError: unreadable, empty, no header, a row of another length, a name twice.
    """
    try:
        text = path.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise InputError(f"cannot read {path}: {reason}") from error
    lines = text.splitlines()
    head = next((line for line in lines if line.strip()), "")
    delimiter = max(",;\t", key=head.count)
    reader = csv.reader(lines, delimiter=delimiter, skipinitialspace=True)
    try:
        rows = [(reader.line_num, row) for row in reader if any(cell.strip() for cell in row)]
    except csv.Error as error:
        raise InputError(f"{path}, line {reader.line_num} is no CSV: {error}") from error
    if len(rows) < 2:
        raise InputError(f"{path} is empty; a header row and at least one row of values are needed")
    names = [cell.strip() for cell in rows[0][1]]
    if all(_is_number(name) for name in names):
        raise InputError(
            f"{path} begins with numbers; write a first row with the column names, because recipes"
            " refer to columns by name"
        )
    if twice := next((name for i, name in enumerate(names) if name and name in names[:i]), None):
        raise InputError(f"{path} has two columns named {twice!r}; rename one")
    for line, row in rows[1:]:
        if len(row) != len(names):
            raise InputError(
                f"{path}, line {line} has {len(row)} values but the header names {len(names)} columns"
            )
    columns = {  # one array a column: each is as wide as its own longest cell
        name: np.array([row[i].strip() for _, row in rows[1:]]) for i, name in enumerate(names) if name
    }
    return Table(path, columns, np.array([line for line, _ in rows[1:]], np.int64))


def recordings(table: Table, settings: DataSettings, task: Task, label: Label | None = None) -> Recordings:
    """Cut a table into sequences, in order of first appearance.

    Args:
        table: rows in the order of time.
        settings: which columns are inputs, targets, sequence identity and time.
        task: what the targets are.
        label: of every sequence in the table, where ``settings.targets`` names no column.

    Raises:
        InputError: an unknown column, a cell that is no finite number, time that does not advance
            evenly, a label that changes within a sequence.
    """
    inputs = np.stack([table.numbers(name) for name in settings.inputs], axis=1)
    targets: list[NDArray[Any]] = []
    if label is None:
        read = table.numbers if task == "regression" else table.column
        targets = [read(name) for name in settings.targets]
    time = None if settings.time is None else table.numbers(settings.time)
    found, periods = [], []
    for name, rows in _groups(table, settings.sequence_id):
        if time is not None:
            periods.append(_period(table, settings.time or "", time[rows], table.lines[rows], name))
        target: Label | Float32
        if label is not None:
            target = label
        elif task == "regression":
            target = np.stack([column[rows] for column in targets], axis=1).astype(np.float32)
        else:
            target = _one_label(targets[0][rows], name, settings.targets[0])
        found.append(Recording(name, inputs[rows].astype(np.float32), target))
    outputs = settings.targets if task == "regression" else ()
    return Recordings(
        tuple(found),
        tuple(map(signal, settings.inputs)),
        tuple(map(signal, outputs)),
        agreed_period(periods, str(table.source)),
    )


def agreed_period(periods: Sequence[float], source: str) -> float | None:
    """The common period of all sequences, None for no statements.

    Raises:
        InputError: two differ by more than a hundredth.
    """
    if not periods:
        return None
    lowest, highest = min(periods), max(periods)
    if highest > lowest * (1 + RATE_TOLERANCE):
        raise InputError(
            f"{source} holds sequences at {1 / highest:g} Hz and at {1 / lowest:g} Hz, but a model's"
            " poles belong to one rate; resample them to a common one"
        )
    return float(np.median(periods))


def class_label(value: Any) -> Label:
    """A label as an integer where it is one ("3", 3, 3.0), otherwise as text."""
    text = str(value).strip()
    try:
        number = float(text)
    except ValueError:
        return text
    return int(number) if number.is_integer() else text


def _groups(table: Table, sequence_id: str | None) -> list[tuple[str, NDArray[np.int64]]]:
    if sequence_id is None:
        return [(str(table.source), np.arange(len(table.lines)))]
    values = table.column(sequence_id)
    names, first, group = np.unique(values, return_index=True, return_inverse=True)
    rows = np.argsort(group, kind="stable")
    parts = np.split(rows, np.cumsum(np.bincount(group))[:-1])
    return [(f"{table.source}, sequence {names[i]}", parts[i]) for i in np.argsort(first)]


def _period(
    table: Table, column: str, time: NDArray[np.float64], lines: NDArray[np.int64], name: str
) -> float:
    if len(time) < 2:
        raise InputError(f"{name} has a single row; a sequence needs at least two")
    steps = np.diff(time)
    if (steps <= 0).any():
        row = int(np.argmax(steps <= 0)) + 1
        raise InputError(
            f"{table.source}, line {lines[row]}: time column {column!r} goes from {time[row - 1]:g} to"
            f" {time[row]:g}, but it has to grow within a sequence; sort the rows, or name the"
            " column that tells sequences apart in data.sequence_id"
        )
    median = float(np.median(steps))
    uneven = np.abs(steps - median) > JITTER * median
    if uneven.any():
        row = int(np.argmax(uneven)) + 1
        raise InputError(
            f"{table.source}, line {lines[row]}: time column {column!r} advances by"
            f" {steps[row - 1]:g} s, elsewhere by {median:g} s, but a model's poles belong to one rate;"
            " resample the data evenly, or split the sequence at the gap"
        )
    return float((time[-1] - time[0]) / len(steps))


def _one_label(values: NDArray[Any], name: str, column: str) -> Label:
    different = np.flatnonzero(values != values[0])
    if len(different):
        raise InputError(
            f"label column {column!r} changes from {values[0]} to {values[different[0]]} within {name},"
            " but a classifier gives one label a sequence; name the column that tells sequences"
            " apart in data.sequence_id"
        )
    return class_label(values[0])


def _is_number(cell: Any) -> bool:
    try:
        float(cell)
    except (TypeError, ValueError):
        return False
    return True
