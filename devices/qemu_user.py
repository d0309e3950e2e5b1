"""``qemu:riscv64`` and ``qemu:aarch64*``: Linux programs for other processors, in QEMU's user mode.

Native code everywhere; on aarch64 ONNX Runtime's own wheel and, without torch, ExecuTorch, too, inside the
root that ``root`` makes.
A processor's name changes which instructions there are, so which kernels a library picks, and no time.
"""

from __future__ import annotations

import functools
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

from ssmith.devices import guest, root
from ssmith.devices.counted import (
    COUNTS,
    FRAMES,
    MARK,
    OUTPUT,
    compile_model,
    new_job,
    push_frames,
    read_counted,
    run_counted,
    source_of,
)
from ssmith.devices.plugin import plugin_arguments, why_not
from ssmith.devices.processes import first_line, run_tool
from ssmith.devices.processors import PROCESSORS, Processor
from ssmith.devices.target import Job, Plan, Probe, RawRun
from ssmith.measurement import MetricKind
from ssmith.runtime.session import BackendName

LIMIT_S = 240.0


@dataclass(frozen=True)
class Linux:
    """A processor under Linux; see ``Target``.

    Args:
        processor: which.
        limit_s: a run is ended after this time.
    """

    processor: Processor
    limit_s: float = LIMIT_S

    @property
    def name(self) -> str:
        """What reports call it."""
        return f"qemu:{self.processor.model}"

    @property
    def emulator(self) -> str:
        """QEMU's program."""
        return self.processor.emulator[0]

    def probe(self) -> Probe:
        """Native code needs a cross compiler; the other backends need the root, on aarch64."""
        measures: tuple[MetricKind, ...] = ("instructions", "correctness")
        if shutil.which(self.emulator) is None:
            absent = f"{self.emulator} not found; Debian, Ubuntu: apt install qemu-user"
            return Probe((), emulated=True, measures=measures, absent=absent)
        missing: dict[BackendName, str] = {}
        if self.processor.command() is None:
            missing["native"] = (
                f"{self.processor.compiler} not found; Debian, Ubuntu: apt install {self.processor.package};"
                " anywhere: pip install ziglang"
            )
        offered: tuple[BackendName, ...] = ("native",)
        if self.emulator == guest.EMULATOR:  # the runtimes' makers build for no other of these processors
            offered = ("native", "onnx", "executorch")
            missing |= guest.missing_in(root.find_root())
        return Probe(
            tuple(backend for backend in offered if backend not in missing),
            emulated=True,
            fingerprint={
                "emulator": first_line(self.emulator, "--version"),
                "machine": " ".join(self.processor.emulator[2:]) or "QEMU's default processor",
            },
            missing=missing,
            measures=measures if why_not(self.emulator) is None else ("correctness",),
        )

    def build(self, artifacts: Path, backend: BackendName, precision: str, folder: Path) -> Job:
        """A static program, or the model beside a script for the root's Python.

        Raises:
            InputError: the folder holds nothing for this backend in this precision.
            MissingToolError: what it needs went away since the probe.
            SsmithError: the compiler refused the generated code.
        """
        reason = why_not(self.emulator)
        if backend != "native":
            job = guest.build(
                artifacts, backend, precision, folder, self.processor.emulator, counts=reason is None
            )
        else:
            job = self._native(artifacts, precision, folder, counts=reason is None)
        return replace(job, notes=(*job.notes, *([] if reason is None else [f"not counted: {reason}"])))

    def push(self, job: Job, plan: Plan) -> Job:
        """Write the frames beside the program."""
        return push_frames(job, plan)

    def run(self, job: Job, plan: Plan) -> Path:
        """Run it; returns the job's folder.

        Raises:
            SsmithError: the program failed or did not end.
        """
        return run_counted(job, self.limit_s, functools.partial(_meaning, job.backend))

    def read(self, job: Job, output: Path) -> RawRun:
        """Parse what the program printed and wrote."""
        if job.backend != "native":
            return guest.read(output)
        return read_counted(job, output, self.processor.command() or ())

    def _native(self, artifacts: Path, precision: str, folder: Path, *, counts: bool) -> Job:
        manifest, file, source = source_of(artifacts, precision)
        compiler = self.processor.command()
        assert compiler is not None, "the probe said that there is one"
        objects, program = compile_model(compiler, source, folder), folder / "program"
        run_tool([*compiler, "-static", *objects, "-o", program])
        count = plugin_arguments(self.emulator, folder / COUNTS, MARK) if counts else []
        command = [*self.processor.emulator, *count, str(program), FRAMES, OUTPUT]
        return new_job(artifacts, manifest, file, folder, compiler, command)


def open_target(model: str) -> Linux:
    """The processor of this model."""
    return Linux(PROCESSORS[model])


def _meaning(backend: BackendName, code: int, said: str) -> str:
    how = f"was ended by signal {-code}" if code < 0 else f"ended with exit code {code}"
    older = backend == "executorch" and code < 0  # the runtime does not check where outputs lie
    return f"the program {how}" + (" (exported by an older ssmith? export it again)" if older else "")
