"""The document ``report.json``: what every stage of a run left behind, in one place.

Each model below names the file it is read from. Its JSON schema is published next to this file as
``report.schema.json``; ``docs/report.md`` explains each field.
"""

from __future__ import annotations

from typing import Literal

from pydantic import AliasChoices, BaseModel, Field

from ssmith.measurement import Measurement
from ssmith.quantization import Quantization
from ssmith.recipe import MetricName
from ssmith.report_cuts import RECORD, BundleRow, CutRow, ReductionPlan, SpectrumRow
from ssmith.report_pareto import ParetoPoint
from ssmith.report_precisions import PrecisionCost, Qat, Sensitivity

Section = Literal[
    "training",
    "cuts",
    "spectra",
    "comparison",
    "quantization",
    "sensitivity",
    "qat",
    "artifacts",
    "parity",
    "measurements",
]


class _Record(BaseModel):
    model_config = RECORD


class TrainingRow(_Record):
    """One evaluation during training; a line of ``metrics.jsonl``."""

    step: int = Field(ge=0)
    loss: float | None = Field(default=None, validation_alias=AliasChoices("loss", "train_loss"))
    validation_loss: float | None = None
    validation_metric: float | None = None
    orders: list[int] = []
    learning_rate: float | None = None


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

    metric: MetricName
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
    activation_bits: int | None = None
    bytes: int
    sha256: str
    how: str = ""


class ParityRow(_Record):
    """One check of ``parity.json``: an artifact on a backend against the reference."""

    backend: str
    artifact: str = ""
    precision: str = ""
    check: str = ""
    case: str = ""
    max_abs: float | None = None
    relative: float | None = None
    snr_db: float | None = None
    worst_step: int | None = None
    metric: MetricName | None = None
    metric_value: float | None = None
    metric_delta: float | None = None
    tolerance: float | None = None
    target: float | None = None
    predicted_snr_db: float | None = None
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
    metric: MetricName | None = None
    metric_full: float | None = None
    metric_reduced: float | None = None
    fastest_backend: str | None = None
    fastest_precision: str | None = None
    step_p50_us: float | None = None
    step_p99_us: float | None = None
    flash_bytes: int | None = None
    ram_bytes: int | None = None
    parity_passed: int = 0
    parity_run: int = 0
    deadline_misses: int | None = None
    int8_snr_db: float | None = None
    int8_metric: float | None = None
    int8_flash_bytes: int | None = None


class ReportData(_Record):
    """Everything the page shows. A section that is None did not run; ``problems`` says more."""

    version: Literal[1] = 1
    name: str
    summary: Summary
    training: list[TrainingRow] | None = None
    plan: ReductionPlan | None = None
    cuts: list[CutRow] | None = None
    spectra: list[SpectrumRow] | None = None
    bundles: list[BundleRow] = []
    guarantees: dict[str, str] = {}
    comparison: Comparison | None = None
    quantization: Quantization | None = None
    precisions: list[PrecisionCost] = []
    precision_plan: dict[str, str] = {}
    sensitivity: Sensitivity | None = None
    qat: Qat | None = None
    artifacts: list[ArtifactRow] | None = None
    parity: list[ParityRow] | None = None
    measurements: list[Measurement] | None = None
    pareto: list[ParetoPoint] = []
    toolchain: dict[str, str] = {}
    provenance: dict[str, str] = {}
    recipe: str = ""
    problems: dict[Section, str] = {}
