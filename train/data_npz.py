"""NPZ archives as recordings: padded arrays of sequences, or one row a frame.

- padded: inputs (n, T) or (n, T, k); targets likewise, or labels (n,); ``lengths`` (n,) if unequal
- flat: as a CSV table, one row a frame; with ``sequence_id`` or ``time``, or one-dimensional inputs
"""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssmith.bundle import Signal
from ssmith.errors import InputError
from ssmith.recipe import DataSettings
from ssmith.train.data_table import Table, class_label, nearest, recordings, signal
from ssmith.train.splits import Float32, Label, Recording, Recordings, Task

LENGTHS = "lengths"  # the array of a padded archive that tells the valid steps of each sequence


def load_npz(path: Path) -> dict[str, NDArray[Any]]:
    """All arrays of an archive; Python objects inside are refused, because loading them runs code.

    Raises:
        InputError: unreadable, damaged, no archive, or an array of objects.
    """
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or 'it is no NPZ file'}") from error
    except (ValueError, EOFError, zipfile.BadZipFile, AttributeError, TypeError) as error:
        reason = "it is damaged or no NPZ archive"
        if "allow_pickle" in str(error):
            reason = (
                "it holds Python objects (pickle), and loading those would run their code; save plain"
                " arrays, unequal sequences padded to (n, T, U) with an array 'lengths'"
            )
        raise InputError(f"cannot read {path}: {reason}") from error


def _is_flat(arrays: dict[str, NDArray[Any]], settings: DataSettings) -> bool:
    """Whether an archive has one row a frame rather than one a sequence."""
    if settings.sequence_id is not None or settings.time is not None:
        return True
    return all(arrays[name].ndim == 1 for name in settings.inputs if name in arrays)


def read_npz(path: Path, settings: DataSettings, task: Task, label: Label | None = None) -> Recordings:
    """Read one archive.

    Args:
        path: the file.
        settings: which arrays are inputs, targets, sequence identity and time.
        task: what the targets are.
        label: of every sequence in the file, where ``settings.targets`` names no array.

    Raises:
        InputError: an unknown array, shapes that do not go together, no numbers; see ``load_npz``.
    """
    arrays = load_npz(path)
    for name in (*settings.inputs, *settings.targets):
        if name not in arrays:
            raise InputError(f"{path} has no array {name!r}; {nearest(name, arrays)}")
    if _is_flat(arrays, settings):
        rows = len(arrays[settings.inputs[0]])
        columns = {name: a for name, a in arrays.items() if a.ndim == 1}
        for name in (*settings.inputs, *settings.targets):
            if len(arrays[name]) != rows:
                raise InputError(
                    f"{path}: array {name!r} has {len(arrays[name])} rows but"
                    f" {settings.inputs[0]!r} has {rows}; give one row a frame in each"
                )
        return recordings(Table(path, columns, np.arange(rows)), settings, task, label)
    return _padded(path, arrays, settings, task, label)


def _padded(
    path: Path,
    arrays: dict[str, NDArray[Any]],
    settings: DataSettings,
    task: Task,
    label: Label | None,
) -> Recordings:
    inputs = _features(path, arrays, settings.inputs)
    n, longest, _ = inputs.shape
    lengths = arrays.get(LENGTHS, np.full(n, longest))
    if lengths.shape != (n,) or not ((lengths >= 1) & (lengths <= longest)).all():
        raise InputError(
            f"{path}: 'lengths' has shape {lengths.shape}; it needs one value from 1 to {longest} for"
            f" each of the {n} sequences"
        )
    targets: Any = [label] * n
    if label is None and task == "regression":
        targets = _features(path, arrays, settings.targets)
        if targets.shape[:2] != (n, longest):
            raise InputError(
                f"{path}: inputs have shape {inputs.shape} but targets {targets.shape}; the first two,"
                " sequences and steps, have to agree"
            )
    elif label is None:
        values = arrays[settings.targets[0]]
        if values.shape != (n,):
            raise InputError(
                f"{path}: label array {settings.targets[0]!r} has shape {values.shape}; it needs one"
                f" label for each of the {n} sequences"
            )
        targets = [class_label(value) for value in values]
    found = []
    for i, length in enumerate(lengths):
        target = targets[i][:length] if isinstance(targets, np.ndarray) else targets[i]
        found.append(Recording(f"{path}, sequence {i}", inputs[i, :length], target))
    outputs = _signals(arrays, settings.targets) if task == "regression" else ()
    return Recordings(tuple(found), _signals(arrays, settings.inputs), outputs)


def _features(path: Path, arrays: dict[str, NDArray[Any]], names: tuple[str, ...]) -> Float32:
    """Arrays of shape (n, T) or (n, T, k) side by side as (n, T, features)."""
    parts = []
    for name in names:
        values = arrays[name]
        if values.dtype.kind not in "fiub":
            raise InputError(f"{path}: array {name!r} has type {values.dtype}; numbers are needed")
        if values.ndim not in (2, 3) or values.shape[:2] != arrays[names[0]].shape[:2]:
            raise InputError(
                f"{path}: array {name!r} has shape {values.shape}; (sequences, steps) or (sequences,"
                f" steps, features) is needed, alike in all of {', '.join(names)}"
            )
        parts.append(values[:, :, None] if values.ndim == 2 else values)
    with np.errstate(over="ignore"):
        return np.concatenate([part.astype(np.float32) for part in parts], axis=2)


def _signals(arrays: dict[str, NDArray[Any]], names: tuple[str, ...]) -> tuple[Signal, ...]:
    """One signal a feature; an array of several gives NAME_0, NAME_1, …."""
    found: list[Signal] = []
    for name in names:
        values = arrays[name]
        if values.ndim == 2 or values.shape[2] == 1:
            found.append(signal(name))
        else:
            found += [signal(f"{name}_{i}") for i in range(values.shape[2])]
    return tuple(found)
