"""``emulated:cortex-m4``, ``-m7`` and ``aarch64``: ziglang compiles, unicorn runs and counts; all from pip.

Every golden frame must give the reference's bits. The count is exact and the same every time: it is of the
instructions that a step executes, from its call to its return, in all and by op. Time means nothing here.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np

from ssmith.devices.counted import spread
from ssmith.devices.freestanding import MODEL_OBJECT, PROGRAM, Core, build, missing
from ssmith.devices.golden import case
from ssmith.devices.host import input_frames
from ssmith.devices.layers import REST, Owners, Tally, read_source
from ssmith.devices.target import Job, Plan, Probe, RawRun
from ssmith.errors import SsmithError
from ssmith.measurement import LayerCost

FRAMES, OUTPUT = "frames.npy", "output.npz"
LINES = "-g"  # line tables, from which instructions find their ops; the code stays the same
_SCRIPT = Path(__file__).parent / "firmware" / "called.ld"
_LINK = ("-static", f"-Wl,-T,{_SCRIPT}", "-Wl,--gc-sections", "-Wl,-u,start", "-Wl,-u,step", "-Wl,-u,number")


@dataclass(frozen=True)
class Board:
    """A core with the memory of a usual board.

    Args:
        core: for zig.
        cpu: for unicorn.
        flash_bytes: for code and constants; None where there is plenty.
        ram_bytes: for state and stack.
        like: whose memory this is.
    """

    core: Core
    cpu: str
    flash_bytes: int | None = None
    ram_bytes: int | None = None
    like: str = ""


def _thumb(cpu: str) -> Core:
    return Core(("-target", "thumb-freestanding-eabihf", f"-mcpu={cpu}", "-fno-unwind-tables", LINES), _LINK)


BOARDS = {
    "cortex-m4": Board(_thumb("cortex_m4+vfp4d16sp"), "CORTEX_M4", 512 << 10, 128 << 10, "STM32F446"),
    "cortex-m7": Board(_thumb("cortex_m7+fp_armv8d16sp"), "CORTEX_M7", 2048 << 10, 512 << 10, "STM32F767"),
    "aarch64": Board(Core(("-target", "aarch64-freestanding", "-mcpu=cortex_a72", LINES), _LINK), "A72"),
}


def open_target(model: str) -> Emulated:
    """One of ``BOARDS``."""
    return Emulated(model)


@dataclass(frozen=True)
class Emulated:
    """A core that unicorn emulates; see ``Target``."""

    model: str

    @property
    def name(self) -> str:
        """``emulated:cortex-m4``."""
        return f"emulated:{self.model}"

    def probe(self) -> Probe:
        """What is missing; what the board is taken to be."""
        board = BOARDS[self.model]
        return Probe(
            ("native",),
            emulated=True,
            fingerprint={"processor": board.cpu.lower().replace("_", "-"), "emulator": _version()},
            measures=("instructions", "correctness"),
            absent=missing("ziglang", "unicorn", "elftools"),
        )

    def build(self, artifacts: Path, backend: str, precision: str, folder: Path) -> Job:
        """Compile the model; refuse what does not fit the board."""
        return build(artifacts, precision, folder, BOARDS[self.model].core)

    def push(self, job: Job, plan: Plan) -> Job:
        """Lay the frames beside the program."""
        return push_frames(job, plan)

    def run(self, job: Job, plan: Plan) -> Path:
        """Step through the frames from a fresh state.

        Raises:
            SsmithError: the model does not fit the board, faults, does not end, or refuses a frame.
        """
        from ssmith.devices.machine import Machine, code_bytes

        board = BOARDS[self.model]
        machine = Machine(job.folder / PROGRAM, board.cpu)
        ram, flash, _, width = (machine.call("number", which) for which in range(4))
        _check_fits(job, board, machine.sizes)
        if machine.call("start") != 0:
            raise SsmithError(f"{job.artifact}: the model did not start")
        source = job.artifacts / job.artifact
        network = read_source(source.read_text(encoding="utf-8"))
        tally = Tally(Owners(job.folder / PROGRAM, network, source.name))
        machine.watch = tally.add
        rows, counts, deepest = [], [], 0
        for row in np.load(job.folder / FRAMES):
            machine.write(machine.symbols["frame"], row.tobytes())
            before = machine.instructions
            status, depth = machine.depth("step")
            if status != 0:
                raise SsmithError(f"{job.artifact}: the model refused a golden frame")
            deepest = max(deepest, depth)
            _check_fits(job, board, machine.sizes, stack=deepest)
            counts.append(machine.instructions - before)
            rows.append(np.frombuffer(machine.read(machine.symbols["result"], 4 * width), np.float32))
        code = code_bytes(job.folder / MODEL_OBJECT)
        ops = [*network.ops, REST]
        np.savez(
            job.folder / OUTPUT,
            outputs=np.array(rows),
            counts=np.array(counts),
            numbers=np.array([deepest, ram, flash, code]),
            ops=np.array(ops),
            op_counts=np.array([tally.counts[op] for op in ops]),
        )
        return job.folder

    def read(self, job: Job, output: Path) -> RawRun:
        """What ``run`` found."""
        with np.load(output / OUTPUT) as found:
            deepest, ram, flash, code = (int(n) for n in found["numbers"])
            frames = len(found["counts"])
            costs = zip(found["ops"].tolist(), found["op_counts"].tolist(), strict=True)
            return RawRun(
                instructions_per_step=float(found["counts"].mean()),
                layers=tuple(LayerCost(layer=op, instructions=count / frames) for op, count in costs),
                golden_outputs=found["outputs"],
                flash_bytes=flash,
                ram_bytes=ram,
                stack_bytes=deepest,
                code_bytes=code,
                notes=(*spread(found["counts"]),),
            )


def push_frames(job: Job, plan: Plan) -> Job:
    """Write the golden frames into the job's folder, or others where there are none."""
    wanted = case(job.artifacts, job.backend, job.precision)
    frames, origin = (wanted.inputs, "") if wanted else input_frames(job.artifacts, job.backend, plan.seed)
    np.save(job.folder / FRAMES, frames.astype(np.float32))
    return replace(job, notes=(*job.notes, origin)) if origin else job


def _check_fits(job: Job, board: Board, sizes: dict[str, int], stack: int = 0) -> None:
    """Refuse what the board could not hold: before anything runs, and once the stack of a step is known.

    Raises:
        SsmithError: says how much of what is needed, and how much there is.
    """
    flash = sum(sizes.get(name, 0) for name in (".text", ".rodata", ".data"))
    ram = sum(sizes.get(name, 0) for name in (".data", ".bss"))
    memory = f"RAM ({ram:,} of state and frames, {stack:,} of stack)" if stack else "RAM"
    for what, needed, there in (("flash", flash, board.flash_bytes), (memory, ram + stack, board.ram_bytes)):
        if there is not None and needed > there:
            raise SsmithError(
                f"{job.artifact} needs {needed:,} bytes of {what}, and a board like {board.like} has"
                f" {there:,}; export it in int8, or reduce its order"
            )


def _version() -> str:
    try:
        return f"unicorn {version('unicorn')}"
    except PackageNotFoundError:
        return "unicorn"
