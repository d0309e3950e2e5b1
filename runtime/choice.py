"""Which backend opens a path: by the file's suffix, or for a folder the fastest that can run here."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Literal, get_args

from ssmith.errors import InputError
from ssmith.recipe import ArtifactPrecision
from ssmith.runtime import reference
from ssmith.runtime.artifacts import Artifact, Kind, Manifest, at_order, find_bundle, read_manifest
from ssmith.runtime.frames import Precision

BackendName = Literal["native", "onnx", "executorch", "reference"]
SUFFIXES: dict[str, BackendName] = {
    ".c": "native",
    ".h": "native",
    ".ssmc": "native",
    ".onnx": "onnx",
    ".pte": "executorch",
    ".ssm": "reference",
}
COMPUTES: dict[BackendName, tuple[Precision, ...]] = {
    "native": ("float32", "float32-fma", "int8", "int8-a8"),
    "onnx": tuple(p for p in get_args(Precision) if p not in ("float64", "float32-fma")),
    "executorch": ("float32", "int8", "int8-a8", "int8-dynamic", "mixed"),
    "reference": (*get_args(reference.Precision), "int8", "int8-a8"),
}

# Backends on a runtime that is a package of its own, quickest to load first; any of its packages does.
PACKAGES: dict[BackendName, tuple[str, ...]] = {
    "onnx": ("onnxruntime",),
    "executorch": ("executorch", "executorch_numpy_runtime"),
}
SESSION_KINDS: dict[BackendName, tuple[Kind, ...]] = {
    "onnx": ("onnx-step", "onnx-sequence"),
    "executorch": ("pte-step", "pte-stream", "pte-sequence"),
}


def missing_package(backend: BackendName) -> str | None:
    """The package to install before a backend can run; None where nothing is missing."""
    packages = PACKAGES.get(backend, ())
    found = any(importlib.util.find_spec(package) is not None for package in packages)
    return None if found or not packages else packages[0]


def choose(
    path: Path, backend: BackendName | None, precision: Precision | None, order: int | None
) -> tuple[BackendName, Path, Precision | None]:
    """The backend for an artifact folder or file, what it opens and in which precision.

    Args:
        path: the folder or file.
        backend: the one that is wanted; None for any.
        precision: the one that is wanted; None for the backend's default.
        order: of a folder or bundle that holds several; None for the main model.

    Raises:
        InputError: there is no such path, backend, precision or order, or they do not go together.
    """
    if backend is not None and backend not in COMPUTES:
        *names, last = COMPUTES
        raise InputError(f"backend {backend!r} does not exist; write {', '.join(names)} or {last}")
    if precision is not None and precision not in get_args(Precision):
        raise InputError(
            f"precision {precision!r} does not exist; write {', '.join(get_args(Precision)[:-1])} or"
            f" {get_args(Precision)[-1]}"
        )
    if path.is_dir():
        return _for_folder(path, backend, precision, order)
    if path.exists():
        return _for_file(path, backend, precision, order), path, precision
    raise InputError(f"{path} does not exist; give an artifact folder or one of its files")


def _for_file(
    path: Path, wanted: BackendName | None, precision: Precision | None, order: int | None
) -> BackendName:
    found = SUFFIXES.get(path.suffix)
    if found is None:
        raise InputError(
            f"{path} is no artifact: the suffix {path.suffix!r} is none of {', '.join(SUFFIXES)}"
        )
    if wanted not in (None, found):
        raise InputError(f"{path.name} is opened by the {found} backend, not by {wanted!r}")
    if order is not None and found != "reference":
        raise InputError(
            f"{path.name} holds one model, so there is no order={order} to choose; open the artifact folder"
            " or the .ssm bundle"
        )
    if precision is not None and precision not in COMPUTES[found]:
        raise InputError(
            f"the {found} backend computes in {' or '.join(COMPUTES[found])}, not in {precision}; open a file"
            " of that precision, or its artifact folder"
        )
    return found


def _for_folder(
    folder: Path, wanted: BackendName | None, precision: Precision | None, order: int | None
) -> tuple[BackendName, Path, Precision | None]:
    possible: dict[BackendName, Path] = {}
    reasons: dict[BackendName, str] = {}
    manifest = read_manifest(folder)
    bundle, bundle_name = find_bundle(folder, manifest), f"{manifest.name}.ssm"  # it holds every order
    if order is not None:
        folder, manifest = at_order(folder, manifest, order)
    if reason := _no_native(manifest, precision):
        reasons["native"] = reason
    else:
        from ssmith.compiler import find_compiler

        possible["native"] = folder
        if find_compiler() is None:
            reasons["native"] = "no C compiler was found"
    for name in PACKAGES:
        if precision not in (None, *COMPUTES[name]):
            reasons[name] = f"it does not compute in {precision}"
        elif not files_of(manifest, name, precision):
            reasons[name] = f"the folder holds no {_suffix(name)} file of precision {precision or 'float32'}"
        else:
            possible[name] = folder
            if (package := missing_package(name)) is not None:
                reasons[name] = f"{package} is not installed"
    if bundle is None:
        reasons["reference"] = f"{bundle_name} lies neither in the folder nor beside it"
    else:
        possible["reference"] = bundle
    if wanted in possible:  # a missing tool is then the backend's own, more helpful error
        chosen = wanted
    else:
        ready = [name for name in possible if name not in reasons]
        if wanted is not None or not ready:
            why = "; ".join(f"{name}: {reason}" for name, reason in reasons.items())
            raise InputError(f"{folder} cannot be opened with {wanted or 'any backend'} ({why})")
        chosen = ready[0]
    if chosen == "reference" and precision == "int8" and _bits(manifest) == 8:
        precision = "int8-a8"  # what the folder's integer model is
    return chosen, possible[chosen], precision


def files_of(manifest: Manifest, backend: BackendName, precision: Precision | None) -> list[Artifact]:
    """The files of a folder that one session of a runtime's backend opens, by precision; None is float32.

    ``"int8"`` is the integer model that there is, whatever its activations are; ``"int8-a8"`` only one with 8
    bits.
    """
    kind = _artifact_precision(precision)
    return [
        file
        for file in manifest.files
        if file.kind in SESSION_KINDS[backend]
        and file.precision == kind
        and (precision != "int8-a8" or file.activation_bits == 8)
    ]


def session_precision(artifact: Artifact) -> Precision:
    """What a session that runs this file computes in."""
    return "int8-a8" if (artifact.precision, artifact.activation_bits) == ("int8", 8) else artifact.precision


def _artifact_precision(precision: Precision | None) -> ArtifactPrecision:
    if precision is None or precision == "float32-fma" or precision == "float64":
        return "float32"
    return "int8" if precision == "int8-a8" else precision


def _suffix(backend: BackendName) -> str:
    return next(suffix for suffix, name in SUFFIXES.items() if name == backend)


def _no_native(manifest: Manifest, precision: Precision | None) -> str:
    """Why the folder's C files do not compute in this precision, or ""."""
    if precision not in (None, *COMPUTES["native"]):
        return f"it does not compute in {precision}"
    kind = _artifact_precision(precision)
    if manifest.first("c-source", "ssmc", precision=kind) is None:
        return f"the folder holds no .c and no .ssmc file of precision {kind}"
    if precision == "int8-a8" and _bits(manifest) != 8:
        return "the folder's integer model has 16-bit activations, so its precision is int8"
    return ""


def _bits(manifest: Manifest) -> int | None:
    """Bits of an activation in the folder's integer model, if there is one."""
    found = manifest.first("c-source", "ssmc", precision="int8")
    return None if found is None else found.activation_bits
