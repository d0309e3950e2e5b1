"""The verbs on a run folder: run, train, freeze, bench, report."""

from __future__ import annotations

from pathlib import Path

from ssmith.cli_options import (
    RUNS,
    JsonOption,
    NameOption,
    RecipeArgument,
    RunArgument,
    RunsOption,
    SeedOption,
    SetOption,
)
from ssmith.cli_show import show


def run(
    recipe: RecipeArgument,
    set_: SetOption = None,
    seed: SeedOption = None,
    runs: RunsOption = RUNS,
    name: NameOption = None,
    as_json: JsonOption = False,
) -> None:
    """Do everything: train, compare, freeze, quantize, export, verify, bench, report; resumes if stopped."""
    from ssmith import pipeline

    the_run = pipeline.start(recipe, set_ or [], seed=seed, runs=runs, name=name)
    summary = pipeline.run_all(the_run, quiet=as_json)
    show(summary, as_json, title=str(the_run.folder))


def train(
    recipe: RecipeArgument,
    set_: SetOption = None,
    seed: SeedOption = None,
    runs: RunsOption = RUNS,
    name: NameOption = None,
    as_json: JsonOption = False,
) -> None:
    """Train, cutting states on the way: recipe → checkpoint and metrics.jsonl. Resumes after a kill."""
    from ssmith import pipeline

    the_run = pipeline.start(recipe, set_ or [], seed=seed, runs=runs, name=name)
    show(pipeline.run_stage(the_run, "train", quiet=as_json), as_json, title=str(the_run.folder))


def freeze(run_folder: RunArgument, as_json: JsonOption = False) -> None:
    """Freeze the trained model: checkpoint → NAME.ssm with golden vectors inside."""
    do_stage(run_folder, "freeze", as_json)


def qat(run_folder: RunArgument, as_json: JsonOption = False) -> None:
    """Train on with int8 rounding, before freezing: → qat/model.ssm. Nothing without quantize.qat_steps."""
    do_stage(run_folder, "qat", as_json)


def report(run_folder: RunArgument, as_json: JsonOption = False) -> None:
    """Gather every stage's results: → report.html and report.json."""
    do_stage(run_folder, "report", as_json)


def do_stage(folder: Path, stage: str, as_json: bool) -> None:
    """Do one stage of a run and print what it says."""
    from ssmith import pipeline
    from ssmith.run import find_run

    show(pipeline.run_stage(find_run(folder), stage, quiet=as_json), as_json, title=stage)
