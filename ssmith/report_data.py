"""The document ``report.json``: what every stage of a run left behind, in one place.

Each model below names the file it is read from. Its JSON schema is published next to this file as
``report.schema.json``; ``docs/report.md`` explains each field.
"""

from __future__ import annotations

import re
from typing import Any, Literal

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, field_validator

from ssmith.measurement import Measurement

Section = Literal["training", "cuts", "comparison", "artifacts", "parity", "measurements"]


class _Record(BaseModel):
    # A stage may write more than the report shows.
    model_config = ConfigDict(extra="ignore", frozen=True, allow_inf_nan=False)


class TrainingRow(_Record):
    """One evaluation during training; a line of ``metrics.jsonl``."""

    step: int = Field(ge=0)
    loss: float | None = Field(default=None, validation_alias=AliasChoices("loss", "train_loss"))
    validation_loss: float | None = None
    validation_metric: float | None = None
    orders: list[int] = []
    learning_rate: float | None = None


class CutRow(_Record):
    """One attempt to cut one layer; an entry of ``cuts.json``."""

    step: int = Field(ge=0)
    layer: int = Field(ge=0)
    order_before: int = Field(ge=1)
    order_after: int = Field(ge=1)
    singular_values: list[float]
    criterion: str = ""
    tail: float | None = None
    error_bound: float | None = None
    loss_before: float | None = None
    loss_after: float | None = None
    accepted: bool
    reason: str = ""

    @field_validator("layer", mode="before")
    @classmethod
    def _index(cls, layer: Any) -> Any:
        found = re.search(r"\d+", layer) if isinstance(layer, str) else None
        return int(found.group()) if found else layer  # blocks.0.ssm is layer 0

    @property
    def outcome(self) -> Literal["kept", "undone", "not cut"]:
        """Whether the cut stands, was taken back after measuring its cost, or was not made."""
        if self.accepted:
            return "kept"
        return "not cut" if self.loss_after is None else "undone"

    @property
    def kept_values(self) -> int:
        """How many singular values stay, or would have stayed: two a mode of a real system."""
        count = len(self.singular_values)
        if not self.accepted and self.tail is not None and self.order_after == self.order_before:
            # An undone cut leaves the order as it was; what it tried follows from what it would drop.
            tails = [(abs(sum(self.singular_values[k:]) - self.tail), k) for k in range(count, -1, -1)]
            return min(tails)[1]
        real = count >= 2 * self.order_before
        return min((2 if real else 1) * self.order_after, count)

    @property
    def order_tried(self) -> int:
        """The order a cut led to, or would have led to."""
        if self.outcome == "kept" or not self.singular_values:
            return self.order_after
        return -(-self.kept_values * self.order_before // len(self.singular_values))

    @property
    def share_cut(self) -> float | None:
        """Sum of the singular values cut off, as a share of all."""
        total = sum(self.singular_values)
        return sum(self.singular_values[self.kept_values :]) / total if total > 0 else None

    @property
    def cost(self) -> float | None:
        """Relative change of the held-out loss; None where it was not measured."""
        if self.loss_before is None or self.loss_after is None or self.loss_before <= 0:
            return None
        return self.loss_after / self.loss_before - 1


class ComparisonRow(_Record):
    """One trained network in ``compare.json``."""

    name: str
    orders: list[int] = []
    validation: float | None = None
    test: float | None = None
    train_seconds: float | None = None
    parameters: int | None = None

    @property
    def score(self) -> float | None:
        """On the test split where there is one, else on the validation split."""
        return self.test if self.test is not None else self.validation


class Comparison(_Record):
    """``compare.json``: the full network, the reduced one, and one trained small from scratch."""

    metric: Literal["accuracy", "nrmse"]
    higher_is_better: bool
    rows: list[ComparisonRow]

    def row(self, name: str) -> ComparisonRow | None:
        """The row of that name, if there is one."""
        return next((row for row in self.rows if row.name == name), None)


class ArtifactRow(_Record):
    """One file of ``manifest.json``."""

    path: str
    kind: str
    precision: str = ""
    bytes: int
    sha256: str
    how: str = ""


class ParityRow(_Record):
    """One check of ``parity.json``: an artifact on a backend against the reference."""

    backend: str
    artifact: str = ""
    case: str = ""
    max_abs: float | None = None
    relative: float | None = None
    snr_db: float | None = None
    worst_step: int | None = None
    tolerance: float | None = None
    passed: bool
    reason: str = ""

    @property
    def ran(self) -> bool:
        """A backend that is missing on this machine leaves a row that did not run."""
        return not self.reason.startswith("not run")

    @property
    def why(self) -> str:
        """The reason without the words that the result column says already."""
        return self.reason.removeprefix("not run").lstrip(": ")


class Summary(_Record):
    """The headline figures; None where the stage behind one did not run."""

    order_before: list[int] = []
    order_after: list[int] = []
    metric: Literal["accuracy", "nrmse"] | None = None
    metric_full: float | None = None
    metric_reduced: float | None = None
    fastest_backend: str | None = None
    step_p50_us: float | None = None
    step_p99_us: float | None = None
    flash_bytes: int | None = None
    ram_bytes: int | None = None
    parity_passed: int = 0
    parity_run: int = 0
    deadline_misses: int | None = None


class ReportData(_Record):
    """Everything the page shows. A section that is None did not run; ``problems`` says more."""

    version: Literal[1] = 1
    name: str
    summary: Summary
    training: list[TrainingRow] | None = None
    cuts: list[CutRow] | None = None
    comparison: Comparison | None = None
    artifacts: list[ArtifactRow] | None = None
    parity: list[ParityRow] | None = None
    measurements: list[Measurement] | None = None
    toolchain: dict[str, str] = {}
    provenance: dict[str, str] = {}
    recipe: str = ""
    problems: dict[Section, str] = {}
