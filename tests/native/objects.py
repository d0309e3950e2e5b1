"""What a compiled model says of itself: code size, undefined symbols, the deepest stack."""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path

from tests.native.toolchains import Toolchain, command


def section_bytes(toolchain: Toolchain, file: Path) -> dict[str, int]:
    """Bytes by section kind: ``text`` is instructions, ``rodata`` constants, ``data`` and ``bss`` memory."""
    found: dict[str, int] = defaultdict(int)
    for line in command([_tool(toolchain, "size"), "-A", file]).splitlines():
        if match := re.match(r"\.(text|rodata|data|bss)\S*\s+(\d+)", line):
            found[match[1]] += int(match[2])
    return dict(found)


def undefined(toolchain: Toolchain, file: Path) -> set[str]:
    """Names that an object takes from elsewhere."""
    return set(command([_tool(toolchain, "nm"), "--undefined-only", "--format=just-symbols", file]).split())


def defined(toolchain: Toolchain, file: Path) -> set[str]:
    """Names that a program or an object holds."""
    return set(command([_tool(toolchain, "nm"), "--defined-only", "--format=just-symbols", file]).split())


def deepest_stack(call_graph: Path) -> tuple[int, list[str]]:
    """Bytes of stack below the deepest call, and that chain of functions.

    Args:
        call_graph: what gcc's ``-fcallgraph-info=su`` wrote. Functions of other files count as nothing.

    Raises:
        ValueError: a function calls itself, calls through a pointer, or has no fixed frame.
    """
    text = call_graph.read_text()
    frames: dict[str, int] = {}
    for title, label in re.findall(r'^node: \{ title: "([^"]+)" label: "([^"]*)"', text, re.M):
        if match := re.search(r"(\d+) bytes \((\S+)\)", label):
            if match[2] not in ("static", "dynamic,bounded"):
                raise ValueError(f"{title}: the frame is {match[2]}")
            frames[title] = int(match[1])
    calls = defaultdict(set)
    for caller, callee in re.findall(r'^edge: \{ sourcename: "([^"]+)" targetname: "([^"]+)"', text, re.M):
        calls[caller].add(callee)

    def depth(function: str, above: tuple[str, ...]) -> tuple[int, list[str]]:
        if function in above or function == "__indirect_call":
            raise ValueError(f"no bound: {' -> '.join((*above, function))}")
        deeper = [depth(callee, (*above, function)) for callee in sorted(calls[function])]
        most, chain = max(deeper, default=(0, []))
        return frames.get(function, 0) + most, [function, *chain]

    return max(depth(function, ()) for function in frames)


def _tool(toolchain: Toolchain, name: str) -> str:
    compiler = toolchain.compiler[0]
    return f"{compiler.removesuffix('gcc')}{name}" if compiler.endswith("-gcc") else name
