"""What each stage does: read files of the run folder, call one room, write files.

Every function takes the run and whether to be quiet, and returns the files it wrote and a few facts
for the user. Rooms are imported inside: each extra is needed only by the stages that use it.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ssmith.bundle import Bundle
from ssmith.errors import InputError, SsmithError
from ssmith.lowering import lower, need, writable
from ssmith.measurement import Measurement, write_measurements
from ssmith.quantization import HeldOut, calibrated, examine, facts_of, metric_name, metric_of, refusal
from ssmith.quantization_data import wild_frames
from ssmith.recipe import Recipe, ReduceSettings
from ssmith.run import Run

if TYPE_CHECKING:
    from ssmith.runtime.parity import ParityReport, ParityRow, Validation
    from ssmith.train.freeze import GoldenInput
    from ssmith.train.splits import Splits

Facts = dict[str, Any]
Work = Callable[[Run, bool], tuple[list[Path], Facts]]
GOLDEN_SEQUENCES = 3
GOLDEN_FRAMES = 4096  # of each; a recording of minutes would be most of the bundle
SHOWN = 3  # failed checks in an error message
TABLE = "table"  # of verify's facts


def tell(text: str, quiet: bool) -> None:
    """Say what is going on, to stderr, unless a program reads us."""
    if not quiet:
        from rich.console import Console

        Console(stderr=True, highlight=False).print(text)


def train(run: Run, quiet: bool) -> tuple[list[Path], Facts]:
    """Train the recipe's network, cutting on the way."""
    splits = _splits(run.recipe)
    for note in splits.notes:
        tell(f"  {note}", quiet)
    folder = run.folder / "train"
    result = _trained(run.recipe, splits, folder, "reduced" if _cuts(run.recipe) else "full", quiet)
    return _train_files(folder), result


def compare(run: Run, quiet: bool) -> tuple[list[Path], Facts]:
    """Train what the reduced model is held against: without cuts, and small from the first step."""
    recipe = run.recipe
    main = run.read_json("train/result.json")
    rows = [_row("reduced" if _cuts(recipe) else "full", run, "train")]
    outputs = []
    no_cuts = recipe.model_copy(update={"reduce": ReduceSettings()})
    wanted = {"full": no_cuts}
    scratch = recipe.model.model_copy(update={"order": _one_or_all(main["orders"])})
    wanted["scratch"] = no_cuts.model_copy(update={"model": scratch})
    for name, other in wanted.items():
        if _cuts(recipe) and getattr(recipe.compare, name):
            folder = run.folder / "compare" / name
            _trained(other, _splits(recipe), folder, name, quiet)
            rows.append(_row(name, run, f"compare/{name}"))
            outputs += _train_files(folder)
    order = ("full", "reduced", "scratch")
    document = {
        "metric": main["metric"],
        "higher_is_better": main["metric"] == "accuracy",
        "rows": sorted(rows, key=lambda row: order.index(row["name"])),
    }
    path = run.write_json("compare.json", document)
    return [path, *outputs], document


def qat(run: Run, quiet: bool) -> tuple[list[Path], Facts]:
    """Train the frozen model on with the rounding of int8; without steps there is nothing to do."""
    recipe, folder = run.recipe, run.folder / "qat"
    steps, bits = recipe.quantize.qat_steps, recipe.export.activation_bits
    if steps == 0:
        return [], {"skipped": "quantize.qat_steps is 0; int8 is rounded after training"}
    need("train", "torch", "lightning_fabric")
    from ssmith.train.progress import show_progress
    from ssmith.train.qat import quantisation_aware

    splits = _splits(recipe)
    bundle = _frozen(run, splits)
    with show_progress("  with rounding", quiet=quiet) as progress:
        found = quantisation_aware(bundle, recipe, splits, steps, activation_bits=bits, on_progress=progress)
    found.bundle.write(folder / "model.ssm")
    return [folder / "model.ssm", run.write_json("qat/result.json", found.facts())], found.words(recipe)


def freeze(run: Run, quiet: bool) -> tuple[list[Path], Facts]:
    """Freeze the best checkpoint at the final order; after training with rounding, what that made of it."""
    need("train", "torch", "lightning_fabric")
    if run.recipe.quantize.qat_steps:
        bundle = Bundle.read(run.folder / "qat" / "model.ssm")
    else:
        splits = _splits(run.recipe)
        bundle = calibrated(_frozen(run, splits), splits.train.inputs)
        for wild in wild_frames(splits.train.inputs):
            tell(f"  {wild}", quiet)
    if "mixed" in run.recipe.export.precisions:
        from ssmith.quantization_plan import with_plan

        held_out = HeldOut.of(run.recipe, _splits(run.recipe))
        bundle = with_plan(bundle, held_out, run.recipe.quantize.loss_budget)
    bundle.write(run.bundle_path)
    facts = {"bundle": str(run.bundle_path), "bytes": run.bundle_path.stat().st_size, "sha256": bundle.sha256}
    return [run.bundle_path], facts


def _frozen(run: Run, splits: Splits) -> Bundle:
    """The best checkpoint as a bundle without ranges."""
    from ssmith.train.checkpoint import Checkpoint
    from ssmith.train.freeze import freeze as freeze_module
    from ssmith.train.loop import load_network

    recipe = run.recipe
    checkpoint = Checkpoint.read(run.folder / "train" / "best.safetensors")
    cuts = run.read_json("train/cuts.json") if (run.folder / "train" / "cuts.json").exists() else []
    return freeze_module(
        load_network(recipe, splits, checkpoint),
        name=recipe.name,
        task=recipe.task,
        inputs=splits.inputs,
        outputs=splits.outputs,
        period_s=splits.period_s,
        golden_inputs=golden_inputs(recipe, splits),
        reduction=[cut for cut in cuts if cut["accepted"]],
        provenance=_provenance(recipe, checkpoint.step),
    )


def quantize(run: Run, quiet: bool) -> tuple[list[Path], Facts]:
    """Measure on validation sequences what each precision of the recipe costs."""
    from ssmith.quantization_rows import precision_rows

    bundle, settings = Bundle.read(run.bundle_path), run.recipe.export
    if set(settings.precisions) == {"float32"}:
        found = refusal(bundle, settings.activation_bits, "the recipe asks for float32 only")
    else:
        held_out = HeldOut.of(run.recipe, _splits(run.recipe))
        if "int8" in settings.precisions:
            found = examine(bundle, held_out, settings.activation_bits)
        else:
            found = refusal(bundle, settings.activation_bits, "the recipe asks for no int8")
        rows = precision_rows(bundle, held_out, settings)
        found = found.model_copy(update={"precisions": rows})
    outputs = [run.write_json("quantization.json", found.model_dump(mode="json"))]
    if run.recipe.quantize.sensitivity:
        outputs.append(sensitivity(run, quiet)[0])
    return outputs, facts_of(found)


def sensitivity(run: Run, quiet: bool) -> tuple[Path, list[Facts]]:
    """Round each tensor of a run's bundle alone, on validation sequences: sensitivity.json, and its rows."""
    from ssmith.quantization_progress import show_progress
    from ssmith.quantization_sensitivity import document
    from ssmith.quantization_sensitivity import sensitivity as tensor_sensitivity

    bundle, held_out = Bundle.read(run.bundle_path), HeldOut.of(run.recipe, _splits(run.recipe))
    with show_progress("  sensitivity", quiet=quiet) as tried:
        rows = tensor_sensitivity(bundle, held_out, on_progress=tried)
    path = run.write_json("sensitivity.json", document(bundle, held_out, rows))
    return path, [row.document() for row in rows]


def export(run: Run, quiet: bool) -> tuple[list[Path], Facts]:
    """Write every format and precision the recipe names."""
    bundle, settings = Bundle.read(run.bundle_path), run.recipe.export
    pieces, left_out = writable(bundle, settings)
    files = lower(bundle, run.artifacts, settings, pieces, processes=min(os.cpu_count() or 1, 2))
    sizes: Facts = {str(path.relative_to(run.artifacts)): path.stat().st_size for path in files}
    return files, sizes | left_out


def verify(run: Run, quiet: bool) -> tuple[list[Path], Facts]:
    """Run every artifact on every backend here against the reference, recorded and held-out data."""
    report = prove(run.artifacts, Bundle.read(run.bundle_path), _held_out(run.recipe))
    path = run.folder / "parity.json"
    report.write(path)  # before it is judged: the report page shows what failed
    return [path], require_equal(report) | {TABLE: table_of(report)}


def _held_out(recipe: Recipe) -> Validation | str:
    """The validation set of a run, or why it cannot be had."""
    try:
        return validation_of(recipe, _splits(recipe))
    except InputError as error:
        return f"the validation set: {error}"


def bench(run: Run, quiet: bool) -> tuple[list[Path], Facts]:
    """Measure the artifacts on the recipe's targets; one that this machine lacks is told and left out."""
    from ssmith.devices.command import command_of
    from ssmith.devices.everywhere import bench_everywhere
    from ssmith.devices.fleet import Board
    from ssmith.devices.registry import find_target
    from ssmith.devices.target import KINDS, Plan

    settings = run.recipe.bench
    plan = Plan(steps=settings.steps, time_limit_s=settings.seconds, paced_limit_s=settings.paced_seconds)
    boards = {}
    for name in settings.targets:
        if (why := find_target(name).probe().absent) is None:
            boards[name] = Board(target=name)
        else:
            tell(f"  {name}: {why}", quiet)

    def on_row(row: Measurement) -> None:
        tell(f"  {row.target} {row.label}: {row.told}", quiet)

    def on_skip(name: str, why: str) -> None:
        tell(f"  {name}: {why}", quiet)

    # All of them is nobody's wish in particular: what a target cannot run is then no row of its own.
    wanted = None if set(settings.backends) == set(KINDS) else settings.backends
    found = bench_everywhere(
        run.artifacts, boards, backends=wanted, plan=plan, on_row=on_row, on_skip=on_skip
    )
    commands = [command_of(run.folder, row, plan) for row in found]
    found = [row.model_copy(update={"command": c}) for row, c in zip(found, commands, strict=True)]
    path = run.folder / "measurements.json"
    write_measurements(path, found)
    return [path], {f"{m.target} {m.label}": m.told for m in found}


def report(run: Run, quiet: bool) -> tuple[list[Path], Facts]:
    """Gather all of it on one page."""
    from ssmith.report import build_report, write_report

    data = build_report(run.folder)
    page, document = write_report(data, run.folder)
    summary = data.summary.model_dump(mode="json", exclude_none=True)
    return [page, document], {**summary, "report": str(page)}


def prove(
    folder: Path, bundle: Bundle, data: Validation | str | None = None, *, quick: bool = False
) -> ParityReport:
    """Run every artifact of a folder on every backend here; ``require_equal`` judges the result.

    Variants are checked too, each in its ``orderN/``; the folder may also be such an ``orderN/`` itself.

    Args:
        folder: of artifacts.
        bundle: what they were made from.
        data: held-out data, or why there is none.
        quick: go 1,000 frames far instead of 100,000.
    """
    from ssmith.runtime.artifacts import read_manifest, variant_folder
    from ssmith.runtime.oracle import FULL, QUICK
    from ssmith.runtime.parity import NO_DATA, ParityReport, verify

    made_from = read_manifest(folder).bundle_sha256
    model = next((variant for variant in bundle.variants if variant.sha256 == made_from), bundle)
    known, plan = (NO_DATA if data is None else data), (QUICK if quick else FULL)
    rows = verify(folder, model, data=known, plan=plan)
    for variant in model.variants:
        rows += verify(variant_folder(folder, variant.order), variant, data=known, plan=plan)
    return ParityReport(name=model.name, bundle_sha256=model.sha256, rows=tuple(rows))


def validation_of(recipe: Recipe, splits: Splits) -> Validation:
    """The validation set of a recipe with its metric."""
    from ssmith.runtime.parity_validation import Validation

    everything = splits.validation
    held_out = HeldOut(everything.inputs, f"validation sequences of {recipe.name}", everything, recipe)
    return Validation.of(
        everything.inputs, held_out.name, metric_name(held_out), lambda outputs: metric_of(held_out, outputs)
    )


def require_equal(report: ParityReport) -> Facts:
    """What to tell the user about a parity report.

    Raises:
        SsmithError: an artifact does not compute what the model computes.
    """
    from ssmith.runtime.parity_rows import worst_rows

    ran = [row for row in report.rows if row.ran]
    failed = [row for row in ran if not row.passed]
    if failed:
        worst = worst_rows(failed)
        shown = "; ".join(_words(row) for row in worst[:SHOWN])
        more = f"; and {len(worst) - SHOWN} more checks" if len(worst) > SHOWN else ""
        raise SsmithError(f"{len(failed)} of {len(ran)} parity checks failed: {shown}{more}")
    skipped = sorted({f"{row.artifact}: {row.reason}" for row in report.rows if not row.ran})
    rounded = [row for row in ran if row.predicted_snr_db is None]  # the others are int8 against float64
    worst_error = max((row.relative for row in rounded if row.relative is not None), default=0.0)
    facts: Facts = {
        "checks passed": f"{len(ran)} of {len(ran)}",
        "largest relative error": f"{worst_error:.2g}",
    }
    facts |= _targets([row for row in ran if row.target is not None])
    int8 = [row.snr_db for row in ran if row.predicted_snr_db is not None and row.snr_db is not None]
    facts |= {"int8 signal to error": f"{min(int8):.1f} dB or more"} if int8 else {}
    return facts | ({"not run": skipped} if skipped else {})


def _targets(rows: list[ParityRow]) -> Facts:
    """How much of float32 is where it should be; the rest is where float32 itself loses more."""
    if not rows:
        return {}
    met = sum(row.relative is not None and row.relative <= (row.target or 0.0) for row in rows)
    beyond = sorted({row.check for row in rows if row.relative is None or row.relative > (row.target or 0.0)})
    rest = f"; in {', '.join(beyond)} float32 itself loses more" if beyond else ""
    return {"float32 within its target": f"{met} of {len(rows)}{rest}"}


def table_of(report: ParityReport) -> list[Facts]:
    """The worst row of each artifact and check; all of them are in ``parity.json``."""
    from ssmith.runtime.parity_rows import worst_rows

    return [row.model_dump(mode="json") for row in worst_rows(report.rows)]


def _words(row: ParityRow) -> str:
    value = "not finite" if row.relative is None else f"{row.relative:.2g}"
    return (
        f"{row.artifact} on {row.backend}, {row.check}, {row.case}: relative error {value} above"
        f" {row.tolerance:.2g} ({row.reason})"
    )


def golden_inputs(recipe: Recipe, splits: Splits) -> list[GoldenInput]:
    """What is recorded at freeze: validation sequences, and noise at the data's own scale."""
    import numpy as np

    from ssmith.train.freeze import GoldenInput

    chosen = [frames[:GOLDEN_FRAMES] for frames in splits.validation.inputs[:GOLDEN_SEQUENCES]]
    cases = [GoldenInput(f"validation_{i}", frames) for i, frames in enumerate(chosen)]
    rng = np.random.default_rng(recipe.seed)
    steps = max(len(frames) for frames in chosen)
    if recipe.model.vocabulary is not None:
        noise = rng.integers(0, recipe.model.vocabulary, (steps, 1)).astype(np.float32)
    else:
        noise = rng.standard_normal((steps, len(splits.inputs))).astype(np.float32)
        noise = noise * splits.input_std + splits.input_mean
    return [*cases, GoldenInput("noise", noise)]


def _splits(recipe: Recipe) -> Splits:
    need("train", "torch", "lightning_fabric", "scipy")
    from ssmith.train.data import load

    return load(recipe)


def _trained(recipe: Recipe, splits: Splits, folder: Path, title: str, quiet: bool) -> Facts:
    from ssmith.train.loop import train as train_network
    from ssmith.train.progress import show_progress

    with show_progress(f"  {title}", quiet=quiet) as progress:
        result = train_network(recipe, splits, folder, on_progress=progress)
    return {
        "orders": list(result.orders),
        "best step": result.best_step,
        f"validation {result.metric}": round(result.validation_metric, 4),
        f"test {result.metric}": round(result.test_metric, 4),
        "seconds": round(result.seconds, 1),
    }


def _train_files(folder: Path) -> list[Path]:
    names = ("result.json", "metrics.jsonl", "cuts.json", "best.safetensors", "last.safetensors")
    return [folder / name for name in names if (folder / name).exists()]


def _row(name: str, run: Run, folder: str) -> Facts:
    result = run.read_json(f"{folder}/result.json")
    return {
        "name": name,
        "orders": result["orders"],
        "validation": result["validation_metric"],
        "test": result["test_metric"],
        "train_seconds": result["seconds"],
        "parameters": result["parameters"],
    }


def _cuts(recipe: Recipe) -> bool:
    return recipe.reduce.cuts_anything


def _one_or_all(orders: list[int]) -> int | tuple[int, ...]:
    return orders[0] if len(set(orders)) == 1 else tuple(orders)


def _provenance(recipe: Recipe, step: int) -> dict[str, str]:
    """Where a bundle comes from; nothing that differs between two runs of the same thing."""
    from importlib.metadata import version

    return {
        "recipe": recipe.name,
        "recipe_sha256": recipe.digest(),
        "seed": str(recipe.seed),
        "step": str(step),
        "ssmith": version("ssmith"),
        "torch": version("torch"),
    }
