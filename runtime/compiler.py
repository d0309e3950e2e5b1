"""Finding a C compiler and building shared libraries into a cache of the user's own."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib.util
import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from ssmith.errors import InputError, MissingToolError, SsmithError

# contract=off: a fused multiply-add rounds once where the reference rounds twice.
FLAGS = ("-std=c99", "-O3", "-ffp-contract=off")
NATIVE = ("-march=native",), ("-mcpu=native",), ()  # the first that the compiler takes
NO_COMPILER = (
    "no C compiler was found, and the native backend compiles the model for this machine. Install one"
    " (Debian: apt install gcc; macOS: xcode-select --install; anywhere: pip install ziglang), or name"
    " it in the variable CC, or use backend='onnx' or 'reference'"
)


def find_compiler() -> list[str] | None:
    """The compiler's command: ``$CC`` if set, else cc, gcc, clang or the ziglang package; or None."""
    if os.environ.get("CC", "").strip():
        command = shlex.split(os.environ["CC"])
        return command if shutil.which(command[0]) else None
    for name in ("cc", "gcc", "clang"):
        if path := shutil.which(name):
            return [path]
    if importlib.util.find_spec("ziglang") is not None:
        return [sys.executable, "-m", "ziglang", "cc"]
    return None


def compile_command() -> list[str]:
    """Compiler and flags for this machine, everything but files: float32 bits as the reference's.

    Raises:
        MissingToolError: there is no compiler.
        SsmithError: there is one, but it cannot compile an empty file.
    """
    compiler = find_compiler()
    if compiler is None:
        named = os.environ.get("CC", "").strip()
        raise MissingToolError(f"CC names {named!r}, which is not there; " * bool(named) + NO_COMPILER)
    return [*compiler, *FLAGS, *_native_flags(tuple(compiler))]


@functools.cache
def _native_flags(compiler: tuple[str, ...]) -> tuple[str, ...]:
    """What makes this compiler use this CPU's vector instructions; the bits are the same without."""
    result = None
    for flags in NATIVE:
        command = [*compiler, *FLAGS, *flags, "-x", "c", "-", "-c", "-o", os.devnull]
        with tempfile.TemporaryDirectory() as folder:
            command[-1] = str(Path(folder) / "probe.o")
            result = subprocess.run(
                command, input="int probe;\n", capture_output=True, text=True, check=False
            )
        if result.returncode == 0:
            return flags
    message = result.stderr.strip() if result else ""
    raise SsmithError(f"the C compiler {shlex.join(compiler)} cannot compile an empty file: {message}")


def build_library(source: str, folders: Sequence[Path], files: Sequence[Path]) -> Path:
    """Compile one translation unit to a shared library, or find it in the cache.

    The library's name is a hash of all it was made from and for: source, included files, compiler,
    flags, processor. It appears by a rename, so two processes may build it at once.

    Args:
        source: text of the translation unit.
        folders: where its includes are looked up.
        files: everything it includes from there; part of the hash.

    Raises:
        MissingToolError: there is no compiler.
        SsmithError: the compiler refuses the source.
        InputError: the cache cannot be written.
    """
    command = compile_command()
    digest = hashlib.sha256()
    for part in (source, *command, _version(tuple(command)), _processor()):
        digest.update(part.encode() + b"\0")
    for file in files:
        digest.update(file.name.encode() + b"\0" + file.read_bytes())
    library = cache_folder() / f"{digest.hexdigest()[:32]}.so"
    if library.is_file():
        return library
    try:
        library.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        work = tempfile.mkdtemp(prefix="build-", dir=library.parent)
    except OSError as error:
        raise InputError(
            f"cannot write the cache {library.parent}: {error.strerror}. Set XDG_CACHE_HOME to a folder that"
            " can be written"
        ) from error
    try:
        unit, output = Path(work) / "unit.c", Path(work) / "unit.so"
        unit.write_text(source)
        includes = [f"-I{folder}" for folder in folders]
        done = subprocess.run(
            [*command, "-shared", "-fPIC", *includes, str(unit), "-o", str(output)],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise SsmithError(
                f"the C compiler {command[0]} failed (exit code {done.returncode}):\n{done.stderr[-2000:]}"
            )
        os.replace(output, library)
    finally:
        with contextlib.suppress(OSError):
            shutil.rmtree(work)
    return library


def cache_folder() -> Path:
    """Where libraries are kept: ``$XDG_CACHE_HOME/ssmith``, else ``~/.cache/ssmith``."""
    base = os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser()
    return Path(base) / "ssmith" / "native"


@functools.cache
def _version(command: tuple[str, ...]) -> str:
    done = subprocess.run([*command, "--version"], capture_output=True, text=True, check=False)
    return done.stdout


@functools.cache
def _processor() -> str:
    """What -march=native means here: a home folder may be shared between machines."""
    text = f"{platform.system()} {platform.machine()} {platform.processor()}"
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        text += "\n".join(sorted({line for line in lines if line.lower().startswith(("flags", "features"))}))
    return text
