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
        criterion: by which the layer was cut, a key of `ssmith.reduce.CRITERIA`.
        accepted: whether the cut stands.
        reason: in words, why or why not.
        singular_values: σ before the cut, descending, 2N of them; empty if it did not come so far.
        tail: Σσ of what was (or would have been) dropped.
        error_bound: bound of the H∞ error of the layer as loaded, float32 included; nan where none holds.
        h2_error: measured relative H2 error of the layer's system, float32 rounding included.
        hinf_error: measured relative H∞ error, likewise; from a grid, so a peak may be a little higher.
        gain: largest gain ‖G‖∞ of the layer before the cut, from that grid.
        stable: every pole came out inside the unit circle by itself.
        clamped: how many did not and were moved inside.
        loss_before: held-out loss before this layer was cut; nan if there is no loss to measure.
        loss_after: and after it (of the cut that was undone, if it was).
        output_error: relative RMS change of the network's outputs on held-out sequences by this cut alone;
            nan if it did not come so far.
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
    gain: float = math.nan
    stable: bool = True
    clamped: int = 0
    loss_before: float = math.nan
    loss_after: float = math.nan
    output_error: float = math.nan
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Spectrum:
    """One layer's spectrum, looked at while waiting for it to settle.

    Attributes:
        layer: the layer's name in the model.
        order: complex modes.
        singular_values: σ, descending, 2N of them.
        change: what has moved since the measurement before, as a share of Σσ (see `plateau`); nan at first.
    """

    layer: str
    order: int
    singular_values: tuple[float, ...]
    change: float


@dataclass(frozen=True)
class CutReport:
    """One time that a truncator did something: what happened to each layer that it looked at.

    Attributes:
        step: finished training steps.
        attempt: which of the planned times, from 1.
        layers: one entry a layer, in the order in which they were cut; none if it only looked.
        spectra: what was measured to decide whether to cut (schedule "plateau").
    """

    step: int
    attempt: int
    layers: tuple[LayerCut, ...]
    spectra: tuple[Spectrum, ...] = ()

    @property
    def accepted(self) -> bool:
        """Whether any layer is smaller now."""
        return any(layer.accepted for layer in self.layers)

    def as_json(self) -> list[dict[str, Any]]:
        """One row a cut layer, ready for JSON: nan is null, tuples are lists."""
        return [{"step": self.step, "attempt": self.attempt, **_plain(asdict(cut))} for cut in self.layers]

    def spectra_as_json(self) -> list[dict[str, Any]]:
        """One row a measured spectrum, likewise."""
        return [{"step": self.step, **_plain(asdict(spectrum))} for spectrum in self.spectra]

    def __str__(self) -> str:
        """One line a layer."""
        looked = [
            f"step {self.step}: {s.layer} measured, "
            + ("for the first time" if math.isnan(s.change) else f"{s.change:.2%} of its spectrum has moved")
            for s in self.spectra
        ]
        cut = [
            f"step {self.step}: {cut.layer} {cut.order_before} -> {cut.order_after} ({cut.reason})"
            for cut in self.layers
        ]
        return "\n".join(looked + cut)


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    def one(value: Any) -> Any:
        if isinstance(value, tuple):
            return [one(v) for v in value]
        return None if isinstance(value, float) and not math.isfinite(value) else value

    return {key: one(value) for key, value in row.items()}
