"""Processors that QEMU emulates in user mode, and the compilers that make programs for them."""

from __future__ import annotations

import importlib.util
import shutil
import sys
from dataclasses import dataclass

ZIG = (sys.executable, "-m", "ziglang", "cc")


@dataclass(frozen=True)
class Processor:
    """One processor under Linux.

    Args:
        model: what stands behind ``qemu:``.
        emulator: QEMU's program and what names the processor to it.
        package: Debian's, that holds the compiler.
        compiler: the cross compiler's program.
        flags: what names the processor to it.
        zig_flags: what names it to zig, which takes its place where it is missing.
    """

    model: str
    emulator: tuple[str, ...]
    package: str
    compiler: str
    flags: tuple[str, ...]
    zig_flags: tuple[str, ...]

    def command(self) -> tuple[str, ...] | None:
        """The compiler with its flags, gcc first; None where there is none."""
        if shutil.which(self.compiler) is not None:
            return (self.compiler, *self.flags)
        if importlib.util.find_spec("ziglang") is not None:
            return (*ZIG, *self.zig_flags)
        return None


def _aarch64(model: str, cpu: str) -> Processor:
    return Processor(
        model,
        ("qemu-aarch64", "-cpu", cpu),
        "gcc-aarch64-linux-gnu libc6-dev-arm64-cross",
        "aarch64-linux-gnu-gcc",
        (f"-mcpu={cpu}",),
        ("-target", "aarch64-linux-musl", f"-mcpu={cpu.replace('-', '_')}"),
    )


PROCESSORS = {
    processor.model: processor
    for processor in (
        _aarch64("aarch64", "cortex-a72"),
        *(
            _aarch64(f"aarch64-{cpu}", cpu)
            for cpu in ("cortex-a53", "cortex-a72", "cortex-a76", "neoverse-n1")
        ),
        Processor(
            "riscv64",
            ("qemu-riscv64",),
            "gcc-riscv64-linux-gnu libc6-dev-riscv64-cross",
            "riscv64-linux-gnu-gcc",
            (),
            ("-target", "riscv64-linux-musl"),
        ),
    )
}
