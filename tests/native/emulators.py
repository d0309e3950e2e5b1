"""Runs the programs that toolchains built, on this machine or emulated, and counts instructions."""

from __future__ import annotations

import tempfile
from pathlib import Path

from ssmith.devices.cortex_m import start_on_board
from ssmith.devices.plugin import Counts, plugin_arguments, read_counts
from ssmith.devices.processes import run_tool
from tests.native.toolchains import Toolchain

TIMEOUT_S = 240


def run(toolchain: Toolchain, program: Path, *arguments: int) -> str:
    """Run a program, return its hash.

    Args:
        toolchain: what built it.
        program: the file.
        arguments: DATA FRAMES BLOCK FRESH of ``feed.c``.

    Raises:
        ToolError: it failed.
    """
    if toolchain.runner == "wasm":
        return _in_wasm(program, arguments)[0]
    return run_tool(_line(toolchain, program, arguments), timeout_s=TIMEOUT_S).strip()


def count(toolchain: Toolchain, program: Path, *arguments: int, profile: bool = False) -> Counts:
    """Count the instructions of a run under QEMU; wasmtime's fuel for WebAssembly.

    Args:
        toolchain: what built the program.
        program: the file.
        arguments: as for ``run``.
        profile: also by function.

    Raises:
        ToolError: it failed.
    """
    if toolchain.runner == "wasm":
        return Counts(_in_wasm(program, arguments)[1], {})
    with tempfile.TemporaryDirectory() as work:
        log = Path(work) / "counts.txt"
        line = _line(toolchain, program, arguments)
        at = 1 if toolchain.runner == "system" else len(toolchain.machine) or 1
        line[at:at] = plugin_arguments(toolchain.machine[0], log, *(["profile=on"] if profile else []))
        run_tool(line, timeout_s=TIMEOUT_S, env={})
        return read_counts(log)


def per_step(
    toolchain: Toolchain, program: Path, *, frames: int = 16, block: int = 0, data: int = 0
) -> float:
    """Instructions of one frame: what ``frames`` more of them cost, start and end left out.

    Args:
        toolchain: what built the program.
        program: the file.
        frames: a multiple of 16 and of the block, so that both runs use the same frames.
        block: frames a call, 0 for steps.
        data: the kind, see ``feed.c``.
    """
    once, twice = (count(toolchain, program, data, n, block, 0).total for n in (frames, 2 * frames))
    return (twice - once) / frames


def profile(toolchain: Toolchain, program: Path, *, frames: int = 16, block: int = 0) -> dict[str, float]:
    """Instructions of one frame by function, the largest first."""
    once, twice = (
        count(toolchain, program, 0, n, block, 0, profile=True).functions for n in (frames, 2 * frames)
    )
    found = {name: (n - once.get(name, 0)) / frames for name, n in twice.items()}
    return dict(sorted(((name, n) for name, n in found.items() if n), key=lambda item: -item[1]))


def _line(toolchain: Toolchain, program: Path, arguments: tuple[int, ...]) -> list[str]:
    words = [*map(str, arguments)]
    if toolchain.core is not None:
        return start_on_board(toolchain.core, program, ["feed", *words])
    return [*toolchain.machine, str(program), *words]


def _in_wasm(program: Path, arguments: tuple[int, ...]) -> tuple[str, int]:
    """(hash, fuel): wasmtime counts an instruction as one."""
    import wasmtime

    config = wasmtime.Config()
    config.consume_fuel = True
    engine = wasmtime.Engine(config)
    store = wasmtime.Store(engine)
    store.set_fuel(1 << 40)
    instance = wasmtime.Instance(store, wasmtime.Module.from_file(engine, str(program)), [])
    feed = instance.exports(store)["feed"]
    assert isinstance(feed, wasmtime.Func)
    value = feed(store, *arguments)
    return f"{value % (1 << 64):016x}", (1 << 40) - store.get_fuel()
