r"""What a step costs on processors that are only emulated here: instructions, code, memory, stack.

The model of reference, two small ones, and trained ones at their reduced order against the full one, in
float32, float32 with fused multiply-add, and int8 with activations of 16 and 8 bits. QEMU executes the
compiled programs; a count is the difference of two runs, so start and end drop out. Counts are no cycles:
an instruction of one core may take as long as three of another.

    python benchmarks/native_mcu.py --runs runs --out benchmarks/results/native_mcu.json
    python benchmarks/native_mcu.py --models reference --targets cortex-m4 --precisions int8 --profile

--runs is a folder of finished runs of `ssmith run digits` and `ssmith run flexjoint`, whose compare stage
keeps the full network; without it the trained models are left out.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from _output import publish
from _runs import full_and_reduced

sys.path.insert(0, str(Path(__file__).parents[1]))  # the tests' toolchains and emulators

from ssmith.compiler import compiler_version
from ssmith.devices.objects import section_bytes
from tests.native.emulators import per_step, profile
from tests.native.models import MODELS
from tests.native.objects import deepest_stack
from tests.native.programs import PRECISIONS, Workshop, header_value
from tests.native.toolchains import ARM, TOOLCHAINS, Toolchain

TRAINED = ("digits", "flexjoint")
BLOCK = 16  # frames a call
COUNTED = [name for name, found in TOOLCHAINS.items() if found.runner in ("user", "system", "wasm")]


def main() -> None:
    """Measure and print what the options ask for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", nargs="*", default=["reference", "small16", "small8"], choices=MODELS)
    parser.add_argument("--targets", nargs="*", default=COUNTED, choices=COUNTED)
    parser.add_argument("--precisions", nargs="*", default=list(PRECISIONS), choices=PRECISIONS)
    parser.add_argument("--runs", type=Path, help="folder of finished runs of digits and flexjoint")
    parser.add_argument("--profile", action="store_true", help="instructions by function instead")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        workshop = Workshop(Path(folder))
        trained = [] if options.runs is None else [put(workshop, options.runs, name) for name in TRAINED]
        rows = []
        for model in [*options.models, *(name for pair in trained for name in pair)]:
            for target in options.targets:
                for precision in options.precisions:
                    if applies(TOOLCHAINS[target], precision):
                        measure = by_function if options.profile else row
                        rows.append(measure(workshop, model, TOOLCHAINS[target], precision))
                        print(json.dumps(rows[-1]), file=sys.stderr, flush=True)
        compilers = {name: compiler_version(TOOLCHAINS[name].compiler) for name in options.targets}
        document = {"compilers": compilers, "rows": rows, "truncation": saved(rows, trained)}
    publish(document, options.out)


def applies(target: Toolchain, precision: str) -> bool:
    """Whether a target runs a precision with instructions of its own."""
    return target.missing == "" and (precision != "float32-fma" or target.fma)


def row(workshop: Workshop, model: str, target: Toolchain, precision: str) -> dict[str, Any]:
    """All figures of one build."""
    program = workshop.program(target, model, precision)
    found: dict[str, Any] = {"model": model, "target": target.name, "precision": precision}
    found["instructions_per_step"] = per_step(target, program)
    found["instructions_per_frame_of_16"] = per_step(target, program, block=BLOCK)
    reader = target if target.compiler == ARM else TOOLCHAINS["x86-gcc"]
    flash = header_value(workshop, reader, model, precision, "FLASH_BYTES")
    found["weights_bytes"] = flash
    found["ram_bytes"] = header_value(workshop, reader, model, precision, "RAM_BYTES")
    if target.core is not None:
        for level in ("-O3", "-Os"):
            made = workshop.model_object(target, model, precision, "-fcallgraph-info=su", level)
            sizes = section_bytes(target.compiler, made)
            found[f"code_bytes{level}"] = sizes["text"] + sizes["rodata"] - flash
            found[f"stack_bytes{level}"] = deepest_stack(made.with_suffix(".ci"))[0]
    return found


def by_function(workshop: Workshop, model: str, target: Toolchain, precision: str) -> dict[str, Any]:
    """Instructions of a step by function."""
    found = profile(target, workshop.program(target, model, precision))
    return {"model": model, "target": target.name, "precision": precision, "functions": found}


def put(workshop: Workshop, runs: Path, recipe: str) -> tuple[str, str]:
    """Give the workshop a trained model at its full and at its reduced order: their two names."""
    full, reduced = full_and_reduced(runs, recipe)
    workshop.put(f"{recipe}-full", full)
    workshop.put(f"{recipe}-reduced", reduced)
    return f"{recipe}-full", f"{recipe}-reduced"


def saved(rows: list[dict[str, Any]], trained: list[tuple[str, str]]) -> list[dict[str, Any]]:
    """Full against reduced, by target and precision."""
    steps = {(r["model"], r["target"], r["precision"]): r.get("instructions_per_step") for r in rows}
    return [
        {
            "model": full.partition("-")[0],
            "target": target,
            "precision": precision,
            "full_over_reduced": count / less,
        }
        for full, reduced in trained
        for (model, target, precision), count in steps.items()
        if model == full and (less := steps[reduced, target, precision])
    ]


if __name__ == "__main__":
    main()
