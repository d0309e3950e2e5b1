"""ExecuTorch: programs built from a bundle's op list, each taken by XNNPACK in one piece.

========================  ====================================================================
``STEM.step.pte``         one frame (1, U) and every state (1, n) → (1, Y) and the new states
``STEM.stream.pte``       one frame → (1, Y); the states are named attributes of the method
``STEM.sequence.pte``     a block (1, T, U) and every state → (1, T, Y) and the new states
``STEM.portable.pte``     the step on ExecuTorch's own kernels alone; float32 only
``STEM.step.bpte``        the step with golden inputs and outputs; float32 only
========================  ====================================================================

Every program has, beside ``forward``, the method ``ssmith``: it returns the model's description as JSON.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from ssmith.bundle import Bundle
from ssmith.errors import MissingToolError
from ssmith.files import SEAL, seal, write_atomic
from ssmith.recipe import ArtifactPrecision
from ssmith.runtime import reference
from ssmith.runtime.artifacts import artifact_stem

if TYPE_CHECKING:
    from torch import Tensor

    from ssmith.export.executorch_program import Lowered

Form = Literal["step", "stream", "sequence", "portable"]
Piece = tuple[Form, ArtifactPrecision]
PRECISIONS: tuple[ArtifactPrecision, ...] = ("float32", "int8", "int8-dynamic", "mixed")
MAX_FRAMES = 1024  # of one call of a sequence program: its memory is planned for so many
GOLDEN_FRAMES = 8  # of each golden case, in the bundled program

LICENSE = (
    "0BSD: use the program in this file for anything, without conditions and without warranty. "
    "The weights belong to whoever trained them."
)
HOW_TO_USE: dict[Form, str] = {
    "step": (
        "One frame a call: forward(frame (1, U), every state (1, n), zeros at the start of a stream) returns"
        " the output (1, Y) and the new states, in the same order; feed them back."
    ),
    "stream": (
        "One frame a call: forward(frame (1, U)) returns (1, Y). Each state is the attribute of forward that"
        " has its name: read it to save, write it to resume, fill it with zeros to reset."
    ),
    "sequence": (
        "T frames a call, 1 <= T <= max_frames: forward(block (1, T, U), every state (1, n)) returns"
        " (1, T, Y) and the states after the last frame; feed them back to go on."
    ),
}
HOW_TO_USE["portable"] = HOW_TO_USE["step"]


def lower(
    bundle: Bundle,
    folder: Path,
    precisions: Sequence[ArtifactPrecision] = ("float32",),
    *,
    processes: int = 1,
) -> list[Path]:
    """Write the programs of each precision that ExecuTorch has; others are passed over.

    Args:
        bundle: the model; variants are not looked at.
        folder: where to write; made if missing.
        precisions: int8 and mixed have 8-bit activations here, whatever other formats have.
        processes: 2 lets a second one make about half of many programs; the bytes are the same.

    Returns:
        The files written: of float32 all five kinds; of int8 and mixed step, stream and sequence; of
        int8-dynamic the step alone, as a scale a block would make splits differ.

    Raises:
        InputError: int8 without a calibration, mixed without a plan, a state's name that a program
            cannot have, or the folder cannot be written.
        MissingToolError: executorch or torch is not installed.
    """
    from ssmith.export.executorch_beside import made_beside, shares

    pieces = [(form, p) for p in precisions if p in PRECISIONS for form in forms_of(p)]
    here, beside = shares(pieces) if processes > 1 else (pieces, [])
    made: dict[Piece, bytes] = {}
    golden = b""
    with made_beside(bundle, beside) as found:
        for form, precision in here:
            program = to_program(bundle, form, precision)
            made[form, precision] = program.data
            if (form, precision) == ("step", "float32"):
                golden = _with_golden(bundle, program)
        made |= found()
    files: dict[str, bytes] = {}
    for form, precision in pieces:
        stem = artifact_stem(bundle.name, precision)
        data = made.get((form, precision)) or to_program(bundle, form, precision).data
        files[f"{stem}.{form}.pte"] = seal(data)
        if (form, precision) == ("step", "float32"):
            files[f"{stem}.step.bpte"] = seal(golden)
    for file, data in files.items():
        write_atomic(folder / file, data)
    return [folder / file for file in files]


def forms_of(precision: ArtifactPrecision) -> tuple[Form, ...]:
    """The programs that are written in one precision, each under its own ending."""
    if precision == "float32":
        return get_args(Form)
    return ("step",) if precision == "int8-dynamic" else ("step", "stream", "sequence")


def to_program(bundle: Bundle, form: Form, precision: ArtifactPrecision = "float32") -> Lowered:
    """One program, not sealed yet; raises as ``lower``."""
    try:
        import torch

        from ssmith.export.executorch_program import lowered
        from ssmith.runtime.executorch_package import quiet

        with quiet():
            import executorch.exir  # noqa: F401 (a late failure would have no words)
    except ImportError as error:
        raise MissingToolError(
            "writing ExecuTorch programs needs torch and executorch; run: pip install 'ssmith[executorch]'"
        ) from error
    from ssmith.export.executorch_module import Network, Sequence, Step, Stream
    from ssmith.export.executorch_products import Products

    inputs, outputs = len(bundle.meta.inputs), len(bundle.meta.outputs)
    states = [torch.zeros(1, *shape) for shape in bundle.states.values()]
    many = form == "sequence"
    network = Network(bundle, Products.of(bundle, precision, frames=many), frames=many)
    metadata = _metadata(bundle, form, precision)
    frame = torch.zeros(1, inputs)
    if form == "stream":
        return lowered(Stream(network, bundle.states), [frame], metadata)
    if many:
        free = ({1: torch.export.Dim("T", min=1, max=MAX_FRAMES)}, tuple(None for _ in states))
        module = Sequence(network, inputs, outputs)
        example = [torch.zeros(1, 5, inputs), *states]
        return lowered(module, example, metadata, dynamic_shapes=free)
    return lowered(Step(network), [frame, *states], metadata, delegate=form == "step")


def _metadata(bundle: Bundle, form: Form, precision: ArtifactPrecision) -> str:
    """What the method ``ssmith`` returns: one JSON document, keys sorted."""
    document: dict[str, Any] = {
        "form": "step" if form == "portable" else form,
        "backend": "portable" if form == "portable" else "xnnpack",
        "precision": precision,
        "activation_bits": 8 if precision == "int8" else None,
        "how_to_use": HOW_TO_USE[form],
        "license": LICENSE,
        "seal": SEAL,
        **reference.describe(bundle),
    }
    if form == "sequence":
        document["max_frames"] = MAX_FRAMES
    return json.dumps(document, sort_keys=True)


def _with_golden(bundle: Bundle, program: Lowered) -> bytes:
    """The step with a few frames of each golden case, states before and after from the float64 reference."""
    import torch

    from ssmith.export.executorch_program import bundled

    def tensors(row: Any, state: dict[str, Any]) -> list[Tensor]:
        return [torch.tensor(np.asarray(v, np.float32).tolist())[None] for v in (row, *state.values())]

    cases = []
    for case in bundle.golden():
        wanted = set(np.linspace(0, len(case.input) - 1, GOLDEN_FRAMES).astype(int).tolist())
        state = reference.initial_state(bundle.meta.ops, bundle.tensors, len(bundle.meta.inputs), np.float64)
        for t, frame in enumerate(case.input):
            y, after = reference.run(bundle.meta.ops, bundle.tensors, frame[None], state)
            if t in wanted:
                cases.append((tensors(frame, state), tensors(y[0], after)))
            state = after
    return bundled(program, cases)
