"""From recordings to three disjoint sets of sequences, with the statistics of the first.

A recording is split before it is cut into windows, so no frame of validation or test is ever a
neighbour within a training window. Statistics (means, deviations, the list of labels in use) come
from the training part alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ssmith.bundle import Signal
from ssmith.errors import InputError

Float32 = NDArray[np.float32]
Int64 = NDArray[np.int64]
Label = str | int
Task = Literal["classification", "regression"]


@dataclass(frozen=True, eq=False)
class Recording:
    """One sequence as it was read.

    Args:
        name: where it came from, for messages.
        input: frames, shape (T, U).
        target: the label of the sequence, or a frame of outputs a step, shape (T, Y).
    """

    name: str
    input: Float32
    target: Label | Float32


@dataclass(frozen=True, eq=False)
class Recordings:
    """All recordings of a data set and what their columns are called.

    Args:
        items: the recordings.
        inputs: U signals.
        outputs: Y signals; empty for classification, where the labels found become the outputs.
        period_s: seconds between frames, None when frames have no rate.
        notes: what the reader noticed or assumed, one sentence each.
    """

    items: tuple[Recording, ...]
    inputs: tuple[Signal, ...]
    outputs: tuple[Signal, ...] = ()
    period_s: float | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class SequenceSet:
    """Sequences of unequal length with one target each.

    Args:
        inputs: n arrays of shape (T_i, U).
        targets: labels of shape (n,), or n arrays of shape (T_i, Y).
    """

    inputs: tuple[Float32, ...]
    targets: Int64 | tuple[Float32, ...]

    def __len__(self) -> int:
        return len(self.inputs)

    @cached_property
    def lengths(self) -> Int64:
        """T_i of each sequence, shape (n,); counted once, as every batch asks for it."""
        return np.array([len(u) for u in self.inputs], np.int64)


@dataclass(frozen=True, eq=False)
class Splits:
    """A data set ready for training.

    Args:
        train: what weights and statistics are made from.
        validation: what decisions are made from.
        test: touched once, for the figure that is reported.
        inputs: U signals.
        outputs: Y signals; for classification one a label, in the order of the label numbers.
        period_s: seconds between frames, or None.
        task: "classification" or "regression".
        input_mean: of the training frames, shape (U,).
        input_std: likewise; 1 where an input never changes.
        output_mean: of the training targets, shape (Y,); 0 for classification.
        output_std: likewise; 1 for classification.
        notes: what was noticed or assumed, one sentence each.
    """

    train: SequenceSet
    validation: SequenceSet
    test: SequenceSet
    inputs: tuple[Signal, ...]
    outputs: tuple[Signal, ...]
    period_s: float | None
    task: Task
    input_mean: Float32
    input_std: Float32
    output_mean: Float32
    output_std: Float32
    notes: tuple[str, ...] = ()


def split(
    recordings: Recordings,
    task: Task,
    *,
    seed: int,
    validation: float,
    test: float,
    split_by: Literal["sequence", "time"] = "sequence",
    window: int | None = None,
    stride: int | None = None,
) -> Splits:
    """Split recordings into training, validation and test.

    By sequence, a permutation drawn from ``seed`` decides; for classification it is stratified, each
    label spread evenly. By time, the first part of every recording trains, the last part tests.

    Args:
        recordings: at least three, or (by time) at least one.
        task: what the targets are.
        seed: of the permutation.
        validation: share of the sequences, or of each recording's time.
        test: likewise.
        split_by: "sequence" or "time".
        window: cut what is longer into pieces of this many steps; None keeps whole sequences.
        stride: steps between the starts of training windows; None, and outside training: no overlap.

    Raises:
        InputError: too little to split, a label that training would never see, a value that is not
            finite, a constant target.
    """
    check(recordings)
    if split_by == "time":
        parts = _by_time(recordings.items, validation, test)
    else:
        parts = _by_sequence(recordings.items, task, seed, validation, test)
    if window is not None:
        strides = (stride or window, window, window)
        parts = tuple(
            [piece for item in part for piece in _windows(item, window, step)]
            for part, step in zip(parts, strides, strict=True)
        )
    return assemble(recordings, parts, task)


def assemble(recordings: Recordings, parts: Sequence[Sequence[Recording]], task: Task) -> Splits:
    """Statistics and label numbers for three lists of recordings that are already apart.

    Args:
        recordings: signals, period and notes; its items are not used. ``check`` the parts before.
        parts: training, validation and test.
        task: what the targets are.

    Raises:
        InputError: as ``split``.
    """
    notes = list(recordings.notes)
    frames = np.concatenate([item.input for item in parts[0]]).astype(np.float64)
    input_mean, input_std = frames.mean(0), frames.std(0)
    for signal, mean, spread in zip(recordings.inputs, input_mean, input_std, strict=True):
        if spread == 0:
            notes.append(
                f"input {signal.name!r} is {mean:g} in every training frame: it tells a model nothing"
            )
    if task == "classification":
        outputs, sets = _number_labels(parts, notes)
        output_mean, output_std = np.zeros(len(outputs)), np.ones(len(outputs))
    else:
        outputs = recordings.outputs
        sets = [SequenceSet(_inputs(part), tuple(_frames(i) for i in part)) for part in parts]
        targets = np.concatenate([_frames(item) for item in parts[0]]).astype(np.float64)
        output_mean, output_std = targets.mean(0), targets.std(0)
        for signal, mean, spread in zip(outputs, output_mean, output_std, strict=True):
            if spread <= 1e-7 * abs(mean):
                raise InputError(
                    f"target {signal.name!r} is {mean:g} in every training frame, so there is nothing"
                    " to learn; remove it from data.targets, or record data in which it changes"
                )
    return Splits(
        sets[0],
        sets[1],
        sets[2],
        inputs=recordings.inputs,
        outputs=outputs,
        period_s=recordings.period_s,
        task=task,
        input_mean=input_mean.astype(np.float32),
        input_std=np.where(input_std > 0, input_std, 1).astype(np.float32),
        output_mean=output_mean.astype(np.float32),
        output_std=output_std.astype(np.float32),
        notes=tuple(notes),
    )


def check(recordings: Recordings) -> None:
    """Refuse what no model can be trained on.

    Raises:
        InputError: no sequence, one without frames, targets of another length or shape, a value that
            is not finite (sequence, signal and step are named).
    """
    if not recordings.items:
        raise InputError("there is not a single sequence in the data; give at least three")
    for item in recordings.items:
        groups = [("input", item.input, recordings.inputs)]
        if isinstance(item.target, np.ndarray):
            groups.append(("target", item.target, recordings.outputs))
            if len(item.target) != len(item.input):
                raise InputError(
                    f"{item.name} has {len(item.input)} input frames but {len(item.target)} target"
                    " frames; give one target frame for each input frame"
                )
        if len(item.input) == 0:
            raise InputError(f"{item.name} has no frames; remove it or give it at least one")
        for kind, values, signals in groups:
            if values.ndim != 2 or values.shape[1] != len(signals):
                raise InputError(
                    f"{item.name} has {kind} of shape {values.shape}; (T, {len(signals)}) is needed"
                    " in every sequence"
                )
            bad = np.argwhere(~np.isfinite(values))
            if len(bad):
                step, channel = bad[0]
                raise InputError(
                    f"{kind} {signals[channel].name!r} of {item.name} is {values[step, channel]} at"
                    f" step {step}, and one such value poisons all of training;"
                    " remove the sequence or fill the gap"
                )


def stratified(labels: Sequence[Label], rng: np.random.Generator) -> Int64:
    """A random order in which every prefix holds each label in its share, within one sequence.

    Item number r (from 0, at random) of the n with one label goes to place (r + ½)/n of the way.
    """
    shuffled = rng.permutation(len(labels))
    seen: dict[Label, int] = {}
    rank = np.empty(len(labels))
    for index in shuffled:
        rank[index] = seen.get(labels[index], 0) + 0.5
        seen[labels[index]] = int(rank[index] + 0.5)
    place = rank / np.array([seen[label] for label in labels])
    order: Int64 = shuffled[np.argsort(place[shuffled], kind="stable")]
    return order


def _by_sequence(
    items: tuple[Recording, ...], task: Task, seed: int, validation: float, test: float
) -> tuple[list[Recording], ...]:
    n = len(items)
    n_test, n_validation = max(1, round(n * test)), max(1, round(n * validation))
    if n < 3 or n_test + n_validation >= n:
        raise InputError(
            f"{n} sequence{'s' * (n != 1)} cannot be split into training, validation and test;"
            " give at least 3 (data.sequence_id names the column that tells them apart), or write"
            ' split_by = "time" to split each recording along its time'
        )
    rng = np.random.default_rng([seed, 0x5B117])
    if task == "classification":
        order = stratified([_label(item) for item in items], rng)
    else:
        order = rng.permutation(n)
    picked = [items[i] for i in order]
    held_out = n_test + n_validation
    return picked[held_out:], picked[n_test:held_out], picked[:n_test]


def _by_time(items: tuple[Recording, ...], validation: float, test: float) -> tuple[list[Recording], ...]:
    parts: tuple[list[Recording], ...] = ([], [], [])
    for item in items:
        total = len(item.input)
        ends = [0, round(total * (1 - validation - test)), round(total * (1 - test)), total]
        for part, first, last in zip(parts, ends[:-1], ends[1:], strict=True):
            if last - first < 2:
                raise InputError(
                    f"{item.name} has {total} steps, too few to split along time into"
                    f" {1 - validation - test:.0%}, {validation:.0%} and {test:.0%};"
                    " give longer recordings or larger shares"
                )
            part.append(_piece(item, first, last))
    return parts


def _windows(item: Recording, window: int, stride: int) -> list[Recording]:
    """Pieces of ``window`` steps that cover the recording; the last one may be shorter."""
    total = len(item.input)
    pieces, first = [_piece(item, 0, min(window, total))], 0
    while first + window < total:
        first += stride
        if first < total:
            pieces.append(_piece(item, first, min(first + window, total)))
    return pieces


def _piece(item: Recording, first: int, last: int) -> Recording:
    target = item.target[first:last] if isinstance(item.target, np.ndarray) else item.target
    return replace(item, input=item.input[first:last], target=target)


def _number_labels(
    parts: Sequence[Sequence[Recording]], notes: list[str]
) -> tuple[tuple[Signal, ...], list[SequenceSet]]:
    found = [[_label(item) for item in part] for part in parts]
    names = sorted(set(found[0]), key=lambda label: (isinstance(label, str), label))
    if len(names) < 2:
        raise InputError(
            f"every training sequence has the label {names[0]!r}, so there is nothing to tell apart;"
            " give sequences of at least two classes"
        )
    numbers = {label: number for number, label in enumerate(names)}
    for part, labels in zip(("validation", "test"), found[1:], strict=True):
        if unseen := [label for label in labels if label not in numbers]:
            raise InputError(
                f"label {unseen[0]!r} is in {part} but never in training, so no model can learn it;"
                " give more sequences of that class or remove it"
            )
        if absent := [str(name) for name in names if name not in labels]:
            notes.append(f"{part} has no sequence of class {', '.join(absent)}")
    outputs = tuple(Signal(name=str(name)[:80] or "(empty)") for name in names)
    sets = [
        SequenceSet(_inputs(part), np.array([numbers[label] for label in labels], np.int64))
        for part, labels in zip(parts, found, strict=True)
    ]
    return outputs, sets


def _inputs(part: Sequence[Recording]) -> tuple[Float32, ...]:
    return tuple(item.input for item in part)


def _label(item: Recording) -> Label:
    if isinstance(item.target, np.ndarray):
        raise InputError(
            f"{item.name} has an array of shape {item.target.shape} as target, but a classifier needs"
            ' one label a sequence; write task = "regression" for outputs at every step'
        )
    return item.target


def _frames(item: Recording) -> Float32:
    if not isinstance(item.target, np.ndarray):
        raise InputError(
            f"{item.name} has the label {item.target!r} as target, but regression needs outputs of"
            ' shape (T, Y); write task = "classification" for one label a sequence'
        )
    return item.target
