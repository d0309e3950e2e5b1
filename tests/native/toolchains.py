"""The compilers and processors that a model's C has to be right for, and how each builds a program."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

HERE = Path(__file__).parent
CORTEX_M = HERE.parents[1] / "devices" / "firmware" / "cortex_m"
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
        board: linker script of ``devices/firmware/cortex_m``.
        hard_float: whether float instructions exist; without, float code is emulated and slow.
        fma: whether the processor fuses multiply and add.
    """

    name: str
    compiler: tuple[str, ...]
    target: tuple[str, ...] = ()
    runner: Runner = "none"
    machine: tuple[str, ...] = ()
    linker: tuple[str, ...] = ()
    board: str = ""
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
ARM = ("arm-none-eabi-gcc",)


def _cortex_m(
    core: str, board: str, machine: str, *target: str, run_on: str = "", fma: bool = False
) -> Toolchain:
    float_flags = target or ("-mfloat-abi=soft",)
    return Toolchain(
        name=core,
        compiler=ARM,
        target=(f"-mcpu={core}", "-mthumb", *float_flags),
        runner="system",
        machine=("qemu-system-arm", "-M", machine),
        board=board,
        hard_float=bool(target),
        fma=fma,
    )


_ALL = (
    Toolchain("x86-gcc", ("gcc",), (), "native"),
    Toolchain("x86-gcc-native", ("gcc",), ("-march=native",), "native", fma=True),
    Toolchain("x86-gcc-avx2", ("gcc",), ("-march=x86-64-v3",), "native", fma=True),
    Toolchain("x86-clang", ("clang",), ("-march=native",), "native", fma=True),
    Toolchain(
        "x86-zig", ZIG, ("-target", "x86_64-linux-gnu", "-mcpu=native"), "native", linker=("gcc",), fma=True
    ),
    Toolchain(
        "aarch64-gcc",
        ("aarch64-linux-gnu-gcc",),
        ("-mcpu=cortex-a72",),
        "user",
        ("qemu-aarch64", "-cpu", "cortex-a72"),
        fma=True,
    ),
    Toolchain(
        "aarch64-gcc-dotprod",
        ("aarch64-linux-gnu-gcc",),
        ("-mcpu=cortex-a76",),
        "user",
        ("qemu-aarch64", "-cpu", "cortex-a76"),
        fma=True,
    ),
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
    # QEMU has no board with a Cortex-M0+; its instructions are a subset of the Cortex-M3's.
    _cortex_m("cortex-m0plus", "mps2", "mps2-an385"),
    _cortex_m("cortex-m3", "mps2", "mps2-an385"),
    _cortex_m("cortex-m4", "mps2", "mps2-an386", "-mfpu=fpv4-sp-d16", "-mfloat-abi=hard", fma=True),
    _cortex_m("cortex-m7", "mps2", "mps2-an500", "-mfpu=fpv5-sp-d16", "-mfloat-abi=hard", fma=True),
    _cortex_m("cortex-m55", "mps3_an547", "mps3-an547", "-mfloat-abi=hard", fma=True),
    Toolchain("riscv64-gcc", ("riscv64-linux-gnu-gcc",), (), "user", ("qemu-riscv64",), fma=True),
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


class BuildError(Exception):
    """A command failed; the message is what it said."""


def command(arguments: Sequence[str | Path], **options: object) -> str:
    """Run a command, return what it printed.

    Raises:
        BuildError: it failed.
    """
    done = subprocess.run([*map(str, arguments)], capture_output=True, text=True, check=False, **options)  # type: ignore[call-overload]
    if done.returncode != 0:
        raise BuildError(
            f"{' '.join(map(str, arguments))}\nexit code {done.returncode}\n{done.stderr[-4000:]}"
        )
    return str(done.stdout)


def compile_object(toolchain: Toolchain, source: Path, output: Path, flags: Sequence[str] = EXACT) -> Path:
    """Compile one C file.

    Args:
        toolchain: with what.
        source: the file.
        output: the object.
        flags: standard, optimisation, warnings, macros.

    Raises:
        BuildError: the compiler refused it.
    """
    output.parent.mkdir(parents=True, exist_ok=True)
    folders = (f"-I{source.parent}", f"-I{output.parent}", f"-I{CORTEX_M}")
    command([*toolchain.compiler, *toolchain.target, *flags, *folders, "-c", source, "-o", output])
    return output


def link(toolchain: Toolchain, objects: Sequence[Path], output: Path, flags: Sequence[str] = ()) -> Path:
    """Link objects to a program that the toolchain's runner takes.

    Args:
        toolchain: with what.
        objects: what ``compile_object`` made.
        output: the program.
        flags: for the linker, as sanitizers need.

    Raises:
        BuildError: the linker refused them.
    """
    if toolchain.runner == "wasm":
        linker = [*toolchain.compiler[:-1], "wasm-ld", "--no-entry", "--export=feed"]
        command([*linker, *objects, "-o", output])
        return output
    start: list[str | Path] = []
    target = toolchain.target
    if toolchain.board:
        start = ["-nostartfiles", f"-L{CORTEX_M}", f"-T{CORTEX_M / toolchain.board}.ld"]
        start.append(
            compile_object(toolchain, CORTEX_M / "startup.c", output.with_name("startup.o"), ("-Os",))
        )
    elif toolchain.compiler == ARM:
        start = ["--specs=rdimon.specs"]  # C library with semihosting, which QEMU's user mode knows
    elif toolchain.runner == "user":
        start = ["-static"]
    if toolchain.linker:
        target = ()
    command([*(toolchain.linker or toolchain.compiler), *target, *start, *flags, *objects, "-o", output])
    return output
