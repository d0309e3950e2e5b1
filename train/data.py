"""Data sets as the training loop sees them: loading, batches, and which sequences a step uses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from ssmith.bundle import Signal
from ssmith.errors import InputError
from ssmith.recipe import DataSettings, Recipe
from ssmith.train import compressor, flexjoint
from ssmith.train.data_cifar import cifar_splits
from ssmith.train.data_files import read_files
from ssmith.train.data_idx import idx_splits
from ssmith.train.splits import (
    Int64,
    Label,
    Recording,
    Recordings,
    SequenceSet,
    Splits,
    Task,
    assemble,
    check,
    split,
    stratified,
)

if TYPE_CHECKING:
    from torch import Tensor

DIGITS_HELD_OUT = (197, 400)  # validation and test images; 1,200 train
DIGITS_HOLD = 2  # steps each pixel is shown
GENERATED = ("flexjoint", "compressor")
FLEXJOINT_EPISODES = (192, 32, 64)  # training, validation, test
COMPRESSOR_RECORDINGS = (30, 6, 8)  # likewise


@dataclass(frozen=True, eq=False)
class Batch:
    """Sequences side by side, zeros after the end of each.

    Args:
        x: inputs, float32, shape (batch, T, U).
        y: labels, int64, shape (batch,); or outputs, float32, shape (batch, T, Y).
        lengths: valid steps, int64, shape (batch,).
    """

    x: Tensor
    y: Tensor
    lengths: Tensor


class Items(Protocol):
    """What is needed of a ``torch.utils.data.Dataset``: a length, and (x, y) for each index."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> tuple[Any, Any]: ...


def load(recipe: Recipe) -> Splits:
    """The data set of a recipe. The same recipe and seed give the same arrays.

    Raises:
        InputError: the files or the settings are no good; see ``read_files`` and ``split``.
    """
    settings = recipe.data
    period_s = None if settings.rate_hz is None else 1 / settings.rate_hz
    if settings.source != "files":
        _refuse_file_settings(settings)
        wanted: Task = "regression" if settings.source in GENERATED else "classification"
        if recipe.task != wanted:
            raise InputError(f'data.source "{settings.source}" is a {wanted} task; write task = "{wanted}"')
    if settings.source == "digits":
        return _digits(recipe.seed, period_s)
    if settings.source == "flexjoint":
        return _flexjoint(recipe.seed, settings.rate_hz)
    if settings.source == "compressor":
        return _compressor(recipe.seed, settings.rate_hz)
    if settings.source in ("smnist", "fashion-mnist"):
        return idx_splits(settings.source, settings.path, seed=recipe.seed, period_s=period_s)
    if settings.source == "cifar10":
        assert settings.path is not None  # the recipe has checked it
        return cifar_splits(settings.path, seed=recipe.seed, period_s=period_s)
    splits = split(
        read_files(settings, recipe.task),
        recipe.task,
        seed=recipe.seed,
        validation=settings.validation,
        test=settings.test,
        split_by=settings.split_by,
        window=settings.window,
        stride=settings.stride,
    )
    if recipe.model.vocabulary is not None:
        return _tokens(splits, recipe.model.vocabulary)
    return splits


def from_dataset(
    dataset: Items,
    task: Task,
    *,
    validation: Items | float = 0.15,
    test: Items | float = 0.15,
    seed: int = 0,
    inputs: Sequence[str] = (),
    outputs: Sequence[str] = (),
    period_s: float | None = None,
) -> Splits:
    """A ``torch.utils.data.Dataset`` of (x, y) items, read once into memory.

    Args:
        dataset: x of shape (T,) or (T, U), y a label or outputs of shape (T,) or (T, Y).
        task: what y is.
        validation: another data set, or the share to take from this one.
        test: likewise; both have to be of the same kind.
        seed: of the split.
        inputs: names of the U inputs; the default is input_0, ….
        outputs: names of the Y outputs of a regression; the default is output_0, ….
        period_s: seconds between frames.

    Raises:
        InputError: an item of another shape or type; else as ``split``.
    """
    items = _items(dataset, task, "dataset")
    first = items[0]
    width_out = first.target.shape[1] if isinstance(first.target, np.ndarray) else 0
    recordings = Recordings(
        tuple(items),
        _named(inputs, "input", first.input.shape[1]),
        _named(outputs, "output", width_out) if task == "regression" else (),
        period_s,
    )
    if isinstance(validation, float) and isinstance(test, float):
        return split(recordings, task, seed=seed, validation=validation, test=test)
    if isinstance(validation, float) or isinstance(test, float):
        raise InputError("validation and test are a share and a data set; give two of one kind")
    parts = [items, _items(validation, task, "validation"), _items(test, task, "test")]
    for part in parts:
        check(replace(recordings, items=tuple(part)))
    return assemble(recordings, parts, task)


def batch_indices(seed: int, step: int, n: int, batch_size: int) -> Int64:
    """Which of ``n`` sequences training step ``step`` uses, shape (batch_size,).

    A pure function, so that a resumed run needs no iterator state: epoch e is a permutation drawn
    from (seed, e) by a counter-based generator, the epochs follow each other without a gap, and
    step k takes entries k·batch_size … (k + 1)·batch_size − 1.
    """
    first = step * batch_size
    epochs = range(first // n, (first + batch_size - 1) // n + 1)
    orders = [
        np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, epoch]))).permutation(n)
        for epoch in epochs
    ]
    offset = first - epochs[0] * n
    indices: Int64 = np.concatenate(orders)[offset : offset + batch_size]
    return indices


def collate(data: SequenceSet, indices: Sequence[int] | Int64) -> Batch:
    """The sequences at ``indices`` as one batch; T is the longest among them."""
    import torch

    picked = [int(i) for i in indices]
    lengths = np.array([len(data.inputs[i]) for i in picked], np.int64)
    x = _pad([data.inputs[i] for i in picked], int(lengths.max()))
    if isinstance(data.targets, tuple):
        y = _pad([data.targets[i] for i in picked], int(lengths.max()))
    else:
        y = data.targets[picked]
    return Batch(torch.from_numpy(x), torch.from_numpy(y), torch.from_numpy(lengths))


def _pad(arrays: list[Any], steps: int) -> Any:
    padded = np.zeros((len(arrays), steps, arrays[0].shape[1]), np.float32)
    for row, array in zip(padded, arrays, strict=True):
        row[: len(array)] = array
    return padded


def _refuse_file_settings(settings: DataSettings) -> None:
    accepted = ["source", "rate_hz"]
    if settings.source not in ("digits", *GENERATED):
        accepted.append("path")
    for key, field in DataSettings.model_fields.items():
        if key not in accepted and getattr(settings, key) != field.default:
            raise InputError(
                f'data.{key} belongs to source = "files"; source = "{settings.source}" brings its own'
                " sequences and split, so remove it"
            )


def _tokens(splits: Splits, vocabulary: int) -> Splits:
    """For an embedding: the one input holds token numbers and is not normalised."""
    if len(splits.inputs) != 1:
        raise InputError(
            f'model.encoder = "embedding" reads one input, the token number, but data.inputs gives'
            f" {len(splits.inputs)}; name one column, or use the linear encoder"
        )
    for part in (splits.train, splits.validation, splits.test):
        for tokens in part.inputs:
            bad = tokens[(tokens != np.round(tokens)) | (tokens < 0) | (tokens >= vocabulary)]
            if len(bad):
                raise InputError(
                    f"input {splits.inputs[0].name!r} holds {bad[0]:g}, but an embedding with"
                    f" model.vocabulary = {vocabulary} reads whole numbers from 0 to"
                    f" {vocabulary - 1}; renumber the tokens or raise the vocabulary"
                )
    neutral = np.ones(1, np.float32)
    return replace(splits, input_mean=0 * neutral, input_std=neutral)


def _digits(seed: int, period_s: float | None) -> Splits:
    """scikit-learn's 1,797 digits of 8×8 pixels, row by row, each pixel shown for two steps."""
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    frames = np.repeat(pixels / 8 - 1, DIGITS_HOLD, axis=1).astype(np.float32)[:, :, None]
    items = [
        Recording(f"digit {i}", frame, int(label))
        for i, (frame, label) in enumerate(zip(frames, labels, strict=True))
    ]
    order = stratified([int(label) for label in labels], np.random.default_rng([seed, 0xD161]))
    picked = [items[i] for i in order]
    n_validation, n_test = DIGITS_HELD_OUT
    held_out = n_validation + n_test
    recordings = Recordings(
        tuple(items),
        (Signal(name="pixel", minimum=-1.0, maximum=1.0),),
        period_s=period_s,
    )
    parts = (picked[held_out:], picked[n_test:held_out], picked[:n_test])
    return assemble(recordings, parts, "classification")


def _flexjoint(seed: int, rate_hz: float | None) -> Splits:
    if rate_hz not in (None, flexjoint.RATE_HZ):
        raise InputError(
            f"data.rate_hz is {rate_hz:g}, but the flexible joint is simulated at"
            f" {flexjoint.RATE_HZ:g} Hz; remove it"
        )
    recordings = Recordings(
        (),
        (Signal(name="motor_torque", unit="N m"),),
        (Signal(name="tip_rate", unit="rad/s"),),
        1 / flexjoint.RATE_HZ,
    )
    pairs = flexjoint.episodes(seed, sum(FLEXJOINT_EPISODES))
    return _generated(recordings, "episode", pairs, FLEXJOINT_EPISODES)


def _compressor(seed: int, rate_hz: float | None) -> Splits:
    rate_hz = compressor.RATE_HZ if rate_hz is None else rate_hz
    audio = {"minimum": -1.0, "maximum": 1.0}
    recordings = Recordings(
        (),
        (
            Signal(name="dry", **audio),
            Signal(name="threshold", unit="dB"),
            Signal(name="release", unit="s"),
        ),
        (Signal(name="compressed", **audio),),
        1 / rate_hz,
    )
    pairs = compressor.recordings(seed, sum(COMPRESSOR_RECORDINGS), rate_hz=rate_hz)
    return _generated(recordings, "recording", pairs, COMPRESSOR_RECORDINGS)


def _generated(
    recordings: Recordings, kind: str, pairs: Sequence[tuple[Any, Any]], sizes: tuple[int, int, int]
) -> Splits:
    """The first so many pairs (input, output) train, the next validate, the last test."""
    items = [Recording(f"{kind} {i}", u, y) for i, (u, y) in enumerate(pairs)]
    ends = np.cumsum((0, *sizes))
    return assemble(recordings, [items[a:b] for a, b in pairwise(ends)], "regression")


def _named(names: Sequence[str], stem: str, width: int) -> tuple[Signal, ...]:
    if names and len(names) != width:
        raise InputError(f"{len(names)} {stem} names for {width} {stem}s; give one for each, or none")
    return tuple(Signal(name=name) for name in names or [f"{stem}_{i}" for i in range(width)])


def _items(dataset: Items, task: Task, source: str) -> list[Recording]:
    found = []
    for index in range(len(dataset)):
        x, y = dataset[index]
        name = f"{source}[{index}]"
        target: Label | Any
        if task == "regression":
            target = _frames(y, name, "y")
        else:
            scalar = np.asarray(y)
            if scalar.ndim or scalar.dtype.kind not in "iuU":
                raise InputError(
                    f"y of {name} has shape {scalar.shape} and type {scalar.dtype}; a classifier needs"
                    " one whole number or string as label"
                )
            target = scalar.item()
        found.append(Recording(name, _frames(x, name, "x"), target))
    if not found:
        raise InputError(f"the {source} data set is empty; give at least three sequences")
    return found


def _frames(value: Any, name: str, part: str) -> Any:
    array = np.asarray(value)
    if array.dtype.kind not in "fiub" or array.ndim not in (1, 2):
        raise InputError(
            f"{part} of {name} has shape {array.shape} and type {array.dtype}; numbers of shape (T,) or"
            " (T, features) are needed"
        )
    return array.astype(np.float32).reshape(len(array), -1)
