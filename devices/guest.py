"""The runtimes' own aarch64 builds under QEMU: the job for the root's Python, and what comes back."""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from ssmith.devices import root
from ssmith.devices.counted import COUNTS, FRAMES, OUTPUT, SAID, read_outputs
from ssmith.devices.plugin import between_marks, plugin_arguments, read_counts
from ssmith.devices.prefix import python_in
from ssmith.devices.root_parts import SITE
from ssmith.devices.target import Job, RawRun, held
from ssmith.errors import InputError, MissingToolError
from ssmith.runtime.artifacts import read_manifest, verified
from ssmith.runtime.session import BackendName

EMULATOR = "qemu-aarch64"
GETPPID = 173  # the system call on aarch64
SCRIPT = Path(__file__).parent / "guest_step.py"
WARM = 8  # runs that are not counted: the first ones allocate
NOTES: dict[BackendName, str] = {
    "onnx": "one run of onnxruntime's session from Python on bound buffers, as the onnx backend does",
    "executorch": "one call of executorch-numpy-runtime from Python, a third party's build of ExecuTorch",
}
NO_EXECUTORCH = (
    "ExecuTorch without torch needs Python 3.12 in the aarch64 root; python -m ssmith.devices.root"
    " --suite trixie makes such a one"
)


def missing_in(tree: Path | None) -> dict[BackendName, str]:
    """What a root cannot run, and what would change that."""
    if tree is None:
        return {"onnx": root.HOW, "executorch": root.HOW}
    return {} if (tree / SITE / "executorch_numpy_runtime").is_dir() else {"executorch": NO_EXECUTORCH}


def build(
    artifacts: Path,
    backend: BackendName,
    precision: str,
    folder: Path,
    emulator: Sequence[str],
    *,
    counts: bool,
) -> Job:
    """The step model, the script and a root with this processor's description, in ``folder``.

    Args:
        artifacts: the artifact folder.
        backend: ``onnx`` or ``executorch``.
        precision: of the model.
        folder: of the job.
        emulator: command up to the processor's name, which is its last word.
        counts: whether instructions are counted.

    Raises:
        InputError: the folder holds no step model in this precision.
        MissingToolError: there is no root, or not a whole one.
    """
    manifest = read_manifest(artifacts)
    file = held(manifest, backend, precision)
    if file is None or file.kind not in ("onnx-step", "pte-step"):
        raise InputError(f"{artifacts} holds no step model for {backend} in {precision}; export it again")
    tree = root.find_root()
    if tree is None:
        raise MissingToolError(root.HOW)
    model = f"model{Path(file.path).suffix}"
    shutil.copy(verified(artifacts, file), folder / model)
    shutil.copy(SCRIPT, folder / SCRIPT.name)
    count = plugin_arguments(EMULATOR, folder / COUNTS, f"syscall={GETPPID}") if counts else []
    python = python_in(tree, folder / "root", emulator[-1])
    command = [*emulator, *count, *python, SCRIPT.name, model, FRAMES, OUTPUT]
    return Job(
        backend=backend,
        precision=precision,
        artifact=file.path,
        artifacts=artifacts,
        command=tuple(command),
        folder=folder,
        period_s=manifest.period_s,
        flash_bytes=file.bytes,
        notes=(NOTES[backend],),
    )


def read(output: Path) -> RawRun:
    """Parse what the script printed and wrote, and the counter's marks.

    Raises:
        SsmithError: it is something else.
    """
    said = (output / SAID).read_text()
    frames = re.search(r"^frames (\d+)$", said, re.M)
    run = RawRun(golden_outputs=read_outputs(output / OUTPUT, int(frames[1]) if frames else 0))
    inside = " ".join(line for line in said.splitlines() if "=" in line)
    notes = [f"inside the aarch64 root: {inside}"]
    if not (output / COUNTS).exists():
        return replace(run, notes=tuple(notes))
    steps = between_marks(read_counts(output / COUNTS).marks)
    steps = steps[WARM:] if len(steps) > 2 * WARM else steps
    notes.append(
        f"the median of {len(steps)} runs, the middle half between"
        f" {np.percentile(steps, 25):,.0f} and {np.percentile(steps, 75):,.0f}"
    )
    return replace(run, instructions_per_step=float(np.median(steps)), notes=tuple(notes))
