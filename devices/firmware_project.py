"""A project to flash: bench firmware, one model in C, its golden frames, for PlatformIO or Zephyr.

``python -m ssmith.devices.firmware_project ARTIFACTS FOLDER [--system platformio|zephyr|mps2]
[--precision float32|int8] [--steps 2000]``
"""

from __future__ import annotations

import argparse
import re
import shutil
import sys
from collections.abc import Sequence
from importlib import resources
from pathlib import Path

from ssmith.devices.golden import case
from ssmith.devices.toolchain import FLAGS, macros
from ssmith.errors import InputError
from ssmith.files import write_atomic
from ssmith.ops import Float32
from ssmith.runtime.artifacts import Artifact, read_manifest, verified

SYSTEMS = ("platformio", "zephyr", "mps2")
BOARDS = {"nucleo_f446re": (512, 128), "pico2": (4096, 520), "esp32s3": (8192, 320)}  # KiB flash, RAM
OTHER_KIB = 24  # stack, Arduino or Zephyr, the bench program


def write_project(
    artifacts: Path,
    folder: Path,
    *,
    system: str = "platformio",
    precision: str = "float32",
    steps: int = 2_000,
) -> Path:
    """Write a project; the folder must not exist.

    Args:
        artifacts: the artifact folder, its bundle beside it.
        folder: what to make.
        system: ``platformio``, ``zephyr``, or ``mps2`` for the emulated board.
        precision: of the generated C.
        steps: to time in a report.

    Returns:
        The folder.

    Raises:
        InputError: nothing generated in this precision, no golden frames, a folder that is there already,
            a model that none of the boards can hold.
    """
    manifest = read_manifest(artifacts)
    found = [f for f in manifest.files if f.kind == "c-source" and f.precision == precision]
    wanted = case(artifacts, "native", precision) if found else None
    if not found or wanted is None:
        lacks = "recorded frames (a bundle beside it)" if found else f"generated C in {precision}"
        raise InputError(f"{artifacts} has no {lacks}; run `ssmith export` again")
    if system not in SYSTEMS or not 1 <= steps <= 1_000_000:
        raise InputError(
            f"system {system!r}, {steps} steps: write one of {', '.join(SYSTEMS)}, 1 to 1,000,000"
        )
    if folder.exists():
        raise InputError(f"{folder} is there already; give the name of a new folder")
    source = verified(artifacts, found[0])
    _fits(source, wanted.inputs.nbytes)
    firmware = Path(str(resources.files("ssmith.devices"))) / "firmware"
    shutil.copytree(firmware / "boards" / system, folder)
    code = folder if system == "mps2" else folder / "src"
    for name in ("bench_main.c", "bench_main.h"):
        shutil.copy(firmware / name, code / name)
    for path in (source, *artifacts.glob("*.h")):
        shutil.copy(path, code / path.name)
    write_atomic(
        code / "bench_model.h", _header(found[0], source.stem, wanted.inputs, steps, manifest.bundle_sha256)
    )
    return folder


def _header(file: Artifact, stem: str, frames: Float32, steps: int, digest: str) -> bytes:
    defines = macros(stem)
    rows = ",\n".join("    {" + ", ".join(f"{float(v).hex()}f" for v in frame) + "}" for frame in frames)
    return (
        "/* Written by ssmith.devices.firmware_project; do not edit. */\n"
        f"#ifndef BENCH_MODEL_H\n#define BENCH_MODEL_H\n\n#include {defines.pop('MODEL_HEADER')}\n\n"
        + "".join(f"#define {name} {value}\n" for name, value in defines.items())
        + f'#define MODEL_PRECISION "{file.precision}"\n#define MODEL_SHA256 "{digest}"\n'
        f'#define BENCH_FLAGS "{" ".join(FLAGS[1:])}"\n'
        f"#define BENCH_FRAMES {len(frames)}\n#define BENCH_STEPS {steps}\n\n"
        f"static const float bench_frames[BENCH_FRAMES][MODEL_INPUTS] = {{\n{rows}}};\n\n#endif\n"
    ).encode()


def _fits(source: Path, frame_bytes: int) -> None:
    header, upper = source.with_suffix(".h").read_text(), source.stem.upper()
    flash = _macro(header, f"{upper}_FLASH_BYTES") + frame_bytes
    block = _macro(header, f"{upper}_BLOCK")
    found = re.search(rf"{upper}_SCRATCH_BYTES \((\d+) \* (\d+) \* {upper}_BLOCK\)", header)
    scratch = int(found[1]) * int(found[2]) * block if found else 0
    rooms = [(f - OTHER_KIB, r - OTHER_KIB) for f, r in BOARDS.values()]
    if any(flash <= 1024 * room[0] and scratch <= 1024 * room[1] for room in rooms):
        return
    sizes = ", ".join(f"{board} {f} and {r} KiB" for board, (f, r) in BOARDS.items())
    raise InputError(
        f"{source.name} needs {flash:,} bytes of flash and more than {scratch:,} of RAM, and everything else"
        f" takes {OTHER_KIB} KiB of each; the boards have: {sizes}. Reduce the model, or take int8"
    )


def _macro(header: str, name: str) -> int:
    found = re.search(rf"#define {name} (\d+)\b", header)
    return int(found[1]) if found else 0


def main(arguments: Sequence[str]) -> int:
    """The module's command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m ssmith.devices.firmware_project", description=__doc__)
    parser.add_argument("artifacts", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--system", default="platformio", choices=SYSTEMS)
    parser.add_argument("--precision", default="float32")
    parser.add_argument("--steps", default=2_000, type=int)
    asked = parser.parse_args(arguments)
    try:
        write_project(
            asked.artifacts, asked.folder, system=asked.system, precision=asked.precision, steps=asked.steps
        )
    except InputError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 2
    builds = {"platformio": "pio run -e BOARD -t upload", "zephyr": "west build -b BOARD && west flash"}
    print(f"wrote {asked.folder}; then: cd {asked.folder} && {builds.get(asked.system, 'compile it')}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
