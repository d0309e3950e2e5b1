"""The one file between stages, ``NAME.ssm``: read, write, refuse.

- A bundle is a safetensors file; all tensors are float32, little-endian.
- ``__metadata__`` holds one key, ``ssmith``: a JSON document, the model ``BundleMeta`` below.
- ``ops`` is the whole network as a list (``ssmith.ops``); each op names the tensors it reads.
- ``golden.NAME.{input,output,streamed}`` are the recorded vectors.
- The same model gives the same bytes. No pickle, no time stamps.
- MUST refuse: unknown version, missing or unused tensor, wrong shape or type, NaN, |λ| ≥ 1.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ssmith.errors import InputError, first_problem
from ssmith.files import write_atomic
from ssmith.golden import GoldenCase
from ssmith.ops import SSM, Float32, Op, check_ops, state_shapes, tensor_names
from ssmith.system import System

VERSION = 1
GOLDEN_PARTS = ("input", "output", "streamed")
MAX_BYTES = 1 << 31  # a header may not make us allocate more than this


class Signal(BaseModel):
    """One input or output channel: what it is called and what its numbers mean."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    name: str = Field(min_length=1, max_length=80)
    unit: str = ""
    minimum: float | None = None
    maximum: float | None = None


class GoldenMeta(BaseModel):
    """The part of a golden case that is not a tensor."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$", max_length=40)
    relative_tolerance: float = Field(gt=0, le=1)


class BundleMeta(BaseModel):
    """Everything a bundle says about itself."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    version: Literal[1] = 1
    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$", max_length=40)  # becomes a C identifier
    task: Literal["classification", "regression"]
    inputs: tuple[Signal, ...] = Field(min_length=1)
    outputs: tuple[Signal, ...] = Field(min_length=1)  # a classifier's outputs are its labels
    period_s: float | None = Field(default=None, gt=0)
    ops: tuple[Op, ...] = Field(min_length=1, max_length=4096)
    golden: tuple[GoldenMeta, ...] = ()
    reduction: tuple[dict[str, Any], ...] = ()  # one entry a cut: order, σ, tail, bound, losses
    provenance: dict[str, str] = {}


@dataclass(frozen=True, eq=False)
class Bundle:
    """A frozen model: metadata and float32 tensors, checked against each other.

    Raises:
        InputError: see the list of refusals at the top of this file.
    """

    meta: BundleMeta
    tensors: Mapping[str, Float32] = field(repr=False)

    def __post_init__(self) -> None:
        tensors = {name: _frozen(name, a) for name, a in sorted(self.tensors.items())}
        object.__setattr__(self, "tensors", tensors)
        check_ops(self.meta.ops, tensors, len(self.meta.inputs), len(self.meta.outputs))
        used = {name for op in self.meta.ops for name in tensor_names(op)}
        for recorded in self.meta.golden:
            used |= {f"golden.{recorded.name}.{part}" for part in GOLDEN_PARTS}
        if missing := sorted(used - set(tensors)):
            raise InputError(f"tensor {missing[0]!r} is named but not in the file")
        if extra := sorted(set(tensors) - used):
            raise InputError(f"tensor {extra[0]!r} belongs to no op; remove it")
        for case in self.golden():
            frames, width_in, width_out = (
                len(case.input),
                len(self.meta.inputs),
                len(self.meta.outputs),
            )
            shapes = (case.input.shape, case.output.shape, case.streamed.shape)
            if shapes != ((frames, width_in), (frames, width_out), (frames, width_out)):
                raise InputError(f"golden case {case.name!r} has shapes {shapes}; they do not fit the model")

    @property
    def name(self) -> str:
        """The model's name, also the stem of every exported file."""
        return self.meta.name

    @property
    def states(self) -> dict[str, tuple[int, ...]]:
        """Name → shape of every state."""
        return state_shapes(self.meta.ops, self.tensors, len(self.meta.inputs))

    def golden(self) -> tuple[GoldenCase, ...]:
        """The recorded vectors."""
        return tuple(
            GoldenCase(
                recorded.name,
                input=self.tensors[f"golden.{recorded.name}.input"],
                output=self.tensors[f"golden.{recorded.name}.output"],
                streamed=self.tensors[f"golden.{recorded.name}.streamed"],
                relative_tolerance=recorded.relative_tolerance,
            )
            for recorded in self.meta.golden
        )

    def systems(self) -> tuple[System, ...]:
        """The SSM layers as systems, in order: y = Re(C x) + D ∘ u in complex128."""
        found = []
        for op in self.meta.ops:
            if isinstance(op, SSM):
                lam, b, c = (self.tensors[name].astype(np.float64) for name in (op.lam, op.B, op.C))
                n = lam.shape[1]
                d = None if op.D is None else self.tensors[op.D]
                complex_c = c[:, :n] - 1j * c[:, n:]  # planar C is [Re C, -Im C]
                found.append(
                    System(lam[0] + 1j * lam[1], b[:n] + 1j * b[n:], complex_c, d, self.meta.period_s)
                )
        return tuple(found)

    def to_bytes(self) -> bytes:
        """The file's bytes; equal models give equal bytes."""
        from safetensors.numpy import save

        document = json.dumps(self.meta.model_dump(mode="json"), sort_keys=True, allow_nan=False)
        return save(dict(self.tensors), {"ssmith": document})

    @property
    def sha256(self) -> str:
        """Digest of the file's bytes: the model's identity in manifests and C headers."""
        return hashlib.sha256(self.to_bytes()).hexdigest()

    def write(self, path: Path | str) -> None:
        """Write atomically."""
        write_atomic(Path(path), self.to_bytes())

    @classmethod
    def read(cls, path: Path | str) -> Bundle:
        """Read and check a bundle; a hostile file is refused before anything is built from it.

        Raises:
            InputError: the file is missing, damaged, or says something that cannot be true.
        """
        path = Path(path)
        try:
            if path.stat().st_size > MAX_BYTES:
                raise InputError(f"{path} is larger than {MAX_BYTES} bytes; no bundle is")
            data = path.read_bytes()
        except OSError as error:
            raise InputError(f"cannot read bundle {path}: {error.strerror}") from error
        try:
            return cls.from_bytes(data)
        except InputError as error:
            raise InputError(f"{path} is not a usable bundle: {error}") from None

    @classmethod
    def from_bytes(cls, data: bytes) -> Bundle:
        """Parse and check the bytes of a bundle file."""
        from safetensors import SafetensorError
        from safetensors.numpy import load

        try:
            tensors = load(data)
            length = int.from_bytes(data[:8], "little")
            document = json.loads(data[8 : 8 + length])["__metadata__"]["ssmith"]
            raw = json.loads(document)
        except (SafetensorError, KeyError, TypeError, ValueError, RecursionError) as error:
            raise InputError(
                f"it is damaged or no ssmith bundle ({type(error).__name__}: {error})"
            ) from error
        if not isinstance(raw, dict) or raw.get("version") != VERSION:
            version = raw.get("version") if isinstance(raw, dict) else None
            raise InputError(f"it has format version {version!r}; this release reads version {VERSION}")
        try:
            meta = BundleMeta.model_validate(raw)
        except ValidationError as error:
            raise InputError(f"metadata field {first_problem(error)}") from error
        return cls(meta, tensors)


def _frozen(name: str, array: Float32) -> Float32:
    if array.dtype != np.float32:
        raise InputError(f"tensor {name!r} has type {array.dtype}; a bundle holds float32 only")
    if array.size == 0:
        raise InputError(f"tensor {name!r} is empty (shape {array.shape})")
    if not np.isfinite(array).all():
        raise InputError(f"tensor {name!r} holds NaN or infinity")
    copy = np.array(array, dtype=np.float32, order="C")
    copy.flags.writeable = False
    return copy
