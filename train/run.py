"""One training run in memory and on disk: how it starts, what it writes, how it goes on after a kill."""

from __future__ import annotations

import gc
import hashlib
import json
import os
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric

from ssmith.errors import InputError, SsmithError
from ssmith.files import write_atomic
from ssmith.recipe import Recipe
from ssmith.train.accelerator import shared_by
from ssmith.train.checkpoint import Checkpoint, cloned, optimizer_entries, restore_optimizer
from ssmith.train.cuts import CutReport
from ssmith.train.distill import Teacher
from ssmith.train.evaluate import batches_for_cuts, evaluate, loss_function, outputs_function
from ssmith.train.goal import Goal
from ssmith.train.loggers import Logger, open_loggers
from ssmith.train.model import Network, build_network, parameter_groups
from ssmith.train.splits import SequenceSet, Splits
from ssmith.train.step_loss import StepLoss, follower
from ssmith.train.truncate import OrderNotReachedError, Truncator

# Validation sequences behind the check of a cut: their loss is known to a few percent, and a cut stays cheap.
HELD_OUT = 1000

# All that a run writes; a kill may leave `.NAME.…` beside any of them.
FILES = (
    "last.safetensors",
    "best.safetensors",
    "metrics.jsonl",
    "metrics.csv",
    "cuts.json",
    "spectra.json",
    "elapsed.json",
    "result.json",
)


@dataclass(frozen=True)
class Best:
    """The best evaluation since the last cut that stands."""

    step: int
    loss: float
    metric: float


class Run:
    """A network, its optimiser and truncator, where they are, and the folder they are written to.

    Args:
        recipe: task, model, train and reduce are used.
        splits: the data.
        folder: of the run; made if missing.
        seed: of weights, batches and dropout.
        threads: of the CPU, recorded.
        fabric: launched.
        digest: of all that decides the result.
        teacher: a network to learn from besides the targets, or None.
    """

    def __init__(
        self,
        recipe: Recipe,
        splits: Splits,
        folder: Path,
        *,
        seed: int,
        threads: int,
        fabric: Fabric,
        digest: str,
        teacher: Teacher | None = None,
    ) -> None:
        self.recipe, self.splits, self.folder, self.seed = recipe, splits, folder, seed
        self.threads, self.fabric, self.digest = threads, fabric, digest
        self.writes = fabric.is_global_zero
        self.step = 0
        self.best: Best | None = None
        self.rows: list[dict[str, Any]] = []
        self.cut_rows: list[dict[str, Any]] = []
        self.spectrum_rows: list[dict[str, Any]] = []
        self.loss_sum = torch.zeros((), dtype=torch.float64)
        self.loss_steps = 0
        self.loggers: list[Logger] = []
        share = slice(fabric.global_rank, None, fabric.world_size)
        self.step_loss = StepLoss(
            recipe, splits.train, fabric.device, seed=seed, teacher=teacher, share=share
        )
        self.model: Any = None  # the network and optimiser as Fabric wraps them
        self.stepper: Any = None

    def start(self, last: Checkpoint | None) -> None:
        """Begin, or go on from a checkpoint; files are set back to what they were then."""
        orders = None if last is None else last.orders
        self.network = fresh_network(self.recipe, self.splits, self.seed, orders)
        if last is not None:
            self.network.load_state_dict(last.model)
        self.network.to(self.fabric.device)
        groups = parameter_groups(self.network, self.recipe.train)
        # With float16 the fused form would unscale gradients itself, after they should have been clipped.
        fused = self.fabric.device.type in ("cpu", "cuda") and self.recipe.train.precision != "16-mixed"
        self.optimizer = torch.optim.AdamW(groups, fused=fused)
        self.rates = [float(group["lr"]) for group in self.optimizer.param_groups]
        self.truncator = self._truncator()
        if last is not None:
            self._continue(last)
        self.wrap()
        if self.writes:
            self._tidy()
            self.loggers = open_loggers(
                self.recipe.train.loggers,
                self.folder,
                f"{self.recipe.name}-{self.digest[:6]}-s{self.seed}",
                self.rows,
            )

    def wrap(self) -> None:
        """(Re-)register with Fabric: DDP remembers the shapes of the parameters that it was built with."""
        self.model = self.stepper = None
        if self.fabric.world_size > 1:
            gc.collect()  # an old DDP wrapper in a reference cycle would go on hooking shared parameters
        self.model, self.stepper = self.fabric.setup(self.network, self.optimizer)
        self.model.mark_forward_method("process")

    def set_learning_rate(self, factor: float) -> None:
        """Scale every group's own rate."""
        for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
            group["lr"] = rate * factor

    def add_loss(self, loss: torch.Tensor) -> None:
        """Count a step's loss into the mean that the next evaluation logs."""
        self.loss_sum = self.loss_sum + loss.detach().to(self.loss_sum)
        self.loss_steps += 1

    def cut(self) -> None:
        """Let the truncator cut if it is time; write down what it did.

        Raises:
            OrderNotReachedError: the explicit order was not reached.
        """
        if self.truncator is None:
            return
        try:
            report = self.truncator.step(self.step)
        except OrderNotReachedError as error:
            self._record(error.report)
            raise
        if report is not None:
            self._record(report)

    def evaluate(self) -> None:
        """Log a row; keep the network if it is the best so far."""
        total = self.loss_sum
        if self.fabric.world_size > 1:  # moves it to the device, and one alone may not know float64 (MPS)
            total = self.fabric.all_reduce(total, reduce_op="mean")
        train_loss = float(total) / max(1, self.loss_steps)
        self.require_finite()
        self.loss_sum, self.loss_steps = torch.zeros_like(self.loss_sum), 0
        if not self.writes:
            return
        found = evaluate(self.recipe, self.network, self.splits.validation, self.fabric.device)
        row = {
            "step": self.step,
            "train_loss": train_loss,
            "validation_loss": found.loss,
            "validation_metric": found.metric,
            "learning_rate": max(float(group["lr"]) for group in self.optimizer.param_groups),
            "orders": list(self.network.orders),
        }
        self.rows.append(row)
        _append(self.folder / "metrics.jsonl", row)
        for log in self.loggers:
            log(row)
        candidate = Best(self.step, found.loss, found.metric)
        if self.best is None or self._better(candidate, self.best):
            self.best = candidate
            self._checkpoint(cloned(self.network.state_dict())).write(self.folder / "best.safetensors")

    def save(self) -> None:
        """Write the checkpoint that a killed run goes on from."""
        self.require_finite()
        if self.writes:
            entries = optimizer_entries(self.network, self.optimizer)
            found = self._checkpoint(self.network.state_dict(), entries)
            replace(found, carried=self.step_loss.carried).write(self.folder / "last.safetensors")

    def require_finite(self) -> None:
        """Raise if a loss since the last evaluation was not finite.

        Raises:
            SsmithError: the training has diverged; earlier checkpoints are untouched.
        """
        if not bool(self.loss_sum.isfinite()):
            raise SsmithError(
                f"the training loss stopped being finite in the steps up to {self.step}; lower "
                f"train.learning_rate (now {self.recipe.train.learning_rate:g}) or train.gradient_clip, or "
                "raise train.warmup"
            )

    def _truncator(self) -> Truncator | None:
        recipe, settings = self.recipe, self.recipe.reduce
        if not settings.cuts_anything:
            return None
        return Truncator(
            self.network,
            self.optimizer,
            _Batches(recipe, self.splits.train, self.fabric.device, settings.sequences),
            total_steps=recipe.train.steps,
            goal=Goal.from_settings(settings),
            criterion=settings.criterion,
            refit=settings.refit,
            schedule=settings.schedule,
            window=settings.window,
            cuts=settings.cuts,
            gate=settings.gate,
            sequences=settings.sequences,
            moments=settings.moments,
            loss_fn=loss_function(recipe),
            held_out=_Batches(recipe, self.splits.validation, self.fabric.device, HELD_OUT),
            max_loss_increase=settings.max_loss_increase,
            outputs=outputs_function(recipe),
            on_cut=lambda replaced: self.wrap(),
            on_basis=follower(self.step_loss, self.network),
            allow_larger=settings.allow_larger,
            seed=self.seed,
            share=shared_by(self.fabric),
        )

    def _continue(self, last: Checkpoint) -> None:
        facts = last.facts
        self.step = last.step
        restore_optimizer(self.network, self.optimizer, last.optimizer)
        self.best = None if facts["best"] is None else Best(**facts["best"])
        self.loss_sum = torch.tensor(facts["loss_sum"], dtype=torch.float64)
        self.loss_steps = facts["loss_steps"]
        self.step_loss.carried = {n: t.to(self.fabric.device) for n, t in last.carried.items()}
        if self.truncator is not None:
            self.truncator.load_state_dict(facts["truncator"])
        if self.fabric.strategy.precision.state_dict():
            self.fabric.strategy.precision.load_state_dict(facts["scaler"])
        self.rows = [row for row in read_rows(self.folder / "metrics.jsonl") if row["step"] <= self.step]
        self.cut_rows = self._rows_so_far("cuts.json")
        self.spectrum_rows = self._rows_so_far("spectra.json")

    def _tidy(self) -> None:
        """Set the run's files back to where the run is; remove what a killed write has left behind."""
        for name in FILES:
            for leftover in self.folder.glob(f".{name}.*"):
                leftover.unlink(missing_ok=True)
        lines = "".join(json.dumps(row) + "\n" for row in self.rows)
        write_atomic(self.folder / "metrics.jsonl", lines.encode())
        self._write_cuts()

    def _record(self, report: CutReport) -> None:
        self.cut_rows += report.as_json()
        self.spectrum_rows += report.spectra_as_json()
        if self.writes:
            self._write_cuts()
        if report.accepted:
            self.best = None

    def _rows_so_far(self, name: str) -> list[dict[str, Any]]:
        path = self.folder / name
        rows = json.loads(path.read_text()) if path.exists() else []
        return [row for row in rows if row["step"] <= self.step]

    def _write_cuts(self) -> None:
        write_atomic(self.folder / "cuts.json", (json.dumps(self.cut_rows, indent=1) + "\n").encode())
        if self.recipe.reduce.schedule == "plateau":
            lines = ",\n".join(json.dumps(row) for row in self.spectrum_rows)
            write_atomic(self.folder / "spectra.json", f"[{lines}]\n".encode())

    def _better(self, a: Best, b: Best) -> bool:
        """By the metric; by the loss where that ties."""
        sign = 1 if self.recipe.task == "classification" else -1
        return (sign * a.metric, -a.loss) > (sign * b.metric, -b.loss)

    def _checkpoint(
        self, model: dict[str, torch.Tensor], entries: dict[str, dict[str, torch.Tensor]] | None = None
    ) -> Checkpoint:
        facts = {
            "best": None if self.best is None else asdict(self.best),
            "loss_sum": float(self.loss_sum),
            "loss_steps": self.loss_steps,
            "truncator": None if self.truncator is None else self.truncator.state_dict(),
            "scaler": self.fabric.strategy.precision.state_dict(),
            "threads": self.threads,
        }
        return Checkpoint(self.step, self.network.orders, self.digest, model, entries or {}, facts)


class _Batches:
    """Sequences of a set as batches for cuts; can be iterated any number of times."""

    def __init__(
        self, recipe: Recipe, data: SequenceSet, device: torch.device, sequences: int | None
    ) -> None:
        self._arguments = (recipe, data, device, sequences)

    def __iter__(self) -> Any:
        return batches_for_cuts(*self._arguments)


def fresh_network(
    recipe: Recipe, splits: Splits, seed: int, orders: tuple[int, ...] | None = None
) -> Network:
    """The recipe's network for this data, normalisation filled in; `orders` where cuts have changed them."""
    network = build_network(
        recipe.model,
        len(splits.inputs),
        len(splits.outputs),
        pooling=recipe.pooling,
        seed=seed,
        orders=orders,
    )
    if recipe.model.encoder == "linear":
        network.set_normalisation(input_mean=splits.input_mean, input_std=splits.input_std)
    network.set_normalisation(output_mean=splits.output_mean, output_std=splits.output_std)
    return network


def run_digest(recipe: Recipe, splits: Splits, seed: int) -> str:
    """Hash of all that decides the result of a training: settings, data, seed."""
    sections = recipe.model_dump(mode="json", include={"task", "model", "train", "reduce"})
    sections["train"].pop("loggers")
    found = hashlib.sha256(json.dumps([sections, seed], sort_keys=True).encode())
    for part in (splits.train, splits.validation, splits.test):
        found.update(part.lengths.tobytes())
        targets = part.targets if isinstance(part.targets, tuple) else (part.targets,)
        for array in (*part.inputs, *targets):
            found.update(array.tobytes())
    return found.hexdigest()


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Whole lines of a JSON-lines file; a killed process may have left half of one behind them."""
    rows: list[dict[str, Any]] = []
    if path.exists():
        for line in path.read_text().splitlines(keepends=True):
            if not line.endswith("\n"):
                break
            rows.append(json.loads(line))
    return rows


def _append(path: Path, row: dict[str, Any]) -> None:
    try:
        with path.open("a") as file:
            file.write(json.dumps(row) + "\n")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise InputError(
            f"cannot write {path}: {error.strerror or error}. Free some space; then the same command goes on "
            "from the last checkpoint"
        ) from error
