"""Every stage's results, gathered from a run folder: ``report.json`` and ``report.html``.

A stage that did not run leaves its section empty and says so; a file that cannot be understood
does the same. Building a report never fails because of what a run lacks.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from ssmith.bundle import Bundle
from ssmith.errors import InputError, MissingToolError, first_problem
from ssmith.files import write_atomic
from ssmith.measurement import Measurement
from ssmith.quantization import Quantization
from ssmith.report_bundles import bundle_cuts, bundle_rows, readable_bundles
from ssmith.report_cuts import CutRow, ReductionPlan, SpectrumRow, plan_of
from ssmith.report_data import (
    ArtifactRow,
    Comparison,
    ParityRow,
    ReportData,
    Section,
    Summary,
    TrainingRow,
)
from ssmith.report_pareto import pareto
from ssmith.report_precisions import Qat, Sensitivity, WrittenFile, precision_costs

T = TypeVar("T")

_WHERE: dict[Section, tuple[str, ...]] = {
    "training": ("train/metrics.jsonl", "metrics.jsonl"),
    "cuts": ("train/cuts.json", "cuts.json"),
    "spectra": ("train/spectra.json", "spectra.json"),
    "comparison": ("compare.json",),
    "quantization": ("quantization.json",),
    "sensitivity": ("sensitivity.json",),
    "qat": ("qat/result.json",),
    "artifacts": ("artifacts/manifest.json", "manifest.json"),
    "parity": ("parity.json",),
    "measurements": ("measurements.json",),
}
_VERB: dict[Section, str] = {  # what only some recipes ask for is not here: its absence is no news
    "training": "ssmith train",
    "cuts": "ssmith train",
    "comparison": "ssmith run",
    "quantization": "ssmith quantize",
    "artifacts": "ssmith export",
    "parity": "ssmith verify",
    "measurements": "ssmith bench",
}


def build_report(run_folder: Path) -> ReportData:
    """Read what the stages of a run wrote.

    Args:
        run_folder: holds any of ``train/metrics.jsonl``, ``train/cuts.json``, ``compare.json``,
            ``quantization.json``, ``sensitivity.json``, ``qat/result.json``,
            ``artifacts/manifest.json``, ``parity.json``, ``measurements.json``, ``recipe.json`` and the
            bundle, whose provenance is shown.

    Raises:
        InputError: ``run_folder`` is not a folder.
    """
    run_folder = Path(run_folder)
    if not run_folder.is_dir():
        raise InputError(
            f"{run_folder} is not a folder, so there is nothing to report on; give the folder of a"
            " run, for example the newest one in runs/"
        )
    problems: dict[Section, str] = {}

    def part(section: Section, form: Any, pick: Callable[[Any], Any] = lambda raw: raw) -> Any:
        return _read_part(run_folder, section, form, pick, problems)

    manifest = _json_or_empty(run_folder, _WHERE["artifacts"])
    training: list[TrainingRow] | None = part("training", list[TrainingRow])
    cuts: list[CutRow] | None = part("cuts", list[CutRow])
    comparison: Comparison | None = part("comparison", Comparison)
    bundles = readable_bundles(run_folder)
    if cuts is None and (found := [cut for b in bundles.values() for cut in bundle_cuts(b) if cut.step]):
        cuts, _ = found, problems.pop("cuts")  # a bundle carries its history along
    rows = [row for file, bundle in bundles.items() for row in bundle_rows(file, bundle)]
    recipe = _text(run_folder / "recipe.json")
    artifacts: list[ArtifactRow] | None = part("artifacts", list[ArtifactRow], _field("files"))
    parity: list[ParityRow] | None = part("parity", list[ParityRow], _field("rows"))
    measurements: list[Measurement] | None = part("measurements", list[Measurement], _field("measurements"))
    quantization: Quantization | None = part("quantization", Quantization)
    costs = precision_costs(
        _written(artifacts or [], parity or []), quantization, _on_first(measurements or [])
    )
    return ReportData(
        name=str(manifest.get("name") or run_folder.resolve().name),
        summary=_summarise(training, cuts, comparison, parity, measurements, quantization),
        training=training,
        plan=_plan(recipe),
        cuts=cuts,
        spectra=part("spectra", list[SpectrumRow]),
        bundles=rows,
        guarantees=_guarantees([*(cuts or []), *(cut for row in rows for cut in row.cuts)]),
        comparison=comparison,
        quantization=quantization,
        precisions=costs,
        precision_plan=dict(_exported(bundles, manifest).meta.plan or {}) if bundles else {},
        sensitivity=_of_these(part("sensitivity", Sensitivity), bundles, problems),
        qat=part("qat", Qat),
        artifacts=artifacts,
        parity=parity,
        measurements=measurements,
        pareto=pareto(
            measurements or [],
            costs,
            rows,
            {row.artifact: row.metric_value for row in parity or [] if row.metric_value is not None},
            lower_is_better=comparison is not None and comparison.metric != "accuracy",
        ),
        toolchain=_texts(manifest.get("toolchain")),
        provenance=_provenance(bundles, manifest),
        recipe=recipe,
        problems=problems,
    )


def write_report(data: ReportData, folder: Path) -> tuple[Path, Path]:
    """Write ``report.html`` and ``report.json`` into ``folder``; returns both paths.

    Raises:
        MissingToolError: Jinja or Matplotlib is not installed.
        InputError: the folder cannot be written.
    """
    page, document = Path(folder) / "report.html", Path(folder) / "report.json"
    write_atomic(document, (json.dumps(data.model_dump(mode="json"), indent=1) + "\n").encode())
    write_atomic(page, render_html(data).encode())
    return page, document


def render_html(data: ReportData) -> str:
    """The page: one self-contained file, equal data gives equal bytes.

    Raises:
        MissingToolError: Jinja or Matplotlib is not installed.
    """
    try:
        from ssmith.report_page import render
    except ImportError as error:
        raise MissingToolError(
            f"the report page needs {error.name}, which is not installed; run"
            " pip install 'ssmith[report]' (report.json needs nothing)"
        ) from error
    return render(data)


def report_schema() -> str:
    """The JSON schema of ``report.json``, as published in ``report.schema.json``."""
    return json.dumps(ReportData.model_json_schema(mode="serialization"), indent=1) + "\n"


def _read_part(
    folder: Path,
    section: Section,
    form: Any,
    pick: Callable[[Any], Any],
    problems: dict[Section, str],
) -> Any:
    path = next((folder / name for name in _WHERE[section] if (folder / name).is_file()), None)
    if path is None and section not in _VERB:
        return None
    if path is None:
        problems[section] = f"not run: there is no {_WHERE[section][0]}; `{_VERB[section]}` writes it"
        return None
    try:
        raw = _lines(path) if path.suffix == ".jsonl" else _load(path.read_bytes())
        return TypeAdapter(form).validate_python(pick(raw))
    except ValidationError as error:
        problems[section] = f"unreadable: {path.name}, {first_problem(error)}"
    except (OSError, ValueError, RecursionError) as error:
        problems[section] = f"unreadable: {path.name}: {error}"
    return None


def _load(data: bytes | str) -> Any:
    # NaN and Infinity are no JSON, but Python writes them; they mean "no value" here.
    return json.loads(data, parse_constant=lambda _: None)


def _lines(path: Path) -> list[Any]:
    lines = path.read_text(encoding="utf-8").splitlines()
    if lines and path.read_bytes()[-1:] != b"\n":
        lines.pop()  # a killed run leaves half a line at the end
    return [_load(line) for line in lines if line.strip()]


def _field(name: str) -> Callable[[Any], Any]:
    return lambda raw: raw.get(name) if isinstance(raw, dict) else raw


def _json_or_empty(folder: Path, names: tuple[str, ...]) -> dict[str, Any]:
    for name in names:
        try:
            found = _load((folder / name).read_bytes())
        except (OSError, ValueError, RecursionError):
            continue
        if isinstance(found, dict):
            return found
    return {}


def _exported(bundles: dict[str, Bundle], manifest: dict[str, Any]) -> Bundle:
    """The bundle that the artifacts were made from, else the last one."""
    sha = manifest.get("bundle_sha256")
    return ([b for b in bundles.values() if b.sha256 == sha] or list(bundles.values()))[-1]


def _of_these(
    found: Sensitivity | None, bundles: dict[str, Bundle], problems: dict[Section, str]
) -> Sensitivity | None:
    """What is known of the sensitivity of one of these bundles; of another model it would mislead."""
    known = {bundle.sha256 for bundle in bundles.values()}
    if found is None or found.bundle_sha256 in known | {""}:
        return found
    problems["sensitivity"] = (
        "out of date: sensitivity.json is of another model; `ssmith quantize --sensitivity` writes it anew"
    )
    return None


def _written(artifacts: list[ArtifactRow], parity: list[ParityRow]) -> list[WrittenFile]:
    """Files with what ``verify`` found: their error on recorded validation sequences, their metric."""
    errors: dict[str, float] = {}
    for row in parity:
        if row.snr_db is not None and re.fullmatch(r"validation\w*/noise", row.case):
            errors[row.artifact] = min(row.snr_db, errors.get(row.artifact, row.snr_db))
    scored = {row.artifact: row for row in parity if row.metric_value is not None}
    found = []
    for file in artifacts:
        written = WrittenFile(file.path, file.kind, file.precision, file.activation_bits, file.bytes)
        written = written._replace(snr_db=errors.get(file.path))
        if file.path in scored:
            row = scored[file.path]
            written = written._replace(metric=row.metric_value, metric_difference=row.metric_delta)
        found.append(written)
    return found


def _provenance(bundles: dict[str, Bundle], manifest: dict[str, Any]) -> dict[str, str]:
    sha = manifest.get("bundle_sha256")
    found = _exported(bundles, manifest).meta.provenance if bundles else {}
    return found | ({"bundle_sha256": str(sha)} if sha else {})


def _plan(recipe: str) -> ReductionPlan | None:
    with contextlib.suppress(ValueError, RecursionError):  # a ValidationError is a ValueError
        return plan_of(_load(recipe))
    return None


def _guarantees(cuts: list[CutRow]) -> dict[str, str]:
    """What the criteria in use promise, in the reduction's own words; needs SciPy, so maybe nothing."""
    try:
        from ssmith.reduce.criteria import CRITERIA
    except ImportError:
        return {}
    used = {cut.criterion for cut in cuts}
    return {name: criterion.guarantee for name, criterion in CRITERIA.items() if name in used}


def _texts(raw: Any) -> dict[str, str]:
    if not isinstance(raw, dict):
        return {}
    return {str(k): v if isinstance(v, str) else json.dumps(v) for k, v in raw.items()}


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return ""


def _summarise(
    training: list[TrainingRow] | None,
    cuts: list[CutRow] | None,
    comparison: Comparison | None,
    parity: list[ParityRow] | None,
    measurements: list[Measurement] | None,
    quantization: Quantization | None,
) -> Summary:
    full = comparison.row("full") if comparison else None
    reduced = comparison.row("reduced") if comparison else None
    orders = [row.orders for row in training or [] if row.orders]
    ran = [row for row in parity or [] if row.ran]
    fastest = _fastest(_on_first(measurements or []))
    rated = [m.deadline.misses for m in _on_first(measurements or []) if m.deadline and m.backend == "native"]
    int8 = next((m for m in measurements or [] if m.precision == "int8"), None)
    return Summary(
        order_before=full.orders if full else _first_orders(cuts or [], orders),
        order_after=reduced.orders if reduced else (orders[-1] if orders else []),
        metric=comparison.metric if comparison else None,
        metric_full=full.score if full else None,
        metric_reduced=reduced.score if reduced else None,
        fastest_backend=fastest.backend if fastest else None,
        fastest_precision=fastest.precision if fastest else None,
        step_p50_us=fastest.timing.p50_us if fastest and fastest.timing else None,
        step_p99_us=fastest.timing.p99_us if fastest and fastest.timing else None,
        flash_bytes=fastest.flash_bytes if fastest else None,
        ram_bytes=fastest.ram_bytes if fastest else None,
        parity_passed=sum(row.passed for row in ran),
        parity_run=len(ran),
        deadline_misses=rated[0] if rated else None,
        int8_snr_db=quantization.measured_snr_db if quantization else None,
        int8_metric=quantization.metric_int8 if quantization else None,
        int8_flash_bytes=int8.flash_bytes if int8 else None,
    )


def _first_orders(cuts: list[CutRow], orders: list[list[int]]) -> list[int]:
    """The orders a training began with: cuts may lie before the first evaluation."""
    known = orders[0] if orders else []
    first: dict[object, int] = {}
    for cut in cuts:
        first.setdefault(cut.layer, cut.order_before)
    return list(first.values()) if len(first) == len(known) else known


def _on_first(measurements: list[Measurement]) -> list[Measurement]:
    """The model as exported on the first target that has times; headline figures never mix targets."""
    own = [m for m in measurements if m.order is None]
    timed = next((m.target for m in own if m.timing), None)
    return [m for m in own if timed is None or m.target == timed]


def _fastest(measurements: list[Measurement]) -> Measurement | None:
    timed = [(m.timing.p50_us, i) for i, m in enumerate(measurements) if m.timing and m.timing.p50_us]
    return measurements[min(timed)[1]] if timed else None


if __name__ == "__main__":
    print(report_schema(), end="")
