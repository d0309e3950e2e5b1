"""Boards on a serial port: scripts on a pseudo-terminal, and the emulated board behind one."""

import os
import pty
import re
import shutil
import subprocess
import sys
import threading
import tty
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ssmith.compiler import find_compiler
from ssmith.devices import bench, serial
from ssmith.devices.cortex_m import CORES, link_for_board
from ssmith.devices.everywhere import bench_everywhere
from ssmith.devices.firmware_project import main, write_project
from ssmith.devices.fleet import Board
from ssmith.devices.golden import case
from ssmith.devices.host import Host
from ssmith.devices.processes import run_tool
from ssmith.devices.target import Plan
from ssmith.errors import InputError, SsmithError
from ssmith.runtime.artifacts import read_manifest
from tests.devices.test_protocol import GOOD, report

FIRMWARE = Path(serial.__file__).parent / "firmware"
STRICT = ("-std=c99", "-O2", "-ffp-contract=off", "-Wall", "-Wextra", "-pedantic", "-Wconversion", "-Werror")
BRIEF = Plan(steps=100, warmup_limit=50, time_limit_s=1.0, paced_limit_s=0.02, cold_starts=1, session=False)


class Script:
    """Says its lines again and again on a pseudo-terminal."""

    def __init__(self, data, *, once=False):
        self.near, far = pty.openpty()
        tty.setraw(far)
        self.far, self.path = far, os.ttyname(far)
        self.stopped = threading.Event()
        self.thread = threading.Thread(target=self._speak, args=(data, once))
        self.thread.start()

    def _speak(self, data, once):
        os.set_blocking(self.near, False)
        self.stopped.wait(0.5 * once)  # opening the port throws away what came before
        while not self.stopped.is_set():
            for start in range(0, len(data), 64):
                while not self.stopped.is_set():
                    try:
                        os.write(self.near, data[start : start + 64])
                        break
                    except BlockingIOError:
                        self.stopped.wait(0.01)
            self.stopped.wait(30.0 if once else 0.01)

    def stop(self):
        self.stopped.set()
        self.thread.join()
        os.close(self.near)
        os.close(self.far)


@pytest.fixture
def script():
    running = []

    def start(data, **options):
        running.append(Script(data, **options))
        return replace(serial.open_target(running[-1].path), quiet_s=1.0, report_s=4.0)

    yield start
    for one in running:
        one.stop()


def honest(artifacts, counts, *, shift=0.0, **options):
    """What a board sends that runs the float32 model; ``shift`` on its outputs is its mistake."""
    wanted, digest = case(artifacts, "native", "float32"), read_manifest(artifacts).bundle_sha256
    return b"".join(report(wanted.outputs + np.float32(shift), counts, sha256=digest, **options))


def test_cycles_become_time_by_the_boards_clock(script, artifacts):
    place = script(b"boot\n" + honest(artifacts, [18_000] * 3_000, hz=180_000_000, reading=18))
    (row,) = bench(artifacts, place, backends=["native"], precisions=["float32"], plan=BRIEF)
    assert row.metric_kind == "latency" and row.golden.passed and row.golden.tolerance == 0.0
    assert row.timing.p50_us == pytest.approx(99.9) and row.timer_overhead_us == pytest.approx(0.1)
    assert row.fingerprint["clock_hz"] == "180000000" and row.fingerprint["board"] == "a board"
    assert (row.flash_bytes, row.ram_bytes) == (4096, 512)
    assert any("17982 cycles a step at 180 MHz" in note for note in row.notes)


def test_counts_without_a_clock_are_no_time(script, artifacts):
    place = script(honest(artifacts, [7] * 50, hz=0))
    (row,) = bench(artifacts, place, backends=["native"], precisions=["float32"], plan=BRIEF)
    assert row.metric_kind == "correctness" and row.emulated and row.golden.passed
    assert row.timing is None and row.instructions_per_step is None


def test_a_board_that_computes_something_else_has_no_latency(script, artifacts):
    wrong = honest(artifacts, [9] * 50, shift=1.0)
    (row,) = bench(artifacts, script(wrong), backends=["native"], precisions=["float32"], plan=BRIEF)
    assert not row.golden.passed and row.timing is None and row.metric_kind == "correctness"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "said nothing for 1 s at 115200 baud"),
        (b"Hello from the demo firmware\r\n", "speaks, but not the protocol.*demo firmware"),
        (b"\x00\xff\x81" * 50, "speaks, but not the protocol"),
        (b"".join(GOOD), "runs another model .kws. in float32"),
    ],
)
def test_without_a_report_there_is_a_row_and_others_go_on(script, artifacts, monkeypatch, data, message):
    place = script(data)
    monkeypatch.setattr("ssmith.devices.everywhere.find_target", lambda n: Host() if n == "host" else place)
    boards = {"board": Board(target="serial:x"), "here": Board(target="host")}
    found = bench_everywhere(artifacts, boards, backends=["native"], plan=BRIEF)
    rows = [row for row in found if row.target == "board"]
    assert rows and all(re.search(message, row.error) and row.timing is None for row in rows)
    assert all(row.error is None for row in found if row.target == "here") and found[-1].target == "here"


@pytest.mark.parametrize(
    ("end", "once", "message"),
    [
        (b"\r\nReset cause: watchdog\r\n", False, "started again after"),
        (b"", True, "fell silent in the middle"),
        (b"@ssm1 count 12 0000\r\n", False, "damaged"),
    ],
)
def test_a_report_that_breaks_off_is_a_row(script, artifacts, end, once, message):
    whole = honest(artifacts, [9] * 500)
    place = script(whole[: len(whole) * 3 // 4].rpartition(b"\n")[0] + b"\n" + end, once=once)
    if once:
        with pytest.raises(SsmithError, match=message):
            place._listen(whole=True)
        return
    rows = []
    bench(
        artifacts,
        place,
        backends=["native"],
        precisions=["float32"],
        plan=BRIEF,
        on_error=lambda *row: rows.append(str(row[2])),
    )
    assert len(rows) == 1 and message in rows[0]


def test_ports_that_are_none(tmp_path, artifacts):
    assert "No such file" in serial.open_target(str(tmp_path / "none")).probe().absent
    (tmp_path / "file").touch()
    assert "is no serial port" in serial.open_target(str(tmp_path / "file")).probe().absent
    near, far = pty.openpty()
    try:
        assert "do not know 12345 baud" in serial.open_target(f"{os.ttyname(far)}:12345").probe().absent
    finally:
        os.close(near)
        os.close(far)
    for name in ("", "COM3", "ttyACM0"):
        with pytest.raises(InputError, match="names no port"):
            serial.open_target(name)
    assert serial.open_target("/dev/ttyACM0:921600").name == "serial:/dev/ttyACM0:921600"


def built(artifacts, folder, precision):
    """The firmware of the emulated board."""
    if shutil.which("arm-none-eabi-gcc") is None:
        pytest.skip("needs arm-none-eabi-gcc (apt install gcc-arm-none-eabi libnewlib-arm-none-eabi)")
    write_project(artifacts, folder, system="mps2", precision=precision, steps=24)
    core, objects = CORES["cortex-m4"], []
    for source in sorted(folder.glob("*.c")):
        objects.append(source.with_suffix(".o"))
        run_tool(["arm-none-eabi-gcc", *core.flags, *STRICT, "-c", source, "-o", objects[-1]])
    return link_for_board(core, objects, folder / "firmware.elf")


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_the_emulated_board_speaks_and_computes_the_model(artifacts, tmp_path, precision):
    program = built(artifacts, tmp_path / "project", precision)
    if shutil.which("qemu-system-arm") is None:
        pytest.skip("needs qemu-system-arm (apt install qemu-system-arm)")
    command = ["qemu-system-arm", "-M", "mps2-an386", "-display", "none", "-monitor", "none"]
    command += ["-semihosting-config", "enable=on,target=native", "-serial", "pty", "-kernel", str(program)]
    emulator = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        port = re.search(r"(/dev/pts/\d+)", emulator.stdout.readline())[1]
        place = serial.open_target(port)
        rows = {}
        (row,) = bench(
            artifacts,
            place,
            backends=["native"],
            plan=BRIEF,
            on_error=lambda backend, name, error: rows.setdefault(name, str(error)),
        )
    finally:
        emulator.kill()
        emulator.communicate()
    assert row.precision == precision and row.emulated and row.metric_kind == "correctness"
    assert row.golden.passed and row.golden.tolerance == 0.0 and row.golden.frames == 40
    assert row.timing is None and row.instructions_per_step is None
    assert row.fingerprint["board"].startswith("MPS2 AN386") and row.fingerprint["compiler"]
    (other,) = rows.values()  # the firmware holds one precision
    assert f"runs this model in {precision}" in other and "firmware_project" in other


@pytest.mark.parametrize(
    "cpu", [("-mcpu=cortex-m33", "-mfpu=fpv5-sp-d16", "-mfloat-abi=hard"), ("-mcpu=cortex-m0plus",)]
)
def test_the_firmware_compiles_for_other_cores(artifacts, tmp_path, cpu):
    if shutil.which("arm-none-eabi-gcc") is None:
        pytest.skip("needs arm-none-eabi-gcc (apt install gcc-arm-none-eabi libnewlib-arm-none-eabi)")
    folder = write_project(artifacts, tmp_path / "project") / "src"
    for name in ("bench_main.c", "kws.c"):
        run_tool(
            ["arm-none-eabi-gcc", *cpu, "-mthumb", *STRICT, "-c", folder / name, "-o", tmp_path / "object.o"]
        )


@pytest.mark.skipif(find_compiler() is None, reason="needs a C compiler (apt install gcc)")
def test_projects_hold_all_they_need(artifacts, tmp_path, capsys):
    for system, own in (("platformio", "platformio.ini"), ("zephyr", "prj.conf")):
        assert main([str(artifacts), str(tmp_path / system), "--system", system]) == 0
        assert (tmp_path / system / own).is_file() and "then: cd" in capsys.readouterr().out
        sources = tmp_path / system / "src"
        for source in sources.glob("*.c"):
            if "zephyr/" not in source.read_text():
                command = [*find_compiler(), *STRICT, "-fsyntax-only", str(source)]
                subprocess.run(command, check=True, cwd=tmp_path)
    assert main([str(artifacts), str(tmp_path / "zephyr")]) == 2
    assert "there already" in capsys.readouterr().err


def test_projects_that_cannot_be_are_refused(artifacts, tmp_path):
    with pytest.raises(InputError, match="no generated C in mixed"):
        write_project(artifacts, tmp_path / "x", precision="mixed")
    with pytest.raises(InputError, match="0 steps"):
        write_project(artifacts, tmp_path / "x", steps=0)
    assert not (tmp_path / "x").exists()


def test_the_module_runs_as_a_program(artifacts, tmp_path):
    command = [sys.executable, "-m", "ssmith.devices.firmware_project", str(artifacts), str(tmp_path / "p")]
    subprocess.run(command, check=True, capture_output=True, cwd=Path(__file__).parents[2])
    assert (tmp_path / "p" / "src" / "bench_model.h").is_file()
