"""The executorch backend: opens a ``.pte`` file, or a folder with some of one precision.

A frame goes through the stream program, whose states live inside it, or else through the step program; a
block goes through the sequence program. Where there are two, they share one set of states. One thread,
unless told otherwise.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ssmith.errors import InputError
from ssmith.ops import Float32
from ssmith.runtime.artifacts import read_manifest, verified
from ssmith.runtime.choice import files_of
from ssmith.runtime.executorch_numpy import PACKAGE, NumpyProgram
from ssmith.runtime.executorch_program import Program
from ssmith.runtime.frames import Precision


class ExecutorchBackend:
    """One stream through a step or stream program, a sequence program, or both; see ``Session``.

    Args:
        programs: open programs of the same bundle and precision, at most one a form.
    """

    name = "executorch"

    def __init__(self, programs: Sequence[Program | NumpyProgram]) -> None:
        forms = {program.meta.form: program for program in programs}
        meta = programs[0].meta
        self.precision: Precision = "int8-a8" if meta.precision == "int8" else meta.precision
        self.inputs, self.outputs, self.period_s = len(meta.inputs), len(meta.outputs), meta.period_s
        self.meta: dict[str, Any] = meta.model_dump(
            mode="json", exclude={"form", "backend", "how_to_use", "license", "seal", "max_frames"}
        )
        self._sequence = forms.get("sequence")
        stream = forms.get("stream")
        self._frame = stream or forms.get("step")
        self._given = programs[0].given
        if isinstance(stream, Program):
            held = {name: stream.attribute(name) for name, _ in meta.states}
        else:
            held = {name: np.zeros((1, size), np.float32) for name, size in meta.states}
        self._states = {name: value[0] for name, value in held.items()}
        self._u = np.zeros((1, self.inputs), np.float32)
        self._beside = tuple(self._given(value) for value in held.values())  # what a program is given
        u = self._given(self._u)
        self._arguments = (u, *(() if stream else self._beside))

    def reset(self) -> None:
        """All states zero."""
        for value in self._states.values():
            value.fill(0.0)

    def step(self, u: Float32) -> Float32:
        """Feed one frame (U,), get (Y,)."""
        if self._frame is None:
            frame: Float32 = self.process(u[None])[0]
            return frame
        self._u[0] = u
        y, *after = self._frame.run(self._arguments)
        self._keep(after)
        row: Float32 = y[0].copy()
        return row

    def process(self, block: Float32) -> Float32:
        """Feed (T, U) with T ≥ 1, get (T, Y), in pieces as long as the sequence program takes."""
        if self._sequence is None or (self._frame is not None and len(block) == 1):
            return np.stack([self.step(u) for u in block])
        limit = self._sequence.meta.max_frames or 1
        result: Float32 = np.empty((len(block), self.outputs), np.float32)
        for start in range(0, len(block), limit):
            piece = block[None, start : start + limit]
            if not piece.flags.writeable:  # torch warns of arrays that it may not write
                piece = piece.copy()
            y, *after = self._sequence.run((self._given(piece), *self._beside))
            result[start : start + limit] = y[0]
            self._keep(after)
        return result

    def state_get(self) -> dict[str, Float32]:
        """A copy of every state."""
        return {name: value.copy() for name, value in self._states.items()}

    def state_set(self, saved: Mapping[str, Float32]) -> None:
        """Continue from states that ``state_get`` returned."""
        for name, value in saved.items():
            self._states[name][...] = value

    def _keep(self, after: Sequence[Float32]) -> None:
        """Take over the states that a program returned; a stream program returns none."""
        for value, new in zip(self._states.values(), after, strict=False):
            value[...] = new[0]


def open_backend(path: Path, precision: Precision | None = None, *, threads: int = 1) -> ExecutorchBackend:
    """Open an exported program.

    Args:
        path: one ``.pte`` file, or an artifact folder whose manifest names them.
        precision: which of a folder's models; of a file, what it must be. None: float32, or what the file is.
        threads: of XNNPACK, for all programs of the process; a step is too small to share.

    Raises:
        InputError: a file is missing, damaged, not an ssmith export, or lacks a state; it has another
            precision; a session with another number of threads is open.
        MissingToolError: neither executorch nor executorch-numpy-runtime is installed.
    """
    opened = _runtime()
    if not path.is_dir():
        backend = ExecutorchBackend([opened(path, threads)])
        found = backend.precision
        if precision not in (None, found) and (precision, found) != ("int8", "int8-a8"):
            raise InputError(f"{path} computes in {found}, not in {precision}")
        return backend
    files = files_of(read_manifest(path), "executorch", precision)
    unused = "pte-stream"  # it does the same as a step
    if opened is Program and any(file.kind == "pte-stream" for file in files):
        unused = "pte-step"
    files = [file for file in files if file.kind != unused]
    if not files:
        raise InputError(
            f"{path} holds no ExecuTorch program of precision {precision or 'float32'}; run `ssmith export`"
            " with the executorch format"
        )
    programs = [opened(verified(path, file), threads) for file in files]
    if len({program.meta.bundle_sha256 for program in programs}) > 1:
        raise InputError(f"the ExecuTorch programs in {path} come from different models; run `ssmith export`")
    return ExecutorchBackend(programs)


def _runtime() -> type[Program] | type[NumpyProgram]:
    """What opens a program: executorch, or without it the runtime that needs no torch."""
    if importlib.util.find_spec("executorch") is None and importlib.util.find_spec(PACKAGE) is not None:
        return NumpyProgram
    return Program
