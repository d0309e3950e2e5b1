"""A private sshd on loopback, and ``ssh`` on the PATH with its key: nothing of the user's is touched."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
SSHD = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")


@dataclass(frozen=True)
class Server:
    """A running sshd.

    Args:
        folder: its keys, configuration, log.
        port: on loopback.
        process: the daemon.
    """

    folder: Path
    port: int
    process: subprocess.Popen

    @property
    def target(self) -> str:
        """How ssmith names the board."""
        return f"ssh:board:{self.port}"

    def sessions(self) -> list[int]:
        """Processes that serve a connection."""
        done = subprocess.run(
            ["pgrep", "-P", str(self.process.pid)], capture_output=True, text=True, check=False
        )
        return [int(line) for line in done.stdout.split()]

    def cut(self) -> None:
        """Drop every connection, as an unplugged cable does."""
        for pid in self.sessions():
            with contextlib.suppress(ProcessLookupError):  # it has just ended
                os.kill(pid, signal.SIGKILL)

    def stop(self) -> None:
        self.cut()
        self.process.terminate()
        self.process.wait(timeout=10)


def start(folder: Path, *, environment: Mapping[str, str] | None = None, command: str = "") -> Server:
    """Start one, and write the ``ssh`` that reaches it into ``folder/bin``.

    Args:
        folder: empty.
        environment: variables of every session.
        command: shell that is run instead of what is asked for, which is in SSH_ORIGINAL_COMMAND.
    """
    assert SSHD is not None
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)  # an empty folder that sshd insists on
    for name in ("host_key", "key"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name], check=True)
    shutil.copy(folder / "key.pub", folder / "authorized")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    variables = " ".join(f'"{name}={value}"' for name, value in (environment or {}).items())
    lines = [
        f"Port {port}",
        "ListenAddress 127.0.0.1",
        f"HostKey {folder}/host_key",
        f"AuthorizedKeysFile {folder}/authorized",
        f"PidFile {folder}/pid",
        "StrictModes no",
        "UsePAM no",
        "PasswordAuthentication no",
        *([f"SetEnv {variables}"] if variables else []),
        *([f"ForceCommand {command}"] if command else []),
    ]
    (folder / "sshd_config").write_text("\n".join(lines) + "\n")
    process = subprocess.Popen([SSHD, "-D", "-f", folder / "sshd_config", "-E", folder / "log"])
    _write_client(folder, port)
    return answering(Server(folder, port, process))


def answering(server: Server) -> Server:
    """The server as soon as it takes connections."""
    for _ in range(400):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", server.port)) == 0:
                return server
        assert server.process.poll() is None, (server.folder / "log").read_text()
        time.sleep(0.05)
    raise AssertionError("sshd did not start")


def python_environment() -> dict[str, str]:
    """Of a board with a Python that has ssmith; a PATH would be overwritten by login scripts."""
    return {"SSMITH_PYTHON": sys.executable, "PYTHONPATH": str(ROOT)}


def _write_client(folder: Path, port: int) -> None:
    known = f"[127.0.0.1]:{port} {(folder / 'host_key.pub').read_text()}"
    (folder / "known_hosts").write_text(known)
    (folder / "ssh_config").write_text(
        "Host board\n  HostName 127.0.0.1\n"
        f"  IdentityFile {folder}/key\n  IdentitiesOnly yes\n  UserKnownHostsFile {folder}/known_hosts\n"
    )
    (folder / "bin").mkdir()
    client = folder / "bin" / "ssh"
    client.write_text(f'#!/bin/sh\nexec {shutil.which("ssh")} -F {folder}/ssh_config "$@"\n')
    client.chmod(0o755)
