"""ONNX Runtime's own aarch64 build under QEMU: the job for the root's Python, and what comes back."""

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
from ssmith.devices.root_parts import python_version
from ssmith.devices.target import Job, RawRun, held
from ssmith.errors import InputError, MissingToolError
from ssmith.runtime.artifacts import read_manifest, verified

EMULATOR = "qemu-aarch64"
GETPPID = 173  # the system call on aarch64
SCRIPT = Path(__file__).parent / "guest_step.py"
WARM = 8  # runs that are not counted: the first ones allocate
NO_EXECUTORCH = "the executorch package needs torch, whose aarch64 wheel is a CUDA build of several gigabytes"
# Part numbers in /proc/cpuinfo, by which libraries choose kernels.
PARTS = {"cortex-a53": "0xd03", "cortex-a72": "0xd08", "cortex-a76": "0xd0b", "neoverse-n1": "0xd0c"}
FEATURES = "fp asimd evtstrm aes pmull sha1 sha2 crc32 cpuid"
NEWER = " atomics fphp asimdhp asimdrdm lrcpc dcpop asimddp"  # Armv8.2 with the dot product


def build(artifacts: Path, precision: str, folder: Path, emulator: Sequence[str], *, counts: bool) -> Job:
    """The step model, the script and a root with this processor's description, in ``folder``.

    Args:
        artifacts: the artifact folder.
        precision: of the model.
        folder: of the job.
        emulator: command up to the processor's name, which is its last word.
        counts: whether instructions are counted.

    Raises:
        InputError: the folder holds no step model in this precision.
        MissingToolError: there is no root, or not a whole one.
    """
    manifest = read_manifest(artifacts)
    file = held(manifest, "onnx", precision)
    if file is None or file.kind != "onnx-step":
        raise InputError(f"{artifacts} holds no ONNX step model in {precision}; export it, format onnx")
    tree = root.find_root()
    if tree is None:
        raise MissingToolError(root.HOW)
    shutil.copy(verified(artifacts, file), folder / "model.onnx")
    shutil.copy(SCRIPT, folder / SCRIPT.name)
    prefix = processor_root(tree, folder / "root", emulator[-1])
    environment = {"PYTHONHOME": tree / "usr", "PYTHONPATH": tree / root.SITE, "PYTHONHASHSEED": 0}
    environment |= {"PYTHONDONTWRITEBYTECODE": 1, "OMP_NUM_THREADS": 1, "OPENBLAS_NUM_THREADS": 1}
    inside = [word for name, value in environment.items() for word in ("-E", f"{name}={value}")]
    count = plugin_arguments(folder / COUNTS, f"syscall={GETPPID}") if counts else []
    python = tree / "usr/bin" / f"python{python_version(tree)}"
    command = [*emulator, *count, "-L", str(prefix), *inside]
    command += [str(python), SCRIPT.name, "model.onnx", FRAMES, OUTPUT]
    return Job(
        backend="onnx",
        precision=precision,
        artifact=file.path,
        artifacts=artifacts,
        command=tuple(command),
        folder=folder,
        period_s=manifest.period_s,
        flash_bytes=file.bytes,
        notes=("one run of onnxruntime's session from Python on bound buffers, as the onnx backend does",),
    )


def processor_root(tree: Path, prefix: Path, cpu: str) -> Path:
    """A root for one processor: links into the tree, and what Linux says of the processor.

    onnxruntime reads ``/proc/cpuinfo``. It must not be this machine's: on x86 it crashes. QEMU looks into
    its prefix before it looks at the machine, so that a file there is enough.

    Args:
        tree: the root.
        prefix: is made.
        cpu: as QEMU names it.
    """
    prefix.mkdir()
    for entry in tree.iterdir():
        (prefix / entry.name).symlink_to(entry)
    processors = prefix / "sys/devices/system/cpu"
    for folder in (prefix / "proc", processors):
        folder.mkdir(parents=True)
    features = FEATURES + ("" if cpu in ("cortex-a53", "cortex-a72") else NEWER)
    (prefix / "proc/cpuinfo").write_text(
        f"processor\t: 0\nBogoMIPS\t: 108.00\nFeatures\t: {features}\nCPU implementer\t: 0x41\n"
        f"CPU architecture: 8\nCPU variant\t: 0x0\nCPU part\t: {PARTS[cpu]}\nCPU revision\t: 3\n\n"
    )
    for name in ("possible", "present", "online"):
        (processors / name).write_text("0\n")
    return prefix


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
