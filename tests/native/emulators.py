"""Runs the programs that toolchains built, on this machine or emulated, and counts instructions."""

from __future__ import annotations

import functools
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tests.native.toolchains import HERE, Toolchain, command

PLUGIN_SOURCE = HERE.parents[1] / "devices" / "firmware" / "icount.c"
TIMEOUT_S = 240
NEWEST_PLUGIN_API_1 = 8  # QEMU's major version


@dataclass(frozen=True)
class Counts:
    """Instructions that a program executed.

    Args:
        total: all of them.
        functions: function → its own; empty unless asked for.
    """

    total: int
    functions: dict[str, int]


def run(toolchain: Toolchain, program: Path, *arguments: int) -> str:
    """Run a program, return its hash.

    Args:
        toolchain: what built it.
        program: the file.
        arguments: DATA FRAMES BLOCK FRESH of ``feed.c``.

    Raises:
        BuildError: it failed.
    """
    if toolchain.runner == "wasm":
        return _in_wasm(program, arguments)[0]
    return command(_line(toolchain, program, arguments), timeout=TIMEOUT_S).strip()


def count(toolchain: Toolchain, program: Path, *arguments: int, profile: bool = False) -> Counts:
    """Count the instructions of a run under QEMU; wasmtime's fuel for WebAssembly.

    Args:
        toolchain: what built the program.
        program: the file.
        arguments: as for ``run``.
        profile: also by function.

    Raises:
        BuildError: it failed.
    """
    if toolchain.runner == "wasm":
        return Counts(_in_wasm(program, arguments)[1], {})
    with tempfile.TemporaryDirectory() as work:
        log = Path(work) / "counts.txt"
        plugin = f"{_plugin()},profile=on" if profile else str(_plugin())
        line = _line(toolchain, program, arguments)
        at = line.index("-kernel") if toolchain.runner == "system" else len(toolchain.machine) or 1
        line[at:at] = ["-plugin", plugin, "-d", "plugin", "-D", str(log)]
        command(line, timeout=TIMEOUT_S, env={})
        text = log.read_text()
    total = re.search(r"^total (\d+)$", text, re.M)
    assert total is not None, text
    functions = re.findall(r"^function (.+) (\d+)$", text, re.M)
    return Counts(int(total[1]), {name: int(n) for name, n in functions})


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


def qemu_counts() -> bool:
    """Whether this QEMU's plugin interface is the one the counter speaks."""
    try:
        text = command(["qemu-aarch64", "--version"])
    except OSError:
        return False
    version = re.search(r"version (\d+)\.", text)
    return version is not None and int(version[1]) <= NEWEST_PLUGIN_API_1


def _line(toolchain: Toolchain, program: Path, arguments: tuple[int, ...]) -> list[str]:
    words = [*map(str, arguments)]
    if toolchain.runner != "system":
        return [*toolchain.machine, str(program), *words]
    semihosting = "enable=on,target=native,chardev=out" + "".join(f",arg={word}" for word in ("feed", *words))
    board = [*toolchain.machine, "-display", "none", "-monitor", "none", "-serial", "none"]
    board += ["-chardev", "stdio,id=out", "-semihosting-config", semihosting]
    return [*board, "-kernel", str(program)]


@functools.cache
def _plugin() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="ssmith-icount-"))
    library = folder / "libicount.so"
    command(["gcc", "-std=c99", "-O2", "-fPIC", "-shared", PLUGIN_SOURCE, "-o", library])
    return library


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
