"""Android devices reached by the plain ``adb`` program."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ssmith.devices.board import Board
from ssmith.devices.link import Done, LinkError, MissingProgram, call
from ssmith.errors import InputError, SsmithError

FOLDER = "/data/local/tmp"  # where a program may be started without root
TRANSFER_S, ASK_S = 120.0, 30.0
_SERIAL = re.compile(r"[\w.][\w.:-]*")  # 0123ABCD, emulator-5554, 192.168.1.5:5555
# What adb itself says, each with exit code 1; a program on the device may end with 1, too.
_GONE = re.compile(
    r"^(?:adb: )?(?:error: )?(?:device .*(?:not found|offline|unauthorized)|no devices|closed|protocol fault)"
    r"|cannot connect to daemon|failed to (?:connect|check server)",
    re.M,
)
INSTALL = "install the Android platform tools (Debian, Ubuntu: apt install adb)"


@dataclass(frozen=True)
class Adb:
    """One device; see ``Link``.

    Args:
        serial: as ``adb devices`` prints it.
    """

    serial: str

    @property
    def place(self) -> str:
        """The device as it was named."""
        return f"Android device {self.serial}"

    def run(self, command: str, *, timeout_s: float) -> Done:
        """Run a line of shell there; see ``Link.run``. Exit codes arrive from Android 7 on."""
        return self._adb("shell", "-T", command, timeout_s=timeout_s)

    def put(self, files: Mapping[str, Path], folder: str) -> None:
        """Push files one by one; see ``Link.put``."""
        for name, path in files.items():
            done = self._adb("push", str(path), f"{folder}/{name}", timeout_s=TRANSFER_S)
            if done.code != 0:
                raise SsmithError(f"{self.place} did not take {name} in {folder}: {_words(done)}")

    def get(self, folder: str, to: Path) -> None:
        """Pull a folder; see ``Link.get``."""
        done = self._adb("pull", f"{folder}/.", str(to), timeout_s=TRANSFER_S)
        if done.code != 0:
            raise SsmithError(f"{self.place} did not send {folder}: {_words(done)}")

    def _adb(self, verb: str, *arguments: str, timeout_s: float) -> Done:
        whole = ["adb", "-s", self.serial, verb, *arguments]
        try:
            done = call(whole, timeout_s=timeout_s, place=self.place)
        except MissingProgram as error:
            raise LinkError(f"the program adb is not there; {INSTALL}") from error
        if done.code == 1 and _GONE.search(done.complaint):
            raise LinkError(f"{self.place}: {done.complaint}; {self._connected()}")
        return done

    def _connected(self) -> str:
        """What ``adb devices`` lists, as advice."""
        done = call(["adb", "devices"], timeout_s=ASK_S, place="adb")
        lines = [line.split() for line in done.out.decode(errors="replace").splitlines()[1:] if line.strip()]
        if not lines:
            return "no device is connected (see `adb devices`; USB debugging has to be on)"
        return "connected: " + ", ".join(" ".join(words[:2]) for words in lines)


def open_target(model: str) -> Board:
    """The device with this serial number, as ``adb devices`` prints it.

    Raises:
        InputError: the text cannot be one.
    """
    if not _SERIAL.fullmatch(model):
        raise InputError(f"adb:{model} names no device; write adb:SERIAL as `adb devices` prints it")
    return Board(f"adb:{model}", Adb(model), FOLDER)


def _words(done: Done) -> str:
    return done.complaint or done.out[-400:].decode(errors="replace").strip() or f"exit code {done.code}"
