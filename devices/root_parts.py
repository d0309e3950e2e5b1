"""What the aarch64 root is made of: Debian packages by apt, wheels by pip, both told of another machine."""

from __future__ import annotations

import importlib.metadata
import os
import re
import sys
from pathlib import Path

from ssmith.devices.processes import ToolError, run_tool
from ssmith.errors import InputError, SsmithError

PACKAGES = ("python3-minimal", "libpython3-stdlib", "libstdc++6", "libgomp1")
WHEELS = ("numpy", "onnxruntime")
NEWER_WHEELS, NEWER_PYTHON = ("executorch-numpy-runtime",), (3, 12)
TAGS = ("manylinux_2_28", "manylinux_2_27", "manylinux_2_17", "manylinux2014")
SITE = "site"  # of the tree: what the wheels hold
LOADER = "ld-linux-aarch64.so.1"
LIMIT_S = 900.0


def download_packages(work: Path, suite: str | None) -> list[Path]:
    """The packages and all they depend on, by an apt that knows nothing of what is installed here.

    Args:
        work: is filled with apt's state and cache.
        suite: a release other than this machine's, from the same places; None is this machine's.

    Raises:
        SsmithError: the machine's sources gave none; the message has apt's words.
    """
    for part in ("state/lists/partial", "cache/archives/partial"):
        (work / part).mkdir(parents=True)
    (work / "status").touch()
    network = re.findall(r"^Acquire::.+;$", run_tool(["apt-config", "dump"]), re.M)
    own = {
        "Dir::Etc::parts": "/dev/null",  # hooks of the machine's apt are not ours to run
        "Dir::Etc::main": "/dev/null",
        "Dir::State": work / "state",
        "Dir::State::status": work / "status",
        "Dir::Cache": work / "cache",
        "APT::Architecture": "arm64",
        "APT::Sandbox::User": "root",  # the folder is the user's alone
    }
    lines = [
        *network,
        *(f'{key} "{value}";' for key, value in own.items()),
        'APT::Architectures { "arm64"; };',
    ]
    if suite is not None:
        lines.append(f'Dir::Etc::sourcelist "/dev/null"; Dir::Etc::sourceparts "{_sources(work, suite)}";')
    config = work / "apt.conf"
    config.write_text("\n".join(lines) + "\n")
    environment = os.environ | {"APT_CONFIG": str(config), "LC_ALL": "C"}
    try:
        # One source of several may hold nothing for arm64: the next command says whether it matters.
        run_tool(["apt-get", "-qq", "update"], env=environment, timeout_s=LIMIT_S)
    except ToolError as error:
        complaint = error.said
    else:
        complaint = ""
    install = ["apt-get", "-qq", "-y", "--no-install-recommends", "--download-only", "install", *PACKAGES]
    try:
        run_tool(install, env=environment, timeout_s=LIMIT_S)
    except ToolError as error:
        said = (complaint + error.said).strip()[-1000:]
        raise SsmithError(f"the package sources of this machine gave no arm64 packages: {said}") from error
    return sorted((work / "cache/archives").glob("*.deb"))


def _sources(work: Path, suite: str) -> Path:
    """The machine's package sources with another release's name in the place of its own."""
    release = re.search(r"^VERSION_CODENAME=(\w+)$", Path("/etc/os-release").read_text(), re.M)
    if release is None:
        raise SsmithError("/etc/os-release names no release; leave the suite out")
    (work / "sources").mkdir()
    for path in (Path("/etc/apt/sources.list"), *sorted(Path("/etc/apt/sources.list.d").glob("*"))):
        if path.suffix in (".list", ".sources") and path.is_file():
            text = path.read_text().replace(release[1], suite)
            (work / "sources" / path.name).write_text(text)
    return work / "sources"


def download_wheels(folder: Path, python: str) -> list[Path]:
    """NumPy and the models' runtimes in this machine's versions, or the newest where it has none.

    Args:
        folder: is filled.
        python: that will load them, ``3.11``.

    Raises:
        SsmithError: pip found none; the message has its words.
    """
    wanted = []
    newer = NEWER_WHEELS if tuple(map(int, python.split("."))) >= NEWER_PYTHON else ()
    for name in (*WHEELS, *newer):
        try:
            wanted.append(f"{name}=={importlib.metadata.version(name).partition('+')[0]}")
        except importlib.metadata.PackageNotFoundError:
            wanted.append(name)
    digits = python.replace(".", "")
    options = [f"--platform={tag}_aarch64" for tag in TAGS]
    options += [f"--python-version={digits}", "--implementation=cp", "--only-binary=:all:"]
    options += [f"--abi={abi}" for abi in (f"cp{digits}", "abi3", "none")]
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
    try:
        run_tool([*pip, *options, "--dest", folder, *wanted], timeout_s=LIMIT_S)
    except ToolError as error:
        said = error.said.strip()[-1000:]
        what = f"{' and '.join(wanted)} for aarch64 and Python {python}"
        raise SsmithError(f"pip found no {what}: {said}") from error
    return sorted(folder.glob("*.whl"))


def link_merged(tree: Path) -> None:
    """Since Debian 13 packages hold ``usr/lib`` only, and the programs' loader is looked for in ``lib``."""
    for name in ("bin", "lib"):
        if not (tree / name).exists() and (tree / "usr" / name).is_dir():
            (tree / name).symlink_to(f"usr/{name}")
    if not (tree / "lib" / LOADER).exists() and (tree / "usr/lib" / LOADER).exists():
        (tree / "lib" / LOADER).symlink_to(f"../usr/lib/{LOADER}")


def python_version(tree: Path) -> str:
    """``3.11``, of the tree's python3.

    Raises:
        InputError: there is none.
    """
    found = sorted((tree / "usr/bin").glob("python3.*"))
    if not found:
        raise InputError(f"{tree} holds no Python; remove {tree.parent} and make it again")
    return found[-1].name.removeprefix("python")
