"""The compilers and processors that a model's C has to be right for, and how each builds a program."""

from __future__ import annotations

import importlib.util
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ssmith.devices.cortex_m import COMPILER, CORES, EMULATOR, Core, link_for_board
from ssmith.devices.cortex_m import FOLDER as CORTEX_M
from ssmith.devices.processes import run_tool
from ssmith.devices.processors import PROCESSORS

HERE = Path(__file__).parent
STRICT = ("-Wall", "-Wextra", "-Wconversion", "-pedantic", "-Werror")
EXACT = ("-std=c99", "-O3", "-ffp-contract=off")  # what the headers tell users
Runner = Literal["native", "user", "system", "wasm", "none"]


@dataclass(frozen=True)
class Toolchain:
    """One compiler for one processor.

    Args:
        name: short and unique.
        compiler: the command up to the flags of the program.
        target: flags that name the processor.
        runner: who runs the program: this machine, QEMU's user mode, QEMU's board, wasmtime, nobody.
        machine: the emulator's command, or its arguments' ``-M`` or ``-cpu`` value.
        linker: another command that links, where the compiler has no libraries.
        core: of a board that ``devices.cortex_m`` builds for.
        hard_float: whether float instructions exist; without, float code is emulated and slow.
        fma: whether the processor fuses multiply and add.
    """

    name: str
    compiler: tuple[str, ...]
    target: tuple[str, ...] = ()
    runner: Runner = "none"
    machine: tuple[str, ...] = ()
    linker: tuple[str, ...] = ()
    core: Core | None = None
    hard_float: bool = True
    fma: bool = False

    @property
    def missing(self) -> str:
        """The first tool that is not there, or nothing."""
        tools = [self.compiler[0], *self.linker[:1]]
        tools += self.machine[:1] if self.runner in ("user", "system") else []
        if (found := next((tool for tool in tools if shutil.which(tool) is None), "")) != "":
            return found
        modules = ["ziglang"] if "ziglang" in self.compiler else []
        modules += ["wasmtime"] if self.runner == "wasm" else []
        return next((name for name in modules if importlib.util.find_spec(name) is None), "")


ZIG = (sys.executable, "-m", "ziglang", "cc")
ARM = (COMPILER,)


def _cortex_m(name: str) -> Toolchain:
    core = CORES[name]
    return Toolchain(
        name=name,
        compiler=ARM,
        target=core.flags,
        runner="system",
        machine=(EMULATOR, "-M", core.machine),
        core=core,
        hard_float=core.hard_float,
        fma=core.fma,
    )


def _linux(name: str, model: str) -> Toolchain:
    found = PROCESSORS[model]
    return Toolchain(name, (found.compiler,), found.flags, "user", found.emulator, fma=True)


_ALL = (
    Toolchain("x86-gcc", ("gcc",), (), "native"),
    Toolchain("x86-gcc-native", ("gcc",), ("-march=native",), "native", fma=True),
    Toolchain("x86-gcc-avx2", ("gcc",), ("-march=x86-64-v3",), "native", fma=True),
    Toolchain("x86-clang", ("clang",), ("-march=native",), "native", fma=True),
    Toolchain(
        "x86-zig", ZIG, ("-target", "x86_64-linux-gnu", "-mcpu=native"), "native", linker=("gcc",), fma=True
    ),
    _linux("aarch64-gcc", "aarch64-cortex-a72"),
    _linux("aarch64-gcc-dotprod", "aarch64-cortex-a76"),
    Toolchain(
        "aarch64-zig",
        ZIG,
        ("-target", "aarch64-linux-musl", "-mcpu=cortex_a72"),
        "user",
        ("qemu-aarch64", "-cpu", "cortex-a72"),
        linker=("aarch64-linux-gnu-gcc",),
        fma=True,
    ),
    Toolchain(
        "armv7-gcc",
        ARM,
        ("-mcpu=cortex-a7", "-mfpu=neon-vfpv4", "-mfloat-abi=hard", "-marm"),
        "user",
        ("qemu-arm", "-cpu", "cortex-a7"),
        fma=True,
    ),
    Toolchain("armv7-zig", ZIG, ("-target", "arm-linux-musleabihf", "-mcpu=cortex_a7")),
    *map(_cortex_m, CORES),
    _linux("riscv64-gcc", "riscv64"),
    Toolchain("wasm32-zig", ZIG, ("-target", "wasm32-wasi"), "wasm"),
    Toolchain("wasm32-zig-simd", ZIG, ("-target", "wasm32-wasi", "-msimd128"), "wasm"),
    Toolchain("windows-zig", ZIG, ("-target", "x86_64-windows-gnu")),
    Toolchain("windows-arm64-zig", ZIG, ("-target", "aarch64-windows-gnu")),
    Toolchain("macos-x86-zig", ZIG, ("-target", "x86_64-macos")),
    Toolchain("macos-arm64-zig", ZIG, ("-target", "aarch64-macos")),
    # Without __GNUC__, as other compilers: no GNU syntax may be left.
    Toolchain("no-gnu-clang", ("clang",), ("-fgnuc-version=0", "-Wvla"), "native"),
)
TOOLCHAINS = {toolchain.name: toolchain for toolchain in _ALL}


def compile_object(toolchain: Toolchain, source: Path, output: Path, flags: Sequence[str] = EXACT) -> Path:
    """Compile one C file.

    Args:
        toolchain: with what.
        source: the file.
        output: the object.
        flags: standard, optimisation, warnings, macros.

    Raises:
        ToolError: the compiler refused it.
    """
    output.parent.mkdir(parents=True, exist_ok=True)
    folders = (f"-I{source.parent}", f"-I{output.parent}", f"-I{CORTEX_M}")
    run_tool([*toolchain.compiler, *toolchain.target, *flags, *folders, "-c", source, "-o", output])
    return output


def link(toolchain: Toolchain, objects: Sequence[Path], output: Path, flags: Sequence[str] = ()) -> Path:
    """Link objects to a program that the toolchain's runner takes.

    Args:
        toolchain: with what.
        objects: what ``compile_object`` made.
        output: the program.
        flags: for the linker, as sanitizers need.

    Raises:
        ToolError: the linker refused them.
    """
    if toolchain.runner == "wasm":
        linker = [*toolchain.compiler[:-1], "wasm-ld", "--no-entry", "--export=feed"]
        run_tool([*linker, *objects, "-o", output])
        return output
    start: list[str | Path] = []
    target = toolchain.target
    if toolchain.core is not None:
        return link_for_board(toolchain.core, objects, output)
    if toolchain.compiler == ARM:
        start = ["--specs=rdimon.specs"]  # C library with semihosting, which QEMU's user mode knows
    elif toolchain.runner == "user":
        start = ["-static"]
    if toolchain.linker:
        target = ()
    run_tool([*(toolchain.linker or toolchain.compiler), *target, *start, *flags, *objects, "-o", output])
    return output
