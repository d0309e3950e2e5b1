"""Programs around exported models, built once each."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from ssmith.bundle import Bundle
from ssmith.export import c99
from tests.native.emulators import qemu_counts
from tests.native.models import MODELS
from tests.native.toolchains import EXACT, HERE, TOOLCHAINS, Toolchain, command, compile_object, link


@dataclass(frozen=True)
class Precision:
    """One kind of arithmetic.

    Args:
        name: as in ``Session.open``.
        suffix: of the model's files and functions.
        flags: what the compiler is told.
        codes: whether the model takes codes.
    """

    name: str
    suffix: str = ""
    flags: tuple[str, ...] = ()
    codes: bool = False


PRECISIONS = {precision.name: precision for precision in (Precision("float32"),)}


@dataclass(frozen=True)
class Workshop:
    """Exports and builds into one folder; what is there already is used again.

    Args:
        root: the folder.
    """

    root: Path
    _bundles: dict[str, Bundle] = field(default_factory=dict)

    def bundle(self, model: str) -> Bundle:
        """One of ``MODELS``."""
        return self._bundles.setdefault(model, MODELS[model]())

    def artifacts(self, model: str) -> Path:
        """The folder that the model is exported to."""
        folder = self.root / model
        if not folder.exists():
            c99.lower(self.bundle(model), folder)
        return folder

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
            BuildError: a compiler or a linker refused something.
        """
        kind = PRECISIONS[precision]
        work = self._place(toolchain, model, precision, main, *flags)
        if not (work / "program").exists():
            objects = self._objects(toolchain, model, kind, flags, main, work)
            self._link(toolchain, objects, work, [flag for flag in flags if flag.startswith("-fsanitize")])
        return work / "program"

    def model_object(self, toolchain: Toolchain, model: str, precision: str, *flags: str) -> Path:
        """The generated model alone, compiled."""
        kind = PRECISIONS[precision]
        work = self._place(toolchain, model, precision, "object", *flags)
        source = self.artifacts(model) / f"net{kind.suffix}.c"
        output = work / "model.o"
        if not output.exists():
            compile_object(toolchain, source, output, (*EXACT, *kind.flags, *flags))
        return output

    def engine_program(self, toolchain: Toolchain, model: str) -> Path:
        """The loadable form: the engine, and the model's ``.ssmc`` as an array."""
        work = self._place(toolchain, model, "engine", "feed.c")
        if (work / "program").exists():
            return work / "program"
        folder, meta = self.artifacts(model), self.bundle(model).meta
        data = (folder / "net.ssmc").read_bytes()
        work.mkdir(parents=True)
        (work / "model_bytes.h").write_text(
            f"__attribute__((aligned(64))) static const unsigned char model_bytes[{len(data)}] = "
            f"{{{','.join(map(str, data))}}};\n"
        )
        defines = ["-DENGINE", f"-DINPUTS={len(meta.inputs)}", f"-DOUTPUTS={len(meta.outputs)}"]
        defines += ["-DMEMORY=65536", '-DMODEL_HEADER="model_bytes.h"', f"-I{folder}"]
        objects = [
            compile_object(toolchain, folder / "ssm.c", work / "ssm.o"),
            compile_object(toolchain, HERE / "feed.c", work / "feed.o", ("-O2", *defines)),
        ]
        return self._link(toolchain, objects, work)

    def _objects(
        self,
        toolchain: Toolchain,
        model: str,
        kind: Precision,
        flags: Sequence[str],
        main: str,
        work: Path,
    ) -> list[Path]:
        folder, name = self.artifacts(model), f"net{kind.suffix}"
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


def toolchain(name: str, *, counts: bool = False) -> Toolchain:
    """A toolchain by name; the test is skipped where its tools are missing.

    Args:
        name: one of ``TOOLCHAINS``.
        counts: whether instructions are to be counted.
    """
    found = TOOLCHAINS[name]
    if found.missing:
        pytest.skip(f"{found.missing} is not installed: make deps")
    if counts and found.runner in ("user", "system") and not qemu_counts():
        pytest.skip("the instruction counter speaks the plugin interface of QEMU 4.2 to 8")
    return found


def header_value(workshop: Workshop, model: str, precision: str, name: str) -> int:
    """The value of a macro of the model's header: ``NAME_RAM_BYTES`` for ``RAM_BYTES``."""
    prefix = f"net{PRECISIONS[precision].suffix}"
    text = f'#include "{prefix}.h"\nunsigned value = {prefix.upper()}_{name};\n'
    assembly = command(["gcc", "-S", "-xc", f"-I{workshop.artifacts(model)}", "-", "-o", "-"], input=text)
    value = re.search(r"^value:\n\s*\.long\s+(\d+)", assembly, re.M)
    assert value is not None, assembly
    return int(value[1])
