"""Cores that packages of pip emulate: the reference's bits, counts that repeat, what does not fit."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ssmith.devices import emulated, freestanding, machine
from ssmith.devices.bench import bench
from ssmith.devices.emulated import BOARDS
from ssmith.devices.everywhere import bench_everywhere
from ssmith.devices.fleet import Board
from ssmith.devices.machine import Machine
from ssmith.devices.registry import find_target
from ssmith.devices.target import Plan
from ssmith.errors import SsmithError
from ssmith.lowering import lower
from ssmith.recipe import ExportSettings
from tests.bundles import random_bundle
from tests.calibrated import calibrated

for package in ("ziglang", "unicorn", "elftools", "wasmtime"):
    pytest.importorskip(package)

TARGETS = [*(f"emulated:{model}" for model in BOARDS), "wasm"]
C = ExportSettings(formats=("c99",))


def written(bundle, folder):
    lower(bundle, folder, C)
    bundle.write(folder / f"{bundle.name}.ssm")
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    bundle = calibrated(random_bundle(np.random.default_rng(0), orders=(6, 3), golden_frames=(40,)))
    return written(bundle, tmp_path_factory.mktemp("artifacts"))


@pytest.mark.parametrize("target", TARGETS)
def test_the_bits_of_the_reference_and_a_count(folder, target):
    rows = bench(folder, target, backends=["native"])
    assert [row.precision for row in rows] == ["float32", "int8"]
    for row in rows:
        assert row.emulated and row.metric_kind == "instructions" and row.timing is None
        assert row.golden is not None and row.golden.passed
        assert (row.golden.max_abs, row.golden.tolerance, row.golden.frames) == (0.0, 0.0, 40)
        assert 500 < (row.instructions_per_step or 0) < 200_000
        assert row.count_unit == ("fuel" if target == "wasm" else "instructions")
        assert row.flash_bytes and row.ram_bytes
        assert (
            "zig" in row.fingerprint["compiler"] and "-ffp-contract=off" in row.fingerprint["compiler_flags"]
        )
        if target != "wasm":
            assert row.code_bytes and row.stack_bytes and row.stack_bytes < 8192


@pytest.mark.parametrize("target", TARGETS)
def test_ten_runs_count_the_same(folder, tmp_path, target):
    place = find_target(target)
    job = place.push(place.build(folder, "native", "float32", tmp_path), Plan())
    found = {place.read(job, place.run(job, Plan())).instructions_per_step for _ in range(10)}
    assert len(found) == 1


def test_short_copies_are_no_calls(folder, tmp_path):
    from elftools.elf.elffile import ELFFile

    find_target("emulated:cortex-m4").build(folder, "native", "float32", tmp_path)
    with (tmp_path / freestanding.MODEL_OBJECT).open("rb") as file:
        elf = ELFFile(file)
        names = [symbol.name for symbol in elf.get_section_by_name(".symtab").iter_symbols()]
        tables = [s for s in elf.iter_sections() if s.name.startswith(".rel.text")]
        uses = [names[r["r_info_sym"]] for table in tables for r in table.iter_relocations()]
    calls = sum(name.startswith(("memcpy", "__aeabi_memcpy")) for name in uses)
    assert 0 < calls < 20, "read as integers, floats are copied; a library call each makes counts of nothing"


def test_constants_cannot_be_written(folder, tmp_path):
    from unicorn.arm_const import UC_ARM_REG_R2

    find_target("emulated:cortex-m4").build(folder, "native", "float32", tmp_path)
    core = Machine(tmp_path / freestanding.PROGRAM, "CORTEX_M4")
    core._uc.reg_write(UC_ARM_REG_R2, 4)  # of memset(step, 0, 4)
    with pytest.raises(SsmithError, match=r"memset\(\) stopped at address .*write"):
        core.call("memset", core.symbols["step"])


def test_a_larger_model_costs_more(tmp_path):
    costs = []
    for order in (1, 8, 16):
        bundle = calibrated(random_bundle(np.random.default_rng(1), orders=(order,), golden_frames=(10,)))
        place = written(bundle, tmp_path / str(order))
        (row,) = bench(place, "emulated:cortex-m4", backends=["native"], precisions=["float32"])
        costs.append(row.instructions_per_step)
    assert costs == sorted(costs) and costs[0] < costs[-1]


@pytest.mark.parametrize("target", TARGETS)
def test_one_state_and_one_channel(tmp_path, target):
    bundle = random_bundle(
        np.random.default_rng(2), width=1, orders=(1,), inputs=1, outputs=1, golden_frames=(8,)
    )
    (row,) = bench(written(calibrated(bundle), tmp_path), target, backends=["native"], precisions=["float32"])
    assert row.golden is not None and row.golden.passed


def test_a_model_that_computes_something_else_has_no_number(folder, tmp_path, monkeypatch):
    real = find_target("emulated:cortex-m4").read

    def wrong(self, job, output):
        raw = real(job, output)
        outputs = raw.golden_outputs.copy()
        outputs[3, 1] += np.float32(1e-3)
        return replace(raw, golden_outputs=outputs)

    monkeypatch.setattr(emulated.Emulated, "read", wrong)
    row = bench(folder, "emulated:cortex-m4", backends=["native"], precisions=["float32"])[0]
    assert row.metric_kind == "correctness" and row.instructions_per_step is None
    assert row.golden is not None and not row.golden.passed
    assert row.golden.max_abs == pytest.approx(1e-3, rel=0.1)


def test_what_does_not_fit_is_refused_with_the_numbers(folder, monkeypatch):
    small = replace(BOARDS["cortex-m4"], flash_bytes=2_000, like="a thimble")
    monkeypatch.setitem(BOARDS, "cortex-m4", small)
    with pytest.raises(
        SsmithError, match=r"needs [\d,]+ bytes of flash, and a board like a thimble has 2,000"
    ):
        bench(folder, "emulated:cortex-m4", backends=["native"])
    monkeypatch.setitem(BOARDS, "cortex-m4", replace(small, flash_bytes=None, ram_bytes=10))
    rows = bench_everywhere(folder, {n: Board(target=n) for n in ("emulated:cortex-m4", "wasm")})
    assert [row.error is None for row in rows] == [False, False, True, True]
    assert "bytes of RAM" in (rows[0].error or "")


def test_ram_holds_the_stack_too(folder, tmp_path, monkeypatch):
    (row,) = bench(folder, "emulated:cortex-m4", backends=["native"], precisions=["float32"])
    place = find_target("emulated:cortex-m4")
    place.build(folder, "native", "float32", tmp_path)
    sizes = Machine(tmp_path / freestanding.PROGRAM, "CORTEX_M4").sizes
    static, stack = sizes.get(".data", 0) + sizes[".bss"], row.stack_bytes
    enough = replace(BOARDS["cortex-m4"], ram_bytes=static + stack, like="a thimble")
    monkeypatch.setitem(BOARDS, "cortex-m4", enough)
    assert bench(folder, "emulated:cortex-m4", backends=["native"], precisions=["float32"]) == [row]
    monkeypatch.setitem(BOARDS, "cortex-m4", replace(enough, ram_bytes=static + stack - 1))
    parts = rf"\({static:,} of state and frames, {stack:,} of stack\)"
    with pytest.raises(SsmithError, match=rf"needs {static + stack:,} bytes of RAM {parts}"):
        bench(folder, "emulated:cortex-m4", backends=["native"], precisions=["float32"])


def test_a_model_that_hangs_is_stopped_and_the_others_go_on(folder, monkeypatch):
    real = machine._load

    def hanging(uc, program):
        symbols, sizes = real(uc, program)
        uc.mem_write(symbols["step"], b"\xfe\xe7")  # a branch to itself
        return symbols, sizes

    monkeypatch.setattr(machine, "_load", hanging)
    monkeypatch.setattr(machine, "LIMIT_S", 0.5)
    rows = bench_everywhere(folder, {n: Board(target=n) for n in ("emulated:cortex-m4", "wasm")})
    assert [row.error is None for row in rows] == [False, False, True, True]
    assert re.search(r"step\(\) was stopped after [\d,]+ instructions.* 0.5 s", rows[0].error or "")


def test_a_fault_is_told_with_its_address(folder, tmp_path):
    place = find_target("emulated:cortex-m4")
    place.build(folder, "native", "float32", tmp_path)
    core = Machine(tmp_path / freestanding.PROGRAM, "CORTEX_M4")
    core.symbols["step"] = 0x50000000  # where nothing is mapped
    with pytest.raises(SsmithError, match=r"step\(\) stopped at address 0x50000000"):
        core.call("step")


@pytest.mark.parametrize(("target", "package"), [("emulated:cortex-m7", "unicorn"), ("wasm", "wasmtime")])
def test_a_missing_package_is_named(folder, monkeypatch, target, package):
    real = freestanding.importlib.util.find_spec
    monkeypatch.setattr(
        freestanding.importlib.util, "find_spec", lambda name: None if name == package else real(name)
    )
    (row,) = bench_everywhere(folder, {target: Board(target=target)})
    assert row.error == f"{package} is not installed; run pip install 'ssmith[devices]'"


def test_two_folders_of_one_relative_name_are_not_taken_for_each_other(tmp_path, monkeypatch):
    """A compiler that keeps objects by their paths would give the second the sizes of the first."""
    found = []
    for order in (5, 3):
        place = tmp_path / str(order)
        written(calibrated(random_bundle(np.random.default_rng(0), orders=(order,))), place / "artifacts")
        monkeypatch.chdir(place)
        row = bench(Path("artifacts"), find_target("emulated:cortex-m4"), plan=Plan())[0]
        text = Path("artifacts/net.h").read_text()
        (told,) = re.findall(r"#define NET_FLASH_BYTES (\d+)", text)
        assert row.flash_bytes == int(told)
        found.append(row.flash_bytes)
    assert found[0] > found[1]
