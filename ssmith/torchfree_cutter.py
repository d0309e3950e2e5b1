"""Layers of a frozen model cut on its op list: measured by the reference runtime, recorded, made a bundle."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ssmith.bundle import INTEGER_FIELDS, Bundle, GoldenMeta
from ssmith.errors import InputError
from ssmith.golden import recorded_tolerance
from ssmith.ops import SSM, Float32, Tensors, ssm_system, ssm_tensors, tensor_names
from ssmith.quant import PREFIX, SCALES
from ssmith.recipe import CriterionName, Recipe
from ssmith.runtime.reference import layer_states, run
from ssmith.system import Real

if TYPE_CHECKING:
    from ssmith.reduce import Measured, Reduction
    from ssmith.system import System
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

    def answers(self, bundle: Bundle, tensors: Tensors) -> Real:
        """The outputs to preserve on the held-out sequences, all below each other, (·, Y)."""
        outputs = [run(bundle.meta.ops, tensors, block)[0] for block in self.held_out]
        start = -1 if self.last_only else self.ignore_first
        return np.concatenate([y[start:] / self.scale for y in outputs])


class Cutter:
    """Cuts copies of one model by one criterion, judged on one set of data.

    Args:
        bundle: the model.
        criterion: one that measures no gradients.
        seen: the data.

    Attributes:
        layers: the SSM ops in order.
        present: N of each.

    Raises:
        InputError: another op reads a tensor of a layer.
    """

    def __init__(self, bundle: Bundle, criterion: CriterionName, seen: Seen) -> None:
        self.bundle, self.criterion, self.seen = bundle, criterion, seen
        self.layers = [op for op in bundle.meta.ops if isinstance(op, SSM)]
        self.present = tuple(bundle.tensors[op.lam].shape[1] for op in self.layers)
        _refuse_shared(bundle, self.layers)
        self._before = seen.answers(bundle, bundle.tensors)

    def cut(self, aims: Sequence[Facts | None]) -> tuple[Tensors, list[Facts]]:
        """Cut the layers from the first on, each with statistics of what the ones before became.

        Args:
            aims: what to ask ``ssmith.reduce.reduce_system`` for, one entry a layer; None leaves it alone.

        Returns:
            The model's tensors afterwards, and one record for each layer with an aim, ready for JSON.
        """
        from ssmith.train.cuts import CutReport

        tensors: Tensors = self.bundle.tensors
        cuts: list[LayerCut] = []
        answers = self._before
        for index, (op, aim) in enumerate(zip(self.layers, aims, strict=True)):
            if aim is None:
                continue
            full = ssm_system(op, tensors)
            reduction = self._reduce(full, op, tensors, aim)
            smaller = _stored(op, reduction) if reduction.order < full.order else None
            if smaller is None:
                cuts.append(self._left(index, full, reduction))
                continue
            tensors = {**tensors, **smaller}
            changed = self.seen.answers(self.bundle, tensors)
            cuts.append(
                self._done(index, full, reduction, ssm_system(op, tensors), _change(answers, changed))
            )
            answers = changed
        return tensors, CutReport(0, 1, tuple(cuts)).as_json()

    def change(self, tensors: Tensors) -> float:
        """Relative RMS change of the outputs on the held-out sequences; nan where they are all zero."""
        return _change(self._before, self.seen.answers(self.bundle, tensors))

    def spectra(self) -> list[Real]:
        """σ of each layer of the uncut model, descending, (2N,) each."""
        tensors = self.bundle.tensors
        return [
            self._reduce(ssm_system(op, tensors), op, tensors, {"order": n}).singular_values
            for op, n in zip(self.layers, self.present, strict=True)
        ]

    def frozen(self, tensors: Tensors, cuts: Sequence[Facts], reduced_to: str) -> Bundle:
        """The bundle of a cut model: golden outputs made again by the float64 reference.

        Args:
            tensors: as ``cut`` returned them.
            cuts: records to add to the history.
            reduced_to: the goal in words, for the provenance.

        Raises:
            SsmithError: float32 does not carry the cut model.
        """
        meta = self.bundle.meta
        weights = {name: a for name, a in tensors.items() if not name.startswith((PREFIX, SCALES))}
        golden = []
        for case in self.bundle.golden():
            exact, _ = run(meta.ops, tensors, case.input)
            rounded, _ = run(meta.ops, tensors, case.input, precision="float32")
            scale = max(float(np.abs(exact).max(initial=0.0)), 1e-6)
            spread = float(np.abs(rounded - exact).max(initial=0.0)) / scale
            tolerance = recorded_tolerance(case.name, spread)
            golden.append(GoldenMeta(name=case.name, relative_tolerance=tolerance))
            output = exact.astype(np.float32)
            weights |= {f"golden.{case.name}.{part}": output for part in ("output", "streamed")}
        provenance = {
            "reduced_from": self.bundle.sha256,
            "reduced_to": reduced_to,
            "golden_from": "reference",  # no trained network was there to record
        }
        changes = {
            "golden": tuple(golden),
            "reduction": (*meta.reduction, *cuts),
            "provenance": {**meta.provenance, **provenance},
            **dict.fromkeys(INTEGER_FIELDS),  # the ranges of the states before the cut are not those after it
        }
        return Bundle(meta.model_copy(update=changes), weights)

    def _reduce(self, system: System, op: SSM, tensors: Tensors, aim: Facts) -> Reduction:
        from ssmith.reduce import CRITERIA, reduce_system

        seen = self._measured(op, tensors) if CRITERIA[self.criterion].states else None
        return reduce_system(system, criterion=self.criterion, measured=seen, **aim)

    def _measured(self, op: SSM, tensors: Tensors) -> Measured:
        """E[x xᵀ] of a layer's planar states, (2N, 2N), over every frame of the sequences."""
        from ssmith.reduce import Measured

        size = 2 * tensors[op.lam].shape[1]
        total, count = np.zeros((size, size)), 0
        for block in self.seen.statistics:
            state = None
            for start in range(0, len(block), FRAMES):
                x, state = layer_states(
                    self.bundle.meta.ops, tensors, op, block[start : start + FRAMES], state
                )
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


def _stored(op: SSM, reduction: Reduction) -> dict[str, Float32] | None:
    """The reduced layer's tensors; None where float32 rounds a pole onto the unit circle."""
    from ssmith.reduce.guard import rounded

    return None if rounded(reduction.system) is None else ssm_tensors(op, reduction.system)


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
