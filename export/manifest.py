"""Writes ``manifest.json``: what lies in an artifact folder, how it was made and from what."""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Iterable
from pathlib import Path
from typing import Literal, get_args

from ssmith import __version__
from ssmith.bundle import Bundle
from ssmith.errors import InputError
from ssmith.files import sha256, write_atomic
from ssmith.recipe import ArtifactPrecision
from ssmith.runtime.artifacts import ENGINE, MANIFEST, Artifact, Kind, Manifest, Variant, artifact_stem

_HOW: dict[Kind, str] = {
    "onnx-step": "one frame a call, states as inputs and outputs, built from the op list",
    "onnx-sequence": "many frames a call, states as inputs and outputs, built from the op list",
    "pte-step": "one frame a call, states as inputs and outputs, built from the op list for XNNPACK",
    "pte-stream": "one frame a call, states inside, built from the op list for XNNPACK",
    "pte-sequence": "many frames a call, states as inputs and outputs, built from the op list",
    "pte-portable": "one frame a call on ExecuTorch's portable kernels alone, states as inputs and outputs",
    "pte-bundled": "the step program with golden inputs and outputs, a BundledProgram",
    "c-source": "generated C99; compile with -std=c99 -O3 -ffp-contract=off",
    "c-header": "included by the generated C99",
    "c-engine": "runs the .ssmc file; compile with -std=c99 -O3 -ffp-contract=off",
    "cpp-header": "the generated C99 or its engine for C++17",
    "cmake": "static libraries of the generated C99 for CMake projects",
    "ssmc": "weights and op list for the loadable C engine",
}


def write_manifest(
    bundle: Bundle, folder: Path, paths: Iterable[Path], *, activation_bits: Literal[8, 16] = 16
) -> Manifest:
    """Describe the files that the exporters wrote, and write ``manifest.json`` beside them.

    Args:
        bundle: the model they were made from; its variants are listed, and lie in folders of their own.
        folder: the artifact folder.
        paths: the files, all inside ``folder``.
        activation_bits: of the int8 files among them; ExecuTorch's always have 8.

    Returns:
        What was written.

    Raises:
        InputError: a file is missing, outside the folder or of no known kind.
    """
    files = tuple(_describe(folder, path, precision_of(path, bundle.name), activation_bits) for path in paths)
    manifest = Manifest(
        name=bundle.name,
        bundle_sha256=bundle.sha256,
        period_s=bundle.meta.period_s,
        order=bundle.order,
        variants=tuple(Variant(order=v.order, bundle_sha256=v.sha256) for v in bundle.variants),
        files=files,
        toolchain=_toolchain(files),
    )
    write_atomic(folder / MANIFEST, manifest.model_dump_json(indent=2).encode() + b"\n")
    return manifest


_BY_ENDING: dict[str, Kind] = {
    ".step.onnx": "onnx-step",
    ".sequence.onnx": "onnx-sequence",
    ".step.pte": "pte-step",
    ".stream.pte": "pte-stream",
    ".sequence.pte": "pte-sequence",
    ".portable.pte": "pte-portable",
    ".step.bpte": "pte-bundled",
}


def kind_of(path: Path) -> Kind:
    """What a file is, by its name.

    Raises:
        InputError: it is none of an artifact folder's kinds.
    """
    if path.name in ENGINE:
        return "c-engine"
    by_suffix: dict[str, Kind] = {
        ".c": "c-source",
        ".h": "c-header",
        ".hpp": "cpp-header",
        ".ssmc": "ssmc",
    }
    if path.name == "CMakeLists.txt":
        return "cmake"
    if path.suffix in by_suffix:
        return by_suffix[path.suffix]
    for ending, kind in _BY_ENDING.items():
        if path.name.endswith(ending):
            return kind
    raise InputError(
        f"{path} is of no kind an artifact folder holds (.c .h .hpp .ssmc {' '.join(_BY_ENDING)}"
        " CMakeLists.txt)"
    )


def is_named(path: Path, name: str) -> bool:
    """Whether a file belongs to the model of this name: ``NAME.c``, ``NAME_weights.h`` and the like."""
    stem, _, kind = path.name.partition(".")
    return stem == name or (kind in ("h", "c") and stem == f"{name}_weights")


def precision_of(path: Path, name: str) -> ArtifactPrecision:
    """The precision of a file of the model ``name``; float32 of what has none, the engine."""
    return next((p for p in get_args(ArtifactPrecision) if is_named(path, artifact_stem(name, p))), "float32")


def _describe(
    folder: Path, path: Path, precision: ArtifactPrecision, activation_bits: Literal[8, 16]
) -> Artifact:
    kind = kind_of(path)
    bits: Literal[8, 16] = 8 if kind.startswith("pte") else activation_bits
    try:
        relative = path.resolve().relative_to(folder.resolve()).as_posix()
        return Artifact(
            path=relative,
            kind=kind,
            precision=precision,
            activation_bits=bits if precision == "int8" else None,
            bytes=path.stat().st_size,
            sha256=sha256(path),
            how=_HOW[kind],
        )
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is not a file in the artifact folder {folder}: {error}") from error


def _toolchain(files: tuple[Artifact, ...]) -> dict[str, str]:
    """Versions of what had a hand in the files; nothing that changes from run to run."""
    packages = ["numpy"]
    packages += ["onnx"] if any(f.kind.startswith("onnx") for f in files) else []
    packages += ["torch", "executorch"] if any(f.kind.startswith("pte") for f in files) else []
    versions = {name: importlib.metadata.version(name) for name in packages}
    return {"ssmith": __version__, "python": platform.python_version()} | versions
