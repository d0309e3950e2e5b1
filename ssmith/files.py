"""Writing so that a kill at any moment leaves the old file or the new one, never half of it."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import tempfile
from pathlib import Path

from ssmith.errors import InputError


def write_atomic(path: Path, data: bytes) -> None:
    """Write ``data`` to ``path``: temporary file beside it, fsync, rename, fsync the folder.

    Raises:
        InputError: the folder cannot be written or the disk is full; an earlier ``path`` is untouched.
    """
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
        _sync_folder(path.parent)
    except OSError as error:
        if temporary is not None:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
        raise _unwritable(path, error) from error


def check_writable(path: Path) -> None:
    """Find out before long work whether `write_atomic` could write to ``path``; nothing is left behind.

    Raises:
        InputError: it could not: ``path`` is a folder, or its folder cannot be made or written.
    """
    try:
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        folder = path.parent
        while not folder.exists():  # it would be made, in the first that is there
            folder = folder.parent
        handle, probe = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=folder)
        os.close(handle)
        os.unlink(probe)
    except OSError as error:
        raise _unwritable(path, error) from error


def _unwritable(path: Path, error: OSError) -> InputError:
    return InputError(
        f"cannot write {path}: {error.strerror or error}. Free some space or choose another folder"
        " with --runs or --out; what was there before is untouched"
    )


def sweep(folder: Path) -> None:
    """Remove what killed writes have left below ``folder``; the caller knows that nobody is writing."""
    for leftover in folder.rglob(".*.tmp"):
        leftover.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    """Make the rename itself durable, where the system lets a folder be opened."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


SEAL = "ssmith-seal:" + "0" * 64  # what a file to be sealed holds, once, wherever its format has text


def seal(data: bytes) -> bytes:
    """Put into a file's ``SEAL`` the SHA-256 of the file as it stands, zeros and all.

    A parser of somebody else's then never sees a damaged file: see ``check_seal``.

    Raises:
        ValueError: ``SEAL`` is not in the data exactly once.
    """
    found = data.count(SEAL.encode())
    if found != 1:
        raise ValueError(f"a file to be sealed holds the placeholder once, not {found} times")
    digest = hashlib.sha256(data).hexdigest()
    return data.replace(SEAL.encode(), SEAL[:-64].encode() + digest.encode())


def check_seal(data: bytes, path: Path) -> None:
    """Refuse a sealed file that was changed since; one without a seal passes.

    Raises:
        InputError: the digest in the file is not that of its bytes.
    """
    mark = SEAL[:-64].encode()
    begin = data.find(mark)
    if begin < 0:
        return
    begin += len(mark)
    written = data[begin : begin + 64]
    zeroed = data[:begin] + b"0" * len(written) + data[begin + 64 :]
    if hashlib.sha256(zeroed).hexdigest().encode() != written:
        raise InputError(
            f"{path} is damaged or was changed after it was written (its checksum does not hold), and may"
            " compute something else; copy or export it again, or run a file that you changed on purpose"
            " with its own runtime directly"
        )


def sha256(path: Path) -> str:
    """Hex digest of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
