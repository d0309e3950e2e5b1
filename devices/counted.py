"""A generated model around ``firmware/counted.c``: built, run under an emulator, its marks read.

What ``qemu_system`` and ``qemu_user`` share: they differ in compiler, linker and emulator.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from ssmith.compiler import compiler_version
from ssmith.devices.golden import case
from ssmith.devices.host import input_frames
from ssmith.devices.objects import section_bytes
from ssmith.devices.plugin import between_marks, read_counts
from ssmith.devices.processes import TimeLimitError, ToolError, run_tool
from ssmith.devices.processors import ZIG
from ssmith.devices.target import Job, Plan, RawRun, held
from ssmith.errors import InputError, SsmithError
from ssmith.ops import Float32
from ssmith.runtime.artifacts import Artifact, Manifest, read_manifest, verified

FIRMWARE = Path(__file__).parent / "firmware"
FLAGS = ("-std=c99", "-O3", "-ffp-contract=off")  # what the headers tell users
FRAMES, OUTPUT, COUNTS, SAID = "frames.f32", "output.f32", "counts.txt", "said.txt"
MARK = "mark=mark"  # the function of counted.c
CODES = {2: "it cannot read its frames or write its outputs", 3: "the model returned an error"}


def source_of(artifacts: Path, precision: str) -> tuple[Manifest, Artifact, Path]:
    """The generated C of an artifact folder in one precision: manifest, its row, the checked file.

    The path is absolute: zig keeps objects by the paths they are made from, and takes the object of another
    folder for this one's where both are ``runs/NAME`` to it.

    Raises:
        InputError: the folder holds none, or it is not the one that the manifest describes.
    """
    manifest = read_manifest(artifacts)
    file = held(manifest, "native", precision)
    if file is None or file.kind != "c-source":
        raise InputError(f"{artifacts} holds no generated C in {precision}; export it with the c99 format")
    return manifest, file, verified(artifacts, file).resolve()


def compile_model(
    compiler: Sequence[str], source: Path, folder: Path, includes: Sequence[Path] = ()
) -> list[Path]:
    """The objects of a model and of the program around it, in this order.

    Args:
        compiler: with the flags that name the processor.
        source: ``NAME.c``.
        folder: where the objects go.
        includes: more folders for the program.

    Raises:
        SsmithError: the compiler refused it.
    """
    name = source.stem
    model, program = folder / "model.o", folder / "counted.o"
    headers = [f"-I{path}" for path in (source.parent, *includes)]
    defines = [f"-DMODEL={name}", f"-DUPPER={name.upper()}", f'-DMODEL_HEADER="{name}.h"']
    run_tool([*compiler, *FLAGS, "-c", source, "-o", model])
    run_tool([*compiler, *FLAGS, *headers, *defines, "-c", FIRMWARE / "counted.c", "-o", program])
    return [model, program]


def new_job(
    artifacts: Path,
    manifest: Manifest,
    file: Artifact,
    folder: Path,
    compiler: Sequence[str],
    command: Sequence[str],
) -> Job:
    """A job that runs ``command``; see ``Job``."""
    program = len(ZIG) if tuple(compiler[: len(ZIG)]) == ZIG else 1  # words before the flags
    return Job(
        backend="native",
        precision=file.precision,
        artifact=file.path,
        artifacts=artifacts,
        command=tuple(command),
        folder=folder,
        period_s=manifest.period_s,
        fingerprint={
            "compiler": compiler_version(compiler[:program]),
            "compiler_flags": " ".join((*compiler[program:], *FLAGS)),
        },
    )


def push_frames(job: Job, plan: Plan) -> Job:
    """Write the frames of the golden case into the job's folder, or others where there is none."""
    wanted = case(job.artifacts, job.backend, job.precision)
    if wanted is not None:
        wanted.inputs.astype(np.float32).tofile(job.folder / FRAMES)
        return job
    frames, origin = input_frames(job.artifacts, job.backend, plan.seed)
    frames.astype(np.float32).tofile(job.folder / FRAMES)
    return replace(job, notes=(*job.notes, origin))


def run_counted(job: Job, limit_s: float, meaning: Callable[[int, str], str]) -> Path:
    """Run the job's command in its folder; returns the folder.

    Args:
        job: that was pushed.
        limit_s: the emulator is ended after this time.
        meaning: of an exit code and what was said with it.

    Raises:
        SsmithError: the program failed or did not end.
    """
    what = f"{job.artifact} ({job.precision})"
    try:
        said = run_tool(job.command, timeout_s=limit_s, cwd=job.folder)
    except TimeLimitError as error:
        raise SsmithError(f"{what} did not end within {limit_s:g} s under {job.command[0]}") from error
    except ToolError as error:
        said = error.said.strip()
        if error.code == 127:
            raise
        reason = CODES.get(error.code) or meaning(error.code, said)
        words = said if len(said) <= 800 else f"{said[:200]} … {said[-600:]}"
        raise SsmithError(f"{what} failed: {reason}" + (f": {words}" if words else "")) from error
    (job.folder / SAID).write_text(said)
    return job.folder


def read_counted(job: Job, output: Path, compiler: Sequence[str]) -> RawRun:
    """Parse what ``counted.c`` printed and wrote.

    Raises:
        SsmithError: it is something else.
    """
    said = dict(re.findall(r"^(\w+) (\d+)$", (output / SAID).read_text(), re.M))
    if missing := {"frames", "stack", "flash", "ram"} - set(said):
        raise SsmithError(
            f"the program printed no {sorted(missing)[0]!r}: {(output / SAID).read_text()[-300:]!r}"
        )
    steps = between_marks(read_counts(output / COUNTS).marks) if (output / COUNTS).exists() else None
    return RawRun(
        instructions_per_step=None if steps is None else float(steps.mean()),
        golden_outputs=read_outputs(output / OUTPUT, int(said["frames"])),
        flash_bytes=int(said["flash"]),
        ram_bytes=int(said["ram"]),
        stack_bytes=int(said["stack"]),
        code_bytes=code_bytes(compiler, output / "model.o", int(said["flash"])),
        notes=(*([] if steps is None else spread(steps)),),
    )


def read_outputs(path: Path, frames: int) -> Float32:
    """Outputs (T, Y) of raw float32.

    Raises:
        SsmithError: they are not that many rows.
    """
    values = np.fromfile(path, np.float32)
    if frames < 1 or values.size == 0 or values.size % frames:
        raise SsmithError(f"{values.size} outputs came back for {frames} frames")
    return values.reshape(frames, -1)


def spread(steps: np.ndarray) -> list[str]:
    """A sentence where not every step takes the same number of instructions."""
    low, high = int(steps.min()), int(steps.max())
    if low == high:
        return []
    return [f"instructions depend on the data: {low:,} to {high:,} a step over {len(steps)} frames"]


def code_bytes(compiler: Sequence[str], model: Path, flash: int) -> int | None:
    """Bytes that a model's object takes in flash beside its constants; None where no tool reads it."""
    try:
        sections = section_bytes(compiler, model)
    except ToolError:
        return None
    return sections.get("text", 0) + sections.get("rodata", 0) + sections.get("data", 0) - flash
