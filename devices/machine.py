"""A processor emulated by unicorn with a program in it: functions are called, instructions are counted."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ssmith.errors import SsmithError

PAGE = 0x1000
STACK, STACK_BYTES = 0x60000000, 64 << 10
RETURN = 0x70000000  # where every called function returns to; nothing lies there
PAINT = 0xA5
LIMIT_S = 120.0  # of all calls together


class Machine:
    """A Cortex-M or an AArch64 core; see the top of this file.

    Args:
        program: an ELF file whose segments say where they lie.
        cpu: unicorn's name of the processor, ``CORTEX_M4`` or ``A72``.

    Raises:
        SsmithError: a call faults, or the calls together take longer than ``LIMIT_S``.
    """

    def __init__(self, program: Path, cpu: str) -> None:
        import unicorn as uc
        from unicorn import arm64_const, arm_const

        self._thumb = cpu.startswith("CORTEX_M")
        if self._thumb:
            self._uc = uc.Uc(uc.UC_ARCH_ARM, uc.UC_MODE_THUMB | uc.UC_MODE_MCLASS)
            self._uc.ctl_set_cpu_model(getattr(arm_const, f"UC_CPU_ARM_{cpu}"))
            names = ("R0", "R1", "SP", "LR", "PC")
            registers = [getattr(arm_const, f"UC_ARM_REG_{name}") for name in names]
        else:
            self._uc = uc.Uc(uc.UC_ARCH_ARM64, uc.UC_MODE_ARM)
            self._uc.ctl_set_cpu_model(getattr(arm64_const, f"UC_CPU_ARM64_{cpu}"))
            names = ("X0", "X1", "SP", "LR", "PC")
            registers = [getattr(arm64_const, f"UC_ARM64_REG_{name}") for name in names]
            self._uc.reg_write(arm64_const.UC_ARM64_REG_CPACR_EL1, 3 << 20)  # floating point on
        self._first, self._second, self._sp, self._lr, self._pc = registers
        self._error: type[Exception] = uc.UcError
        self.symbols, self.sizes = _load(self._uc, program)
        self._uc.mem_map(STACK, STACK_BYTES)
        self._uc.mem_map(RETURN, PAGE)
        self._blocks: dict[tuple[int, int], tuple[int, ...]] = {}
        self._end = time.monotonic() + LIMIT_S
        self.instructions = 0
        self.watch: Callable[[tuple[int, ...]], None] | None = (
            None  # told the addresses of each block that runs
        )
        self._uc.hook_add(uc.UC_HOOK_BLOCK, self._on_block)

    def call(self, function: str, argument: int = 0) -> int:
        """Call a function of at most one argument; returns its result, a word."""
        address = self.symbols[function]
        self._uc.reg_write(self._first, argument)
        self._uc.reg_write(self._sp, STACK + STACK_BYTES - 64)
        self._uc.reg_write(self._lr, RETURN | self._thumb)
        left_us = max(1, int((self._end - time.monotonic()) * 1e6))  # to unicorn 0 is no limit
        try:
            self._uc.emu_start(address | self._thumb, RETURN, timeout=left_us)
        except self._error as error:
            where = self._uc.reg_read(self._pc)
            raise SsmithError(f"{function}() stopped at address {where:#x}: {error}") from error
        if (self._uc.reg_read(self._pc) & ~1) != RETURN:
            raise SsmithError(
                f"{function}() was stopped after {self.instructions:,} instructions: the whole run may take"
                f" {LIMIT_S:g} s; the model hangs, or it is too large to emulate"
            )
        return int(self._uc.reg_read(self._first)) & 0xFFFFFFFF

    def depth(self, function: str) -> tuple[int, int]:
        """Call a function; its result, and the bytes of stack that it used, by the paint that is left."""
        self._uc.mem_write(STACK, bytes([PAINT]) * STACK_BYTES)
        result = self.call(function)
        left = self.read(STACK, STACK_BYTES - 64)
        return result, len(left.lstrip(bytes([PAINT])))

    def write(self, address: int, data: bytes) -> None:
        """Put bytes into memory."""
        self._uc.mem_write(address, data)

    def read(self, address: int, count: int) -> bytes:
        """Bytes from memory."""
        return bytes(self._uc.mem_read(address, count))

    def _on_block(self, _: Any, address: int, size: int, __: Any) -> None:
        key = (address, size)
        block = self._blocks.get(key)
        if block is None:
            block = self._blocks[key] = self._addresses(address, size)
        self.instructions += len(block)
        if self.watch is not None:
            self.watch(block)

    def _addresses(self, address: int, size: int) -> tuple[int, ...]:
        """Of a block's instructions: four bytes, and in Thumb two where the first does not announce four."""
        if not self._thumb:
            return tuple(range(address, address + size, 4))
        code, at, found = self.read(address, size), 0, []
        while at < size:
            found.append(address + at)
            at += 4 if code[at + 1] >> 3 in (0b11101, 0b11110, 0b11111) else 2
        return tuple(found)


def _load(uc: Any, program: Path) -> tuple[dict[str, int], dict[str, int]]:
    """Put a program's segments into memory; returns addresses of symbols, and sizes of sections."""
    from elftools.elf.elffile import ELFFile

    with program.open("rb") as file:
        elf = ELFFile(file)
        mapped: set[int] = set()
        for segment in elf.iter_segments():
            if segment["p_type"] != "PT_LOAD" or segment["p_memsz"] == 0:
                continue
            start, end = segment["p_vaddr"], segment["p_vaddr"] + segment["p_memsz"]
            # ELF: 1 execute, 2 write, 4 read; unicorn: 1 read, 2 write, 4 execute
            allowed = segment["p_flags"] & 7
            allowed = allowed & 2 | allowed >> 2 | (allowed & 1) << 2
            for page in range(start // PAGE * PAGE, end, PAGE):
                if page not in mapped:
                    uc.mem_map(page, PAGE, allowed)
                    mapped.add(page)
            uc.mem_write(start, segment.data())
        table = elf.get_section_by_name(".symtab")
        symbols = {s.name: s["st_value"] & ~1 for s in table.iter_symbols() if s.name}
        sizes = {section.name: int(section["sh_size"]) for section in elf.iter_sections()}
    return symbols, sizes


def code_bytes(file: Path) -> int:
    """Machine code in an object or a program."""
    from elftools.elf.elffile import ELFFile

    with file.open("rb") as opened:
        sections = ELFFile(opened).iter_sections()
        return sum(int(s["sh_size"]) for s in sections if s.name.startswith(".text"))
