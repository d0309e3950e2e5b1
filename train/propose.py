"""`ssmith new`: look at a user's files, propose a recipe, and say what was assumed.

Names decide first (``time``, ``episode``, ``label``, …), then types: text or few whole numbers that never
change within a sequence are labels. What is proposed has been read and split once, so it trains.
"""

from __future__ import annotations

import json
import math
import os
import re
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssmith.errors import InputError
from ssmith.recipe import DataSettings, Recipe
from ssmith.train.data_files import Format, find_files, read_files
from ssmith.train.data_npz import LENGTHS, load_npz
from ssmith.train.data_table import read_csv
from ssmith.train.data_wav_pairs import KNOBS, pairs_of
from ssmith.train.splits import Recordings, Task, split

TIME_NAMES = {"time", "t", "timestamp", "seconds", "sec", "time_s"}
SEQUENCE_NAMES = {"sequence", "sequence_id", "seq", "episode", "episode_id", "trial", "run", "recording"}
TARGET_NAMES = {"target", "targets", "label", "labels", "class", "y", "output", "outputs", "category"}
MOST_LABELS = 50  # more distinct whole numbers than this are taken for a measurement
LONGEST_WHOLE = 4096  # steps; longer sequences are cut into windows
WINDOW = 1024
MOST_BY_TIME = 6  # fewer sequences than this are split along their time
AUDIO_CHUNK = 8192
SLOWEST_EDGE = 0.0125  # rad/step; keeps the proposed radii clearly below 1
Draft = dict[str, Any]


def propose(path: Path | str, relative_to: Path | None = None) -> tuple[str, list[str]]:
    """A recipe for the data at ``path``.

    Args:
        path: a CSV or NPZ file, or a folder of CSV, NPZ or WAV files.
        relative_to: the folder the recipe will lie in; None writes the absolute path.

    Returns:
        The recipe as TOML, and one sentence for each thing that was assumed.

    Raises:
        InputError: no data there, nothing to predict in it, or values that cannot be trained on.
    """
    path = Path(path)
    kind, files = find_files(path, "auto")
    said: list[str] = []
    folders = len({file.parent for file in files}) > 1
    if kind == "wav":
        task, data = _wav(path, files, folders, said)
    else:
        columns, flat = _columns(kind, files[0])
        if flat:
            task, data = _table(columns, len(files), folders, said)
        else:
            task, data = _archive(columns, folders, said)
    data["path"] = str(path.resolve() if relative_to is None else os.path.relpath(path, relative_to))
    recordings = read_files(DataSettings(**{**data, "path": path, "format": kind}), task)
    document = (_audio if kind == "wav" and task == "regression" else _document)(
        path, task, data, recordings, said
    )
    settings = document["data"]
    chosen = {key: settings[key] for key in ("split_by", "window", "stride") if key in settings}
    splits = split(recordings, task, seed=0, validation=0.15, test=0.15, **chosen)
    sizes = [len(part) for part in (splits.train, splits.validation, splits.test)]
    said.append(f"that gives {sizes[0]} sequences to train, {sizes[1]} to validate and {sizes[2]} to test")
    said += splits.notes
    text = _toml(document, said)
    Recipe.parse(tomllib.loads(text), "the proposed recipe")
    return text, said


def _wav(path: Path, files: list[Path], folders: bool, said: list[str]) -> tuple[Task, Draft]:
    if pairs := pairs_of(files):
        count = f"{len(pairs)} pairs of WAV files" if len(pairs) > 1 else "one pair of WAV files"
        said.append(f"{count}, input and target, so the task is regression, and every sample is one step")
        if (path / KNOBS).is_file():
            said.append(f"each column of {KNOBS} is a knob, an input that is constant over a recording")
        return "regression", {}
    if not folders:
        raise InputError(
            f"all WAV files of {path} lie in one folder, so nothing tells their classes apart; put each"
            " class into a sub-folder of its own, or, to learn a device, call what went in NAME_input.wav and"
            " what came out NAME_target.wav"
        )
    said.append("the name of each WAV file's folder is its class, and every sample is one step")
    return "classification", {}


def _columns(kind: Format, file: Path) -> tuple[dict[str, NDArray[Any]], bool]:
    """The first file's columns or arrays, and whether they hold one row a frame."""
    if kind == "csv":
        return read_csv(file).columns, True
    arrays = load_npz(file)
    if not arrays:
        raise InputError(f"{file} holds no arrays; save inputs of shape (n, T, U) and their targets")
    return arrays, all(values.ndim == 1 for values in arrays.values())


def _table(
    columns: dict[str, NDArray[Any]], files: int, folders: bool, said: list[str]
) -> tuple[Task, Draft]:
    data: Draft = {}
    rest = dict(columns)
    for key, names in (("time", TIME_NAMES), ("sequence_id", SEQUENCE_NAMES)):
        if (name := _named(rest, names)) is not None:
            data[key] = name
            del rest[name]
            said.append(f"column {name!r} is data.{key}, by its name")
    numeric = {name: values for name, values in rest.items() if _numbers(values) is not None}
    target = _named(rest, TARGET_NAMES)
    if target is None and folders:
        said.append("the name of each file's folder is its class")
        return "classification", {**data, "inputs": _inputs(numeric, rest, said)}
    if not rest:
        raise InputError("there is no column to predict; add one, or name the columns in a recipe")
    if target is None:
        texts = [name for name in rest if name not in numeric]
        target = texts[0] if len(texts) == 1 else next(reversed(rest))
        said.append(f"column {target!r} is what to predict, {'the only text' if texts else 'the last one'}")
    else:
        said.append(f"column {target!r} is what to predict, by its name")
    inputs = _inputs({k: v for k, v in numeric.items() if k != target}, rest, said, target)
    ids = columns[data["sequence_id"]] if "sequence_id" in data else np.zeros(len(rest[target]))
    constant = all(len(np.unique(rest[target][ids == i])) == 1 for i in np.unique(ids))
    several = files > 1 or len(np.unique(ids)) > 1
    labels = several and constant and _few_labels(rest[target])
    return _task(target, labels, said), {**data, "inputs": inputs, "targets": [target]}


def _archive(arrays: dict[str, NDArray[Any]], folders: bool, said: list[str]) -> tuple[Task, Draft]:
    rest = {name: values for name, values in arrays.items() if name != LENGTHS and values.ndim > 0}
    target = _named(rest, TARGET_NAMES)
    if target is None and not folders:
        flat = [name for name, values in rest.items() if values.ndim == 1]
        target = flat[0] if len(flat) == 1 else next(reversed(rest), "")
    inputs = [name for name, values in rest.items() if name != target and values.ndim in (2, 3)]
    if not inputs:
        raise InputError(
            f"no array is left for the inputs beside {target!r} (arrays: {', '.join(arrays)}); they need"
            " the shape (sequences, steps) or (sequences, steps, features)"
        )
    said.append(f"inputs are {', '.join(inputs)}: sequences first, then steps, then features")
    if target is None:
        said.append("the name of each file's folder is its class")
        return "classification", {"inputs": inputs}
    task = _task(target, rest[target].ndim == 1, said)
    return task, {"inputs": inputs, "targets": [target]}


def _task(target: str, labels: bool, said: list[str]) -> Task:
    if labels:
        said.append(f"{target!r} is one label a sequence, so the task is classification")
        return "classification"
    said.append(f"{target!r} has a value at every step, so the task is regression")
    return "regression"


def _inputs(
    numeric: dict[str, NDArray[Any]],
    rest: dict[str, NDArray[Any]],
    said: list[str],
    target: str | None = None,
) -> list[str]:
    if not numeric:
        raise InputError(
            f"no column of numbers is left for the inputs (columns: {', '.join(rest)}); add what the"
            " model may look at"
        )
    said.append(f"every other column of numbers is an input: {', '.join(numeric)}")
    if ignored := [name for name in rest if name not in numeric and name != target]:
        said.append(f"columns that hold text are left out: {', '.join(ignored)}")
    return list(numeric)


def _named(columns: dict[str, NDArray[Any]], names: set[str]) -> str | None:
    """The first column whose name, without a unit in brackets, is one of ``names``."""
    plain = {column: re.sub(r"\s*[\[(].*", "", column).strip().lower() for column in columns}
    return next((column for column, name in plain.items() if name in names), None)


def _numbers(values: NDArray[Any]) -> NDArray[np.float64] | None:
    try:
        result: NDArray[np.float64] = values.astype(np.float64)
    except (ValueError, TypeError):
        return None
    return result


def _few_labels(values: NDArray[Any]) -> bool:
    distinct = np.unique(values)
    numbers = _numbers(distinct)
    whole = numbers is None or bool((numbers == np.round(numbers)).all())
    return whole and len(distinct) <= MOST_LABELS


def _document(path: Path, task: Task, data: Draft, recordings: Recordings, said: list[str]) -> dict[str, Any]:
    """Sections and keys of the recipe, from what the recordings look like."""
    lengths = [len(item.input) for item in recordings.items]
    model: Draft = {"width": 16, "order": 64, "blocks": 1 if task == "classification" else 2}
    train: Draft = {"steps": 1500, "batch": 32}
    data = dict(data)
    if task == "regression" and len(lengths) < MOST_BY_TIME:
        data["split_by"] = "time"
        said.append(_by_time(len(lengths)))
    if "split_by" in data or max(lengths) > LONGEST_WHOLE:
        window = max(16, min(WINDOW, max(lengths) // 20))
        data |= {"window": window, "stride": window // 2}
        said.append(f"sequences of up to {max(lengths)} steps are cut into windows of {window}")
        if task == "regression":
            train["ignore_first"] = window // 8
            said.append(f"the first {window // 8} steps of a window only fill the memory")
    if task == "regression":
        edge = max(SLOWEST_EDGE, _band_edge(recordings))
        model |= {
            "width": 8,
            "order": 32,
            "norm": "none",
            "minimum_radius": round(max(0.5, 1 - edge / 4), 4),  # lightly damped at the band's edge
            "maximum_radius": round(max(0.999, 1 - edge / 40), 6),
            "maximum_phase": round(min(math.pi, 4 * edge), 3),
        }
        said.append("no layer norm in a regression: it would hide how large a signal is")
        said.append(f"99 % of the targets' movement is below {edge:.3g} rad a step; modes start around there")
    if recordings.period_s is None:
        said.append(
            "no column tells the time, so no deadline is checked; write rate_hz if frames have a rate"
        )
    else:
        said.append(f"frames come at {1 / recordings.period_s:g} Hz")
    return {
        "name": _name(path),
        "task": task,
        "data": {"source": "files", **data},
        "model": model,
        "train": train,
        "reduce": {"order": 12 if task == "classification" else 8},
    }


def _audio(path: Path, task: Task, data: Draft, recordings: Recordings, said: list[str]) -> dict[str, Any]:
    """The recipe of a device learnt from audio: whole recordings, trained piece by piece."""
    assert recordings.period_s is not None
    lengths = [len(item.input) for item in recordings.items]
    data, by_time = dict(data), len(lengths) < MOST_BY_TIME
    if by_time:
        data["split_by"] = "time"
        said.append(_by_time(len(lengths)))
    shortest = int(0.7 * min(lengths)) if by_time else min(lengths)  # in training
    chunk = 2 ** int(math.log2(max(2, min(AUDIO_CHUNK, shortest))))
    said.append(
        f"recordings are trained on in chunks of {chunk} steps, the state carried from one to the next"
    )
    said.append(
        "the loss is the error-to-signal ratio with pre-emphasis, as errors of high notes are heard too"
    )
    said.append("no layer norm: it would hide how loud a signal is")
    said.append(f"frames come at {1 / recordings.period_s:g} Hz")
    return {
        "name": _name(path),
        "task": task,
        "data": {"source": "files", **data},
        "model": {
            "layer": "s4d",
            "width": 8,
            "order": 32,
            "blocks": 4,
            "norm": "none",
            "minimum_dt": 1e-5,
            "maximum_dt": 0.1,
        },
        "train": {
            "steps": 2000,
            "batch": 8,
            "learning_rate": 5e-3,
            "weight_decay": 0.0,
            "chunk": chunk,
            "loss": "esr",
        },
        "reduce": {"order": 12},
    }


def _by_time(count: int) -> str:
    return (
        f"with {count} sequence{'s' * (count > 1)}, the first 70 % of the time train, the next 15 % validate"
        " and the last 15 % test"
    )


def _band_edge(recordings: Recordings) -> float:
    """The angular frequency (rad/step) below which lies 99 % of the targets' variance."""
    size = 2 * max(len(item.input) for item in recordings.items)
    power = np.zeros(size // 2 + 1)
    for item in recordings.items:
        if isinstance(item.target, np.ndarray):
            frames = item.target.astype(np.float64)
            smooth = (frames - frames.mean(0)) * np.hanning(len(frames))[:, None]  # ends do not leak
            power += (np.abs(np.fft.rfft(smooth, size, axis=0)) ** 2).sum(1)
    share = np.cumsum(power) / max(float(power.sum()), 1e-300)
    return 2 * math.pi * int(np.searchsorted(share, 0.99)) / size


def _name(path: Path) -> str:
    plain = re.sub(r"[^a-z0-9]+", "_", path.resolve().stem.lower()).strip("_")
    return (plain if plain[:1].isalpha() else f"data_{plain}")[:40].strip("_")


def _toml(document: dict[str, Any], said: list[str]) -> str:
    """The document as TOML, what was assumed as comments in front."""
    lines = ["# Proposed by ssmith new, which assumed:", *(f"# - {_one_line(line)}" for line in said), ""]
    sections = {key: value for key, value in document.items() if isinstance(value, dict)}
    lines += [f"{key} = {_value(document[key])}" for key in document if key not in sections]
    for section, values in sections.items():
        lines += ["", f"[{section}]", *(f"{key} = {_value(value)}" for key, value in values.items())]
    return "\n".join(lines) + "\n"


def _value(value: Any) -> str:
    """JSON's notation of strings, numbers and lists is TOML's too, but for one control character."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _one_line(text: str) -> str:
    return "".join(c if c.isprintable() else " " for c in text)
