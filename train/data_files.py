"""A user's own files as recordings: CSV tables, NPZ archives, folders of WAV files.

| format | layout |
|---|---|
| csv | a file or a folder of files, each with a header row; one row a frame |
| npz | arrays (n, T) or (n, T, k) padded to one length, with ``lengths`` (n,) if they are unequal and |
|     | labels (n,); or, with ``sequence_id`` or ``time``, or one-dimensional, one row a frame as in CSV |
| wav | a folder with a sub-folder for each class; a file is a sequence, its samples are the frames; or |
|     | pairs of files, input and target, for a regression: see ``data_wav_pairs`` |

A folder of CSV or NPZ files may tell classes by sub-folder too, if ``targets`` is left out.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Literal

from ssmith.errors import InputError
from ssmith.recipe import DataSettings
from ssmith.train.data_npz import read_npz
from ssmith.train.data_table import RATE_TOLERANCE, agreed_period, read_csv, recordings
from ssmith.train.data_wav import read_wav
from ssmith.train.data_wav_pairs import KNOBS, read_pairs
from ssmith.train.splits import Recordings, Task

Format = Literal["csv", "npz", "wav"]
SUFFIXES: dict[str, Format] = {".csv": "csv", ".tsv": "csv", ".npz": "npz", ".wav": "wav"}


def read_files(settings: DataSettings, task: Task) -> Recordings:
    """Read everything that ``[data]`` of a recipe points to.

    Args:
        settings: with ``path``.
        task: what the targets are.

    Raises:
        InputError: nothing there, an unknown name, values that are no finite numbers, rates that
            differ; see the readers.
    """
    if settings.path is None:
        raise InputError("data.path is missing; write the file or folder to read")
    kind, files = find_files(settings.path, settings.format)
    _check_names(settings, task, kind)
    if kind == "wav" and task == "regression":
        pairs = read_pairs(settings.path, files)
        return replace(pairs, period_s=_rate(pairs.period_s, settings))
    parts = []
    for file in files:
        label = None if settings.targets else file.parent.name
        if kind == "wav":
            parts.append(read_wav(file, file.parent.name))
        elif kind == "csv":
            parts.append(recordings(read_csv(file), settings, task, label))
        else:
            parts.append(read_npz(file, settings, task, label))
    for file, part in zip(files, parts, strict=True):
        if (part.inputs, part.outputs) != (parts[0].inputs, parts[0].outputs):
            raise InputError(
                f"{file} has {len(part.inputs)} inputs and {len(part.outputs)} outputs, but {files[0]}"
                f" has {len(parts[0].inputs)} and {len(parts[0].outputs)}; all files have to agree"
            )
    periods = [part.period_s for part in parts if part.period_s is not None]
    return Recordings(
        tuple(item for part in parts for item in part.items),
        parts[0].inputs,
        parts[0].outputs,
        _rate(agreed_period(periods, str(settings.path)), settings),
        tuple(dict.fromkeys(note for part in parts for note in part.notes)),
    )


def find_files(path: Path, format: str) -> tuple[Format, list[Path]]:
    """The format and the files of a data path, sorted by name; hidden files are left out.

    Args:
        path: a file, or a folder that is searched to any depth.
        format: "csv", "npz", "wav", or "auto" to tell by the suffix.

    Raises:
        InputError: nothing is there, or files of several formats and "auto".
    """
    if path.is_file():
        known = SUFFIXES.get(path.suffix.lower())
        kind = known if format == "auto" else SUFFIXES[f".{format}"]
        if kind is None:
            raise InputError(f"{path} has the suffix {path.suffix!r}; write data.format as csv, npz or wav")
        return kind, [path]
    if not path.is_dir():
        raise InputError(f"data.path {path} does not exist; write the file or folder that holds the data")
    found: dict[Format, list[Path]] = {}
    for file in sorted(path.rglob("*")):
        hidden = any(part.startswith(".") for part in file.relative_to(path).parts)
        kind = SUFFIXES.get(file.suffix.lower())
        if file.name == KNOBS and kind == "csv":
            continue
        if kind is not None and not hidden and file.is_file() and format in ("auto", kind):
            found.setdefault(kind, []).append(file)
    if not found:
        wanted = "CSV, NPZ or WAV" if format == "auto" else format.upper()
        raise InputError(f"there is no {wanted} file in {path}")
    if len(found) > 1:
        counts = ", ".join(f"{len(files)} {kind}" for kind, files in found.items())
        raise InputError(f"{path} holds several formats ({counts}); choose one with data.format")
    return next(iter(found.items()))


def _check_names(settings: DataSettings, task: Task, kind: Format) -> None:
    if kind == "wav":
        for key in ("inputs", "targets", "sequence_id", "time"):
            if getattr(settings, key):
                raise InputError(
                    f"data.{key} names columns, and WAV files have none; remove it (classes are the"
                    " names of the sub-folders, inputs and targets those of the files)"
                )
        return
    if not settings.inputs:
        raise InputError(f"data.inputs is empty; list the {kind.upper()} columns a model may look at")
    if task == "regression" and not settings.targets:
        raise InputError("data.targets is empty; list the columns a model has to predict")
    if task == "classification" and len(settings.targets) > 1:
        raise InputError(
            f"data.targets lists {len(settings.targets)} columns; a classifier has one, the label"
        )
    seen: dict[str, str] = {}
    for key in ("inputs", "targets", "sequence_id", "time"):
        value = getattr(settings, key)
        for name in (value,) if isinstance(value, str) else value or ():
            if name in seen:
                raise InputError(
                    f"column {name!r} is in data.{seen[name]} and in data.{key}; a model that sees what"
                    " it has to predict learns nothing, so name each column once"
                )
            seen[name] = key


def _rate(measured_s: float | None, settings: DataSettings) -> float | None:
    if settings.rate_hz is None:
        return measured_s
    if measured_s is not None and abs(measured_s * settings.rate_hz - 1) > RATE_TOLERANCE:
        raise InputError(
            f"data.rate_hz is {settings.rate_hz:g}, but the data come at {1 / measured_s:g} Hz;"
            " correct it or leave it out"
        )
    return 1 / settings.rate_hz
