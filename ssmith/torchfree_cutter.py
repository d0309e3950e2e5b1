"""Layers of a frozen model cut on its op list: measured by the reference runtime, recorded, made a bundle."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ssmith.bundle import INTEGER_FIELDS, Bundle
from ssmith.errors import InputError
from ssmith.ops import SSM, Float32, Op, Tensors, ssm_system, ssm_tensors, tensor_names
from ssmith.quant import PREFIX, SCALES
from ssmith.recipe import CriterionName, Recipe
from ssmith.runtime.record import record_golden
from ssmith.runtime.reference import layer_states, run
from ssmith.system import Real, System

if TYPE_CHECKING:
    from ssmith.reduce import Measured, Reduction
    from ssmith.train.cuts import LayerCut

Facts = dict[str, Any]
FRAMES = 4096  # at a time: the states of a layer over a long recording need not fit in memory
HELD_OUT = 200  # sequences whose outputs are compared across a cut


@dataclass(frozen=True, eq=False)
class Seen:
    """Sequences of shape (T, U): what statistics are measured on, and what cuts are judged by.

    Attributes:
        statistics: for the second moments of the states.
        held_out: for the change of the outputs.
        words: where they come from.
        last_only: only the last frame's outputs count (a classifier that pools).
        ignore_first: frames at the start whose outputs do not count.
        scale: what outputs are divided by, shape (Y,).
    """

    statistics: tuple[Float32, ...]
    held_out: tuple[Float32, ...]
    words: str
    last_only: bool = False
    ignore_first: int = 0
    scale: Real | float = 1.0

    @classmethod
    def gather(cls, bundle: Bundle, recipe: Recipe | None) -> Seen:
        """The recipe's data, split as they were in training, or the bundle's golden inputs.

        Raises:
            InputError: the data does not fit the model, or the bundle holds no golden inputs.
        """
        golden = tuple(case.input for case in bundle.golden() if len(case.input))
        if not golden:
            raise InputError(
                "the bundle holds no golden inputs, so nothing tells what a cut does to its outputs, and no"
                " export could be checked; freeze the model again with data"
            )
        if recipe is None:
            frames = sum(map(len, golden))
            return cls(golden, golden, f"the bundle's {len(golden)} golden inputs, {frames} frames")
        from ssmith.train.model_data import load_for

        recipe, splits = load_for(bundle, recipe)
        picked = splits.train.inputs[: recipe.reduce.sequences]
        return cls(
            picked,
            splits.validation.inputs[:HELD_OUT],
            f"{len(picked)} training sequences of {recipe.name}, {sum(map(len, picked))} frames",
            last_only=recipe.task == "classification" and recipe.pooling != "none",
            ignore_first=recipe.train.ignore_first,
            scale=splits.output_std.astype(np.float64),
        )

    def answers(self, model: Model) -> Real:
        """The outputs to preserve on the held-out sequences, all below each other, (·, Y)."""
        outputs = [run(model.ops, model.tensors, block)[0] for block in self.held_out]
        start = -1 if self.last_only else self.ignore_first
        return np.concatenate([y[start:] / self.scale for y in outputs])


@dataclass(frozen=True, eq=False)
class Model:
    """An op list with its weights; a cut changes the tensors, and which channels have how many modes."""

    ops: tuple[Op, ...]
    tensors: Tensors

    @property
    def layers(self) -> list[SSM]:
        """The SSM ops in order."""
        return [op for op in self.ops if isinstance(op, SSM)]

    def order(self, index: int) -> int:
        """N of a layer."""
        return int(self.tensors[self.layers[index].lam].shape[1])

    def system(self, index: int) -> System:
        """A layer as a system."""
        return ssm_system(self.layers[index], self.tensors)

    def with_system(self, index: int, system: System) -> Model:
        """The model with another system in a layer; D stays."""
        old = self.layers[index]
        new = old.model_copy(update={"channels": system.channels})
        ops = tuple(new if op is old else op for op in self.ops)
        return Model(ops, {**self.tensors, **ssm_tensors(new, system)})


class Cutter:
    """Cuts copies of one model by one criterion, judged on one set of data.

    Args:
        bundle: the model.
        criterion: one that measures no gradients.
        seen: the data.

    Attributes:
        model: the uncut one.
        present: N of each layer.

    Raises:
        InputError: another op reads a tensor of a layer.
    """

    def __init__(self, bundle: Bundle, criterion: CriterionName, seen: Seen) -> None:
        self.bundle, self.criterion, self.seen = bundle, criterion, seen
        self.model = Model(bundle.meta.ops, bundle.tensors)
        self.present = tuple(map(self.model.order, range(len(self.model.layers))))
        _refuse_shared(bundle, self.model.layers)
        self._before = seen.answers(self.model)

    def cut(self, aims: Sequence[Facts | None]) -> tuple[Model, list[Facts]]:
        """Cut the layers from the first on, each with statistics of what the ones before became.

        Args:
            aims: what to ask ``ssmith.reduce.reduce_system`` for, one entry a layer; None leaves it alone.

        Returns:
            The model afterwards, and one record for each layer with an aim, ready for JSON.
        """
        from ssmith.reduce.guard import rounded
        from ssmith.train.cuts import CutReport

        model = self.model
        cuts: list[LayerCut] = []
        answers = self._before
        for index, aim in enumerate(aims):
            if aim is None:
                continue
            full = model.system(index)
            reduction = self._reduce(model, index, aim)
            if reduction.order >= full.order or rounded(reduction.system) is None:
                cuts.append(self._left(index, full, reduction))
                continue
            model = model.with_system(index, reduction.system)
            changed = self.seen.answers(model)
            cuts.append(self._done(index, full, reduction, model.system(index), _change(answers, changed)))
            answers = changed
        return model, CutReport(0, 1, tuple(cuts)).as_json()

    def change(self, model: Model) -> float:
        """Relative RMS change of the outputs on the held-out sequences; nan where they are all zero."""
        return _change(self._before, self.seen.answers(model))

    def spectra(self) -> list[Real]:
        """σ of each layer of the uncut model, descending, (2N,) each."""
        return [
            self._reduce(self.model, index, {"order": n}).singular_values
            for index, n in enumerate(self.present)
        ]

    def frozen(self, model: Model, cuts: Sequence[Facts], reduced_to: str) -> Bundle:
        """The bundle of a cut model: golden outputs made again by the float64 reference.

        Args:
            model: as ``cut`` returned it.
            cuts: records to add to the history.
            reduced_to: the goal in words, for the provenance.

        Raises:
            SsmithError: float32 does not carry the cut model.
        """
        meta = self.bundle.meta
        weights = {n: a for n, a in model.tensors.items() if not n.startswith((PREFIX, SCALES))}
        inputs = {case.name: case.input for case in self.bundle.golden()}
        golden, recorded = record_golden(model.ops, weights, inputs)
        provenance = {
            "reduced_from": self.bundle.sha256,
            "reduced_to": reduced_to,
            "golden_from": "reference",  # no trained network was there to record
        }
        changes = {
            "ops": model.ops,
            "golden": golden,
            "reduction": (*meta.reduction, *cuts),
            "provenance": {**meta.provenance, **provenance},
            **dict.fromkeys(INTEGER_FIELDS),  # the ranges of the states before the cut are not those after it
        }
        return Bundle(meta.model_copy(update=changes), weights | recorded)

    def _reduce(self, model: Model, index: int, aim: Facts) -> Reduction:
        from ssmith.reduce import CRITERIA, reduce_system

        seen = self._measured(model, index) if CRITERIA[self.criterion].states else None
        return reduce_system(model.system(index), criterion=self.criterion, measured=seen, **aim)

    def _measured(self, model: Model, index: int) -> Measured:
        """E[x xᵀ] of a layer's planar states, (2N, 2N), over every frame of the sequences."""
        from ssmith.reduce import Measured

        size = 2 * model.order(index)
        total, count = np.zeros((size, size)), 0
        for block in self.seen.statistics:
            state = None
            for start in range(0, len(block), FRAMES):
                piece = block[start : start + FRAMES]
                x, state = layer_states(model.ops, model.tensors, model.layers[index], piece, state)
                total += x.T @ x
                count += len(x)
        return Measured(controllability=total / count, samples=count)

    def _left(self, index: int, full: System, reduction: Reduction) -> LayerCut:
        from ssmith.train.cuts import LayerCut

        reason = "; ".join(reduction.notes) or "nothing to cut"
        if reduction.order < full.order:
            reason = "skipped: a pole comes to lie on the unit circle in float32"
        return LayerCut(
            layer_name(index),
            full.order,
            full.order,
            self.criterion,
            accepted=False,
            reason=reason,
            singular_values=tuple(reduction.singular_values.tolist()),
            notes=reduction.notes,
        )

    def _done(
        self, index: int, full: System, reduction: Reduction, stored: System, change: float
    ) -> LayerCut:
        from ssmith.reduce.certificate import certificate
        from ssmith.train.cuts import LayerCut

        return LayerCut(
            layer_name(index),
            full.order,
            reduction.order,
            self.criterion,
            accepted=True,
            reason="accepted",
            singular_values=tuple(reduction.singular_values.tolist()),
            tail=reduction.tail,
            stable=reduction.stable,
            clamped=reduction.clamped,
            output_error=change,
            notes=reduction.notes,
            **certificate(full, reduction, stored),
        )


def _refuse_shared(bundle: Bundle, layers: Sequence[SSM]) -> None:
    """A tensor that two ops read cannot be cut for one of them."""
    readers = [name for op in bundle.meta.ops for name in set(tensor_names(op))]
    for op in layers:
        for name in (op.lam, op.B, op.C):
            if readers.count(name) > 1:
                raise InputError(
                    f"tensor {name!r} of layer {op.name!r} is read by another op too, so one cannot be cut"
                    " without the other; store it twice"
                )


def layer_name(index: int) -> str:
    """A layer's name in the records, as ``ssmith.train`` writes it."""
    return f"blocks.{index}.ssm"


def _change(before: Real, after: Real) -> float:
    """‖after - before‖ / ‖before‖ over all entries; nan where before is zero."""
    size = float(np.square(before).sum())
    return math.sqrt(float(np.square(after - before).sum()) / size) if size > 0 else math.nan
