"""Estimates by llvm-mca: the blocks are the instructions that ran, the cycles follow from the model."""

import pytest

from ssmith.devices.basic_blocks import BasicBlock, basic_blocks, parse_disassembly, runs_of
from ssmith.devices.bench import bench, measurement
from ssmith.devices.counted import COUNTS
from ssmith.devices.llvm import costs, disassemble, find_tools
from ssmith.devices.mca import AROUND, HOW, MODELS, open_target, several, total
from ssmith.devices.plugin import read_counts
from ssmith.devices.registry import FAMILIES, find_target
from ssmith.devices.target import Plan
from ssmith.errors import MissingToolError, SsmithError

THUMB = """
program.elf:	file format elf32-littlearm

00000100 <main>:
     100:      	bl	0x110 <kws_step>        @ imm = #12

00000110 <kws_step>:
     110:      	movs	r2, #3
     112:      	cmp	r2, #0
     114:      	subs	r2, #1
     116:      	bne	0x112 <kws_step+0x2>    @ imm = #-8
     118:      	it	gt
     11a:      	popgt	{r4, pc}
     11c:      	bx	lr

00000120 <$d>:
     120:	e1 c3 a5 55	.word	0x55a5c3e1
"""
# As QEMU translates it: a first pass from the function's start, the others from the loop's.
COUNTED = ((0x100, 1, 5), (0x110, 4, 5), (0x112, 3, 10), (0x118, 2, 5), (0x11C, 1, 2))


@pytest.fixture
def mca():
    """Path of llvm-mca, or a skip that says what to install."""
    tools = find_tools()
    if tools is None:
        pytest.skip(HOW)
    return tools[0]


def usable(name):
    """The target, or a skip that says what to install."""
    target = find_target(name)
    if (reason := target.probe().absent) is not None:
        pytest.skip(reason)
    return target


def test_blocks_end_at_branches_at_their_targets_and_where_counts_change():
    code = parse_disassembly(THUMB)
    runs = runs_of(code, COUNTED)
    assert runs.tolist() == [5, 5, 15, 15, 15, 5, 5, 2, 0]
    assert basic_blocks(code, runs, AROUND) == [
        BasicBlock(("movs r2, #3",), 5, loops=False),
        BasicBlock(("cmp r2, #0", "subs r2, #1", "bne 0x112 <kws_step+0x2>"), 15, loops=True),
        BasicBlock(("it gt", "popgt {r4, pc}"), 5, loops=False),
        BasicBlock(("bx lr",), 2, loops=False),
    ]
    whole = basic_blocks(code, runs)
    assert sum(b.runs * len(b.instructions) for b in whole) == sum(n * times for _, n, times in COUNTED)
    assert several(whole) == (5, 10)


def test_code_that_no_disassembly_holds():
    with pytest.raises(SsmithError, match="ran at 0x113"):
        runs_of(parse_disassembly(THUMB), [(0x113, 1, 1)])


@pytest.mark.parametrize("core", MODELS)
def test_costs_follow_from_width_and_latency(mca, core):
    model = MODELS[core][1]
    add = "add r0, r0, r1" if core.startswith("cortex-m") else "add x0, x0, x1"
    chains = [[add] * n for n in (8, 16, 32)]
    found = costs(mca, model, [["nop"], *chains])
    one, *rest = found.blocks
    eight, sixteen, thirty_two = (cost.alone for cost in rest)
    assert one.alone == 1 and not found.unknown and 1 <= found.width <= 3
    assert thirty_two - sixteen == 2 * (sixteen - eight) >= 16  # each waits for the one before
    for cost, chain in zip(rest, chains, strict=True):
        assert min(cost.alone, cost.steady) >= len(chain) / found.width
    assert costs(mca, model, [["nop"], *chains]) == found


def test_a_call_costs_a_branch(mca):
    """What the callee does is in its own blocks; llvm-mca alone would add 100 cycles."""
    for core in MODELS:
        call, branch = costs(mca, MODELS[core][1], [["bl 0x100 <main>"], ["b 0x100 <main>"]]).blocks
        assert call == branch and call.alone < 5


def test_a_table_lookup_is_no_call(mca):
    assert not costs(mca, MODELS["cortex-a72"][1], [["tbl v0.16b, { v1.16b }, v2.16b"]]).unknown


@pytest.mark.parametrize("core", ["cortex-m4", "cortex-m7"])
def test_predicated_instructions_cost_what_plain_ones_do(mca, core):
    plain = ["nop", "add r0, r1", "vmov.f32 s0, s1", "mov r3, r4", "bx lr"]
    predicated = ["itet gt", "addgt r0, r1", "vmovle.f32 s0, s1", "movgt r3, r4", "bx lr"]
    found = costs(mca, MODELS[core][1], [plain, predicated])
    assert found.blocks[0] == found.blocks[1] and not found.unknown


def test_what_the_model_does_not_know_is_named(mca):
    found = costs(mca, MODELS["cortex-a53"][1], [["nop", "frobnicate x0", "nop"], ["nop", "nop", "nop"]])
    assert found.unknown == {"frobnicate": 1} and found.blocks[0] == found.blocks[1]


@pytest.mark.parametrize("core", MODELS)
@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_an_estimate_of_the_instructions_that_ran(artifacts, tmp_path, core, precision):
    target = usable(f"mca:{core}")
    job = target.push(target.build(artifacts, "native", precision, tmp_path), Plan())
    output = target.run(job, Plan())
    raw = target.read(job, output)
    steps = len(raw.golden_outputs)
    row = measurement(target.name, target.probe(), job, raw, Plan())
    assert row.golden.passed and row.golden.tolerance == 0 == row.golden.max_abs
    assert (row.metric_kind, row.emulated, row.timing) == ("static_estimate", True, None)
    assert row.instructions_per_step is None and row.fingerprint["cpu"] == core
    assert any("estimated, not measured" in note for note in row.notes)

    # The blocks hold what QEMU counted, but for the few instructions around the marks.
    counted = target.emulator.read(job, output).instructions_per_step
    mca, objdump = find_tools()
    program = next(path for name in ("program.elf", "program") if (path := output / name).exists())
    code = parse_disassembly(disassemble(objdump, target.model, program))
    blocks = basic_blocks(code, runs_of(code, read_counts(output / COUNTS).blocks), AROUND)
    executed = sum(block.runs * len(block.instructions) for block in blocks) / steps
    assert abs(counted - executed) <= 8 and executed > 500

    prices = costs(mca, target.model, [block.instructions for block in blocks])
    high, low = total(blocks, prices)
    assert executed / prices.width <= low / steps <= high / steps == row.cycles_estimated
    assert not prices.unknown


def test_estimates_repeat(artifacts):
    target = usable("mca:cortex-m7")
    first, second = (bench(artifacts, target, precisions=["int8"])[0] for _ in range(2))
    assert first.cycles_estimated == second.cycles_estimated and first.notes == second.notes


def test_without_llvm_the_package_is_named(artifacts, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    for core in FAMILIES["mca"].models:
        probe = open_target(core).probe()
        assert "apt install llvm" in probe.absent and probe.emulated and probe.backends == ()
        assert probe.measures == ("static_estimate",)
    with pytest.raises(MissingToolError, match=r"mca:cortex-m4 cannot be used here: llvm-mca .*apt install"):
        bench(artifacts, "mca:cortex-m4")
    assert set(FAMILIES["mca"].models) == set(MODELS)
