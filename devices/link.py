"""A way to a board with a POSIX shell: run a command there, bring files, fetch them."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from ssmith.errors import SsmithError

LARGEST_ANSWER = 1 << 28  # bytes of one command's output; a board that prints forever is stopped in reading


class LinkError(SsmithError):
    """The board was not reached, or not any more; the message says what to check."""


class MissingProgram(LinkError):
    """The program that reaches the board is not installed here."""


@dataclass(frozen=True)
class Done:
    """A command that ended on the board: exit code, what it printed, what it complained of."""

    code: int
    out: bytes
    complaint: str


class Link(Protocol):
    """ssh or adb."""

    @property
    def place(self) -> str:
        """What messages call the board."""

    def run(self, command: str, *, timeout_s: float) -> Done:
        """Run a line of POSIX shell there.

        Raises:
            LinkError: the board was not reached, the connection broke, or no answer came in time.
        """

    def put(self, files: Mapping[str, Path], folder: str) -> None:
        """Copy files to a folder that exists there, by their name under it.

        Raises:
            LinkError: the board was not reached, the connection broke.
            SsmithError: the board did not take them; the message holds its words.
        """

    def get(self, folder: str, to: Path) -> None:
        """Fetch all files of a folder of the board into a folder that exists here.

        Raises:
            LinkError: the board was not reached, the connection broke.
            SsmithError: it sent something else.
        """


def call(command: Sequence[str | Path], *, timeout_s: float, place: str, stdin: Path | None = None) -> Done:
    """Run a program of this machine that talks to the board.

    Its output goes through files: a pipe would stay open as long as a background process that it
    left behind.

    Args:
        command: program and arguments.
        timeout_s: it is killed then.
        place: what messages call the board.
        stdin: what it reads; nothing by default.

    Raises:
        LinkError: it did not end in time.
        MissingProgram: it is not installed.
    """
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as complaint:
        source = subprocess.DEVNULL if stdin is None else stdin.open("rb")
        try:
            done = subprocess.run(
                [*map(str, command)],
                stdin=source,
                stdout=out,
                stderr=complaint,
                timeout=timeout_s,
                check=False,
            )
        except FileNotFoundError as error:
            raise MissingProgram(
                f"the program {command[0]} is not there; {place} is reached with it"
            ) from error
        except subprocess.TimeoutExpired as error:
            raise LinkError(f"{place} gave no answer within {timeout_s:.0f} s") from error
        finally:
            if not isinstance(source, int):
                source.close()
        out.seek(0)
        complaint.seek(0)
        printed = out.read(LARGEST_ANSWER + 1)
        if len(printed) > LARGEST_ANSWER:
            raise LinkError(f"{place} sent more than {LARGEST_ANSWER >> 20} MiB where a few were due")
        return Done(done.returncode, printed, complaint.read()[-4000:].decode(errors="replace").strip())
