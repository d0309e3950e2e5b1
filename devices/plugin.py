"""Counts the instructions of a program under QEMU: builds ``firmware/icount.c``, reads what it writes."""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ssmith.compiler import INSTALL, build_library, find_compiler
from ssmith.devices.processes import first_line, run_tool
from ssmith.errors import SsmithError

SOURCE = Path(__file__).parent / "firmware" / "icount.c"
OLDER, NEWEST = 8, 10  # QEMU's last major versions with the interfaces 1 and 2 of plugins


@dataclass(frozen=True)
class Counts:
    """Instructions that a program executed.

    Args:
        total: all of them.
        functions: function → its own; empty unless asked for.
        marks: counted so far, at each mark; empty unless asked for.
        blocks: address, instructions and runs between marks of each block of code; empty unless asked for.
    """

    total: int
    functions: dict[str, int]
    marks: tuple[int, ...] = ()
    blocks: tuple[tuple[int, int, int], ...] = ()


def why_not(emulator: str) -> str | None:
    """Why instructions cannot be counted with this emulator; None where they can.

    Args:
        emulator: its program, ``qemu-aarch64``.
    """
    version = _version(emulator)
    if version is None:
        return f"{emulator} does not tell its version"
    if version > NEWEST:
        return f"{emulator} is version {version}; the instruction counter needs QEMU 4.2 to {NEWEST}"
    if not _takes_plugins(emulator):
        return f"{emulator} was built without plugins, as Debian 13's in user mode, so it cannot count"
    if find_compiler() is None:
        return f"the instruction counter has to be compiled; install a C compiler ({INSTALL})"
    return None


def plugin_arguments(emulator: str, log: Path, *options: str) -> list[str]:
    """What makes QEMU count into ``log``; options as ``icount.c`` tells.

    Args:
        emulator: its program; ``why_not`` is None of it.
        log: is written.
        options: of the plugin.

    Raises:
        SsmithError: the counter cannot be compiled.
    """
    version = _version(emulator) or OLDER
    flags = (("-std=c99", "-O2", f"-DAPI={1 if version <= OLDER else 2}"),)
    library = build_library(f'#include "{SOURCE.name}"\n', [SOURCE], flags)
    return ["-plugin", ",".join([str(library), *options]), "-d", "plugin", "-D", str(log)]


def with_blocks(command: Sequence[str]) -> tuple[str, ...]:
    """A command of QEMU's with ``plugin_arguments`` that counts blocks between its marks, too."""
    words = [*command]
    words[words.index("-plugin") + 1] += ",blocks=on"
    return tuple(words)


def read_counts(log: Path) -> Counts:
    """Parse what the counter wrote.

    Raises:
        SsmithError: it wrote something else: the emulator ended before it could.
    """
    try:
        text = log.read_text()
    except OSError as error:
        raise SsmithError(f"the instruction counter wrote nothing: {error.strerror}") from error
    total = re.search(r"^total (\d+)$", text, re.M)
    if total is None:
        raise SsmithError(f"the instruction counter wrote no total: {text[-500:]!r}")
    functions = re.findall(r"^function (.+) (\d+)$", text, re.M)
    marks = tuple(int(n) for n in re.findall(r"^mark (\d+)$", text, re.M))
    found = re.findall(r"^block ([0-9a-f]+) (\d+) (\d+)$", text, re.M)
    blocks = tuple((int(address, 16), int(length), int(runs)) for address, length, runs in found)
    return Counts(int(total[1]), {name: int(n) for name, n in functions}, marks, blocks)


def between_marks(marks: Sequence[int]) -> np.ndarray:
    """Instructions of each marked stretch, shape (n,), the marking itself left out.

    Args:
        marks: of a program that marks twice with nothing between, then before and after each stretch.

    Raises:
        SsmithError: there is no such stretch: the program went another way.
    """
    pairs = np.array(marks[: len(marks) // 2 * 2], np.int64).reshape(-1, 2)
    if len(pairs) < 2 or len(marks) % 2:
        raise SsmithError(f"the instruction counter saw {len(marks)} marks, which make no step")
    lengths: np.ndarray = pairs[1:, 1] - pairs[1:, 0] - (pairs[0, 1] - pairs[0, 0])
    return lengths


@functools.cache
def _takes_plugins(emulator: str) -> bool:
    try:
        return "-plugin" in run_tool([emulator, "--help"], timeout_s=60)
    except SsmithError:
        return False


def _version(emulator: str) -> int | None:
    """QEMU's major version; None where it does not tell."""
    found = re.search(r"version (\d+)\.", first_line(emulator, "--version"))
    return int(found[1]) if found is not None else None
