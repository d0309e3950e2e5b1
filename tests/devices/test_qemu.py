"""Real programs on emulated processors: the reference's bits, exact counts, clear failures."""

import os
import shutil
import sys
from dataclasses import replace

import numpy as np
import pytest

from ssmith.bundle import Bundle
from ssmith.devices.bench import bench, measurement
from ssmith.devices.cortex_m import CORES, FOLDER, link_for_board, memory_bytes, start_on_board, why_it_failed
from ssmith.devices.counted import FRAMES, run_counted
from ssmith.devices.everywhere import bench_everywhere
from ssmith.devices.fleet import Board as Entry
from ssmith.devices.plugin import _takes_plugins, between_marks, read_counts
from ssmith.devices.processes import first_line, run_tool
from ssmith.devices.processors import PROCESSORS
from ssmith.devices.qemu_system import Board
from ssmith.devices.qemu_user import Linux
from ssmith.devices.registry import FAMILIES, find_target
from ssmith.devices.target import Job, Plan
from ssmith.errors import InputError, MissingToolError, SsmithError
from tests.native.emulators import per_step
from tests.native.programs import Workshop, macro_value
from tests.native.skipping import toolchain

# Target → the toolchain of tests/native that compiles for it.
COMPILED = {
    "qemu:cortex-m4": "cortex-m4",
    "qemu:cortex-m55": "cortex-m55",
    "qemu:riscv64": "riscv64-gcc",
    "qemu:aarch64": "aarch64-gcc",
}
CALL = 40  # instructions at most of a loop around a step
MAIN = "int main(int argc, char **argv) { (void)argc; (void)argv; %s }\n"


def usable(name, backend="native"):
    """The target, or a skip that says what to install."""
    target = find_target(name)
    probe = target.probe()
    if (reason := probe.absent or probe.missing.get(backend)) is not None:
        pytest.skip(reason)
    return target


@pytest.fixture(scope="module")
def rows(artifacts):
    """Each target measured once, as a function: target → rows by precision."""
    found = {}

    def measured(name):
        if name not in found:
            found[name] = {m.precision: m for m in bench(artifacts, usable(name), backends=["native"])}
        return found[name]

    return measured


@pytest.mark.parametrize("name", COMPILED)
def test_bits_counts_and_sizes(rows, artifacts, name):
    assert list(rows(name)) == ["float32", "int8"]
    for precision, row in rows(name).items():
        stem = "kws" if precision == "float32" else "kws_int8"
        tools = toolchain(COMPILED[name], counts=True)
        header = artifacts / f"{stem}.h"

        def told(what, tools=tools, header=header, stem=stem):
            return macro_value(tools, header, f"{stem.upper()}_{what}")

        assert (row.target, row.artifact, row.emulated) == (name, f"{stem}.c", True)
        assert row.golden.passed and row.golden.tolerance == 0 == row.golden.max_abs
        assert row.golden.against == ("reference float32" if precision == "float32" else "integer reference")
        assert row.metric_kind == "instructions" and row.instructions_per_step > 500
        assert (row.flash_bytes, row.ram_bytes) == (told("FLASH_BYTES"), told("RAM_BYTES"))
        assert 64 < row.stack_bytes <= told("STACK_BYTES")
        assert 1_000 < row.code_bytes < 40_000
        assert row.timing is None and row.load_us is None
        assert "-ffp-contract=off" in row.fingerprint["compiler_flags"] and row.fingerprint["emulator"]


@pytest.mark.parametrize("name", ["qemu:cortex-m4", "qemu:aarch64"])
def test_counts_repeat_and_are_those_of_another_way_to_count(rows, run_folder, artifacts, tmp_path, name):
    """The other way: what 16 frames more cost a program with a loop around the step."""
    tools, first = toolchain(COMPILED[name], counts=True), rows(name)["float32"].instructions_per_step
    for _ in range(2):
        (again,) = bench(artifacts, usable(name), backends=["native"], precisions=["float32"])
        assert again.instructions_per_step == first
    workshop = Workshop(tmp_path)
    workshop.put("kws", Bundle.read(run_folder / "kws.ssm"))
    assert 0 <= per_step(tools, workshop.program(tools, "kws")) - first <= CALL


def test_the_golden_frames_decide(artifacts, tmp_path):
    target = usable("qemu:cortex-m4")
    job = target.push(target.build(artifacts, "native", "float32", tmp_path), Plan())
    frames = np.fromfile(job.folder / FRAMES, np.float32)
    frames[3] = np.nextafter(frames[3], np.float32(9))
    frames.tofile(job.folder / FRAMES)
    row = measurement(target.name, target.probe(), job, target.read(job, target.run(job, Plan())), Plan())
    assert not row.golden.passed and 0 < row.golden.max_abs < 1e-3
    assert row.metric_kind == "correctness" and row.instructions_per_step is None


def test_artifacts_without_a_bundle_are_counted_all_the_same(artifacts, tmp_path):
    target = usable("qemu:cortex-m4")
    alone = shutil.copytree(artifacts, tmp_path / "artifacts")
    (row,) = bench(alone, target, backends=["native"], precisions=["float32"])
    assert row.golden is None and row.instructions_per_step > 500
    assert any("no recorded ones" in note for note in row.notes)


def job_of(folder, core, statement):
    """A job that runs a main of our own on the board."""
    source = folder / "main.c"
    source.write_text(MAIN % statement)
    flags = [f"-I{FOLDER}", "-std=c99", "-O1"]
    run_tool(["arm-none-eabi-gcc", *core.flags, *flags, "-c", source, "-o", folder / "main.o"])
    program = link_for_board(core, [folder / "main.o"], folder / "program.elf")
    command = start_on_board(core, program, ["main"])
    return Job("native", "float32", "kws.c", folder, tuple(command), folder, None)


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ('__asm__ volatile("udf #0"); return 0;', "kws.c .float32. failed: the program faulted"),
        ("return 3;", "failed: the model returned an error"),
        ("return 2;", "failed: it cannot read its frames"),
        ("return 41;", "failed: the program ended with exit code 41"),
        ('for (;;) __asm__ volatile("");', "did not end within 2 s under qemu-system-arm"),
    ],
)
def test_programs_that_fail(tmp_path, statement, said):
    board = replace(usable("qemu:cortex-m4"), limit_s=2.0)
    with pytest.raises(SsmithError, match=said):
        board.run(job_of(tmp_path, board.core, statement), Plan())


def test_a_locked_up_processor(tmp_path):
    """A program for one board's memory on another: no stack, no vectors, no way to report a fault."""
    board = usable("qemu:cortex-m55")
    job = job_of(tmp_path, CORES["cortex-m4"], "return 0;")
    command = [word.replace("mps2-an386", board.core.machine) for word in job.command]
    with pytest.raises(SsmithError, match="failed: the processor locked up"):
        board.run(replace(job, command=tuple(command)), Plan())
    assert "aborted" in why_it_failed(-6, "out of memory")


@pytest.mark.parametrize(
    ("core", "statement", "said"),
    [
        ("cortex-m55", "static const char big[600 * 1024] = {1}; return big[argc];", "flash"),
        ("cortex-m55", "static volatile char big[520 * 1024]; return big[argc];", "RAM"),
        ("cortex-m4", "static volatile char big[4 * 1024 * 1024]; return big[argc];", "RAM"),
    ],
)
def test_too_big_for_the_board_is_refused_with_the_numbers(tmp_path, core, statement, said):
    usable(f"qemu:{core}")
    have = memory_bytes(CORES[core])["CODE" if said == "flash" else "RAM"]
    with pytest.raises(InputError, match=rf"needs [\d,]+ bytes of {said} and \S+ has {have:,}; reduce"):
        job_of(tmp_path, CORES[core], statement)
    assert not (tmp_path / "program.elf").exists()


def test_without_the_tools_the_packages_are_named(artifacts, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    board, linux = find_target("qemu:cortex-m4"), find_target("qemu:riscv64")
    assert "apt install gcc-arm-none-eabi libnewlib-arm-none-eabi qemu-system-arm" in board.probe().absent
    assert "apt install qemu-user" in linux.probe().absent
    with pytest.raises(MissingToolError, match=r"qemu:cortex-m4 cannot be used here: .*apt install"):
        bench(artifacts, board)
    (row,) = bench_everywhere(artifacts, {"board": Entry(target="qemu:cortex-m4")})
    assert "apt install" in row.error and row.emulated


def test_zig_stands_in_for_a_missing_cross_compiler(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    command = PROCESSORS["aarch64-cortex-a53"].command()
    assert command[:4] == (sys.executable, "-m", "ziglang", "cc") and "-mcpu=cortex_a53" in command
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setattr("shutil.which", lambda name: name if name.startswith("qemu") else None)
    said = Linux(PROCESSORS["riscv64"]).probe()
    assert "native" not in said.backends
    assert "apt install gcc-riscv64-linux-gnu libc6-dev-riscv64-cross" in said.missing["native"]
    assert said.backends == () and list(said.missing) == ["native"]


@pytest.mark.slow
@pytest.mark.skipif(
    os.environ.get("SSMITH_ROOT_TESTS") != "1",
    reason="zig compiles a C library first, for a minute or more; SSMITH_ROOT_TESTS=1 runs this",
)
def test_a_program_that_zig_built(artifacts):
    """Another compiler and another C library: the same bits."""
    pytest.importorskip("ziglang")
    usable("qemu:aarch64")
    target = Linux(replace(PROCESSORS["aarch64"], compiler="no-such-gcc"))
    for row in bench(artifacts, target, backends=["native"]):
        assert row.fingerprint["compiler_flags"].startswith("-target aarch64-linux-musl")
        assert "clang" in row.fingerprint["compiler"]
        assert row.golden.passed and row.golden.tolerance == 0 and row.metric_kind == "instructions"
        assert row.code_bytes > 1_000


@pytest.mark.parametrize(
    ("asked", "answer", "reason"),
    [
        ("--version", "qemu-aarch64 version 11.0.2", "is version 11; the instruction counter needs"),
        ("--version", "qemu-aarch64", "does not tell its version"),
        ("--help", "usage: qemu-aarch64 [options] program", "was built without plugins"),
    ],
)
def test_a_qemu_that_cannot_count(artifacts, tmp_path, monkeypatch, asked, answer, reason):
    """The golden frames are still held against the reference, and the row says why there is no count."""
    usable("qemu:aarch64")
    other, real = tmp_path / "qemu-aarch64", shutil.which("qemu-aarch64")
    other.write_text(f'#!/bin/sh\n[ "$1" = {asked} ] && echo "{answer}" || exec {real} "$@"\n')
    other.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    remembered = (first_line, _takes_plugins)
    for function in remembered:
        function.cache_clear()
    try:
        target = find_target("qemu:aarch64")
        assert target.probe().measures == ("correctness",)
        (row,) = bench(artifacts, target, backends=["native"], precisions=["float32"])
    finally:
        for function in remembered:
            function.cache_clear()
    assert row.golden.passed and row.metric_kind == "correctness" and row.instructions_per_step is None
    assert any(f"not counted: qemu-aarch64 {reason}" in note for note in row.notes)


def test_every_model_of_the_registry_opens():
    for model in FAMILIES["qemu"].models:
        target = find_target(f"qemu:{model}")
        assert target.name == f"qemu:{model}" and isinstance(target, Board | Linux)
    with pytest.raises(InputError, match="qemu:cortex-m4"):
        find_target("qemu:cortex-m5")


def test_counts_that_are_none(tmp_path):
    with pytest.raises(SsmithError, match="wrote nothing"):
        read_counts(tmp_path / "counts.txt")
    (tmp_path / "counts.txt").write_text("mark 12\n")
    with pytest.raises(SsmithError, match="no total"):
        read_counts(tmp_path / "counts.txt")
    for marks in ((), (1, 3), (1, 3, 9)):
        with pytest.raises(SsmithError, match=f"saw {len(marks)} marks"):
            between_marks(marks)
    assert between_marks((10, 13, 20, 123, 200, 304)).tolist() == [100, 101]
    job = Job("native", "float32", "kws.c", tmp_path, ("no-such-emulator",), tmp_path, None)
    with pytest.raises(SsmithError, match="no-such-emulator cannot be started"):
        run_counted(job, 1.0, why_it_failed)
