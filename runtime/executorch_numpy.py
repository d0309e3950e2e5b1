"""ExecuTorch programs without torch: one ``.pte`` file in the package executorch-numpy-runtime.

That runtime takes and returns arrays. It runs what XNNPACK took as well as the portable programs, but reaches
no state inside a program, cannot return text, and lets XNNPACK use as many threads as it likes. So it opens
step and sequence programs, and the description is read where it lies in the file.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from ssmith.errors import InputError, MissingToolError, SsmithError, first_problem
from ssmith.files import check_seal
from ssmith.ops import Float32
from ssmith.runtime.executorch_package import no_log
from ssmith.runtime.executorch_program import FLOAT32, METADATA_METHOD, ProgramMeta, Shape, check_shapes

PACKAGE = "executorch_numpy_runtime"
_LENGTH = 4  # bytes before a string in a FlatBuffer, its length
_START = b'{"activation_bits":'  # keys are sorted, and every description has this one


class NumpyProgram:
    """An open program, as ``ssmith.runtime.executorch_program.Program``, without torch.

    Args:
        path: a ``.pte`` file, not a stream.
        threads: 1: the runtime cannot be told, so anything else is refused.

    Raises:
        InputError: the file is missing, damaged, not an ssmith export, keeps its states inside, or its
            inputs and outputs are not those that its description promises; ``threads`` is not 1.
        MissingToolError: the package is not installed.
    """

    def __init__(self, path: Path, threads: int) -> None:
        if threads != 1:
            raise InputError(
                f"threads is {threads}, but {PACKAGE} lets XNNPACK choose; install executorch to set them"
            )
        try:
            data = path.read_bytes()
        except OSError as error:
            raise InputError(f"cannot read {path}: {error.strerror}") from error
        check_seal(data, path)
        self.meta = read_meta(data, path)
        if self.meta.form == "stream":
            raise InputError(
                f"{path} keeps its states inside, where {PACKAGE} does not reach them; open"
                f" {path.name.replace('.stream.', '.step.')}, which does the same, or install executorch"
            )
        package = _package()
        self._data = data  # the runtime reads weights where they lie
        try:
            with no_log():
                self._program = package.Runtime().load_program(data)
                self._forward = self._program.load_method("forward")
                found = self._forward.metadata
                # Without these the runtime would read whatever lies in memory.
                check_shapes(path, self.meta, _shapes(found["inputs"]), _shapes(found["outputs"]))
                # The first call loads the weights, and says whether they are there.
                self._forward([np.zeros(tensor["shape"], np.float32) for tensor in found["inputs"]])
        except package.ExecuTorchError as error:
            raise InputError(
                f"{PACKAGE} cannot open {path} ({error}); it is damaged or needs a newer runtime: export it"
                " again, or install executorch"
            ) from error
        self._error = package.ExecuTorchError

    def given(self, array: Float32) -> Float32:
        """What ``run`` takes for an array: the array."""
        return array

    def run(self, inputs: Sequence[Float32]) -> list[Float32]:
        """Arrays → arrays of their own."""
        try:
            outputs: list[Float32] = self._forward(inputs)
        except self._error as error:
            raise SsmithError(f"{PACKAGE} failed: {error}") from error
        return outputs


def read_meta(data: bytes, path: Path) -> ProgramMeta:
    """The description inside a program: a string with its length before it, as FlatBuffers store one.

    Args:
        data: the file, its seal already checked.
        path: for messages.

    Raises:
        InputError: there is none, or it is damaged.
    """
    start = data.find(_START)
    if start < _LENGTH:
        raise InputError(
            f"{path} has no method {METADATA_METHOD!r}, so its states, rate and digest are unknown: it was"
            " not written by `ssmith export`; run it with executorch directly"
        )
    length = int.from_bytes(data[start - _LENGTH : start], "little")
    try:
        return ProgramMeta.model_validate(json.loads(data[start : start + length]))
    except ValidationError as error:
        raise InputError(
            f"{path} has a damaged description: {first_problem(error)}; export it again"
        ) from error
    except ValueError as error:
        raise InputError(f"{path} has a damaged description: {error}; export it again") from error


def _shapes(tensors: Sequence[dict[str, Any]]) -> list[Shape | None]:
    """Shapes of inputs or outputs; None for what is not float32."""
    return [tuple(t["shape"]) if t["scalar_type"] == FLOAT32 else None for t in tensors]


def _package() -> Any:
    try:
        import executorch_numpy_runtime
    except ImportError as error:
        raise MissingToolError(
            "running ExecuTorch programs needs executorch and torch, or from Python 3.12 on"
            " executorch-numpy-runtime; run: pip install 'ssmith[executorch]'"
        ) from error
    return executorch_numpy_runtime
