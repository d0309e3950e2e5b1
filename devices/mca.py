"""``mca:cortex-*``: cycles of a step by LLVM's model of the core. An estimate, never a latency.

The step runs under QEMU, which tells how often each basic block is executed; llvm-mca tells how many cycles
the block takes. Their products are added up. Nothing here knows caches, flash, branch predictors or buses.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path

from ssmith.devices.basic_blocks import BasicBlock, basic_blocks, parse_disassembly, runs_of
from ssmith.devices.counted import COUNTS
from ssmith.devices.llvm import Costs, Model, costs, disassemble, find_tools, version_of
from ssmith.devices.plugin import read_counts, with_blocks
from ssmith.devices.qemu import open_target as open_emulator
from ssmith.devices.target import Job, Plan, Probe, RawRun, Target
from ssmith.errors import MissingToolError
from ssmith.runtime.session import BackendName

HOW = "llvm-mca with its llvm-objdump, version 13 or later, not found; Debian, Ubuntu: apt install llvm"
PROGRAMS = ("program.elf", "program")  # of the board, of the Linux processor
AROUND = frozenset({"main", "mark", "step"})  # functions of counted.c, which are not the model's
LEFT_OUT = "caches, flash wait states, branch mispredictions, pipeline refills, interrupts"
SEVERAL = re.compile(r"(?:v?ldm|v?stm|v?push|v?pop)\S*\s[^{]*\{([^}]*,[^}]*)\}")
MODELS = {
    "cortex-a53": ("aarch64-cortex-a53", Model("aarch64", "cortex-a53", "#")),
    "cortex-a72": ("aarch64-cortex-a72", Model("aarch64", "cortex-a72", "#")),
    "cortex-m4": ("cortex-m4", Model("thumbv7em-none-eabihf", "cortex-m4", "@")),
    "cortex-m7": ("cortex-m7", Model("thumbv7em-none-eabihf", "cortex-m7", "@")),
}


@dataclass(frozen=True)
class Estimate:
    """Steps counted under an emulator and priced by a model of the core; see ``Target``.

    Args:
        model: of the core.
        emulator: that runs the step.
    """

    model: Model
    emulator: Target

    @property
    def name(self) -> str:
        """What reports call it."""
        return f"mca:{self.model.cpu}"

    def probe(self) -> Probe:
        """Native code, where llvm-mca is installed and the emulator can count."""
        inner, tools = self.emulator.probe(), find_tools()
        absent = inner.absent or inner.missing.get("native")
        if absent is None and "instructions" not in inner.measures:
            absent = f"{self.emulator.name} cannot count here: it takes a QEMU with plugins and a C compiler"
        if tools is None:
            absent = HOW if absent is None else f"{HOW}; {absent}"
        if tools is None or absent is not None:
            return Probe((), emulated=True, measures=("static_estimate",), absent=absent)
        return Probe(
            ("native",),
            emulated=True,
            fingerprint=inner.fingerprint | {"llvm_mca": version_of(tools[0]) or "?", "cpu": self.model.cpu},
            missing=dict.fromkeys(("onnx", "executorch"), "only the generated C is estimated"),
            measures=("static_estimate",),
        )

    def build(self, artifacts: Path, backend: BackendName, precision: str, folder: Path) -> Job:
        """The emulator's program, which counts blocks, too.

        Raises:
            InputError: the folder holds no generated C in this precision, or it does not fit.
            SsmithError: the compiler refused it.
        """
        job = self.emulator.build(artifacts, backend, precision, folder)
        return replace(job, command=with_blocks(job.command))

    def push(self, job: Job, plan: Plan) -> Job:
        """Write the frames where the program reads them."""
        return self.emulator.push(job, plan)

    def run(self, job: Job, plan: Plan) -> Path:
        """Run it under the emulator.

        Raises:
            SsmithError: the program failed or did not end.
        """
        return self.emulator.run(job, plan)

    def read(self, job: Job, output: Path) -> RawRun:
        """Outputs and sizes are the emulator's; its count becomes an estimate of cycles.

        Raises:
            MissingToolError: llvm-mca went away since the probe.
            SsmithError: LLVM's tools or the counts make no sense.
        """
        raw, tools = self.emulator.read(job, output), find_tools()
        if tools is None:
            raise MissingToolError(HOW)
        mca, objdump = tools
        program = next(path for name in PROGRAMS if (path := output / name).exists())
        code = parse_disassembly(disassemble(objdump, self.model, program))
        blocks = basic_blocks(code, runs_of(code, read_counts(output / COUNTS).blocks), AROUND)
        prices = costs(mca, self.model, [block.instructions for block in blocks])
        assert raw.golden_outputs is not None, "read_counted always brings them"
        steps = len(raw.golden_outputs)
        notes = (*raw.notes, *explain(self.model, blocks, prices, steps))
        cycles = total(blocks, prices)[0] / steps
        return replace(raw, instructions_per_step=None, cycles_estimated=cycles, notes=notes)


def total(blocks: list[BasicBlock], prices: Costs) -> tuple[float, float]:
    """Cycles of all runs, and the least of them, if blocks overlapped as the passes of a loop do."""
    high = low = 0.0
    for block, price in zip(blocks, prices.blocks, strict=True):
        high += block.runs * (price.steady if block.loops else price.alone)
        low += block.runs * (price.steady if block.loops else min(price.alone, price.steady))
    return high, low


def several(blocks: list[BasicBlock]) -> tuple[int, int]:
    """Executed instructions that load or store several registers, and these registers."""
    transfers = registers = 0
    for block in blocks:
        for text in block.instructions:
            if (match := SEVERAL.match(text)) is not None:
                transfers += block.runs
                registers += block.runs * (match[1].count(",") + 1)
    return transfers, registers


def explain(model: Model, blocks: list[BasicBlock], prices: Costs, steps: int) -> list[str]:
    """What a reader has to know about the estimate."""
    high, low = total(blocks, prices)
    executed = sum(block.runs * len(block.instructions) for block in blocks)
    rate = f"{executed / steps:,.0f} instructions a step, {high / executed:.2f} cycles each"
    notes = [
        f"estimated, not measured: executions of each basic block, counted under QEMU, times its cycles in"
        f" LLVM's model of {model.cpu}, which begins at most {prices.width} instructions a cycle;"
        f" left out: {LEFT_OUT}",
        f"{rate}; loops of one block at their steady rate, other blocks one after the other:"
        f" {low / steps:,.0f} cycles if those overlap",
    ]
    transfers, registers = several(blocks)
    if model.triple.startswith("thumb") and transfers:
        notes.append(
            f"too cheap in LLVM's model: {transfers / steps:,.0f} transfers a step of several registers"
            f" ({registers / steps:,.0f} in all, as ldm, vldm and push do), each like that of one"
        )
    if prices.unknown:
        names = ", ".join(sorted(prices.unknown))
        notes.append(f"not in LLVM's model and taken for nop: {names}")
    return notes


def open_target(model: str) -> Estimate:
    """The estimate for this core."""
    emulator, core = MODELS[model]
    return Estimate(core, open_emulator(emulator))
