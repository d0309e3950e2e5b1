"""The lines that ``firmware/bench_main.c`` prints, version 1, read with distrust: noise, damage, resets.

    @ssm1 KIND WORD ... CCCC

One line of printable ASCII, at most 300 bytes; CCCC is the CRC-16/CCITT (start 0xFFFF) of what stands
between ``@`` and the space before it, in hex. A report is

    begin MODEL PRECISION SHA256 INPUTS OUTPUTS FRAMES STEPS HZ READING FLASH RAM
    text KEY WORDS ...              what the board and the compiler are called
    out INDEX HEX8 ...              float32 bits of the outputs, (FRAMES, OUTPUTS), in order
    count INDEX HEX8 ...            counts of the board's counter, one a step, in order
    end LINES                       how many lines came before

or ends early with ``fail CODE``. HZ 0 says that counts are no time. READING is what the counter itself
takes. Lines without ``@ssm1`` belong to somebody else, a boot loader for instance, and are skipped.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from ssmith.devices.timing import Nanoseconds
from ssmith.errors import SsmithError
from ssmith.ops import Float32

LONGEST_LINE = 300  # bytes
MOST_VALUES = 1_000_000  # outputs, or steps, of a report
MOST_TEXTS = 16
_MARK = b"@ssm"
_LINE = re.compile(rb"@ssm1 ([a-z]+)((?: [ -~]*)?) ([0-9a-f]{4})")
_HEX8 = re.compile(r"[0-9a-f]{8}")
_NUMBER = re.compile(r"0|[1-9][0-9]{0,9}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
State = Literal["waiting", "reading", "done"]


class ProtocolError(SsmithError):
    """The board spoke the protocol and got it wrong, or started again in the middle."""


@dataclass(frozen=True)
class Header:
    """What a report begins with; sizes in bytes."""

    model: str
    precision: str
    sha256: str
    inputs: int
    outputs: int
    frames: int
    steps: int
    hz: int
    reading: int
    flash_bytes: int
    ram_bytes: int


@dataclass(frozen=True)
class Report:
    """A whole report: outputs (FRAMES, OUTPUTS), counts (STEPS,) and the board's own words."""

    header: Header
    outputs: Float32
    counts: Nanoseconds
    texts: dict[str, str]


def line_of(kind: str, words: Sequence[str] = ()) -> bytes:
    """A line as a board writes it, its end included."""
    body = " ".join(["ssm1", kind, *words]).encode("ascii")
    return b"@%s %04x\r\n" % (body, binascii.crc_hqx(body, 0xFFFF))


@dataclass
class Listener:
    """Takes bytes as they come and puts the next whole report together.

    The host may open the port in the middle of a report: what comes before the first ``begin`` is skipped.
    """

    header: Header | None = None
    report: Report | None = None
    valid: int = 0  # lines with a right checksum, those before the first ``begin`` included
    noise: bytearray = field(default_factory=bytearray)  # the latest that was no protocol, 200 bytes
    _rest: bytearray = field(default_factory=bytearray)
    _lines: int = 0
    _outputs: list[int] = field(default_factory=list)
    _counts: list[int] = field(default_factory=list)
    _texts: dict[str, str] = field(default_factory=dict)

    @property
    def state(self) -> State:
        """``waiting`` for ``begin``, ``reading`` what follows, ``done`` with ``report``."""
        if self.report is not None:
            return "done"
        return "waiting" if self.header is None else "reading"

    @property
    def heard(self) -> str:
        """The latest that was no protocol, printable."""
        return ascii(bytes(self.noise).decode("ascii", errors="replace").strip())

    def feed(self, data: bytes) -> None:
        """Take some bytes.

        Raises:
            ProtocolError: a line of a report is damaged or wrong, or the board started again.
        """
        self._rest += data
        while self.report is None and (end := self._rest.find(b"\n")) >= 0:
            line = bytes(self._rest[:end]).rstrip(b"\r")
            del self._rest[: end + 1]
            self._take(line)
        if len(self._rest) > LONGEST_LINE:  # no line of ours; its end alone may begin one
            if self.header is not None and _MARK in self._rest:
                raise ProtocolError(f"a line of the report is damaged: {_shown(bytes(self._rest))}")
            self._note(bytes(self._rest))
            del self._rest[:-LONGEST_LINE]

    def _take(self, line: bytes) -> None:
        start = line.find(_MARK)  # the end of a boot message may stand before it
        if start < 0:
            self._note(line + b"\n")
            return
        found = _LINE.fullmatch(line[start:]) if len(line) - start <= LONGEST_LINE else None
        body = line[start + 1 : -5]
        if found is None or binascii.crc_hqx(body, 0xFFFF) != int(found[3], 16):
            if self.header is not None:
                raise ProtocolError(f"a line of the report is damaged: {_shown(line)}")
            self._note(line + b"\n")  # the report that was under way when we began to listen
            return
        self.valid += 1
        self._apply(found[1].decode(), found[2].decode().split())

    def _apply(self, kind: str, words: list[str]) -> None:
        if kind == "begin":
            if self.header is not None:
                done, wanted = len(self._counts), self.header.steps
                raise ProtocolError(
                    f"the board started again after {done} of {wanted} steps: a reset by its watchdog, a"
                    " fault, too little stack, or a weak supply"
                )
            self.header = _header(words)
        elif self.header is None:
            return  # the end of an earlier report
        elif kind == "fail" and len(words) == 1:
            raise ProtocolError(f"the model returned the error -{_number(words[0])} on the board")
        elif kind == "text" and words and len(self._texts) < MOST_TEXTS:
            self._texts[words[0]] = " ".join(words[1:])
        elif kind == "out":
            _append(self._outputs, words, self.header.frames * self.header.outputs, kind)
        elif kind == "count":
            _append(self._counts, words, self.header.steps, kind)
        elif kind == "end":
            self._finish(self.header, words)
            return
        else:
            raise ProtocolError(f"the board sent a line of the unknown kind {kind!r}; flash it anew")
        self._lines += 1

    def _finish(self, header: Header, words: list[str]) -> None:
        wanted = header.frames * header.outputs
        counts = (len(words) == 1 and _number(words[0]), len(self._outputs), len(self._counts))
        if counts != (self._lines, wanted, header.steps):
            raise ProtocolError(
                f"lines are missing: {self._lines} came, with {counts[1]} of {wanted} outputs and {counts[2]}"
                f" of {header.steps} steps; is something else reading the port?"
            )
        outputs = np.array(self._outputs, np.uint32).view(np.float32)
        self.report = Report(
            header,
            outputs.reshape(header.frames, header.outputs),
            np.array(self._counts, np.int64),
            self._texts,
        )

    def _note(self, data: bytes) -> None:
        self.noise += data
        del self.noise[:-200]


def _header(words: list[str]) -> Header:
    if len(words) != 11 or not _SHA256.fullmatch(words[2]):
        raise ProtocolError("the board's report does not begin as version 1 does; flash it anew")
    header = Header(words[0], words[1], words[2], *map(_number, words[3:]))
    sizes = (header.inputs, header.outputs, header.frames, header.steps)
    if min(sizes) < 1 or max(header.frames * header.outputs, header.steps, *sizes) > MOST_VALUES:
        raise ProtocolError(
            f"the board announces {header.frames} frames and {header.steps} steps; flash it anew"
        )
    return header


def _append(values: list[int], words: list[str], limit: int, kind: str) -> None:
    if not words or _number(words[0]) != len(values):
        raise ProtocolError(
            f"a line is missing: {kind} {' '.join(words[:1])} came where {len(values)} was due"
        )
    if len(values) + len(words) - 1 > limit or not all(map(_HEX8.fullmatch, words[1:])):
        raise ProtocolError(
            f"the board sent more than the {limit} values of {kind!r} it announced, or no hex"
        )
    values.extend(int(word, 16) for word in words[1:])


def _number(word: str) -> int:
    if not _NUMBER.fullmatch(word) or int(word) >= 1 << 32:
        raise ProtocolError(f"the board sent {word[:20]!r} where a number was due")
    return int(word)


def _shown(line: bytes) -> str:
    return ascii(line[:60].decode("ascii", errors="replace"))
