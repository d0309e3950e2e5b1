"""An aarch64 Linux with Python, NumPy and ONNX Runtime in a folder, for programs under QEMU's user mode.

Made from the machine's own Debian or Ubuntu package sources and from PyPI, without touching the machine: apt
gets a state and a cache of its own, ``dpkg -x`` unpacks, nothing is installed. It stays in the user's cache
with the checksum of everything that it was made from and of everything that lies in it; what does not
hold is not used.

``python -m ssmith.devices.root`` makes it: about 70 MB are downloaded, 220 MB stay. With ``--suite trixie``
it is made from Debian 13, whose Python is new enough for the ExecuTorch runtime without torch.
"""

from __future__ import annotations

import argparse
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

from ssmith.compiler import cache_folder
from ssmith.devices.prefix import python_in
from ssmith.devices.processes import run_tool
from ssmith.devices.root_parts import SITE, download_packages, download_wheels, link_merged, python_version
from ssmith.errors import MissingToolError, SsmithError
from ssmith.files import sha256, write_atomic

HOW = (
    "ONNX Runtime for aarch64 is not here; python -m ssmith.devices.root downloads it with a Python for"
    " aarch64 (about 70 MB, once, into the user's cache; needs apt-get, dpkg and a network)"
)
RECORD = "root.json"
TREE = "tree"
MODULES = ("numpy", "onnxruntime", "executorch_numpy_runtime")
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


def make_root(tell: Tell = lambda text: None, suite: str | None = None) -> Path:
    """Download and unpack; a root that is there and whole stays.

    Args:
        tell: gets a sentence as each part begins.
        suite: Debian's or Ubuntu's release to make it from; None is this machine's. A root that is there
            is taken whatever it was made from, unless this is given.

    Returns:
        The root's tree.

    Raises:
        MissingToolError: apt-get, dpkg or pip is not here.
        SsmithError: something could not be downloaded; nothing is left behind.
    """
    folder = root_folder()
    if suite is None and (tree := checked_tree(folder)) is not None:
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
        record = _make(Path(work), made / TREE, tell, suite)
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


def _make(work: Path, tree: Path, tell: Tell, suite: str | None) -> dict[str, object]:
    tree.mkdir(parents=True)
    tell("Debian packages for arm64")
    packages = download_packages(work / "apt", suite)
    for package in packages:
        run_tool(["dpkg", "-x", package, tree])
    link_merged(tree)
    python = python_version(tree)
    tell(f"wheels for Python {python} on aarch64")
    wheels = download_wheels(work / "wheels", python)
    for wheel in wheels:
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(tree / SITE)
    if shutil.which("qemu-aarch64") is not None:
        tell("bytecode")  # else the emulated Python compiles at every start
        modules = [name for name in MODULES if (tree / SITE / name).is_dir()]
        run_tool(
            [
                "qemu-aarch64",
                *python_in(tree, work / "prefix", writes=True),
                "-c",
                f"import {', '.join(modules)}",
            ]
        )
    return {
        "python": python,
        "suite": suite or "this machine's",
        "made_from": {file.name: sha256(file) for file in (*packages, *wheels)},
        "tree_sha256": tree_digest(tree),
    }


if __name__ == "__main__":
    try:
        options = argparse.ArgumentParser(prog="python -m ssmith.devices.root")
        options.add_argument("--suite", help="Debian or Ubuntu release, as trixie; None: this machine's")
        print(make_root(print, options.parse_args().suite))
    except SsmithError as problem:
        print(problem, file=sys.stderr)
        sys.exit(problem.exit_code)
