"""Basic blocks of a program, with how often each ran: a disassembly and QEMU's counts, joined by address."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from ssmith.errors import SsmithError

COND = "eq|ne|hs|lo|cs|cc|mi|pl|vs|vc|hi|ls|ge|lt|gt|le|al"
# Arm's and aarch64's instructions that go elsewhere; `bic`, `bfi`, `bsl` and their like are none of them.
BRANCH = re.compile(rf"(b|bl|bx|blx|br|blr)({COND})?(\.\w+)?|ret|cbn?z|tbn?z|tb[bh]")
WRITES_PC = re.compile(r"(pop|ldm)\S*\s.*\bpc\}|(ldr|mov)\S*\s+pc,")
PLACE = re.compile(r"0x([0-9a-f]+) <[^>]*>")
COMMENT = re.compile(r"\s*(@|//).*$")


@dataclass(frozen=True)
class Instruction:
    """One line of a disassembly.

    Args:
        address: in the program.
        text: mnemonic and operands.
        function: symbol that it stands under.
    """

    address: int
    text: str
    function: str

    @property
    def ends_block(self) -> bool:
        """Whether what runs next may stand elsewhere."""
        mnemonic = self.text.split(maxsplit=1)[0]
        return BRANCH.fullmatch(mnemonic) is not None or WRITES_PC.match(self.text) is not None

    @property
    def place(self) -> int | None:
        """The address that it names; of a direct branch, where it goes."""
        found = PLACE.search(self.text)
        return None if found is None else int(found[1], 16)


@dataclass(frozen=True)
class BasicBlock:
    """Code that runs from its first instruction to its last.

    Args:
        instructions: as the disassembler writes them.
        runs: executions of the whole program.
        loops: its last instruction branches to its first.
    """

    instructions: tuple[str, ...]
    runs: int
    loops: bool


def parse_disassembly(text: str) -> list[Instruction]:
    """The lines of ``llvm-objdump -d --no-show-raw-insn``, comments left out, in the order of addresses.

    Data between functions come along as what they look like; they never run.
    """
    found: list[Instruction] = []
    function = ""
    for line in text.splitlines():
        if match := re.match(r"[0-9a-f]+ <(.+)>:$", line):
            # $t, $d, $x say what follows, code or data; they are no functions.
            function = function if match[1].startswith("$") else match[1]
        elif match := re.match(r"\s*([0-9a-f]+):\s+(\S.*)$", line):
            words = " ".join(COMMENT.sub("", match[2]).split())
            found.append(Instruction(int(match[1], 16), words, function))
    return sorted(found, key=lambda instruction: instruction.address)


def runs_of(code: Sequence[Instruction], counted: Collection[tuple[int, int, int]]) -> np.ndarray:
    """Executions of each instruction, shape (n,).

    Args:
        code: the program.
        counted: address, instructions and runs of each stretch that QEMU translated; they may overlap.

    Raises:
        SsmithError: what ran is not in the disassembly.
    """
    at = {instruction.address: index for index, instruction in enumerate(code)}
    change = np.zeros(len(code) + 1, np.int64)
    for address, length, runs in counted:
        first = at.get(address)
        if first is None or first + length > len(code):
            raise SsmithError(f"code ran at {address:#x} that the disassembly does not hold")
        change[first] += runs
        change[first + length] -= runs
    return np.cumsum(change)[:-1]


def basic_blocks(
    code: Sequence[Instruction], runs: np.ndarray, leave_out: Collection[str] = ()
) -> list[BasicBlock]:
    """The basic blocks that ran.

    Args:
        code: the program.
        runs: of each instruction, shape (n,).
        leave_out: functions that do not count.
    """
    # What a compiler makes of a function is called step.isra.0 and the like.
    counts = [
        0 if instruction.function.partition(".")[0] in leave_out else int(n)
        for instruction, n in zip(code, runs, strict=True)
    ]
    entries = {i.place for i, n in zip(code, counts, strict=True) if n and i.ends_block}
    found: list[list[int]] = []
    for index, (instruction, count) in enumerate(zip(code, counts, strict=True)):
        if not count:
            continue
        before = code[index - 1]
        joined = (
            found
            and found[-1][-1] == index - 1
            and counts[index - 1] == count
            and before.function == instruction.function
            and not before.ends_block
            and instruction.address not in entries
        )
        if joined:
            found[-1].append(index)
        else:
            found.append([index])
    return [_block([code[i] for i in block], counts[block[0]]) for block in found]


def _block(instructions: Sequence[Instruction], runs: int) -> BasicBlock:
    last = instructions[-1]
    loops = last.ends_block and last.place == instructions[0].address
    return BasicBlock(tuple(instruction.text for instruction in instructions), runs, loops)
