"""What a compiled model says of itself: undefined symbols, the deepest stack."""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path

from ssmith.devices.objects import beside
from ssmith.devices.processes import run_tool
from tests.native.toolchains import Toolchain


def undefined(toolchain: Toolchain, file: Path) -> set[str]:
    """Names that an object takes from elsewhere."""
    return _names(toolchain, file, "--undefined-only")


def defined(toolchain: Toolchain, file: Path) -> set[str]:
    """Names that a program or an object holds."""
    return _names(toolchain, file, "--defined-only")


def _names(toolchain: Toolchain, file: Path, which: str) -> set[str]:
    return set(run_tool([beside(toolchain.compiler, "nm"), which, "--format=just-symbols", file]).split())


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
