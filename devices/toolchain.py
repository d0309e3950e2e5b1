"""What compiles a program for a board: zig here, the user's own toolchain here, or the board's compiler."""

from __future__ import annotations

import importlib.util
import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from ssmith.compiler import compiler_version
from ssmith.errors import InputError, MissingToolError, SsmithError

FLAGS = ("-std=c99", "-O3", "-ffp-contract=off")
PROGRAM = "board_loop"
_TIMEOUT_S = 600  # zig builds its C library at the first use of a target
# `uname -m` -> zig's target; programs are static, so the board's own C library does not matter.
ZIG_TARGETS = {
    "x86_64": ("x86_64-linux-musl",),
    "i686": ("x86-linux-musl",),
    "aarch64": ("aarch64-linux-musl",),
    "arm64": ("aarch64-linux-musl",),
    "armv8l": ("arm-linux-musleabihf", "-mcpu=cortex_a8"),
    "armv7l": ("arm-linux-musleabihf", "-mcpu=cortex_a8"),
    "armv6l": ("arm-linux-musleabihf", "-mcpu=arm1176jzf_s"),
    "riscv64": ("riscv64-linux-musl",),
    "ppc64le": ("powerpc64le-linux-musl",),
}


@dataclass(frozen=True)
class Toolchain:
    """How programs for a board are compiled; by default with zig, static, for what ``uname -m`` says.

    Args:
        file: a CMake toolchain file: the generated CMakeLists.txt is built with it, as in a product.
        on_target: compile on the board with its own ``cc``.
    """

    file: Path | None = None
    on_target: bool = False

    def __post_init__(self) -> None:
        """Refuse both at once, and a file that is not there."""
        if self.file is not None and self.on_target:
            raise InputError("--toolchain and --cc-on-target exclude each other: compile here or there")
        if self.file is not None and not self.file.is_file():
            raise InputError(f"there is no toolchain file {self.file}")


@dataclass(frozen=True)
class Built:
    """A program and what made it."""

    program: Path
    compiler: str
    flags: str


def macros(stem: str) -> dict[str, str]:
    """What ``host_loop.c`` wants to know about the model whose files are called ``stem``."""
    upper = stem.upper()
    return {
        "MODEL": stem,
        "MODEL_HEADER": f'"{stem}.h"',
        "MODEL_INPUTS": f"{upper}_INPUTS",
        "MODEL_OUTPUTS": f"{upper}_OUTPUTS",
        "MODEL_FLASH_BYTES": f"{upper}_FLASH_BYTES",
        "MODEL_RAM_BYTES": f"sizeof({stem}_t)",
    }


def sources() -> dict[str, Path]:
    """The C files of the runner, by name."""
    folder = Path(str(resources.files("ssmith.devices"))) / "firmware"
    return {name: folder / name for name in ("board_loop.c", "host_loop.c", "host_clock.h", "host_system.h")}


def with_zig(source: Path, folder: Path, machine: str, features: Sequence[str]) -> Built:
    """A static program for the processor that a Linux calls ``machine``.

    Args:
        source: the model's C file.
        folder: where the program goes.
        machine: what ``uname -m`` says there.
        features: what ``/proc/cpuinfo`` lists there; vector instructions among them are used.

    Raises:
        MissingToolError: zig is not installed.
        SsmithError: no zig target is known for the processor, or zig refused the code.
    """
    if importlib.util.find_spec("ziglang") is None:
        raise MissingToolError(
            "programs for other machines are built with zig: run pip install ziglang, or give"
            " --toolchain FILE.cmake, or --cc-on-target where the board has a compiler"
        )
    target = ZIG_TARGETS.get(machine)
    if target is None:
        raise SsmithError(
            f"the board's processor {machine!r} is not among {', '.join(ZIG_TARGETS)}; give a CMake toolchain"
            " file for it (--toolchain), or compile there (--cc-on-target)"
        )
    flags = (*FLAGS, "-target", *target, *_extensions(machine, features), "-static", "-s")
    compiler, program = [sys.executable, "-m", "ziglang", "cc"], folder / PROGRAM
    source = source.resolve()  # zig keeps objects by path: see ``counted.source_of``
    defines = [f"-D{key}={value}" for key, value in macros(source.stem).items()]
    files = [str(sources()["board_loop.c"]), str(source)]
    _run([*compiler, *flags, *defines, f"-I{source.parent}", *files, "-o", str(program)], source.name)
    return Built(program, compiler_version(compiler), " ".join(flags))


def with_cmake(source: Path, folder: Path, file: Path) -> Built:
    """A program built by CMake with the user's toolchain file, the model by its own CMakeLists.txt.

    Raises:
        MissingToolError: CMake is not installed.
        SsmithError: CMake or the compiler refused; the message holds their words.
    """
    if shutil.which("cmake") is None:
        raise MissingToolError("--toolchain needs CMake (Debian, Ubuntu: apt install cmake)")
    project, build = folder / "project", folder / "build"
    project.mkdir()
    for name, path in sources().items():
        shutil.copy(path, project / name)
    defines = " ".join(f'"{key}={_escaped(value)}"' for key, value in macros(source.stem).items())
    (project / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.16)\nproject(board_loop LANGUAGES C)\n"
        f'add_subdirectory("{_escaped(source.resolve().parent.as_posix())}" model)\n'
        f"add_executable({PROGRAM} board_loop.c)\n"
        f"target_link_libraries({PROGRAM} PRIVATE {source.stem}::{source.stem})\n"
        f"target_compile_definitions({PROGRAM} PRIVATE {defines})\n"
    )
    options = [f"-DCMAKE_TOOLCHAIN_FILE={file.resolve()}", "-DCMAKE_EXPORT_COMPILE_COMMANDS=ON"]
    options += ["-DCMAKE_BUILD_TYPE=Release", "-DCMAKE_RUNTIME_OUTPUT_DIRECTORY=" + str(folder / "bin")]
    _run(["cmake", "-S", str(project), "-B", str(build), *options], file.name)
    _run(["cmake", "--build", str(build), "--target", PROGRAM], file.name)
    commands = json.loads((build / "compile_commands.json").read_text())
    line = next(entry for entry in commands if Path(entry["file"]).name == source.name)
    words = shlex.split(line["command"])
    flags = [word for word in words[1:] if word.startswith("-") and word[:2] not in ("-I", "-o", "-c", "-D")]
    return Built(folder / "bin" / PROGRAM, compiler_version(words[:1]), " ".join(flags))


def command_on_target(source: Path) -> str:
    """The line of shell that compiles the runner on the board, in the folder where its sources lie."""
    defines = (shlex.quote(f"-D{key}={value}") for key, value in macros(source.stem).items())
    files = f"board_loop.c {shlex.quote(source.name)}"
    return f"cc {' '.join(FLAGS)} {' '.join(defines)} -I. {files} -o {PROGRAM}"


def _extensions(machine: str, features: Sequence[str]) -> tuple[str, ...]:
    """Vector instructions that the board has beyond the oldest of its kind; none changes a bit."""
    if machine == "x86_64" and {"avx2", "fma", "bmi2", "movbe"} <= {*features}:
        return ("-mcpu=x86_64_v3",)
    if machine in ("aarch64", "arm64") and "asimddp" in features:
        return ("-mcpu=generic+dotprod",)
    return ()


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("$", "\\$")


def _run(command: list[str], what: str) -> None:
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            check=False,
            timeout=_TIMEOUT_S,
            env=os.environ | {"LC_ALL": "C"},
        )
    except subprocess.TimeoutExpired as error:
        raise SsmithError(f"compiling {what} did not end within {_TIMEOUT_S} s") from error
    if done.returncode != 0:
        words = (done.stderr.strip() or done.stdout.strip())[-2000:]
        raise SsmithError(f"{shlex.join(command[:3])} … refused {what}:\n{words}")
