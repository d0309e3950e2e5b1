"""The table of ``ssmith verify``: the worst row of each artifact and check, and the reasons below it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ssmith.cli_show import show

WIDTH = 150  # the table does not wrap
TABLE = "table"
COLUMNS = (
    "artifact",
    "backend",
    "precision",
    "check",
    "max abs",
    "relative",
    "SNR dB",
    "worst step",
    "metric (Δ)",
    "tolerance",
    "result",
)


def show_parity(facts: dict[str, Any], as_json: bool, *, title: str) -> None:
    """Print what verify found: one JSON document for programs, tables for people."""
    if as_json:
        show(facts, as_json, title=title)
        return
    rows: list[dict[str, Any]] = facts.get(TABLE, [])
    show({key: value for key, value in facts.items() if key != TABLE}, as_json, title=title)
    if not rows:
        return
    numbers: dict[str, int] = {}
    table = Table(*COLUMNS, title="the worst case of each check", title_justify="left", box=None)
    for column in table.columns:
        column.no_wrap = True
    for row in rows:
        number = numbers.setdefault(row["reason"], len(numbers) + 1)
        table.add_row(*(escape(cell) for cell in cells(row)), f"{result(row)} [{number}]".replace("[", "\\["))
    console = Console(highlight=False)
    console.width = max(console.width, WIDTH)
    console.print(table)
    for reason, number in numbers.items():
        console.print(f"\\[{number}] {escape(reason)}", soft_wrap=True)


def cells(row: Mapping[str, Any]) -> list[str]:
    """All columns of a row but the last."""
    return [
        row["artifact"],
        row["backend"],
        row["precision"],
        row["check"],
        _or_nothing(row["max_abs"], lambda v: f"{v:.2g}"),
        _or_nothing(row["relative"], lambda v: f"{v:.2g}"),
        "exact" if row["max_abs"] == 0 else _or_nothing(row["snr_db"], lambda v: f"{v:.1f}"),
        _or_nothing(row["worst_step"], lambda v: f"{v:,}"),
        _or_nothing(row["metric_value"], lambda v: f"{v:.4f} ({row['metric_delta']:+.2g})"),
        "same bits" if row["tolerance"] == 0 else f"{row['tolerance']:.2g}",
    ]


def result(row: Mapping[str, Any]) -> str:
    """Passed, FAILED or not run."""
    if str(row["reason"]).startswith("not run"):
        return "not run"
    return "passed" if row["passed"] else "FAILED"


def _or_nothing(value: Any, text: Callable[[Any], str]) -> str:
    return "" if value is None else text(value)
