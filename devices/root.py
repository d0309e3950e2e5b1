"""An aarch64 Linux with Python, NumPy and ONNX Runtime in a folder, for programs under QEMU's user mode.

Made from the machine's own Debian or Ubuntu package sources and from PyPI, without touching the machine: apt
gets a state and a cache of its own, ``dpkg -x`` unpacks, nothing is installed. It stays in the user's cache
with the checksum of everything that it was made from and of everything that lies in it; what does not
hold is not used.

``python -m ssmith.devices.root`` makes it: about 60 MB are downloaded, 210 MB stay.
"""

from __future__ import annotations

import compileall
import functools
import hashlib
import json
import os
import shutil
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from py_compile import PycInvalidationMode

from ssmith.compiler import cache_folder
from ssmith.devices.processes import run_tool
from ssmith.devices.root_parts import download_packages, download_wheels, link_merged, python_version
from ssmith.errors import MissingToolError, SsmithError
from ssmith.files import sha256, write_atomic

HOW = (
    "ONNX Runtime for aarch64 is not here; python -m ssmith.devices.root downloads it with a Python for"
    " aarch64 (about 60 MB, once, into the user's cache; needs apt-get, dpkg and a network)"
)
RECORD = "root.json"
TREE = "tree"
SITE = "site"  # of the tree: what the wheels hold
Tell = Callable[[str], object]


def root_folder() -> Path:
    """Where the root lies, or will."""
    return cache_folder() / "roots" / "aarch64"


@functools.cache
def find_root() -> Path | None:
    """The root's tree, checked once a process; None where there is none or it is not what was made."""
    return checked_tree(root_folder())


def checked_tree(folder: Path) -> Path | None:
    """The tree of a root if all files in it have their recorded checksum."""
    try:
        record = json.loads((folder / RECORD).read_text())
        whole = tree_digest(folder / TREE) == record["tree_sha256"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return folder / TREE if whole else None


def make_root(tell: Tell = lambda text: None) -> Path:
    """Download and unpack; a root that is there and whole stays.

    Args:
        tell: gets a sentence as each part begins.

    Returns:
        The root's tree.

    Raises:
        MissingToolError: apt-get, dpkg or pip is not here.
        SsmithError: something could not be downloaded; nothing is left behind.
    """
    folder = root_folder()
    if (tree := checked_tree(folder)) is not None:
        tell(f"{tree} is there and whole")
        return tree
    for tool in ("apt-get", "apt-config", "dpkg"):
        if shutil.which(tool) is None:
            raise MissingToolError(
                f"{tool} is not here: the aarch64 root is made of Debian or Ubuntu packages, on such a system"
            )
    folder.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with tempfile.TemporaryDirectory(prefix=".making-", dir=folder.parent) as work:
        made = Path(work) / "root"
        record = _make(Path(work), made / TREE, tell)
        write_atomic(made / RECORD, (json.dumps(record, indent=1) + "\n").encode())
        if folder.exists():
            folder.rename(Path(work) / "damaged")
        made.rename(folder)
    find_root.cache_clear()
    return folder / TREE


def tree_digest(tree: Path) -> str:
    """SHA-256 over every path below ``tree`` and its content, or for a link where it points.

    Raises:
        OSError: something cannot be read.
    """
    digest = hashlib.sha256()
    for path in sorted(tree.rglob("*")):
        if path.is_symlink():
            content = f"-> {os.readlink(path)}"
        elif path.is_file():
            content = sha256(path)
        else:
            continue
        digest.update(f"{path.relative_to(tree)}\0{content}\n".encode())
    return digest.hexdigest()


def _make(work: Path, tree: Path, tell: Tell) -> dict[str, object]:
    tree.mkdir(parents=True)
    tell("Debian packages for arm64")
    packages = download_packages(work / "apt")
    for package in packages:
        run_tool(["dpkg", "-x", package, tree])
    link_merged(tree)
    python = python_version(tree)
    tell(f"wheels for Python {python} on aarch64")
    wheels = download_wheels(work / "wheels", python)
    for wheel in wheels:
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(tree / SITE)
    if sys.version_info[:2] == tuple(map(int, python.split("."))):
        tell("bytecode")  # else the emulated Python compiles at every start
        for part in (tree / SITE, tree / "usr/lib" / f"python{python}"):
            compileall.compile_dir(
                part,
                quiet=2,
                stripdir=str(tree),
                prependdir=str(root_folder() / TREE),
                invalidation_mode=PycInvalidationMode.UNCHECKED_HASH,
            )
    return {
        "python": python,
        "made_from": {file.name: sha256(file) for file in (*packages, *wheels)},
        "tree_sha256": tree_digest(tree),
    }


if __name__ == "__main__":
    try:
        print(make_root(print))
    except SsmithError as problem:
        print(problem, file=sys.stderr)
        sys.exit(problem.exit_code)
