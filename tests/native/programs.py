"""Programs around exported models, built once each."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from ssmith.bundle import Bundle
from ssmith.devices.processes import run_tool
from ssmith.export import c99
from tests.native.models import made
from tests.native.toolchains import EXACT, HERE, Toolchain, compile_object, link


@dataclass(frozen=True)
class Precision:
    """One kind of arithmetic.

    Args:
        name: as in ``Session.open``.
        suffix: of the model's files and functions.
        flags: what the compiler is told.
        codes: whether the model takes codes.
        bits: of the int8 form's activations.
    """

    name: str
    suffix: str = ""
    flags: tuple[str, ...] = ()
    codes: bool = False
    bits: Literal[8, 16] = 16


PRECISIONS = {
    precision.name: precision
    for precision in (
        Precision("float32"),
        Precision("float32-fma", flags=("-DSSM_FMA",)),
        Precision("int8", "_int8", codes=True),
        Precision("int8-a8", "_int8", codes=True, bits=8),
    )
}


@dataclass(frozen=True)
class Workshop:
    """Exports and builds into one folder; what is there already is used again.

    Args:
        root: the folder.
    """

    root: Path
    _bundles: dict[str, Bundle] = field(default_factory=dict)

    def bundle(self, model: str) -> Bundle:
        """One of ``MODELS``, or one that was put there."""
        if model not in self._bundles:
            self._bundles[model] = made(model)
        return self._bundles[model]

    def put(self, model: str, bundle: Bundle) -> None:
        """Take in another calibrated model."""
        self._bundles[model] = bundle

    def artifacts(self, model: str, precision: str = "float32") -> Path:
        """The folder that the model is exported to."""
        bits = PRECISIONS[precision].bits
        folder = self.root / f"{model}-a{bits}"
        if not folder.exists():
            c99.lower(self.bundle(model), folder, activation_bits=bits)
        return folder

    def stem(self, model: str, precision: str) -> str:
        """What the model's files, functions and, in upper case, macros begin with."""
        return self.bundle(model).name + PRECISIONS[precision].suffix

    def program(
        self, toolchain: Toolchain, model: str, precision: str = "float32", *flags: str, main: str = "feed.c"
    ) -> Path:
        """A generated model with ``feed.c`` or another main around it.

        Args:
            toolchain: for what.
            model: one of ``MODELS``.
            precision: one of ``PRECISIONS``.
            flags: beside what the headers tell users; they follow it and win.
            main: the program's file.

        Raises:
            ToolError: a compiler or a linker refused something.
        """
        work = self._place(toolchain, model, precision, main, *flags)
        if not (work / "program").exists():
            objects = self._objects(toolchain, model, precision, flags, main, work)
            self._link(toolchain, objects, work, [flag for flag in flags if flag.startswith("-fsanitize")])
        return work / "program"

    def model_object(self, toolchain: Toolchain, model: str, precision: str, *flags: str) -> Path:
        """The generated model alone, compiled."""
        kind = PRECISIONS[precision]
        work = self._place(toolchain, model, precision, "object", *flags)
        source = self.artifacts(model, precision) / f"{self.stem(model, precision)}.c"
        output = work / "model.o"
        if not output.exists():
            compile_object(toolchain, source, output, (*EXACT, *kind.flags, *flags))
        return output

    def engine_program(self, toolchain: Toolchain, model: str, precision: str = "float32") -> Path:
        """The loadable form: the engine, and the model's ``.ssmc`` as an array."""
        work = self._place(toolchain, model, precision, "engine")
        if (work / "program").exists():
            return work / "program"
        folder, meta = self.artifacts(model, precision), self.bundle(model).meta
        data = (folder / f"{self.stem(model, precision)}.ssmc").read_bytes()
        work.mkdir(parents=True)
        (work / "model_bytes.h").write_text(
            f"__attribute__((aligned(64))) static const unsigned char model_bytes[{len(data)}] = "
            f"{{{','.join(map(str, data))}}};\n"
        )
        defines = ["-DENGINE", f"-DINPUTS={len(meta.inputs)}", f"-DOUTPUTS={len(meta.outputs)}"]
        defines += ["-DMEMORY=65536", '-DMODEL_HEADER="model_bytes.h"', f"-I{folder}"]
        defines += ["-DCODES"] if PRECISIONS[precision].codes else []
        objects = [
            compile_object(toolchain, folder / "ssm.c", work / "ssm.o"),
            compile_object(toolchain, HERE / "feed.c", work / "feed.o", ("-O2", *defines)),
        ]
        return self._link(toolchain, objects, work)

    def _objects(
        self,
        toolchain: Toolchain,
        model: str,
        precision: str,
        flags: Sequence[str],
        main: str,
        work: Path,
    ) -> list[Path]:
        kind, name = PRECISIONS[precision], self.stem(model, precision)
        folder = self.artifacts(model, precision)
        defines = [f"-DMODEL={name}", f"-DUPPER={name.upper()}", f'-DMODEL_HEADER="{name}.h"', f"-I{folder}"]
        defines += ["-DCODES"] if kind.codes else []
        shared = [flag for flag in flags if flag.startswith(("-f", "-D"))]
        return [
            compile_object(toolchain, folder / f"{name}.c", work / "model.o", (*EXACT, *kind.flags, *flags)),
            compile_object(toolchain, HERE / main, work / "main.o", ("-O2", *shared, *defines)),
        ]

    def _link(self, toolchain: Toolchain, objects: list[Path], work: Path, flags: Sequence[str] = ()) -> Path:
        if toolchain.runner == "wasm":
            plain = ("-O2", "-fno-builtin")
            objects = [*objects, compile_object(toolchain, HERE / "memory.c", work / "memory.o", plain)]
        return link(toolchain, objects, work / "program", flags)

    def _place(self, toolchain: Toolchain, *parts: str) -> Path:
        return self.root / toolchain.name / "+".join(part.replace("/", "-") for part in parts)


def header_value(workshop: Workshop, toolchain: Toolchain, model: str, precision: str, name: str) -> int:
    """A macro of the model's header for a processor: ``NAME_RAM_BYTES`` for ``RAM_BYTES``; gcc only."""
    stem = workshop.stem(model, precision)
    folder = workshop.artifacts(model, precision)
    return macro_value(toolchain, folder / f"{stem}.h", f"{stem.upper()}_{name}")


def macro_value(toolchain: Toolchain, header: Path, macro: str) -> int:
    """What a header's macro is for a processor, as its gcc computes it."""
    text = f'#include "{header}"\nunsigned value = {macro};\n'
    assembly = run_tool([*toolchain.compiler, *toolchain.target, "-S", "-xc", "-", "-o", "-"], given=text)
    value = re.search(r"^value:\n\s*\.(?:long|word)\s+(\d+)", assembly, re.M)
    assert value is not None, assembly
    return int(value[1])
