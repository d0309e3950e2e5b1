"""What each op costs on the cores of ``emulated``: rows add up to the count, each that of its op."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from ssmith.bundle import Bundle
from ssmith.devices import freestanding
from ssmith.devices.bench import bench
from ssmith.devices.emulated import BOARDS, LINES, OUTPUT
from ssmith.devices.layers import REST, Owners, read_source
from ssmith.devices.registry import find_target
from ssmith.devices.target import Plan
from ssmith.errors import SsmithError
from ssmith.lowering import lower
from ssmith.recipe import ExportSettings
from tests.bundles import random_bundle
from tests.calibrated import calibrated

for package in ("ziglang", "unicorn", "elftools"):
    pytest.importorskip(package)


def written(folder, orders):
    bundle = calibrated(random_bundle(np.random.default_rng(0), orders=orders, golden_frames=(12,)))
    lower(bundle, folder, ExportSettings(formats=("c99",)))
    bundle.write(folder / f"{bundle.name}.ssm")
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return written(tmp_path_factory.mktemp("artifacts"), (6, 3))


def layers(folder, model):
    """Op → instructions a step, in float32: an int8 kernel serves several ops, its code depends on all."""
    (row,) = bench(folder, f"emulated:{model}", backends=["native"], precisions=["float32"])
    return {layer.layer: layer.instructions for layer in row.layers}


@pytest.mark.parametrize("model", BOARDS)
@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_every_instruction_has_its_op_and_none_is_lost(folder, tmp_path, model, precision):
    place = find_target(f"emulated:{model}")
    job = place.push(place.build(folder, "native", precision, tmp_path), Plan())
    raw = place.read(job, place.run(job, Plan()))
    ops = [op.name for op in Bundle.read(folder / "net.ssm").meta.ops]
    assert [layer.layer for layer in raw.layers] == [*ops, REST]
    with np.load(tmp_path / OUTPUT) as found:
        assert found["op_counts"].sum() == found["counts"].sum()
    found = {layer.layer: layer.instructions for layer in raw.layers}
    assert all(found.values()) and found[REST] < 0.15 * raw.instructions_per_step
    assert found["block0.ssm"] > found["block1.ssm"], "six modes cost more than three"
    for op in ("glu", "norm", "gelu", "gate"):  # the same op of the same size in both blocks
        assert found[f"block0.{op}"] == pytest.approx(found[f"block1.{op}"], abs=8)


@pytest.mark.parametrize("model", ["cortex-m4", "aarch64"])
def test_another_order_moves_one_row(folder, tmp_path, model):
    """An op's row is that op's: six more modes of one layer cost nothing anywhere else."""
    before, after = layers(folder, model), layers(written(tmp_path, (12, 3)), model)
    for op, cost in before.items():
        if op == "block0.ssm":
            assert after[op] > cost + 100
        else:  # what is spilled and how far an offset reaches may change
            assert after[op] == pytest.approx(cost, abs=30), op


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_line_tables_do_not_change_the_code(folder, tmp_path, precision):
    from elftools.elf.elffile import ELFFile

    found = []
    for flag in (LINES, "-g0"):
        core = BOARDS["cortex-m4"].core
        flags = tuple(flag if f == LINES else f for f in core.flags)
        (tmp_path / flag).mkdir()
        freestanding.build(folder, precision, tmp_path / flag, replace(core, flags=flags))
        with (tmp_path / flag / freestanding.PROGRAM).open("rb") as file:
            found.append([ELFFile(file).get_section_by_name(name).data() for name in (".text", ".rodata")])
        with (tmp_path / flag / freestanding.MODEL_OBJECT).open("rb") as file:
            assert ELFFile(file).has_dwarf_info() == (flag == LINES)
    assert found[0] == found[1]
    source = folder / "net.c"
    for program in (freestanding.PROGRAM, freestanding.MODEL_OBJECT):  # with tables of a library, with none
        with pytest.raises(SsmithError, match=r"no line tables of net\.c; compile it with -g"):
            Owners(tmp_path / "-g0" / program, read_source(source.read_text()), "net.c")


def test_a_file_without_ops_is_refused():
    with pytest.raises(SsmithError, match="names no ops"):
        read_source("int f(int x)\n{\n    /* twice of x */\n    return 2 * x;\n}\n")
