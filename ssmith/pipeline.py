"""The stages of a run in order, each skipped while what it depends on has not changed."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from ssmith import stages
from ssmith.doctor import examine
from ssmith.errors import InputError
from ssmith.recipe import Recipe
from ssmith.run import Run, fingerprint_of, is_fresh, locked, mark_done, open_run, stage_key
from ssmith.stages import Facts, Work


@dataclass(frozen=True)
class Stage:
    """One verb of a run.

    Args:
        name: the verb.
        work: does it.
        sections: recipe sections that change its result.
        inputs: files it reads, relative to the run folder; ``{name}`` is the recipe's name.
        rounded: what it reads besides where the recipe trains with rounding.
    """

    name: str
    work: Work
    sections: tuple[str, ...] = ()
    inputs: tuple[str, ...] = ()
    rounded: tuple[str, ...] = ()

    def input_files(self, run: Run) -> list[Path]:
        """The files it reads."""
        names = self.inputs + (self.rounded if run.recipe.quantize.qat_steps else ())
        return [run.folder / path.format(name=run.recipe.name) for path in names]


TRAINED = ("task", "seed", "data", "model", "train", "reduce")
CHECKPOINT = ("train/result.json", "train/best.safetensors")
RESULTS = (
    "train/result.json",
    "compare.json",
    "qat/result.json",
    "quantization.json",
    "sensitivity.json",
    "artifacts/manifest.json",
    "parity.json",
    "measurements.json",
)
STAGES = (
    Stage("train", stages.train, TRAINED),
    Stage("compare", stages.compare, (*TRAINED, "compare"), ("train/result.json",)),
    Stage("qat", stages.qat, (*TRAINED, "name", "quantize", "export"), CHECKPOINT),
    Stage("freeze", stages.freeze, (*TRAINED, "name", "quantize", "export"), CHECKPOINT, ("qat/model.ssm",)),
    Stage("quantize", stages.quantize, (*TRAINED, "quantize", "export"), ("{name}.ssm",)),
    Stage("export", stages.export, ("export",), ("{name}.ssm",)),
    Stage("verify", stages.verify, (), ("{name}.ssm", "artifacts/manifest.json")),
    Stage("bench", stages.bench, ("bench",), ("{name}.ssm", "artifacts/manifest.json")),
    Stage("report", stages.report, (), RESULTS),
)


def start(source: str, overrides: list[str], *, seed: int | None, runs: Path, name: str | None) -> Run:
    """Load a recipe and open its run folder."""
    if seed is not None:
        overrides = [*overrides, f"seed={seed}"]
    return open_run(Recipe.load(source, tuple(overrides)), runs=runs, name=name)


def run_all(run: Run, *, quiet: bool) -> Facts:
    """Do every stage in order; the last one's facts are the run's summary."""
    facts: Facts = {}
    for stage in STAGES:
        facts = run_stage(run, stage.name, quiet=quiet)
    return facts


def run_stage(run: Run, name: str, *, quiet: bool) -> Facts:
    """Do one stage, or find that it is done already.

    Raises:
        InputError: what it needs is missing or wrong, or the folder is in use.
        SsmithError: the work failed; what earlier stages made is untouched.
    """
    stage = next(stage for stage in STAGES if stage.name == name)
    inputs = stage.input_files(run)
    if name != "report":  # a report tells what there is
        _require(run, stage, inputs)
    facts_path = run.folder / "stages" / f"{name}.facts.json"
    with locked(run):
        key = stage_key(run, name, _settings(run, stage), inputs)
        if is_fresh(run, name, key):
            facts: Facts = run.read_json(f"stages/{name}.facts.json")
            return facts
        stages.tell(f"[bold]{name}[/bold]", quiet)
        begin = time.monotonic()
        outputs, facts = stage.work(run, quiet)
        run.write_json(f"stages/{name}.facts.json", facts)
        mark_done(run, name, key, [*outputs, facts_path], time.monotonic() - begin)
    return facts


def measure_sensitivity(run: Run, *, quiet: bool) -> Facts:
    """The stage quantize, and then each tensor rounded alone whatever the recipe says: → sensitivity.json.

    Raises:
        InputError: as ``run_stage``, or the bundle has no int8 form.
    """
    facts = run_stage(run, "quantize", quiet=quiet)
    with locked(run):
        return facts | {"sensitivity": stages.sensitivity(run, quiet)[1]}


def _require(run: Run, stage: Stage, inputs: list[Path]) -> None:
    makers = {"train": "train", "compare.json": "compare", "qat": "qat", f"{run.recipe.name}.ssm": "freeze"}
    for path in inputs:
        if not path.exists():
            first = path.relative_to(run.folder).parts[0]
            maker = makers.get(first, "export")
            raise InputError(f"{stage.name} reads {path}, which is not there yet: run {maker} first")


def _settings(run: Run, stage: Stage) -> dict[str, object]:
    document = run.recipe.model_dump(mode="json", include=set(stage.sections))
    if "data" in stage.sections and run.recipe.data.path is not None:
        document["data files"] = fingerprint_of(run.recipe.data.path)
    if stage.name == "qat":
        quantize = run.recipe.quantize.model_dump(mode="json", exclude={"loss_budget"})
        bits = {"activation_bits": run.recipe.export.activation_bits}
        document["rounding"] = quantize | bits if run.recipe.quantize.qat_steps else None
    if stage.name in ("export", "verify", "bench"):  # a tool installed since then: more is written and proved
        document["tools"] = {finding.name: finding.found for finding in examine()}
    return document
