"""Boards reached by the plain ``ssh`` program: the user's own configuration, keys and jump hosts count.

One connection carries everything. Files travel as a tar stream, so that the board needs neither
``scp`` nor an sftp server; ``tar`` is in every busybox.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import io
import re
import shlex
import shutil
import sys
import tarfile
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from ssmith.devices.board import Board
from ssmith.devices.link import Done, LinkError, call
from ssmith.errors import InputError, SsmithError

CONNECT_S, TRANSFER_S = 30.0, 120.0
LOST = 255  # ssh's own exit code
_PLACE = re.compile(
    r"(?P<host>(?:[\w.+-]+@)?(?:\[[0-9A-Fa-f:.%\w]+\]|\w[\w.-]*))(?::(?P<port>\d{1,5}))?(?::(?P<path>/[^\0\n]*))?"
)


@dataclass(frozen=True)
class Ssh:
    """One host; see ``Link``.

    Args:
        host: ``USER@HOST`` or a name of the user's ``~/.ssh/config``.
        port: where it is not the configured one.
    """

    host: str
    port: int | None = None

    @property
    def place(self) -> str:
        """The host as it was named."""
        return self.host

    def run(self, command: str, *, timeout_s: float) -> Done:
        """Run a line of shell there; see ``Link.run``."""
        return self._ssh(command, timeout_s=timeout_s)

    def put(self, files: Mapping[str, Path], folder: str) -> None:
        """Send files as one tar stream; see ``Link.put``."""
        with tempfile.TemporaryDirectory(prefix="ssmith-") as work:
            bale = Path(work) / "files.tar"
            with tarfile.open(bale, "w", format=tarfile.USTAR_FORMAT) as tar:
                for name, path in files.items():
                    tar.add(path, name, filter=_nobody)
            unpack = f"cd {shlex.quote(folder)} && tar -xf -"
            done = self._ssh(unpack, timeout_s=TRANSFER_S, stdin=bale)
        if done.code != 0:
            raise SsmithError(f"{self.host} did not take the files in {folder}: {_words(done)}")

    def get(self, folder: str, to: Path) -> None:
        """Fetch a folder as one tar stream; see ``Link.get``."""
        done = self._ssh(f"cd {shlex.quote(folder)} && tar -cf - .", timeout_s=TRANSFER_S)
        if done.code != 0:
            raise SsmithError(f"{self.host} did not send {folder}: {_words(done)}")
        try:
            with tarfile.open(fileobj=io.BytesIO(done.out), mode="r:") as tar:
                tar.extractall(to, filter="data")  # refuses links and paths that leave the folder
        except (tarfile.TarError, OSError) as error:
            raise SsmithError(f"{self.host} sent no readable tar stream of {folder}: {error}") from error

    def _ssh(self, command: str, *, timeout_s: float, stdin: Path | None = None) -> Done:
        shared = _connection(self.host, self.port)
        whole = ["ssh", "-T", *shared, "--", self.host, command]
        done = call(whole, timeout_s=timeout_s, place=self.host, stdin=stdin)
        if done.code == LOST:
            raise LinkError(
                f"the connection to {self.host} was lost: {done.complaint or 'ssh gave no reason'}"
            )
        return done


def open_target(model: str) -> Board:
    """The board at ``USER@HOST``, ``USER@HOST:PORT``, ``USER@HOST:/FOLDER`` or ``USER@HOST:PORT:/FOLDER``.

    Raises:
        InputError: the text is none of these.
    """
    found = _PLACE.fullmatch(model)
    if found is None or not 0 < int(found["port"] or 22) < 65536:
        raise InputError(
            f"ssh:{model} names no host; write ssh:USER@HOST, with :PORT or :/FOLDER for another port or"
            " another place for the files than /tmp"
        )
    port = int(found["port"]) if found["port"] else None
    host = found["host"].replace("[", "").replace("]", "")
    return Board(f"ssh:{model}", Ssh(host, port), found["path"] or "/tmp")


@functools.lru_cache(maxsize=64)
def _connection(host: str, port: int | None) -> tuple[str, ...]:
    """Open the connection that all commands share; the options that use it.

    Raises:
        LinkError: it could not be opened.
    """
    alive = {
        "BatchMode": "yes",
        "ConnectTimeout": "10",
        "ServerAliveInterval": "5",
        "ServerAliveCountMax": "3",
    }
    options = [word for key, value in alive.items() for word in ("-o", f"{key}={value}")]
    if port is not None:
        options += ["-p", str(port)]
    if sys.platform == "win32":  # its ssh cannot share a connection
        return tuple(options)
    folder = tempfile.mkdtemp(prefix="ssmith-ssh-", dir="/tmp")  # short: a socket's path has 104 bytes
    options += ["-o", f"ControlPath={folder}/c"]
    master = ["ssh", "-fNT", "-o", "ControlMaster=yes", "-o", "ControlPersist=600", *options, "--", host]
    try:
        done = call(master, timeout_s=CONNECT_S, place=host)
        if done.code != 0:
            raise LinkError(
                f"no connection to {host}: {done.complaint or 'ssh gave no reason'}; it has to work without a"
                f" question: try `ssh {'' if port is None else f'-p {port} '}{host} true`"
            )
    except LinkError:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    atexit.register(_close, (*options, "-O", "exit", "--", host), folder)
    return (*options, "-o", "ControlMaster=no")


def _close(arguments: tuple[str, ...], folder: str) -> None:
    with contextlib.suppress(LinkError):  # it ends by itself
        call(["ssh", *arguments], timeout_s=5.0, place="")
    shutil.rmtree(folder, ignore_errors=True)


def _nobody(info: tarfile.TarInfo) -> tarfile.TarInfo:
    """Owners of this machine mean nothing there."""
    info.uid = info.gid = 0
    info.uname = info.gname = ""
    info.mode = 0o755 if PurePosixPath(info.name).suffix == "" else 0o644
    return info


def _words(done: Done) -> str:
    return done.complaint or f"exit code {done.code}"
