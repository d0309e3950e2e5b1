"""Counts again what ``instructions.json`` holds.

python -m tests.native.record
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from ssmith.compiler import compiler_version
from tests.native.emulators import per_step
from tests.native.programs import Workshop
from tests.native.toolchains import HERE, TOOLCHAINS

RECORDED = HERE / "instructions.json"
# Instructions of a step of the model of reference that the project promises not to exceed.
GOALS = {
    ("aarch64-gcc", "float32"): 85_000,
    ("aarch64-gcc", "float32-fma"): 62_000,
    ("aarch64-gcc-dotprod", "int8-a8"): 33_000,
    ("cortex-m3", "int8"): 450_000,
    ("cortex-m4", "float32"): 380_000,
    ("cortex-m4", "float32-fma"): 275_000,
    ("cortex-m4", "int8"): 215_000,
    ("cortex-m55", "float32"): 150_000,
    ("cortex-m55", "float32-fma"): 115_000,
    ("cortex-m55", "int8"): 100_000,
    ("cortex-m55", "int8-a8"): 75_000,
}


def key(name: str, precision: str) -> str:
    """How a row is called in the file."""
    return f"{name} {precision}"


def main() -> None:
    """Count all and write the file."""
    with tempfile.TemporaryDirectory() as folder:
        workshop = Workshop(Path(folder))
        compilers, steps = {}, {}
        for (name, precision), goal in GOALS.items():
            tools = TOOLCHAINS[name]
            found = per_step(tools, workshop.program(tools, "reference", precision))
            compilers[name] = compiler_version(tools.compiler)
            steps[key(name, precision)] = found
            print(f"{name:20} {precision:12} {found:12.1f}  goal {goal}{'' if found <= goal else '  MISSED'}")
    RECORDED.write_text(json.dumps({"compilers": compilers, "steps": steps}, indent=2) + "\n")


if __name__ == "__main__":
    main()
