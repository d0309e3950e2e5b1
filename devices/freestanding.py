"""A generated model compiled by zig for a processor without a system: what emulators from pip call."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from ssmith.devices.counted import source_of
from ssmith.devices.processes import ToolError, run_tool
from ssmith.devices.processors import ZIG
from ssmith.devices.target import Job
from ssmith.errors import SsmithError

FIRMWARE = Path(__file__).parent / "firmware"
# Without -fhosted these processors get -ffreestanding, which makes a call of every memcpy of four bytes.
FLAGS = ("-std=c99", "-O3", "-ffp-contract=off", "-fhosted", "-fno-stack-protector", "-ffunction-sections")
_SUPPORT = ("-fno-builtin",)  # called.c holds memcpy and memset themselves
PROGRAM, MODEL_OBJECT = "program", "model.o"
INSTALL = "pip install 'ssmith[devices]'"


@dataclass(frozen=True)
class Core:
    """A processor as zig names it.

    Args:
        flags: target and processor.
        link: more flags for the linker.
    """

    flags: tuple[str, ...]
    link: tuple[str, ...]


def missing(*packages: str) -> str | None:
    """Why nothing can run, where a package is not installed."""
    gone = [name for name in packages if importlib.util.find_spec(name) is None]
    return f"{gone[0]} is not installed; run {INSTALL}" if gone else None


def build(artifacts: Path, precision: str, folder: Path, core: Core) -> Job:
    """Compile the model of an artifact folder around ``firmware/called.c``.

    Raises:
        InputError: the folder holds no generated C in this precision.
        SsmithError: zig refused it.
    """
    manifest, file, source = source_of(artifacts, precision)
    name = source.stem
    headers = (f"-I{FIRMWARE / 'freestanding'}", f"-I{source.parent}")
    compiler: list[str | Path] = [*ZIG, *core.flags, *FLAGS, *headers]
    defines = [f"-DMODEL={name}", f"-DUPPER={name.upper()}", f'-DMODEL_HEADER="{name}.h"']
    link = [*compiler, *core.link, folder / MODEL_OBJECT, folder / "called.o", "-o", folder / PROGRAM]
    try:
        run_tool([*compiler, "-c", source, "-o", folder / MODEL_OBJECT])
        run_tool([*compiler, *_SUPPORT, *defines, "-c", FIRMWARE / "called.c", "-o", folder / "called.o"])
        try:
            run_tool([*link, "-nostdlib"])
        except ToolError:  # a step wants zig's helpers, whose first build for a core takes half a minute
            run_tool(link)
    except ToolError as error:
        raise SsmithError(f"zig refused {file.path}: {error.said.strip()[-1500:]}") from error
    return Job(
        backend="native",
        precision=file.precision,
        artifact=file.path,
        artifacts=artifacts,
        command=(PROGRAM,),
        folder=folder,
        period_s=manifest.period_s,
        fingerprint={
            "compiler": f"zig {version('ziglang')} cc",
            "compiler_flags": " ".join((*core.flags, *FLAGS)),
        },
    )
