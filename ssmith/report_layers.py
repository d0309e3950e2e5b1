"""What each op of the model costs on the devices that can tell: a table a device, a bar in each cell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ssmith.measurement import Measurement
from ssmith.report_devices import Count


@dataclass(frozen=True)
class Cell:
    """What an op costs, and its share of the step; ``bar`` is that share of the largest on the device."""

    cost: Count
    share: float
    bar: float


@dataclass(frozen=True)
class LayerTable:
    """A device: columns by their labels with the cost of the whole step, rows (op, a cell a column)."""

    target: str
    columns: list[tuple[str, Count]]
    rows: list[tuple[str, list[Cell | None]]]


def layer_tables(measurements: Sequence[Measurement]) -> list[LayerTable]:
    """A table for each device on which ops were counted; ops in the order in which they run."""
    counted = [m for m in measurements if m.instructions_per_step and m.layers]
    targets = dict.fromkeys(m.target for m in counted)
    return [_table(target, [m for m in counted if m.target == target]) for target in targets]


def _table(target: str, rows: Sequence[Measurement]) -> LayerTable:
    ops = dict.fromkeys(layer.layer for m in rows for layer in m.layers)
    shares = [_shares(m) for m in rows]
    largest = max((share for found in shares for share in found.values()), default=0.0) or 1.0

    def cell(m: Measurement, share: float | None) -> Cell | None:
        if share is None:
            return None
        return Cell(Count(share * (m.instructions_per_step or 0.0), m.count_unit), share, share / largest)

    return LayerTable(
        target,
        [(m.label, Count(m.instructions_per_step or 0.0, m.count_unit)) for m in rows],
        [(op, [cell(m, found.get(op)) for m, found in zip(rows, shares, strict=True)]) for op in ops],
    )


def _shares(m: Measurement) -> dict[str, float]:
    whole = m.instructions_per_step or 1.0
    return {layer.layer: layer.instructions / whole for layer in m.layers if layer.instructions is not None}
