"""The artifact folder as read by everyone: ``manifest.json`` says what lies in it.

The folder may come from anywhere: every path must stay inside it and every file must be the one
the manifest describes. ``export.manifest`` writes the same models.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from ssmith.errors import InputError, first_problem
from ssmith.files import sha256

MANIFEST = "manifest.json"
ENGINE = ("ssm.h", "ssm.c")  # runs .ssmc files
KERNELS = "ssm_kernels.h"  # included by the engine and by generated models

Kind = Literal["onnx-step", "onnx-sequence", "c-source", "c-header", "c-engine", "ssmc"]


class Artifact(BaseModel):
    """One file of the folder."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    path: str  # relative, with forward slashes
    kind: Kind
    precision: Literal["float32"] = "float32"
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


class Manifest(BaseModel):
    """What lies in an artifact folder and which model it was made from."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    version: Literal[1] = 1
    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$", max_length=40)
    bundle_sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    period_s: float | None = Field(default=None, gt=0)
    files: tuple[Artifact, ...]
    toolchain: dict[str, str] = {}

    def first(self, *kinds: Kind) -> Artifact | None:
        """The first file of one of these kinds, kinds in order of preference."""
        found = (file for kind in kinds for file in self.files if file.kind == kind)
        return next(found, None)


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
