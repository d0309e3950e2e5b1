"""Compiles a C file of this package on first use and keeps the library in the user's cache."""

from __future__ import annotations

import atexit
import hashlib
import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

SOURCES = Path(__file__).parent / "kernels"

# Tried in this order; the first that compiles is used (Apple's clang, for one, lacks OpenMP).
# Fast-math is for the object file alone: given to the linker, it would add start-up code that
# flushes subnormal numbers to zero in the whole process.
_FLAG_SETS = (
    ("-O3", "-march=native", "-ffast-math", "-fopenmp"),
    ("-O3", "-march=native", "-ffast-math"),
    ("-O3", "-ffast-math"),
)
_TIMEOUT_S = 120


class BuildError(Exception):
    """There is no usable C compiler; the message says what was tried."""


def find_compiler() -> list[str] | None:
    """The C compiler as a command: $CC if set, else the first of cc, gcc, clang; None if none."""
    named = os.environ.get("CC")
    if named:
        command = shlex.split(named)
        return command if command and shutil.which(command[0]) else None
    found = next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))), None)
    return [found] if found else None


def cache_folder() -> Path:
    """$XDG_CACHE_HOME/ssmith, else ~/.cache/ssmith; nothing is created here."""
    base = os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser()
    return Path(base) / "ssmith"


def build(source: Path, defines: tuple[str, ...] = (), *, folder: Path | None = None) -> Path:
    """Compile `source` to a shared library, or find it compiled.

    The file's name holds a hash of the source, the defines, the compiler's version, the flags and
    the processor, so a library is never loaded where it does not fit. It is written under a
    temporary name and renamed: several processes may do this at once.

    Args:
        source: the C file.
        defines: compiler arguments such as "-DREAL=double".
        folder: where libraries are kept; the user's cache if None. Where it cannot be written,
            the library goes to a temporary folder that is removed when the process ends.

    Returns:
        The path of the library.

    Raises:
        BuildError: no compiler was found, or it refused the file with every set of flags.
    """
    compiler = find_compiler()
    if compiler is None:
        raise BuildError("no C compiler (looked for $CC, cc, gcc, clang)")
    identity = _identity(compiler)
    folder = cache_folder() if folder is None else folder
    complaint = ""
    for flags in _FLAG_SETS:
        flags = (*flags, *defines)
        name = f"{source.stem}-{_digest(source, identity, flags)}.so"
        if (folder / name).is_file():
            return folder / name
        with tempfile.TemporaryDirectory(prefix="ssmith-build-") as work:
            library = Path(work) / name
            complaint = _compile(compiler, source, flags, library)
            if not complaint:
                return _store(library, folder)
    raise BuildError(f"{shlex.join(compiler)} did not compile {source.name}: {complaint}")


def _identity(compiler: list[str]) -> str:
    """What a library depends on besides its source and flags."""
    try:
        version = subprocess.run(
            [*compiler, "--version"], capture_output=True, text=True, timeout=_TIMEOUT_S, check=True
        ).stdout
    except (OSError, subprocess.SubprocessError) as error:
        raise BuildError(f"{shlex.join(compiler)} --version failed: {error}") from error
    return "\n".join((sys.platform, platform.machine(), _processor(), version))


def _processor() -> str:
    """The processor's model and instruction sets, as far as the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return platform.processor()
    keys = ("model name", "flags", "Features", "CPU implementer", "CPU part", "isa")
    return "\n".join(sorted({line for line in lines if line.startswith(keys)}))


def _digest(source: Path, identity: str, flags: tuple[str, ...]) -> str:
    whole = "\0".join((source.read_text(encoding="utf-8"), identity, *flags))
    return hashlib.sha256(whole.encode()).hexdigest()[:20]


def _compile(compiler: list[str], source: Path, flags: tuple[str, ...], library: Path) -> str:
    """Compile and link; "" or what the compiler said."""
    unit = library.with_suffix(".o")
    openmp = [flag for flag in flags if flag == "-fopenmp"]
    for command in (
        [*compiler, *flags, "-fPIC", "-c", str(source), "-o", str(unit)],
        [*compiler, "-shared", *openmp, str(unit), "-o", str(library)],
    ):
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S)
        except (OSError, subprocess.SubprocessError) as error:
            return str(error)
        if done.returncode != 0:
            return done.stderr.strip() or f"exit status {done.returncode}"
    return ""


def _store(library: Path, folder: Path) -> Path:
    """Move a library into the cache at once, whole; into a temporary folder if that fails."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=folder, prefix=library.stem, suffix=".tmp")
        os.close(handle)
        try:
            shutil.copyfile(library, name)
            os.chmod(name, 0o755)
            os.replace(name, folder / library.name)
        except OSError:
            Path(name).unlink(missing_ok=True)
            raise
        return folder / library.name
    except OSError:
        private = Path(tempfile.mkdtemp(prefix="ssmith-kernels-"))
        atexit.register(shutil.rmtree, private, ignore_errors=True)
        return Path(shutil.copy(library, private))
