"""Which op of a model an instruction of its compiled program belongs to: the line tables read backwards.

A generated ``NAME.c`` runs the ops one after the other in one function, each under a comment with its name.
The compiler inlines that function, and kernels into it, and writes down where everything came from (DWARF).
An instruction is owned by the op whose line it came from, or was called from, through any depth of inlining.
A kernel that was not inlined serves many ops: its instructions go on with the op that called it.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ssmith.errors import SsmithError

REST = "entry and copies"  # what surrounds the ops: the call, checks, codes of inputs and outputs, copies
AROUND_FILE, AROUND = "called.c", ("start", "step")  # what calls the model; its memcpy is a library
_FUNCTION = re.compile(r"^[A-Za-z].*?\b(\w+)\([^;]*\)$")
_OP = re.compile(r"^    /\* ([a-z][a-z0-9_.]*): ")


@dataclass(frozen=True)
class Source:
    """A generated ``NAME.c``.

    Args:
        functions: that it defines.
        network: the one that runs the ops.
        lines: line, counted from 1 → op; lines of no op are missing.
        ops: their names in order.
    """

    functions: frozenset[str]
    network: str
    lines: Mapping[int, str]
    ops: tuple[str, ...]


def read_source(text: str) -> Source:
    """Functions and ops of a generated ``NAME.c``.

    Raises:
        SsmithError: no function in it runs ops.
    """
    functions: set[str] = set()
    function = network = ""
    lines: dict[int, str] = {}
    op: str | None = None
    for number, line in enumerate(text.splitlines(), 1):
        if (match := _FUNCTION.match(line)) is not None:
            function = match[1]
            functions.add(function)
        if (match := _OP.match(line)) is not None:
            network, op = function, match[1]
        elif not line.strip():  # an empty line ends an op
            op = None
        if op is not None:
            lines[number] = op
    if not network:
        raise SsmithError("the generated C names no ops, so what each costs cannot be told")
    return Source(frozenset(functions), network, lines, tuple(dict.fromkeys(lines.values())))


class Owners:
    """The op that owns an instruction of a program.

    Args:
        program: an ELF file with DWARF line tables.
        source: the generated C that is in it.
        file: its name.

    Raises:
        SsmithError: the program says nothing about where its code came from.
    """

    def __init__(self, program: Path, source: Source, file: str) -> None:
        from elftools.elf.elffile import ELFFile

        self._source = source
        self._owners: dict[int, str] = {}  # by address; of what the network's own lines have to tell: ""
        with program.open("rb") as opened:
            elf = ELFFile(opened)
            dwarf = elf.get_dwarf_info()
            found = dwarf.iter_CUs() if elf.has_dwarf_info() else ()
            units = {Path(unit.get_top_DIE().get_full_path()).name: unit for unit in found}
            if file not in units:
                raise SsmithError(f"{program.name} has no line tables of {file}; compile it with -g")
            for unit in (unit for name, unit in units.items() if name in (file, AROUND_FILE)):
                for entry in unit.get_top_DIE().iter_children():
                    if entry.tag == "DW_TAG_subprogram":
                        self._paint(entry, dwarf, inside=None)
            rows = _line_rows(dwarf, units[file])
        self._starts, self._lines = [row[0] for row in rows], [row[1] for row in rows]

    def of(self, address: int) -> str | None:
        """The op, or ``REST``; None of what serves whoever called it."""
        owner = self._owners.get(address)
        if owner != "":
            return owner
        line = self._lines[max(0, bisect_right(self._starts, address) - 1)]
        return self._of_line(line) if line else None  # line 0: the compiler's own

    def _of_line(self, line: int) -> str:
        return self._source.lines.get(line, REST)

    def _paint(self, entry: Any, dwarf: Any, inside: str | None) -> None:
        """Mark what came from this function, then what was inlined into it.

        ``inside`` is the mark of what surrounds it: None or ``REST`` outside the network, "" in its lines.
        """
        mark = inside
        if entry.tag in ("DW_TAG_subprogram", "DW_TAG_inlined_subroutine"):
            name = _name(entry)
            if inside == "":
                mark = self._of_line(entry.attributes["DW_AT_call_line"].value)
            elif name == self._source.network:
                mark = ""
            elif name in self._source.functions or name in AROUND:
                mark = REST
            if mark is not None:
                for low, high in _ranges(entry, dwarf):
                    self._owners.update(dict.fromkeys(range(low, high), mark))
            if inside == "":
                return  # whatever is inlined below is that op's, too
        for child in entry.iter_children():
            if child.tag in ("DW_TAG_lexical_block", "DW_TAG_inlined_subroutine"):
                self._paint(child, dwarf, mark)


class Tally:
    """Executed instructions by op: fed with blocks in the order in which they run.

    Args:
        owners: of the program's instructions.
    """

    def __init__(self, owners: Owners) -> None:
        self._owners, self._current = owners, REST
        self._shares: dict[tuple[int, int], tuple[int, tuple[tuple[str, int], ...], str | None]] = {}
        self.counts: Counter[str] = Counter()

    def add(self, addresses: tuple[int, ...]) -> None:
        """A block of code begins: the addresses of its instructions."""
        key = (addresses[0], len(addresses))
        share = self._shares.get(key)
        if share is None:
            share = self._shares[key] = self._share(addresses)
        inherited, owned, last = share
        if inherited:
            self.counts[self._current] += inherited
        for op, count in owned:
            self.counts[op] += count
        if last is not None:
            self._current = last

    def _share(self, addresses: tuple[int, ...]) -> tuple[int, tuple[tuple[str, int], ...], str | None]:
        """Of a block: instructions before any owner, those of each owner, the last owner."""
        inherited, owned, last = 0, Counter[str](), None
        for address in addresses:
            last = self._owners.of(address) or last
            if last is None:
                inherited += 1
            else:
                owned[last] += 1
        return inherited, tuple(owned.items()), last


def _name(entry: Any) -> str:
    """Of a function; one that was inlined or split off refers to where it is declared."""
    while "DW_AT_name" not in entry.attributes:
        link = next(
            (a for a in ("DW_AT_abstract_origin", "DW_AT_specification") if a in entry.attributes), None
        )
        if link is None:
            return ""
        entry = entry.get_DIE_from_attribute(link)
    return str(entry.attributes["DW_AT_name"].value.decode())


def _ranges(entry: Any, dwarf: Any) -> Iterator[tuple[int, int]]:
    """Addresses from, up to; nothing of what the linker left out, which lies at 0."""
    found = entry.attributes
    if "DW_AT_ranges" in found:
        base = entry.cu.get_top_DIE().attributes.get("DW_AT_low_pc")
        start = base.value if base is not None else 0
        for part in dwarf.range_lists().get_range_list_at_offset(found["DW_AT_ranges"].value, cu=entry.cu):
            if hasattr(part, "base_address"):
                start = part.base_address
            else:
                add = 0 if getattr(part, "is_absolute", False) else start
                yield part.begin_offset + add, part.end_offset + add
    elif "DW_AT_high_pc" in found and (low := found["DW_AT_low_pc"].value):
        high = found["DW_AT_high_pc"]
        yield low, high.value if high.form == "DW_FORM_addr" else low + high.value


def _line_rows(dwarf: Any, unit: Any) -> list[tuple[int, int]]:
    """(address, line) of a unit, sorted; the end of a sequence has line 0."""
    states = (
        entry.state for entry in dwarf.line_program_for_CU(unit).get_entries() if entry.state is not None
    )
    rows = {s.address: 0 if s.end_sequence else s.line for s in states if s.address}
    return sorted(rows.items())
