"""The executorch backend: opens a ``.pte`` file, or a folder with some of one precision.

A frame goes through the stream program, whose states live inside it, or else through the step program; a
block goes through the sequence program. Where there are two, they share one set of states. One thread,
unless told otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ssmith.errors import InputError
from ssmith.ops import Float32
from ssmith.runtime.artifacts import read_manifest, verified
from ssmith.runtime.choice import files_of
from ssmith.runtime.executorch_program import Program
from ssmith.runtime.frames import Precision


class ExecutorchBackend:
    """One stream through a step or stream program, a sequence program, or both; see ``Session``.

    Args:
        programs: open programs of the same bundle and precision, at most one a form.
    """

    name = "executorch"

    def __init__(self, programs: Sequence[Program]) -> None:
        import torch  # executorch has brought it

        forms = {program.meta.form: program for program in programs}
        meta = programs[0].meta
        self.precision: Precision = "int8-a8" if meta.precision == "int8" else meta.precision
        self.inputs, self.outputs, self.period_s = len(meta.inputs), len(meta.outputs), meta.period_s
        self.meta: dict[str, Any] = meta.model_dump(
            mode="json", exclude={"form", "backend", "how_to_use", "license", "seal", "max_frames"}
        )
        self._sequence = forms.get("sequence")
        self._inside = "stream" in forms
        self._frame = forms.get("stream") or forms.get("step")
        self._from_numpy = torch.from_numpy
        if self._inside:
            self._tensors = {name: forms["stream"].attribute(name) for name, _ in meta.states}
        else:
            self._tensors = {name: torch.zeros(1, size) for name, size in meta.states}
        self._states = {name: tensor.numpy()[0] for name, tensor in self._tensors.items()}
        self._u = np.zeros((1, self.inputs), np.float32)
        u = torch.from_numpy(self._u)
        self._arguments = (u,) if self._inside else (u, *self._tensors.values())

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
        row: Float32 = y.numpy()[0].copy()
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
            y, *after = self._sequence.run((self._from_numpy(piece), *self._tensors.values()))
            result[start : start + limit] = y.numpy()[0]
            self._keep(after)
        return result

    def state_get(self) -> dict[str, Float32]:
        """A copy of every state."""
        return {name: value.copy() for name, value in self._states.items()}

    def state_set(self, saved: Mapping[str, Float32]) -> None:
        """Continue from states that ``state_get`` returned."""
        for name, value in saved.items():
            self._states[name][...] = value

    def _keep(self, after: Sequence[Any]) -> None:
        """Take over the states that a program returned; a stream program returns none."""
        for value, new in zip(self._tensors.values(), after, strict=False):
            value.copy_(new)


def open_backend(path: Path, precision: Precision | None = None, *, threads: int = 1) -> ExecutorchBackend:
    """Open an exported program.

    Args:
        path: one ``.pte`` file, or an artifact folder whose manifest names them.
        precision: which of a folder's models; of a file, what it must be. None: float32, or what the file is.
        threads: of XNNPACK, for all programs of the process; a step is too small to share.

    Raises:
        InputError: a file is missing, damaged, not an ssmith export, or lacks a state; it has another
            precision; a session with another number of threads is open.
        MissingToolError: executorch is not installed.
    """
    if not path.is_dir():
        backend = ExecutorchBackend([Program(path, threads)])
        found = backend.precision
        if precision not in (None, found) and (precision, found) != ("int8", "int8-a8"):
            raise InputError(f"{path} computes in {found}, not in {precision}")
        return backend
    files = files_of(read_manifest(path), "executorch", precision)
    if any(file.kind == "pte-stream" for file in files):
        files = [file for file in files if file.kind != "pte-step"]  # the stream does the same
    if not files:
        raise InputError(
            f"{path} holds no ExecuTorch program of precision {precision or 'float32'}; run `ssmith export`"
            " with the executorch format"
        )
    programs = [Program(verified(path, file), threads) for file in files]
    if len({program.meta.bundle_sha256 for program in programs}) > 1:
        raise InputError(f"the ExecuTorch programs in {path} come from different models; run `ssmith export`")
    return ExecutorchBackend(programs)
