"""What a cut did, layer by layer: data for the log, the bundle and the report."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class LayerCut:
    """One layer at one cut.

    Attributes:
        layer: the layer's name in the model.
        order_before: stored complex modes before the cut.
        order_after: and after it; equal if nothing was cut or the cut was undone.
        criterion: task-aware, empirical or exact.
        accepted: whether the cut stands.
        reason: in words, why or why not.
        singular_values: σ before the cut, descending, 2N of them; empty if it did not come so far.
        tail: Σσ of what was (or would have been) dropped.
        error_bound: bound of the H∞ error of the layer as loaded, float32 included; nan where none holds.
        h2_error: measured relative H2 error of the layer's system, float32 rounding included.
        hinf_error: measured relative H∞ error, likewise; a lower bound, from a frequency grid.
        stable: every pole came out inside the unit circle by itself.
        clamped: how many did not and were moved inside.
        loss_before: held-out loss before this layer was cut; nan if there is no loss to measure.
        loss_after: and after it (of the cut that was undone, if it was).
        notes: what the reduction had to say.
    """

    layer: str
    order_before: int
    order_after: int
    criterion: str
    accepted: bool
    reason: str
    singular_values: tuple[float, ...] = ()
    tail: float = math.nan
    error_bound: float = math.nan
    h2_error: float = math.nan
    hinf_error: float = math.nan
    stable: bool = True
    clamped: int = 0
    loss_before: float = math.nan
    loss_after: float = math.nan
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class CutReport:
    """One cut: what happened to each layer that it looked at.

    Attributes:
        step: finished training steps.
        attempt: which of the planned cuts, from 1.
        layers: one entry a layer, in the order in which they were cut.
    """

    step: int
    attempt: int
    layers: tuple[LayerCut, ...]

    @property
    def accepted(self) -> bool:
        """Whether any layer is smaller now."""
        return any(layer.accepted for layer in self.layers)

    def as_json(self) -> list[dict[str, Any]]:
        """One row a layer, ready for JSON: nan is null, tuples are lists."""
        return [{"step": self.step, "attempt": self.attempt, **_plain(asdict(cut))} for cut in self.layers]

    def __str__(self) -> str:
        """One line a layer."""
        return "\n".join(
            f"step {self.step}: {cut.layer} {cut.order_before} -> {cut.order_after} ({cut.reason})"
            for cut in self.layers
        )


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    def one(value: Any) -> Any:
        if isinstance(value, tuple):
            return [one(v) for v in value]
        return None if isinstance(value, float) and not math.isfinite(value) else value

    return {key: one(value) for key, value in row.items()}
