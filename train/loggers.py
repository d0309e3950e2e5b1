"""Where metrics go besides ``metrics.jsonl``: csv, TensorBoard, Weights & Biases, by name.

A logger is a function that takes a row and a step. All of them can be told again what they already know: on
resuming they are opened with the rows up to the checkpoint.
"""

from __future__ import annotations

import csv
import importlib
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ssmith.errors import MissingToolError
from ssmith.files import write_atomic

Row = Mapping[str, Any]
Logger = Callable[[Row], None]


def open_loggers(names: Iterable[str], folder: Path, run: str, rows: Sequence[Row]) -> list[Logger]:
    """Open loggers by name.

    Args:
        names: of csv, tensorboard, wandb.
        folder: of the run.
        run: its name, for those that show several.
        rows: what was logged before the checkpoint that the run continues from.

    Raises:
        MissingToolError: the package behind a logger is not installed.
    """
    openers = {"csv": _csv, "tensorboard": _tensorboard, "wandb": _wandb}
    return [openers[name](folder, run, rows) for name in names]


def _csv(folder: Path, run: str, rows: Sequence[Row]) -> Logger:
    """``metrics.csv``, written anew with every row: it is short, and never half a line."""
    kept: list[dict[str, Any]] = [_flat(row) for row in rows]

    def log(row: Row) -> None:
        kept.append(_flat(row))
        text = io.StringIO()
        writer = csv.DictWriter(text, list(kept[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(kept)
        write_atomic(folder / "metrics.csv", text.getvalue().encode())

    return log


def _tensorboard(folder: Path, run: str, rows: Sequence[Row]) -> Logger:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise MissingToolError(
            "train.loggers asks for tensorboard, which is not installed; run: pip install tensorboard"
        ) from error
    purge = rows[-1]["step"] + 1 if rows else 0
    writer = SummaryWriter(str(folder / "tensorboard"), purge_step=purge)

    def log(row: Row) -> None:
        for key, value in _numbers(row).items():
            writer.add_scalar(key, value, row["step"])
        writer.flush()

    return log


def _wandb(folder: Path, run: str, rows: Sequence[Row]) -> Logger:
    try:
        wandb = importlib.import_module("wandb")
    except ImportError as error:
        raise MissingToolError(
            "train.loggers asks for wandb, which is not installed; run: pip install wandb, or set "
            "WANDB_MODE=offline after that to keep the log on this machine"
        ) from error
    session = wandb.init(project="ssmith", name=run, id=run, dir=str(folder), resume="allow")

    def log(row: Row) -> None:
        session.log(_numbers(row), step=row["step"])

    return log


def _flat(row: Row) -> dict[str, Any]:
    """Lists become text; a spreadsheet has no others."""
    return {k: " ".join(map(str, v)) if isinstance(v, list) else v for k, v in row.items()}


def _numbers(row: Row) -> dict[str, float]:
    """Scalars, and one per element of a list."""
    found: dict[str, float] = {}
    for key, value in row.items():
        if isinstance(value, list):
            found |= {f"{key}/{i}": float(v) for i, v in enumerate(value)}
        elif isinstance(value, int | float) and key != "step":
            found[key] = float(value)
    return found
