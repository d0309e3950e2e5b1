"""llvm-mca and llvm-objdump: what a processor's scheduling model says of a piece of code."""

from __future__ import annotations

import functools
import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ssmith.devices.basic_blocks import COND, PLACE
from ssmith.devices.processes import run_tool
from ssmith.errors import SsmithError

OLDEST, NEWEST = 13, 30  # before 13 llvm-mca refuses processors that issue in order, which most of these do
STEADY = 100  # iterations of a loop
LIMIT_S = 120
INVERSE = {"eq": "ne", "hs": "lo", "cs": "cc", "mi": "pl", "vs": "vc", "hi": "ls", "ge": "lt", "gt": "le"}
INVERSE |= {no: yes for yes, no in INVERSE.items()}
# llvm-mca takes a call for 100 cycles of waiting; what the callee does is in its own blocks.
CALL = re.compile(rf"^bl(x|r)?((?:{COND})?(?:\.\w+)?)\b")
REGION = re.compile(
    r"Code Region - b(\d+)\n+Iterations:\s+(\d+)\nInstructions:\s+(\d+)\nTotal Cycles:\s+(\d+)\n"
    r"Total uOps:\s+\d+\n+Dispatch Width:\s+(\d+)"
)


@dataclass(frozen=True)
class Model:
    """LLVM's scheduling model of a processor.

    Args:
        triple: architecture, as LLVM names it.
        cpu: processor, as LLVM names it.
        comment: what starts a comment in its assembly.
    """

    triple: str
    cpu: str
    comment: str


@dataclass(frozen=True)
class Cost:
    """Cycles of a piece of code by a model of the processor.

    Args:
        alone: from its first instruction until its last one has retired, less what an empty pipeline takes
            to fill.
        steady: each time, if it runs again and again.
    """

    alone: float
    steady: float


@dataclass(frozen=True)
class Costs:
    """Costs of pieces of code.

    Args:
        blocks: one each.
        width: instructions that the processor begins in a cycle, at most.
        unknown: instructions that the model does not know, by name, and in how many places each stands.
    """

    blocks: tuple[Cost, ...]
    width: int
    unknown: dict[str, int]


@functools.cache
def version_of(tool: str) -> str | None:
    """The version of an LLVM program, ``14.0.6``; None where it cannot be run."""
    try:
        found = re.search(r"LLVM version (\d\S*)", run_tool([tool, "--version"], timeout_s=60))
    except SsmithError:
        return None
    return None if found is None else found[1]


def find_tools() -> tuple[str, str] | None:
    """Paths of llvm-mca and of its llvm-objdump: what PATH has without a number, else the newest; or None."""
    for suffix in ("", *(f"-{n}" for n in range(NEWEST, OLDEST - 1, -1))):
        mca, objdump = shutil.which(f"llvm-mca{suffix}"), shutil.which(f"llvm-objdump{suffix}")
        if mca is None or objdump is None:
            continue
        version = version_of(mca)
        if version is not None and int(version.partition(".")[0]) >= OLDEST:
            return mca, objdump
    return None


def disassemble(objdump: str, model: Model, program: Path) -> str:
    """What llvm-objdump writes of a program, without the bytes.

    Raises:
        ToolError: it cannot be read.
    """
    return run_tool([objdump, "-d", "--no-show-raw-insn", f"--mcpu={model.cpu}", program], timeout_s=LIMIT_S)


def costs(mca: str, model: Model, blocks: Sequence[Sequence[str]]) -> Costs:
    """What a model says of pieces of code.

    Args:
        mca: llvm-mca.
        model: of the processor.
        blocks: instructions of each piece, as llvm-objdump writes them.

    Raises:
        SsmithError: llvm-mca does not know the processor, or says something else than cycles.
    """
    code = [["nop"], *([*map(_without_places, _unpredicated(block))] for block in blocks)]
    code, unknown, said = _known(mca, model, code)
    alone, width = _cycles(said, code, 1)
    steady, _ = _cycles(_run(mca, model, code, STEADY)[0], code, STEADY)
    fill = alone[0] - 1
    pairs = zip(alone[1:], steady[1:], strict=True)
    return Costs(tuple(Cost(once - fill, many / STEADY) for once, many in pairs), width, dict(unknown))


def _without_places(text: str) -> str:
    text = PLACE.sub("target", text)
    return CALL.sub(lambda match: {None: "b", "x": "bx", "r": "br"}[match[1]] + match[2], text, count=1)


def _unpredicated(block: Sequence[str]) -> list[str]:
    """Thumb's IT blocks as plain instructions behind a nop: not every model knows ``it``."""
    plain: list[str] = []
    pending: list[str] = []
    for text in block:
        mnemonic, _, rest = text.partition(" ")
        if match := re.fullmatch(r"it([te]*)", mnemonic):
            pending = [rest, *(rest if letter == "t" else INVERSE[rest] for letter in match[1])]
            plain.append("nop")
            continue
        if pending:
            head, dot, tail = mnemonic.partition(".")
            mnemonic = head.removesuffix(pending.pop(0)) + dot + tail
        plain.append(f"{mnemonic} {rest}".rstrip())
    return plain


def _known(mca: str, model: Model, code: list[list[str]]) -> tuple[list[list[str]], Counter[str], str]:
    """The code with nops for instructions that the model does not know, these, and what llvm-mca said."""
    unknown: Counter[str] = Counter()
    while True:
        said, problems = _run(mca, model, code, 1)
        wrong = _refused(problems, code)
        if not wrong:
            if "error" in problems:
                raise SsmithError(f"llvm-mca refused the code for {model.cpu}: {problems.strip()[-800:]}")
            return code, unknown, said
        for block, line in wrong:
            unknown[code[block][line].partition(" ")[0]] += 1
        places = set(wrong)
        code = [
            ["nop" if (b, i) in places else text for i, text in enumerate(block)]
            for b, block in enumerate(code)
        ]


def _refused(problems: str, code: Sequence[Sequence[str]]) -> list[tuple[int, int]]:
    """Block and line of each instruction that llvm-mca complains of."""
    lines = {int(n) for n in re.findall(r"^<stdin>:(\d+):\d+: error", problems, re.M)}
    names = set(re.findall(r"unsupported instruction.*\n.*instruction:\s+(\S+)", problems))
    found, number = [], 0
    for b, block in enumerate(code):
        number += 1  # the line that begins the region
        for i, text in enumerate(block):
            number += 1
            if text != "nop" and (number in lines or text.partition(" ")[0] in names):
                found.append((b, i))
        number += 1
    return found


def _run(mca: str, model: Model, code: Sequence[Sequence[str]], iterations: int) -> tuple[str, str]:
    """What llvm-mca prints, and its complaints."""
    parts = [
        [f"{model.comment} LLVM-MCA-BEGIN b{b}", *block, f"{model.comment} LLVM-MCA-END"]
        for b, block in enumerate(code)
    ]
    command = [mca, f"-mtriple={model.triple}", f"-mcpu={model.cpu}", f"-iterations={iterations}"]
    try:
        done = subprocess.run(
            [*command, "-all-views=false", "-summary-view"],
            input="\n".join(line for part in parts for line in part) + "\n",
            capture_output=True,
            text=True,
            check=False,
            timeout=LIMIT_S,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise SsmithError(f"llvm-mca gave no estimate for {model.cpu}: {error}") from error
    return done.stdout, done.stderr


def _cycles(said: str, code: Sequence[Sequence[str]], iterations: int) -> tuple[list[int], int]:
    """Cycles of each region, all iterations together, and the model's width."""
    rows = [tuple(map(int, row)) for row in REGION.findall(said)]
    if [(b, times, n) for b, times, n, _, _ in rows] != [
        (b, iterations, iterations * len(block)) for b, block in enumerate(code)
    ]:
        raise SsmithError(f"llvm-mca left out some of {len(code)} pieces of code; it said {said[-300:]!r}")
    return [row[3] for row in rows], rows[0][4]
