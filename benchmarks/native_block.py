"""What does a block of frames save over single steps? Each weight is then loaded once for several frames.

The model of reference with 1, 2, 4, 8 and 16 frames a call, the block of the generated header set to the
same. Times are for one frame, ratios to single steps of the same build. RAM is what NAME_t takes.

    python benchmarks/native_block.py --out benchmarks/results/native_block.json
"""

from __future__ import annotations

import argparse
import importlib.util
import re
import tempfile
from pathlib import Path
from typing import Any

from _native import ZIG, of_model, processor, reference_model, table, time_all
from _output import publish

from ssmith.export import c99

BLOCKS = (1, 2, 4, 8, 16)
NATIVE = ("-march=native",)


def measure(
    stem: str, label: str, command: str, flags: tuple[str, ...], folder: Path, rounds: int
) -> dict[str, Any]:
    """One build with all lengths in turns."""
    bundle = reference_model()
    candidates = [
        of_model(
            f"{label}, {frames}",
            bundle,
            folder,
            command,
            (*NATIVE, *flags, f"-D{stem.upper()}_BLOCK={frames}"),
            frames=frames,
            stem=stem,
        )
        for frames in BLOCKS
    ]
    rows = time_all(candidates, rounds)
    for row, frames in zip(rows, BLOCKS, strict=True):
        row |= {
            "frames": frames,
            "throughput": round(1 / row["ratio"], 3),
            "ram_bytes": ram(stem, frames, folder),
        }
    return {"build": label, "rows": rows}


def ram(stem: str, frames: int, folder: Path) -> int:
    """NAME_RAM_BYTES as the header states it for a block of so many frames."""
    header = (folder / f"{stem}.h").read_text("utf-8")
    upper = stem.upper()
    values = dict(re.findall(r"#define (\w+) +([^/\n]+)", header)) | {f"{upper}_BLOCK": str(frames)}
    text = values[f"{upper}_RAM_BYTES"]
    while names := re.findall(r"[A-Z]\w+", text):
        for name in names:
            text = re.sub(rf"\b{name}\b", f"({values[name]})", text)
    return int(eval(text, {"__builtins__": {}}))  # numbers, + and *, of our own header


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    builds = [("ref", "gcc", "gcc", ()), ("ref", "gcc, fma", "gcc", ("-DSSM_FMA",))]
    if importlib.util.find_spec("ziglang"):
        builds += [("ref", "zig", ZIG, ()), ("ref", "zig, fma", ZIG, ("-DSSM_FMA",))]
    builds += [("ref_int8", "gcc, int8, 16-bit activations", "gcc", ())]
    found = []
    with tempfile.TemporaryDirectory() as name:
        c99.lower(reference_model(), Path(name))
        for stem, label, command, flags in builds:
            found.append(measure(stem, label, command, flags, Path(name), options.rounds))
            table(found[-1]["rows"])
    publish({"processor": processor()["name"], "rounds": options.rounds, "builds": found}, options.out)


if __name__ == "__main__":
    main()
