"""Microcontrollers on a serial port that run ``firmware/bench_main.c``: read what they measure themselves.

The board has to be flashed before (``python -m ssmith.devices.firmware_project``); it repeats its report
for ever. A board whose counts are no time, an emulated one, gives a row of correctness only.
"""

from __future__ import annotations

import contextlib
import os
import re
import select
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ssmith.devices.protocol import Header, Listener, ProtocolError, Report
from ssmith.devices.target import Job, Plan, Probe, RawRun, held
from ssmith.errors import InputError, SsmithError
from ssmith.runtime.artifacts import Manifest, read_manifest
from ssmith.runtime.session import BackendName

BAUD = 115_200
_PLACE = re.compile(r"(?P<port>/[^\0\n]*?)(?::(?P<baud>\d{3,8}))?")
_FLASH = "python -m ssmith.devices.firmware_project {artifacts} FOLDER --precision {precision}"


@dataclass(frozen=True)
class Serial:
    """A port; see ``Target``.

    Args:
        port: ``/dev/ttyACM0``.
        baud: bits a second.
        quiet_s: a board from which no line of the protocol comes for so long is not there.
        report_s: a report takes at most so long.
    """

    port: str
    baud: int = BAUD
    quiet_s: float = 10.0
    report_s: float = 300.0
    _known: dict[str, Header] = field(default_factory=dict, compare=False, repr=False)

    @property
    def name(self) -> str:
        """The port as it was named."""
        return f"serial:{self.port}" + ("" if self.baud == BAUD else f":{self.baud}")

    def probe(self) -> Probe:
        """Listen until a report begins: which model, and whether its counts are time."""
        try:
            header = self._listen(whole=False)
        except (SsmithError, OSError) as error:
            return Probe((), absent=str(error))
        assert isinstance(header, Header)
        self._known["header"] = header
        timeless = header.hz == 0
        return Probe(
            ("native",),
            emulated=timeless,
            fingerprint={} if timeless else {"clock_hz": str(header.hz)},
            measures=("correctness",) if timeless else ("latency",),
        )

    def build(self, artifacts: Path, backend: BackendName, precision: str, folder: Path) -> Job:
        """Nothing is built here; whether the board runs this model is found out.

        Raises:
            InputError: the folder has no such C, or the board was flashed with something else.
            SsmithError: the board did not answer.
        """
        manifest = read_manifest(artifacts)
        file = held(manifest, backend, precision)
        if backend != "native" or file is None or file.kind != "c-source":
            raise InputError(f"{artifacts} holds no generated C in {precision} for {self.name}")
        header = self._known.get("header") or self._listen(whole=False)
        assert isinstance(header, Header)
        self._same(header, manifest, artifacts, precision)
        note = "timed on the board by its own counter, interrupts of the system included"
        return Job(
            backend, precision, file.path, artifacts, (self.port,), folder, manifest.period_s, notes=(note,)
        )

    def push(self, job: Job, plan: Plan) -> Job:
        """The board holds model and frames already."""
        return job

    def run(self, job: Job, plan: Plan) -> Path:
        """Record the next whole report.

        Raises:
            SsmithError: the board fell silent, spoke something else, or started again.
        """
        report = self._listen(whole=True)
        assert isinstance(report, Report)
        self._same(report.header, read_manifest(job.artifacts), job.artifacts, job.precision)
        output = job.folder / "output"
        output.mkdir(exist_ok=True)
        np.savez(output / "report.npz", outputs=report.outputs, counts=report.counts)
        numbers = (
            report.header.hz,
            report.header.reading,
            report.header.flash_bytes,
            report.header.ram_bytes,
        )
        (output / "header.txt").write_text(" ".join(map(str, numbers)))
        (output / "texts.txt").write_text("".join(f"{k}\t{v}\n" for k, v in report.texts.items()))
        return output

    def read(self, job: Job, output: Path) -> RawRun:
        """Counts to nanoseconds by the board's clock; none where it has none."""
        hz, reading, flash, ram = map(int, (output / "header.txt").read_text().split())
        lines = (output / "texts.txt").read_text().splitlines()
        texts = dict(line.split("\t", 1) for line in lines)
        with np.load(output / "report.npz") as report:
            outputs, counts = report["outputs"], report["counts"]
        if hz == 0:
            note = "the board announces no clock: an emulator; its counts say nothing about time"
            return RawRun(
                golden_outputs=outputs, flash_bytes=flash, ram_bytes=ram, fingerprint=texts, notes=(note,)
            )
        samples = np.rint(counts * (1e9 / hz)).astype(np.int64)
        net = max(float(np.median(counts)) - reading, 0.0)
        return RawRun(
            samples=samples,
            first_ns=samples[:1],
            overhead_ns=reading * 1e9 / hz,
            clock_step_ns=1e9 / hz,
            clock="c",
            flash_bytes=flash,
            ram_bytes=ram,
            golden_outputs=outputs,
            fingerprint=texts,
            notes=(f"median {net:.0f} cycles a step at {hz / 1e6:g} MHz",),
        )

    def _same(self, header: Header, manifest: Manifest, artifacts: Path, precision: str) -> None:
        if (header.precision, header.sha256) == (precision, manifest.bundle_sha256):
            return
        is_model = (
            "this model" if header.sha256 == manifest.bundle_sha256 else f"another model ({header.model})"
        )
        how = _FLASH.format(artifacts=artifacts, precision=precision)
        raise InputError(
            f"the board on {self.name} runs {is_model} in {header.precision}; {precision} of {artifacts} was"
            f" asked for. Write its firmware and flash it: {how}"
        )

    def _listen(self, *, whole: bool) -> Header | Report:
        """The next report, or only its first line."""
        listener, start = Listener(), time.monotonic()
        with _opened(self.port, self.baud) as port:
            heard = start
            while True:
                now = time.monotonic()
                if now - heard > self.quiet_s or now - start > self.report_s:
                    raise SsmithError(self._silence(listener, now - start))
                if not select.select([port], [], [], 0.2)[0]:
                    continue
                try:
                    data = os.read(port, 65536)
                except OSError as error:
                    raise SsmithError(
                        f"{self.name} went away: {error.strerror}; is the cable loose?"
                    ) from error
                if not data:
                    raise SsmithError(f"{self.name} went away; is the cable loose?")
                before = listener.valid
                try:
                    listener.feed(data)
                except ProtocolError as error:
                    raise SsmithError(f"{self.name}: {error}") from error
                heard = heard if listener.valid == before else time.monotonic()
                if listener.header is not None and not whole:
                    return listener.header
                if listener.report is not None:
                    return listener.report

    def _silence(self, listener: Listener, seconds: float) -> str:
        if listener.state == "reading":
            return f"{self.name} fell silent in the middle of a report"
        if listener.noise:
            return (
                f"{self.name} speaks, but not the protocol, for {seconds:.0f} s at {self.baud} baud: "
                f"{listener.heard}; another speed (serial:PORT:BAUD), or not flashed with the bench firmware"
            )
        return (
            f"{self.name} said nothing for {seconds:.0f} s at {self.baud} baud: is the bench firmware"
            " flashed, is it the right port?"
        )


def open_target(model: str) -> Serial:
    """The board on a port, ``/dev/ttyACM0`` or ``/dev/ttyACM0:921600``.

    Raises:
        InputError: the text names no port.
    """
    found = _PLACE.fullmatch(model)
    if found is None:
        raise InputError(
            f"serial:{model} names no port; write serial:/dev/ttyACM0, with :BAUD for another speed"
        )
    return Serial(found["port"], int(found["baud"] or BAUD))


@contextlib.contextmanager
def _opened(path: str, baud: int) -> Iterator[int]:
    """The port, raw, at this speed; put back as it was.

    Raises:
        InputError: it cannot be opened, is no serial port, or does not know the speed.
    """
    try:
        import termios
        import tty
    except ImportError as error:  # Windows
        raise InputError("serial ports are read through termios, which this system does not have") from error
    speed = getattr(termios, f"B{baud}", None)
    if speed is None:
        raise InputError(f"this system's serial ports do not know {baud} baud")
    try:
        port = os.open(path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
    except OSError as error:
        hint = "; join the group that owns it (often dialout)" if isinstance(error, PermissionError) else ""
        raise InputError(f"cannot open {path}: {error.strerror}{hint}") from error
    try:
        before = termios.tcgetattr(port)
        tty.setraw(port)
        now = termios.tcgetattr(port)
        now[2] = (now[2] | termios.CLOCAL | termios.CREAD) & ~termios.HUPCL  # no reset when it is closed
        now[4] = now[5] = speed
        termios.tcsetattr(port, termios.TCSANOW, now)
        termios.tcflush(port, termios.TCIFLUSH)
    except termios.error as error:
        os.close(port)
        raise InputError(f"{path} is no serial port: {error.args[-1]}") from error
    try:
        yield port
    finally:
        with contextlib.suppress(termios.error, OSError):  # it may be gone
            termios.tcsetattr(port, termios.TCSANOW, before)
        os.close(port)
