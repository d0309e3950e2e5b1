"""Parity on the report's page: a row an artifact, and the worst row of each of its checks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ssmith.report_data import ParityRow
from ssmith.report_words import DASH, score_text
from ssmith.runtime.parity_rows import worst_rows


@dataclass(frozen=True)
class Checks:
    """The table, and the reasons its rows point to by number, from 1."""

    rows: list[dict[str, Any]]
    reasons: list[str]


def proofs(rows: list[ParityRow]) -> list[dict[str, Any]]:
    """Parity by backend and artifact: how many checks, and the worst of them."""
    groups: dict[tuple[str, str], list[ParityRow]] = {}
    for row in rows:
        groups.setdefault((row.backend, row.artifact), []).append(row)
    found = []
    for (backend, artifact), group in groups.items():
        ran = [row for row in group if row.ran]
        scored = next((row for row in ran if row.metric_value is not None), None)
        found.append(
            {
                "backend": backend,
                "artifact": artifact,
                "precision": group[0].precision,
                "ran": len(ran),
                "passed": sum(row.passed for row in ran),
                "max_abs": max((r.max_abs for r in ran if r.max_abs is not None), default=None),
                "relative": max((r.relative for r in ran if r.relative is not None), default=None),
                "predicted_snr_db": _predicted(ran),
                "tolerance": max((r.tolerance for r in ran if r.tolerance is not None), default=None),
                "snr_db": min((r.snr_db for r in ran if r.snr_db is not None), default=None),
                "score": DASH if scored is None else score_text(scored.metric_value or 0.0, scored.metric),
                "delta": DASH if scored is None else delta_text(scored),
                "reason": next((r.why for r in group if not r.ran), ""),
            }
        )
    return found


def checks(rows: list[ParityRow]) -> Checks:
    """The worst row of each artifact and check; of a file without checks, all rows."""
    known = all(row.check for row in rows)
    numbers: dict[str, int] = {}
    found = []
    for row in worst_rows(rows) if known else rows:
        number = numbers.setdefault(row.why, len(numbers) + 1) if row.why else ""
        delta = DASH if row.metric_delta is None else delta_text(row)
        found.append(row.model_dump() | {"ran": row.ran, "number": number, "delta": delta})
    return Checks(found, [*numbers])


def delta_text(row: ParityRow) -> str:
    """Change of the score against float64: in points of accuracy, else as a number."""
    delta = row.metric_delta or 0.0
    if row.metric == "accuracy":
        return f"{100 * delta:+.2f} points" if delta else "0 points"
    return f"{delta:+.2g}" if delta else "0"


def _predicted(rows: list[ParityRow]) -> float | None:
    """The prediction for the row with the lowest ratio of signal to error, if it has one."""
    known = [row for row in rows if row.snr_db is not None]
    return min(known, key=lambda row: row.snr_db or 0.0).predicted_snr_db if known else None
