"""What the command line prints: one JSON document for programs, tables for people."""

from __future__ import annotations

import json
import sys
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

OUT = Console(highlight=False)
ERR = Console(stderr=True, highlight=False)


def print_json(value: Any) -> None:
    """Print a document as JSON, which has no NaN."""
    sys.stdout.write(json.dumps(value, indent=1, allow_nan=False) + "\n")


def show(facts: dict[str, Any], as_json: bool, *, title: str) -> None:
    """Print a result: JSON for programs, a table for people."""
    if as_json:
        print_json(facts)
        return
    table = Table(title=escape(title), show_header=False, title_justify="left")
    alike = {key: rows for key, value in facts.items() if (rows := _alike(value))}
    for key, value in facts.items():
        for i, row in enumerate([] if key in alike else value if isinstance(value, list) else [value]):
            label = key if "." in key else key.replace("_", " ")  # a file keeps its name
            table.add_row(escape(label) if i == 0 else "", escape(_text(row)))
    OUT.print(table)
    for key, rows in alike.items():
        columns = Table(title=key, title_justify="left", box=None, padding=(0, 2, 0, 0))
        for name in rows[0]:
            columns.add_column(name.replace("_", " "), overflow="fold")
        for row in rows:
            columns.add_row(*(escape(_cell(cell)) for cell in row.values()))
        OUT.print(columns)


def _alike(value: Any) -> list[dict[str, Any]]:
    """Several rows that have the same columns; else nothing."""
    rows = value if isinstance(value, list) and all(isinstance(row, dict) for row in value) else []
    return rows if len(rows) > 1 and len({tuple(row) for row in rows}) == 1 else []


def _cell(value: Any) -> str:
    """As ``_text``, but short: eighty characters have to hold a row."""
    return "–" if value is None else f"{value:.3g}" if isinstance(value, float) else _text(value)


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return "  ".join(f"{key} {_text(part)}" for key, part in value.items())
    return f"{value:.4g}" if isinstance(value, float) else str(value)
