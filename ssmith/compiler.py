"""Compiles C, ours or generated, to shared libraries that stay in the user's cache.

What is asked of the compiler differs from use to use: fast sums for training, the reference's bits for
a finished model. So flags are the caller's: a list of alternatives, the first that compiles is used.
"""

from __future__ import annotations

import atexit
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
from ssmith.files import write_atomic

Flags = Sequence[tuple[str, ...]]
INSTALL = (
    "Debian, Ubuntu: apt install gcc libc6-dev; Fedora: dnf install gcc; macOS: xcode-select --install;"
    " anywhere: pip install ziglang"
)
_TIMEOUT_S = 120


def find_compiler() -> list[str] | None:
    """The compiler's command: ``$CC`` if set, else cc, gcc, clang or the ziglang package; or None."""
    if command := shlex.split(os.environ.get("CC", "")):
        return command if shutil.which(command[0]) else None
    if path := next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))), None):
        return [path]
    if importlib.util.find_spec("ziglang") is not None:
        return [sys.executable, "-m", "ziglang", "cc"]
    return None


def compile_command(alternatives: Flags) -> list[str]:
    """Compiler and flags, everything but files, to build something other than a shared library.

    Args:
        alternatives: sets of flags in order of preference.

    Raises:
        MissingToolError: there is no compiler.
        SsmithError: there is one, but it cannot compile an empty file with any of the flags.
    """
    compiler, complaint = _compiler(), ""
    for flags in alternatives:
        with tempfile.TemporaryDirectory(prefix="ssmith-") as work:
            complaint = _compile(compiler, flags, "int probe;\n", (), Path(work) / "probe.so")
        if not complaint:
            return [*compiler, *flags]
    raise SsmithError(f"the C compiler {shlex.join(compiler)} cannot compile an empty file: {complaint}")


def build_library(unit: str, files: Sequence[Path], alternatives: Flags) -> Path:
    """Compile one translation unit to a shared library, or find it compiled.

    The library's name holds a hash of all it was made from and for: the unit, the files it includes,
    the compiler, the flags and the processor. It appears by a rename: several processes may build it
    at once. Where the cache cannot be written, it goes to a folder that this process removes at its end.

    Args:
        unit: text of the translation unit.
        files: every file it includes, at least one; they are looked up where they lie.
        alternatives: sets of flags in order of preference. Some are for the object file alone:
            -ffast-math, given to the linker, would flush subnormal numbers to zero in the whole process.

    Raises:
        MissingToolError: there is no compiler.
        SsmithError: it refuses the unit with every set of flags; the message is its last one.
    """
    compiler, cache, complaint = _compiler(), cache_folder(), ""
    content = [unit.encode(), _version(tuple(compiler)).encode(), _processor().encode()]
    content += [part for file in files for part in (file.name.encode(), file.read_bytes())]
    for flags in alternatives:
        digest = hashlib.sha256()
        for part in (*content, *map(str.encode, (*compiler, *flags))):
            digest.update(len(part).to_bytes(8, "little") + part)
        name = f"{files[0].stem}-{digest.hexdigest()[:32]}.so"
        if (cache / name).is_file():
            return cache / name
        own = _own_folder()
        if (own / name).is_file():
            return own / name
        with tempfile.TemporaryDirectory(dir=own) as work:
            library = Path(work) / name
            folders = dict.fromkeys(file.parent for file in files)
            complaint = _compile(compiler, flags, unit, tuple(folders), library)
            if not complaint:
                return _keep(library, cache, own)
    raise SsmithError(f"the C compiler {shlex.join(compiler)} refused {files[0].name}:\n{complaint}")


def cache_folder() -> Path:
    """Where libraries are kept: ``$XDG_CACHE_HOME/ssmith``, else ``~/.cache/ssmith``; not created here."""
    base = os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser()
    return Path(base) / "ssmith"


def compiler_version(compiler: Sequence[str]) -> str:
    """What the compiler says of itself, in one line; empty if it says nothing."""
    return _version(tuple(compiler)).partition("\n")[0].strip()


def _compiler() -> list[str]:
    compiler = find_compiler()
    if compiler is None:
        named = os.environ.get("CC", "").strip()
        wrong = f"CC names {named!r}, which is not there" if named else "no C compiler was found"
        raise MissingToolError(f"{wrong}. Install one ({INSTALL}), or name it in the variable CC")
    return compiler


def _compile(
    compiler: list[str], flags: Sequence[str], unit: str, folders: Sequence[Path], library: Path
) -> str:
    """Compile and link; "" or what the compiler said."""
    source, binary = library.with_suffix(".c"), library.with_suffix(".o")
    source.write_text(unit, encoding="utf-8")
    includes = [f"-I{folder}" for folder in folders]
    linked = [flag for flag in flags if flag == "-fopenmp"]
    for command in (
        [*compiler, *flags, *includes, "-fPIC", "-c", str(source), "-o", str(binary)],
        [*compiler, *linked, "-shared", str(binary), "-o", str(library)],
    ):
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False)
        except (OSError, subprocess.SubprocessError) as error:
            return str(error)
        if done.returncode != 0:
            return done.stderr.strip()[-2000:] or f"exit code {done.returncode}"
    return ""


def _keep(library: Path, cache: Path, own: Path) -> Path:
    """Put a library into the cache, or into the process's own folder if that fails."""
    try:
        cache.mkdir(parents=True, exist_ok=True, mode=0o700)  # its files are run: nobody else may add any
        write_atomic(cache / library.name, library.read_bytes())
        return cache / library.name
    except (OSError, InputError):
        return library.replace(own / library.name)


@functools.cache
def _own_folder() -> Path:
    """A temporary folder of this process, removed at its end."""
    folder = Path(tempfile.mkdtemp(prefix="ssmith-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


@functools.cache
def _version(compiler: tuple[str, ...]) -> str:
    try:
        return subprocess.run(
            [*compiler, "--version"], capture_output=True, text=True, timeout=_TIMEOUT_S, check=False
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return ""  # compiling will say what is wrong


@functools.cache
def _processor() -> str:
    """What -march=native means here: a home folder may be shared between machines."""
    lines = {f"{platform.system()} {platform.machine()} {platform.processor()}"}
    keys = ("model name", "flags", "Features", "CPU implementer", "CPU part", "isa")
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
        lines |= {line for line in text.splitlines() if line.startswith(keys)}
    except OSError:
        pass  # not Linux
    return "\n".join(sorted(lines))
