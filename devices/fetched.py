"""What ``host_loop.c`` or the worker wrote on a board, read with distrust: it came over a wire."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np

from ssmith.devices.loop import read_output
from ssmith.devices.target import RawRun
from ssmith.devices.timing import Nanoseconds
from ssmith.errors import SsmithError

LONGEST_NS = 10**13  # three hours; no step takes that long


def read(folder: Path, outputs: tuple[int, ...] | None, place: str) -> RawRun:
    """The samples of a run.

    Args:
        folder: with ``main/``, ``cold0/`` and so on, and ``golden.f32``.
        outputs: shape (T, Y) of the golden outputs; None where none were asked for.
        place: what messages call the board.

    Raises:
        SsmithError: a file is missing, cut short or impossible.
    """
    cold = sorted(path for path in folder.glob("cold*") if path.is_dir())
    loads = [_stats(path, place)["load_ns"] for path in cold]
    firsts = [_samples(path / "samples.i64", place)[:1] for path in cold]
    main = _stats(folder / "main", place)
    for name in ("samples", "busy", "late", *(p.stem for p in (folder / "main").glob("block*.i64"))):
        if not len(_samples(folder / "main" / f"{name}.i64", place)) and name == "samples":
            raise SsmithError(f"{place} sent no sample")
    return replace(
        read_output(folder / "main"),
        load_ns=np.array(loads, np.int64),
        first_ns=np.concatenate([np.zeros(0, np.int64), *firsts]),
        peak_rss_bytes=int(main["peak_rss_bytes"]) or None,
        golden_outputs=None if outputs is None else _golden(folder / "golden.f32", outputs, place),
    )


def _stats(folder: Path, place: str) -> dict[str, float]:
    found: dict[str, float] = {}
    try:
        for line in (folder / "stats.txt").read_text().splitlines():
            name, _, text = line.partition(" ")
            found[name] = float(text)
    except (OSError, ValueError) as error:
        raise SsmithError(f"{place} sent no readable {folder.name}/stats.txt: {error}") from error
    if any(not math.isfinite(value) or abs(value) >= 1e15 for value in found.values()):
        raise SsmithError(f"{place} sent impossible numbers in {folder.name}/stats.txt")
    for name in ("overhead_ns", "load_ns", "peak_rss_bytes"):
        if found.get(name, -1.0) < 0:
            raise SsmithError(f"{place} sent {folder.name}/stats.txt without a usable {name}")
    return found


def _samples(path: Path, place: str) -> Nanoseconds:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise SsmithError(f"{place} did not send {path.parent.name}/{path.name}") from error
    values = np.frombuffer(data[: len(data) // 8 * 8], "<i8").astype(np.int64)
    if len(data) % 8 or (len(values) and (values.min() < 0 or values.max() > LONGEST_NS)):
        raise SsmithError(f"{place} sent a damaged {path.parent.name}/{path.name}")
    return values


def _golden(path: Path, shape: tuple[int, ...], place: str) -> np.ndarray:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise SsmithError(f"{place} did not send the outputs of the golden frames") from error
    if len(data) != 4 * math.prod(shape):
        raise SsmithError(f"{place} sent {len(data)} bytes of golden outputs, {4 * math.prod(shape)} are due")
    return np.frombuffer(data, "<f4").reshape(shape)
