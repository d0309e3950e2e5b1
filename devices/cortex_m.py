"""Cortex-M boards that QEMU knows: how a program for one is built, started and refused."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ssmith.devices.processes import ToolError, run_tool
from ssmith.errors import InputError

FOLDER = Path(__file__).parent / "firmware" / "cortex_m"
COMPILER = "arm-none-eabi-gcc"
EMULATOR = "qemu-system-arm"
FAULT = 99  # exit code of startup.c
UNITS = {"": 1, "K": 1024, "M": 1024**2}
WHAT = {"CODE": "flash", "RAM": "RAM"}


@dataclass(frozen=True)
class Core:
    """A processor and the board that it sits on.

    Args:
        name: as the compiler's ``-mcpu`` knows it.
        machine: QEMU's name of the board.
        board: its linker script in ``firmware/cortex_m``.
        float_flags: how floating point is compiled.
        fma: whether the processor fuses multiply and add.
    """

    name: str
    machine: str
    board: str
    float_flags: tuple[str, ...] = ("-mfloat-abi=soft",)
    fma: bool = False

    @property
    def flags(self) -> tuple[str, ...]:
        """What names the processor to the compiler."""
        return (f"-mcpu={self.name}", "-mthumb", *self.float_flags)

    @property
    def hard_float(self) -> bool:
        """Whether float instructions exist; without, float code is emulated and slow."""
        return "-mfloat-abi=hard" in self.float_flags


CORES = {
    core.name: core
    for core in (
        # QEMU has no board with a Cortex-M0+; its instructions are a subset of the Cortex-M3's.
        Core("cortex-m0plus", "mps2-an385", "mps2"),
        Core("cortex-m3", "mps2-an385", "mps2"),
        Core("cortex-m4", "mps2-an386", "mps2", ("-mfpu=fpv4-sp-d16", "-mfloat-abi=hard"), fma=True),
        Core("cortex-m7", "mps2-an500", "mps2", ("-mfpu=fpv5-sp-d16", "-mfloat-abi=hard"), fma=True),
        Core("cortex-m55", "mps3-an547", "mps3_an547", ("-mfloat-abi=hard",), fma=True),
    )
}


def memory_bytes(core: Core) -> dict[str, int]:
    """Bytes of ``CODE`` and ``RAM``, as the linker script has them."""
    text = (FOLDER / f"{core.board}.ld").read_text()
    found = re.findall(r"^\s*(\w+) \(\w+\) : ORIGIN = \w+, LENGTH = (\d+)([KM]?)$", text, re.M)
    return {name: int(size) * UNITS[unit] for name, size, unit in found}


def link_for_board(core: Core, objects: Sequence[Path], output: Path) -> Path:
    """Link objects with the start-up code to a program for the board.

    Raises:
        InputError: the program does not fit into the board's memory; the message has the numbers.
        ToolError: the compiler or the linker refused something else.
    """
    start = output.with_name("startup.o")
    run_tool([COMPILER, *core.flags, "-Os", f"-I{FOLDER}", "-c", FOLDER / "startup.c", "-o", start])
    script = [f"-L{FOLDER}", f"-T{FOLDER / core.board}.ld"]
    try:
        run_tool([COMPILER, *core.flags, "-nostartfiles", *script, start, *objects, "-o", output])
    except ToolError as error:
        if problem := _too_big(core, error.said):
            raise InputError(problem) from error
        raise
    return output


def start_on_board(core: Core, program: Path, arguments: Sequence[str]) -> list[str]:
    """The command that boots a program and ends with its exit code.

    Args:
        core: the board.
        program: what ``link_for_board`` made.
        arguments: of the program, its name first; no commas.
    """
    semihosting = ",".join(["enable=on,target=native,chardev=out", *(f"arg={word}" for word in arguments)])
    quiet = ["-display", "none", "-monitor", "none", "-serial", "none"]
    out = ["-chardev", "stdio,id=out", "-semihosting-config", semihosting]
    return [EMULATOR, "-M", core.machine, *quiet, *out, "-kernel", str(program)]


def why_it_failed(code: int, said: str) -> str:
    """What an exit code of QEMU's board means."""
    if code == FAULT:
        return f"the program faulted (exit code {FAULT} of its fault handler)"
    if code in (-6, 134):  # the emulator aborts; 134 where a shell stands between
        locked = "Lockup" in said or "lockup" in said
        return (
            "the processor locked up: a fault while it handled a fault" if locked else "the emulator aborted"
        )
    return f"the program ended with exit code {code}"


def _too_big(core: Core, said: str) -> str:
    """What the linker's complaint about a full memory means; empty if it complained about something else."""
    have, over = memory_bytes(core), re.findall(r"region `(\w+)' overflowed by (\d+) bytes", said)
    parts = [
        f"needs {have[name] + int(more):,} bytes of {WHAT[name]} and {core.machine} has {have[name]:,}"
        for name, more in over
    ]
    return (
        f"the program for {core.name} {' and '.join(parts)}; reduce the model, or export it in int8"
        if parts
        else ""
    )
