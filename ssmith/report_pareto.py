"""Accuracy against cost on each device, and which choices no other beats in both.

A cost is a time or a count, never both, and a device's points share one kind: times are compared with
times, counts with counts of the same unit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from pydantic import BaseModel, model_validator

from ssmith.measurement import Measurement
from ssmith.report_cuts import RECORD, BundleRow
from ssmith.report_precisions import BACKENDS, PrecisionCost

CostKind = Literal["latency", "instructions", "fuel"]


class ParetoPoint(BaseModel):
    """A backend, precision and order on a device: its cost and its score on validation sequences.

    Raises:
        ValueError: a time of something that was counted, or the other way round.
    """

    model_config = RECORD
    target: str
    backend: str
    precision: str
    order: int | None = None
    cost_kind: CostKind
    p50_us: float | None = None
    count: float | None = None
    metric: float
    on_front: bool = False

    @model_validator(mode="after")
    def _one_cost(self) -> ParetoPoint:
        timed = self.cost_kind == "latency"
        if (self.p50_us is not None) != timed or (self.count is not None) == timed:
            raise ValueError("a latency has p50_us, what was counted has count, and nothing has both")
        return self

    @property
    def cost(self) -> float:
        """Microseconds or counted units, as ``cost_kind`` says."""
        value = self.p50_us if self.p50_us is not None else self.count
        return float(value or 0)

    @property
    def name(self) -> str:
        """``native int8``, ``native float32 order 8``."""
        return f"{self.backend} {self.precision}" + ("" if self.order is None else f" order {self.order}")


def pareto(
    rows: Sequence[Measurement],
    costs: Sequence[PrecisionCost],
    models: Sequence[BundleRow],
    files: Mapping[str, float],
    *,
    lower_is_better: bool = False,
) -> list[ParetoPoint]:
    """Every measured row whose score is known, the front of each device and kind of cost marked.

    Args:
        rows: what was measured.
        costs: scores of precisions, for rows of the model as exported.
        models: with what their last cut after training left, for float32 rows of variants.
        files: artifact → score of that very file, where ``verify`` ran the validation set; goes first.
        lower_is_better: of the score.
    """
    scores = {(BACKENDS[cost.format], cost.precision): cost.metric for cost in costs}
    variants = {order: score for order, score in (_score(model) for model in models) if order is not None}
    found = []
    for row in rows:
        score = files.get(row.artifact or "")
        if score is None and row.order is None:
            score = scores.get((row.backend, row.precision))
        elif score is None and row.order is not None:
            score = variants.get(row.order) if row.precision == "float32" else None
        if score is not None and (point := _point(row, score)) is not None:
            found.append(point)
    return mark_front(found, lower_is_better=lower_is_better)


def mark_front(points: Sequence[ParetoPoint], *, lower_is_better: bool = False) -> list[ParetoPoint]:
    """The same points, ``on_front`` where none of its device is as good in both and better in one."""
    sign = -1.0 if lower_is_better else 1.0

    def beats(a: ParetoPoint, b: ParetoPoint) -> bool:
        alike = (a.target, a.cost_kind) == (b.target, b.cost_kind)
        good, bad = (a.cost, -sign * a.metric), (b.cost, -sign * b.metric)
        return alike and good != bad and good[0] <= bad[0] and good[1] <= bad[1]

    return [p.model_copy(update={"on_front": not any(beats(q, p) for q in points)}) for p in points]


def by_device(points: Sequence[ParetoPoint]) -> Mapping[tuple[str, CostKind], list[ParetoPoint]]:
    """Points by device and kind of cost, cheapest first."""
    groups: dict[tuple[str, CostKind], list[ParetoPoint]] = {}
    for point in points:
        groups.setdefault((point.target, point.cost_kind), []).append(point)
    return {key: sorted(group, key=lambda p: p.cost) for key, group in groups.items()}


def _point(row: Measurement, score: float) -> ParetoPoint | None:
    time, count = row.timing and row.timing.p50_us, row.instructions_per_step
    if time is None and count is None:
        return None
    return ParetoPoint(
        target=row.target,
        backend=row.backend,
        precision=row.precision,
        order=row.order,
        cost_kind=row.count_unit if time is None else "latency",
        p50_us=time,
        count=count if time is None else None,
        metric=score,
    )


def _score(model: BundleRow) -> tuple[int | None, float | None]:
    """(order, score) of a model that was cut after training; a folder orderN is named by its largest."""
    left = [cut.metric_after for cut in model.cuts if cut.accepted and cut.metric_after is not None]
    return max(model.orders, default=None), (left[-1] if left else None)
