"""The training loop on Lightning Fabric, from top to bottom: `train`.

A run is a folder. Killed at any moment, it goes on from its last checkpoint and ends with the same bytes as
a run that was never disturbed: batches, dropout and schedules are pure functions of (seed, step), and
everything else that matters is in the checkpoint.

- ``last.safetensors``: where the run is; writing it is what commits a step.
- ``best.safetensors``: best on validation at the final order; every cut that stands starts the search anew.
- ``metrics.jsonl``: one row an evaluation. ``cuts.json``: one row a layer and cut.
- ``result.json``: what came out; the test set is touched once, for this file.
"""

from __future__ import annotations

import hashlib
import json
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from ssmith.errors import InputError
from ssmith.files import write_atomic
from ssmith.recipe import Recipe
from ssmith.train.accelerator import open_fabric, reproducible, seed_step, shared_by
from ssmith.train.checkpoint import Checkpoint
from ssmith.train.distill import Teacher
from ssmith.train.evaluate import evaluate
from ssmith.train.model import Network, count_parameters
from ssmith.train.progress import Progress
from ssmith.train.run import Run, fresh_network, run_digest
from ssmith.train.schedule import learning_rate_factor
from ssmith.train.splits import Splits

SMALL_STEP = 2_000_000  # complex states computed in a training step


@dataclass(frozen=True)
class TrainResult:
    """What a finished training is.

    Attributes:
        folder: where its files are.
        orders: complex modes of each layer at the end.
        best_step: the step that ``best.safetensors`` is from.
        metric: accuracy, nrmse or esr.
        validation_metric: of the best step.
        test_metric: of the best step on the test set, measured once.
        parameters: how many numbers training may change, at the end.
        seconds: wall time of all steps and cuts, over all processes that worked on the run.
        threads: CPU threads; the bits depend on them.
    """

    folder: Path
    orders: tuple[int, ...]
    best_step: int
    metric: str
    validation_metric: float
    test_metric: float
    parameters: int
    seconds: float
    threads: int


def train(
    recipe: Recipe,
    splits: Splits,
    folder: Path,
    *,
    seed: int | None = None,
    threads: int | None = None,
    on_progress: Callable[[Progress], object] | None = None,
    teacher: Teacher | None = None,
) -> TrainResult:
    """Train a recipe's network on data, or go on where a killed run stopped.

    Args:
        recipe: its sections model, train and reduce are used; reduce without a goal trains without cuts.
        splits: the data.
        folder: of the run. What is in it is continued, if it came from the same recipe, data and seed.
        seed: of weights, batches and dropout; the recipe's if None.
        threads: CPU threads of a fresh run; the recipe's if None. A run that goes on keeps its own.
        on_progress: called after every step.
        teacher: a network to learn from besides the targets (knowledge distillation).

    Raises:
        InputError: a folder from another run, a setting this machine cannot do, a full disk.
        SsmithError: the loss diverged, or an explicit order was not reached.
    """
    seed = recipe.seed if seed is None else seed
    digest = run_digest(recipe, splits, seed)
    if teacher is not None:
        digest = hashlib.sha256((digest + teacher.digest()).encode()).hexdigest()
    last = _last(folder, digest)
    if last is not None and last.step == recipe.train.steps and (done := _finished(folder, digest)):
        return done
    fabric = open_fabric(recipe.train)
    if last is not None:
        threads = int(last.facts["threads"])
    with reproducible(threads or working_threads(recipe, splits), fabric.device):
        run = Run(
            recipe,
            splits,
            folder,
            seed=seed,
            threads=torch.get_num_threads(),
            fabric=fabric,
            digest=digest,
            teacher=teacher,
        )
        run.start(last)
        if teacher is not None:
            teacher.network.to(fabric.device)
        clock = _Clock(folder, fresh=last is None)
        steps, settings = recipe.train.steps, recipe.train
        for step in range(run.step, steps):
            _train_step(run, step)
            run.cut()
            if run.step % settings.evaluate_every == 0 or run.step == steps:
                run.evaluate()
            if run.step % settings.checkpoint_every == 0 or run.step == steps:
                clock.write(run)
                run.save()
            if on_progress is not None and run.writes:
                on_progress(_progress(run))
        result: TrainResult = shared_by(fabric)(lambda: _finish(run, clock))
        return result


def working_threads(recipe: Recipe, splits: Splits) -> int:
    """As many as the recipe says; else one where a step is too small to share.

    Two threads that wait for each other inside every small operation win little on an idle machine and
    lose much on a busy one: a thread that lost its core is waited for until the scheduler brings it back.
    """
    if recipe.train.threads is not None:
        return recipe.train.threads
    steps = min(int(splits.train.lengths.max()), recipe.train.chunk or sys.maxsize)
    state_values = recipe.train.batch * steps * max(recipe.model.orders)
    return 1 if state_values <= SMALL_STEP else torch.get_num_threads()


def _train_step(run: Run, step: int) -> None:
    """One step of AdamW on this step's batch."""
    fabric, settings = run.fabric, run.recipe.train
    seed_step(run.seed, step, fabric.global_rank, fabric.device)
    run.set_learning_rate(learning_rate_factor(step, settings.steps, settings.warmup))
    run.model.train()
    run.stepper.zero_grad()
    loss = run.step_loss(run.model, run.network, step)
    fabric.backward(loss)
    fabric.clip_gradients(run.model, run.stepper, max_norm=settings.gradient_clip, error_if_nonfinite=False)
    run.stepper.step()
    run.add_loss(loss)
    run.step = step + 1


class _Clock:
    """Seconds of work on a run. Not part of the checkpoint: time is the one thing that does not repeat."""

    def __init__(self, folder: Path, *, fresh: bool) -> None:
        self._path, self._start = folder / "elapsed.json", time.monotonic()
        self._before = 0.0
        if not fresh and self._path.exists():
            self._before = float(json.loads(self._path.read_text())["seconds"])

    def seconds(self) -> float:
        """So far."""
        return self._before + time.monotonic() - self._start

    def write(self, run: Run) -> None:
        """Remember them for the process that may have to go on."""
        if run.writes:
            write_atomic(self._path, json.dumps({"seconds": round(self.seconds(), 3)}).encode())


def _progress(run: Run) -> Progress:
    row = run.rows[-1] if run.rows else {"train_loss": None, "validation_metric": None}
    return Progress(
        run.step,
        run.recipe.train.steps,
        run.network.orders,
        row["train_loss"],
        row["validation_metric"],
    )


def _finish(run: Run, clock: _Clock) -> TrainResult:
    """Measure the best network on the test set and write the result."""
    seconds = clock.seconds()
    best = Checkpoint.read(run.folder / "best.safetensors")
    assert run.best is not None and best.step == run.best.step  # the last step is always evaluated
    network = load_network(run.recipe, run.splits, best).to(run.fabric.device)
    test = evaluate(run.recipe, network, run.splits.test, run.fabric.device)
    result = TrainResult(
        run.folder,
        best.orders,
        best.step,
        run.recipe.metric,
        run.best.metric,
        test.metric,
        count_parameters(network),
        round(seconds, 3),
        run.threads,
    )
    document = {**asdict(result), "folder": None, "digest": run.digest}
    write_atomic(run.folder / "result.json", (json.dumps(document, indent=1) + "\n").encode())
    return result


def load_network(recipe: Recipe, splits: Splits, checkpoint: Checkpoint) -> Network:
    """The network of a checkpoint, on the CPU, in evaluation mode."""
    network = fresh_network(recipe, splits, 0, checkpoint.orders)
    network.load_state_dict(checkpoint.model)
    return network.eval()


def _last(folder: Path, digest: str) -> Checkpoint | None:
    """The checkpoint to go on from.

    Raises:
        InputError: it is from other settings, data or seed.
    """
    path = folder / "last.safetensors"
    if not path.exists():
        return None
    last = Checkpoint.read(path)
    if last.digest != digest:
        raise InputError(
            f"{folder} holds a run with other settings, data or another seed; continuing it would mix the "
            "two. Choose another folder with --name, or remove this one"
        )
    return last


def _finished(folder: Path, digest: str) -> TrainResult | None:
    """The result of a run that is done, or None if it was killed before it wrote one.

    Raises:
        InputError: its best checkpoint is gone.
    """
    path = folder / "result.json"
    if not path.exists():
        return None
    document = json.loads(path.read_text())
    if document.pop("digest") != digest:
        return None
    if not (folder / "best.safetensors").exists():
        raise InputError(
            f"{folder} holds a finished training without its best.safetensors, which cannot be made again "
            "from the rest; restore it, or remove the folder to train anew"
        )
    return TrainResult(**{**document, "folder": folder, "orders": tuple(document["orders"])})
