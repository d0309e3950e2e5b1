"""The artifact folder as read by everyone: ``manifest.json`` says what lies in it.

The folder may come from anywhere: every path must stay inside it and every file must be the one
the manifest describes. ``export.manifest`` writes the same models. A bundle of several orders has
the main model's files in the folder and those of each variant in ``orderN/``, with its own manifest.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from ssmith.errors import InputError, first_problem
from ssmith.files import sha256
from ssmith.recipe import ArtifactPrecision

MANIFEST = "manifest.json"
ENGINE = ("ssm.h", "ssm.c", "ssm_file.h", "ssm_run_float.h", "ssm_run_integer.h")  # runs .ssmc files
WRAPPER = "ssm.hpp"  # the engine for C++
KERNELS = "ssm_kernels.h"  # included by the engine and by generated models
INTEGER_KERNELS = "ssm_integer.h"  # the same for int8; includes others, ssm_integer_*.h

Kind = Literal[
    "onnx-step",
    "onnx-sequence",
    "pte-step",  # states are inputs and outputs
    "pte-stream",  # states live inside
    "pte-sequence",
    "pte-portable",  # a step without XNNPACK
    "pte-bundled",  # a step with golden inputs and outputs
    "c-source",
    "c-header",
    "c-engine",
    "cpp-header",
    "cmake",
    "ssmc",
]
RUNNABLE: frozenset[Kind] = frozenset(
    (
        "onnx-step",
        "onnx-sequence",
        "pte-step",
        "pte-stream",
        "pte-sequence",
        "pte-portable",
        "c-source",
        "ssmc",
    )
)


class Artifact(BaseModel):
    """One file of the folder."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    path: str  # relative, with forward slashes
    kind: Kind
    precision: ArtifactPrecision = "float32"
    activation_bits: Literal[8, 16] | None = None  # of an int8 model; None for all others
    bytes: int = Field(ge=0)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    how: str  # one sentence: how the file was made

    @field_validator("path")
    @classmethod
    def _inside(cls, path: str) -> str:
        pure = PurePosixPath(path)
        if pure.is_absolute() or not pure.parts or ".." in pure.parts or "\\" in path:
            raise ValueError(f"path {path!r} leaves the artifact folder")
        return path


class Variant(BaseModel):
    """The same model at another order, in the sub-folder ``orderN``."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    order: int = Field(ge=1)
    bundle_sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


class Manifest(BaseModel):
    """What lies in an artifact folder and which model it was made from."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    version: Literal[1] = 1
    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$", max_length=40)
    bundle_sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    period_s: float | None = Field(default=None, gt=0)
    order: int | None = Field(default=None, ge=0)  # largest N of an SSM layer; None: not recorded
    files: tuple[Artifact, ...]
    toolchain: dict[str, str] = {}
    variants: tuple[Variant, ...] = Field(default=(), max_length=64)

    def first(self, *kinds: Kind, precision: ArtifactPrecision = "float32") -> Artifact | None:
        """The first file of one of these kinds and this precision, kinds in order of preference."""
        fitting = [file for file in self.files if file.precision == precision]
        return next((file for kind in kinds for file in fitting if file.kind == kind), None)


def artifact_stem(name: str, precision: ArtifactPrecision) -> str:
    """What the files of the model ``name`` in one precision are called; in C its functions and macros too."""
    return name if precision == "float32" else f"{name}_{precision.replace('-', '_')}"


def integer_name(name: str) -> str:
    """What the int8 form of the model ``name`` is called."""
    return artifact_stem(name, "int8")


def read_manifest(folder: Path) -> Manifest:
    """Read and check ``manifest.json``; the files it names are not touched (see ``verified``).

    Raises:
        InputError: it is missing, damaged, or names a file outside the folder.
    """
    path = folder / MANIFEST
    try:
        text = path.read_bytes()
    except OSError as error:
        raise InputError(
            f"cannot read {path}: {error.strerror}. An artifact folder is what `ssmith export` writes;"
            " give that folder, or a single .onnx, .ssmc, .c or .ssm file"
        ) from error
    try:
        return Manifest.model_validate_json(text)
    except ValidationError as error:
        raise InputError(
            f"{path} is not a usable manifest ({first_problem(error)}); run `ssmith export` again"
        ) from error


def variant_folder(folder: Path, order: int) -> Path:
    """Where the files of one variant lie."""
    return folder / f"order{order}"


def at_order(folder: Path, manifest: Manifest, order: int) -> tuple[Path, Manifest]:
    """The folder and the manifest of the model at one order.

    Raises:
        InputError: no such order (the message lists those there are), or the variant's folder holds
            something else than ``manifest`` says.
    """
    if isinstance(order, bool) or not isinstance(order, int | np.integer):
        raise InputError(f"order {order!r} is no whole number; write it without quotes, for instance order=8")
    if order == manifest.order:
        return folder, manifest
    variant = next((v for v in manifest.variants if v.order == order), None)
    if variant is None:
        known = [str(n) for n in (manifest.order, *(v.order for v in manifest.variants)) if n is not None]
        raise InputError(
            f"{folder} holds no model of order {order}; it holds order {' and '.join(known) or 'unknown'}"
        )
    place = variant_folder(folder, order)
    found = read_manifest(place)
    if (found.order, found.bundle_sha256) != (order, variant.bundle_sha256):
        raise InputError(
            f"{place} was made from another model than {folder / MANIFEST} says; run `ssmith export` again"
        )
    return place, found


def verified(folder: Path, artifact: Artifact) -> Path:
    """The artifact's path, after checking that the file is the one the manifest describes.

    Raises:
        InputError: the file is missing or has other bytes.
    """
    path = folder / artifact.path
    try:
        digest = sha256(path)
    except OSError as error:
        raise InputError(
            f"cannot read {path}: {error.strerror}, but {MANIFEST} lists it; run `ssmith export` again"
        ) from error
    if digest != artifact.sha256:
        raise InputError(
            f"{path} is not the file that {MANIFEST} describes (sha256 {digest[:12]}…, expected"
            f" {artifact.sha256[:12]}…); a changed file may compute something else: run"
            " `ssmith export` again"
        )
    return path


def find_bundle(folder: Path, manifest: Manifest) -> Path | None:
    """The bundle the artifacts were made from, if it lies in the folder or beside it."""
    for place in (folder, folder.resolve().parent):
        path = place / f"{manifest.name}.ssm"
        if path.is_file() and sha256(path) == manifest.bundle_sha256:
            return path
    return None
