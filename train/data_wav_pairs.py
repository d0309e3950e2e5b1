"""Pairs of WAV files, what went into a device and what came out, with its knobs.

| files | pair |
|---|---|
| ``input.wav``, ``target.wav`` | one a folder, folders to any depth |
| ``NAME_input.wav``, ``NAME_target.wav`` | any number a folder |
| ``knobs.csv`` at the top | a row a pair: column ``file``, the input's path below the data folder, and a |
|  | column of numbers a knob; each becomes an input that is constant over the recording |

Several channels become several inputs or outputs. All files have one rate.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ssmith.bundle import Signal
from ssmith.errors import InputError
from ssmith.train.data_table import read_csv, signal
from ssmith.train.data_wav import wav_samples
from ssmith.train.splits import Float32, Recording, Recordings

KNOBS, FILE = "knobs.csv", "file"  # where knobs stand, and the column that names a recording
SPARE_FRAMES = 1  # that one file of a pair may be longer; recorders round the end differently
FULL_SCALE = 0.9999  # 16-bit files end at 32767/32768
CLIPPED = 3  # this many samples at full scale in a row are a clipped peak


def pairs_of(files: Sequence[Path]) -> list[tuple[Path, Path]]:
    """Inputs with their targets, in the order of the inputs; empty where no file is called one or the other.

    Raises:
        InputError: some files are pairs, another belongs to none.
    """
    roles = [(file, *_role(file)) for file in files]
    if not any(role for _, role, _ in roles):
        return []
    sides = {
        wanted: {key: file for file, role, key in roles if role == wanted} for wanted in ("input", "target")
    }
    for file, role, key in roles:
        if not role:
            raise InputError(
                f"{file} stands beside pairs of WAV files but is called neither input.wav nor target.wav, nor"
                " ends in _input.wav or _target.wav; rename it or take it out of the folder"
            )
        other = "target" if role == "input" else "input"
        if key not in sides[other]:
            folder, stem = key
            wanted_file = folder / f"{stem}{other}{file.suffix}"
            raise InputError(f"{file} has no {other} beside it; add {wanted_file} or take the file away")
    return [(file, sides["target"][key]) for key, file in sides["input"].items()]


def read_pairs(folder: Path, files: Sequence[Path]) -> Recordings:
    """All pairs of a folder: samples and knobs in, samples out.

    Args:
        folder: where ``knobs.csv`` is looked for.
        files: the WAV files in it.

    Raises:
        InputError: no pair, a file that belongs to none, an unreadable file, rates, channels or lengths
            that differ, knobs that do not name every pair.
    """
    pairs = pairs_of(files)
    if not pairs:
        raise InputError(
            f"{folder} has {len(files)} WAV files, but none is called input.wav, target.wav, NAME_input.wav"
            " or NAME_target.wav, so a regression has no targets; rename them, or write"
            ' task = "classification" for classes told by sub-folder'
        )
    knobs, names = _knobs(folder, [source for source, _ in pairs])
    items, notes = list[Recording](), list[str]()
    first_rate, first = 0, pairs[0][0]
    for (source, target), values in zip(pairs, knobs, strict=True):
        u, y, rate = _pair(source, target, notes)
        if not items:
            first_rate = rate
        elif rate != first_rate:
            raise InputError(
                f"{first} has {first_rate} Hz and {source} has {rate} Hz, but a model's poles belong to one"
                " rate; resample one of them"
            )
        widths = (u.shape[1], y.shape[1])
        if items and widths != (items[0].input.shape[1] - len(names), np.shape(items[0].target)[1]):
            raise InputError(
                f"{source} and {target} have {widths[0]} and {widths[1]} channels, other than {first} and its"
                " target; give all pairs the same channels"
            )
        constant = np.tile(values, (len(u), 1)).astype(np.float32)
        items.append(Recording(str(source), np.column_stack([u, constant]), y))
    inputs = _streams("input", items[0].input.shape[1] - len(names))
    outputs = _streams("target", np.shape(items[0].target)[1])
    return Recordings(
        tuple(items), inputs + tuple(map(signal, names)), outputs, 1 / first_rate, tuple(dict.fromkeys(notes))
    )


def _role(file: Path) -> tuple[str, tuple[Path, str]]:
    """A file's side, "input", "target" or "", and what a pair has in common: folder and stem in front."""
    for role in ("input", "target"):
        stem = file.stem
        if stem.lower() == role or stem.lower().endswith(f"_{role}"):
            return role, (file.parent, stem[: -len(role)])
    return "", (file.parent, file.stem)


def _pair(source: Path, target: Path, notes: list[str]) -> tuple[Float32, Float32, int]:
    rate, u = wav_samples(source)
    target_rate, y = wav_samples(target)
    if rate != target_rate:
        raise InputError(
            f"{source} has {rate} Hz but {target} has {target_rate} Hz; a pair has one rate, so resample one"
        )
    if abs(len(u) - len(y)) > SPARE_FRAMES:
        raise InputError(
            f"{source} has {len(u)} frames but {target} has {len(y)}; a pair has to start together and be"
            " equally long, so cut the longer one where the device was no longer recorded"
        )
    if len(u) != len(y):
        notes.append(
            f"{source if len(u) > len(y) else target} is one frame longer than its partner and was cut"
        )
    frames = min(len(u), len(y))
    for file, samples in ((source, u), (target, y)):
        if not samples.any():
            notes.append(f"{file} is silent")
        elif _clips(samples):
            notes.append(f"{file} is clipped: {CLIPPED} or more samples in a row at full scale")
    return u[:frames], y[:frames], rate


def _clips(samples: Float32) -> bool:
    full = np.abs(samples) >= FULL_SCALE
    runs = full[CLIPPED - 1 :].copy()
    for back in range(1, CLIPPED):
        runs &= full[CLIPPED - 1 - back : len(full) - back]
    return bool(runs.any())


def _knobs(folder: Path, sources: Sequence[Path]) -> tuple[Float32, list[str]]:
    """Knob values (pairs, K), and their names; K = 0 without ``knobs.csv``."""
    path = folder / KNOBS
    if not path.is_file():
        return np.empty((len(sources), 0), np.float32), []
    table = read_csv(path)
    listed = [(folder / name).resolve() for name in table.column(FILE)]
    names = [name for name in table.columns if name != FILE]
    if not names:
        raise InputError(f"{path} names no knob; write a column of numbers for each, or remove the file")
    rows = []
    for source in sources:
        found = [row for row, file in enumerate(listed) if file == source.resolve()]
        if len(found) != 1:
            raise InputError(
                f"{path} has {len(found) or 'no'} rows for {source.relative_to(folder)} in its column"
                f" {FILE!r}; write one, with the value of every knob in that recording"
            )
        rows += found
    values = [table.numbers(name)[rows] for name in names]
    return np.stack(values, axis=1).astype(np.float32), names


def _streams(name: str, channels: int) -> tuple[Signal, ...]:
    names = [name] if channels == 1 else [f"{name}_{i}" for i in range(channels)]
    return tuple(Signal(name=n, minimum=-1.0, maximum=1.0) for n in names)
