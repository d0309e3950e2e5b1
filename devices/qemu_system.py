"""``qemu:cortex-m*``: a program boots on an emulated board, from reset to main, and is counted.

QEMU knows instructions and no cycles: no number from here is a time. Files and printing go through
semihosting, so that the golden frames reach the board and its outputs come back bit by bit.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from pathlib import Path

from ssmith.devices.cortex_m import (
    COMPILER,
    CORES,
    EMULATOR,
    FOLDER,
    Core,
    link_for_board,
    start_on_board,
    why_it_failed,
)
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
from ssmith.devices.processes import first_line
from ssmith.devices.target import Job, Plan, Probe, RawRun
from ssmith.runtime.session import BackendName

# Program → the Debian package that holds it, and what it needs beside it.
PACKAGES = {COMPILER: "gcc-arm-none-eabi libnewlib-arm-none-eabi", EMULATOR: "qemu-system-arm"}
LIMIT_S = 240.0


@dataclass(frozen=True)
class Board:
    """An emulated Cortex-M board; see ``Target``.

    Args:
        core: the processor and its board.
        limit_s: a run is ended after this time.
    """

    core: Core
    limit_s: float = LIMIT_S

    @property
    def name(self) -> str:
        """What reports call it."""
        return f"qemu:{self.core.name}"

    def probe(self) -> Probe:
        """Native code runs where the cross compiler and QEMU are installed; counting has needs of its own."""
        lacking = [tool for tool in PACKAGES if shutil.which(tool) is None]
        if lacking:
            packages = " ".join(PACKAGES[tool] for tool in lacking)
            absent = f"{', '.join(lacking)} not found; Debian, Ubuntu: apt install {packages}"
            return Probe((), emulated=True, measures=("instructions", "correctness"), absent=absent)
        return Probe(
            ("native",),
            emulated=True,
            fingerprint={"emulator": first_line(EMULATOR, "--version"), "machine": self.core.machine},
            measures=("instructions", "correctness") if why_not(EMULATOR) is None else ("correctness",),
        )

    def build(self, artifacts: Path, backend: BackendName, precision: str, folder: Path) -> Job:
        """The generated C as a program for the board.

        Raises:
            InputError: the folder holds none, or it does not fit into the board's memory.
            SsmithError: the compiler refused it.
        """
        manifest, file, source = source_of(artifacts, precision)
        compiler = (COMPILER, *self.core.flags)
        objects = compile_model(compiler, source, folder, [FOLDER])
        program = link_for_board(self.core, objects, folder / "program.elf")
        command = start_on_board(self.core, program, ["counted", FRAMES, OUTPUT])
        reason = why_not(EMULATOR)
        if reason is None:
            command[1:1] = plugin_arguments(EMULATOR, folder / COUNTS, MARK)
        job = new_job(artifacts, manifest, file, folder, compiler, command)
        return replace(job, notes=(*job.notes, *([] if reason is None else [f"not counted: {reason}"])))

    def push(self, job: Job, plan: Plan) -> Job:
        """Write the frames to where semihosting reads them."""
        return push_frames(job, plan)

    def run(self, job: Job, plan: Plan) -> Path:
        """Boot it; returns the job's folder.

        Raises:
            SsmithError: the program faulted, the processor locked up, or it did not end.
        """
        return run_counted(job, self.limit_s, why_it_failed)

    def read(self, job: Job, output: Path) -> RawRun:
        """Parse what the program printed and wrote."""
        return read_counted(job, output, (COMPILER,))


def open_target(model: str) -> Board:
    """The board with this core."""
    return Board(CORES[model])
