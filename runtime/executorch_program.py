"""One ``.pte`` file in ExecuTorch's runtime, known to be what ``ssmith`` exports."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from ssmith.bundle import Signal
from ssmith.errors import InputError, SsmithError, first_problem
from ssmith.files import check_seal
from ssmith.ops import Float32
from ssmith.recipe import ArtifactPrecision
from ssmith.runtime.executorch_package import pybindings, quiet, use_threads

METADATA_METHOD = "ssmith"
FLOAT32 = 6  # ExecuTorch's number of the type
Shape = tuple[int, ...]


class ProgramMeta(BaseModel):
    """The document that the method ``ssmith`` of an exported program returns."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    form: Literal["step", "stream", "sequence"]
    backend: Literal["xnnpack", "portable"]
    name: str
    task: Literal["classification", "regression"]
    inputs: tuple[Signal, ...] = Field(min_length=1)
    outputs: tuple[Signal, ...] = Field(min_length=1)
    period_s: float | None = Field(gt=0)
    states: tuple[tuple[str, int], ...]
    precision: ArtifactPrecision = "float32"
    activation_bits: Literal[8] | None = None
    bundle_sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    max_frames: int | None = Field(default=None, ge=1)
    how_to_use: str
    license: str
    seal: str

    @model_validator(mode="after")
    def _blocks_have_a_limit(self) -> Self:
        if (self.form == "sequence") != (self.max_frames is not None):
            raise ValueError("max_frames belongs to a sequence, and to nothing else")
        return self


class Program:
    """An open program: ``run`` computes, ``attribute`` reaches a state that lives inside.

    Args:
        path: a ``.pte`` file.
        threads: of XNNPACK, for the whole process.

    Raises:
        InputError: the file is missing, damaged, not an ssmith export, or its inputs and outputs are not
            those that its description promises.
        MissingToolError: executorch is not installed.
    """

    def __init__(self, path: Path, threads: int) -> None:
        try:
            data = path.read_bytes()
        except OSError as error:
            raise InputError(f"cannot read {path}: {error.strerror}") from error
        check_seal(data, path)
        package = pybindings()
        import torch  # executorch has brought it

        self._tensor = torch.from_numpy
        use_threads(package, threads, self)
        self._data = data  # the runtime reads weights where they lie
        try:
            with quiet():
                self._program = package._load_program_from_buffer(
                    data, program_verification=package.Verification.InternalConsistency
                )
                self.meta = _read_meta(self._program, path)
                self._forward = self._program.load_method("forward")
        except RuntimeError as error:
            raise InputError(
                f"executorch cannot open {path} ({_reason(error)}); it is damaged or needs a newer"
                " executorch: export it again, or upgrade"
            ) from error
        found = self._forward.method_meta()
        inputs = [_shape(found.input_tensor_meta, index) for index in range(found.num_inputs())]
        outputs = [_shape(found.output_tensor_meta, index) for index in range(found.num_outputs())]
        check_shapes(path, self.meta, inputs, outputs)
        self._check_states(path)

    def given(self, array: Float32) -> Any:
        """What ``run`` takes for an array: a tensor on the same memory."""
        return self._tensor(array)

    def run(self, inputs: Sequence[Any]) -> list[Float32]:
        """Tensors → arrays that live until the next call; ``inputs`` are read where they lie."""
        try:
            # One call: set_inputs, execute and get_outputs one by one cost 4 us more.
            return [output.numpy() for output in self._forward.call(inputs, clone_outputs=False)]
        except RuntimeError as error:
            raise SsmithError(f"executorch failed: {_reason(error)}") from error

    def attribute(self, name: str) -> Float32:
        """The array inside the program: to read a state, to write it, to fill it with zeros."""
        held: Float32 = self._forward.get_attribute(name).numpy()
        return held

    def _check_states(self, path: Path) -> None:
        """Every state that lies inside is there with its shape."""
        for name, size in self.meta.states if self.meta.form == "stream" else ():
            try:
                held = self.attribute(name).shape
            except RuntimeError:
                held = None
            if held != (1, size):
                raise InputError(
                    f"{path}: state {name!r} should lie inside with shape {(1, size)}, the program has"
                    f" {held or 'none'}; export it again"
                )


def check_shapes(
    path: Path, meta: ProgramMeta, inputs: Sequence[Shape | None], outputs: Sequence[Shape | None]
) -> None:
    """Every input and output that the description promises is there with its type and shape.

    Args:
        path: for messages.
        meta: the description.
        inputs: shapes that the program has; None for what is no tensor of float32.
        outputs: likewise.

    Raises:
        InputError: they differ.
    """
    frames = () if meta.max_frames is None else (meta.max_frames,)
    beside = [] if meta.form == "stream" else [(1, size) for _, size in meta.states]
    for kind, found, width in (("input", inputs, len(meta.inputs)), ("output", outputs, len(meta.outputs))):
        promised = [(1, *frames, width), *beside]
        if list(found) != promised:
            raise InputError(
                f"{path}: its {kind}s should be float32 of shapes {promised}, the program has {list(found)};"
                " export it again"
            )


def _read_meta(program: Any, path: Path) -> ProgramMeta:
    """The description inside the file."""
    methods = [program.get_method_name(index) for index in range(program.num_methods())]
    if METADATA_METHOD not in methods or "forward" not in methods:
        raise InputError(
            f"{path} has no method {METADATA_METHOD!r}, so its states, rate and digest are unknown: it was"
            " not written by `ssmith export`; run it with executorch directly"
        )
    method = program.load_method(METADATA_METHOD)
    try:
        method.set_inputs(())
        method.execute()
        (document,) = method.get_outputs(True)
        return ProgramMeta.model_validate(json.loads(document))
    except ValidationError as error:
        raise InputError(
            f"{path} has a damaged description: {first_problem(error)}; export it again"
        ) from error
    except (ValueError, TypeError) as error:
        raise InputError(f"{path} has a damaged description: {error}; export it again") from error


def _shape(tensor_meta: Any, index: int) -> Shape | None:
    """The shape of one input or output, if it is a tensor of float32."""
    try:
        info = tensor_meta(index)
        return tuple(info.sizes()) if info.dtype() == FLOAT32 else None
    except RuntimeError:
        return None


def _reason(error: Exception) -> str:
    return str(error).partition("\n")[0]
