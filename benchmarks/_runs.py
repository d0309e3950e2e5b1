"""The models of finished runs that benchmarks compare: the full network against the reduced one."""

from __future__ import annotations

from pathlib import Path

from ssmith.bundle import Bundle
from ssmith.recipe import Recipe
from ssmith.runtime.calibrate import calibrate
from ssmith.train.checkpoint import Checkpoint
from ssmith.train.data import load
from ssmith.train.freeze import GoldenInput, freeze
from ssmith.train.loop import load_network

TASKS = ("digits", "flexjoint")


def full_and_reduced(runs: Path, task: str) -> tuple[Bundle, Bundle]:
    """The networks of a run of `ssmith run TASK` in the folder `runs`, both with ranges.

    The full one is that of the compare stage.
    """
    folder = next(path.parent for path in sorted(runs.glob(f"{task}-*/{task}.ssm")))
    recipe = Recipe.load(task)
    splits = load(recipe)
    checkpoint = Checkpoint.read(folder / "compare" / "full" / "best.safetensors")
    full = freeze(
        load_network(recipe, splits, checkpoint),
        name=task,
        task=recipe.task,
        inputs=splits.inputs,
        outputs=splits.outputs,
        period_s=splits.period_s,
        golden_inputs=[GoldenInput("validation_0", splits.validation.inputs[0])],
    )
    seen = list(splits.train.inputs[:100])
    return calibrate(full, seen), calibrate(Bundle.read(folder / f"{task}.ssm"), seen)
