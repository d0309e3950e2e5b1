"""What a compiled model says of itself."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from ssmith.devices.processes import run_tool


def section_bytes(compiler: Sequence[str], file: Path) -> dict[str, int]:
    """Bytes by section kind: ``text`` is instructions, ``rodata`` constants, ``data`` and ``bss`` memory.

    Args:
        compiler: that made the file; the tools beside it read it.
        file: an object or a program.

    Raises:
        ToolError: the file cannot be read, or the tool is not installed.
    """
    found: dict[str, int] = defaultdict(int)
    for line in run_tool([beside(compiler, "size"), "-A", file]).splitlines():
        if match := re.match(r"\.(text|rodata|data|bss)\S*\s+(\d+)", line):
            found[match[1]] += int(match[2])
    return dict(found)


def beside(compiler: Sequence[str], tool: str) -> str:
    """The name of a tool that came with a compiler: ``arm-none-eabi-size`` for its ``gcc``."""
    name = compiler[0]
    return f"{name.removesuffix('gcc')}{tool}" if name.endswith("-gcc") else tool
