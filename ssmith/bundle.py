"""The one file between stages, ``NAME.ssm``: read, write, refuse.

- A bundle is a safetensors file; all tensors are float32, little-endian.
- ``__metadata__`` holds one key, ``ssmith``: a JSON document, the model ``BundleMeta`` below.
- ``ops`` is the whole network as a list (``ssmith.ops``); each op names the tensors it reads.
- ``golden.NAME.{input,output,streamed}`` are the recorded vectors.
- Version 2 holds one model at several orders: ``variants`` in the document, each with its own ops,
  golden cases and history; a tensor that several of them share is stored once (``ssmith.variants``).
  A bundle without variants is written as version 1.
- Version 3 is either of them with a calibration, the ranges that integer code needs (``ssmith.quant``):
  ``calibration`` in the document of each model that has one, and tensors ``calibration.KEY``.
- Version 4 is any of them with what needs a calibration: ``plan``, the precision of each product, or
  ``rounding``, the scales that training has got used to, with tensors ``scales.KEY``. A bundle is
  written in the oldest version that holds all it has.
- Version 5 is any of them with an SSM of independent ``channels`` (``ssmith.ops.SSM``).
- The same model gives the same bytes. No pickle, no time stamps.
- MUST refuse: unknown version, missing or unused tensor, wrong shape or type, NaN, |λ| ≥ 1, of the
  model and of every variant alike.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ssmith.errors import InputError, first_problem
from ssmith.files import write_atomic
from ssmith.golden import GoldenCase
from ssmith.ops import (
    SSM,
    Float32,
    Op,
    check_ops,
    packed,
    ssm_system,
    state_shapes,
    tensor_names,
    unpacked,
)
from ssmith.quant import PREFIX, SCALES, Calibration, Plan, Rounding, check_integers, integer_names
from ssmith.system import System
from ssmith.variants import pack, unpack

VERSIONS = (1, 2, 3, 4, 5)
GOLDEN_PARTS = ("input", "output", "streamed")
MAX_NAME = 40
MAX_VARIANTS = 64
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
    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$", max_length=MAX_NAME)  # becomes a C identifier
    task: Literal["classification", "regression"]
    inputs: tuple[Signal, ...] = Field(min_length=1)
    outputs: tuple[Signal, ...] = Field(min_length=1)  # a classifier's outputs are its labels
    period_s: float | None = Field(default=None, gt=0)
    ops: tuple[Op, ...] = Field(min_length=1, max_length=4096)
    golden: tuple[GoldenMeta, ...] = ()
    reduction: tuple[dict[str, Any], ...] = ()  # one entry a cut: order, σ, tail, bound, losses
    provenance: dict[str, str] = {}
    calibration: Calibration | None = None
    plan: Plan | None = None
    rounding: Rounding | None = None


# of ``BundleMeta``: what a variant does not share
OWN_FIELDS = {"ops", "golden", "reduction", "provenance", "calibration", "plan", "rounding"}
INTEGER_FIELDS = ("calibration", "plan", "rounding")  # a document without them does not mention them


class VariantMeta(BaseModel):
    """What a variant says for itself; all else is the main model's."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    ops: tuple[Op, ...] = Field(min_length=1, max_length=4096)
    golden: tuple[GoldenMeta, ...] = ()
    reduction: tuple[dict[str, Any], ...] = ()
    provenance: dict[str, str] = {}
    calibration: Calibration | None = None
    plan: Plan | None = None
    rounding: Rounding | None = None
    tensors: dict[str, str] = {}  # name in the variant → name in the file, where they differ


class _Variants(BaseModel):
    variants: tuple[VariantMeta, ...] = Field(min_length=1, max_length=MAX_VARIANTS)


@dataclass(frozen=True, eq=False)
class Bundle:
    """A frozen model: metadata and float32 tensors, checked against each other.

    Args:
        meta: what the model says about itself.
        tensors: exactly the tensors that its ops and golden cases name.
        variants: the same model at other orders, each a bundle of its own, largest order first.

    Raises:
        InputError: see the list of refusals at the top of this file.
    """

    meta: BundleMeta
    tensors: Mapping[str, Float32] = field(repr=False)
    variants: tuple[Bundle, ...] = ()

    def __post_init__(self) -> None:
        tensors = {name: _frozen(name, a) for name, a in sorted(self.tensors.items())}
        object.__setattr__(self, "tensors", tensors)
        check_ops(self.meta.ops, tensors, len(self.meta.inputs), len(self.meta.outputs))
        used = _named(self.meta)
        if missing := sorted(used - set(tensors)):
            raise InputError(f"tensor {missing[0]!r} is named but not in the file")
        if extra := sorted(set(tensors) - used):
            raise InputError(f"tensor {extra[0]!r} belongs to no op; remove it")
        check_integers(self.meta, tensors, len(self.meta.inputs))
        for case in self.golden():
            frames, width_in, width_out = (
                len(case.input),
                len(self.meta.inputs),
                len(self.meta.outputs),
            )
            shapes = (case.input.shape, case.output.shape, case.streamed.shape)
            if shapes != ((frames, width_in), (frames, width_out), (frames, width_out)):
                raise InputError(f"golden case {case.name!r} has shapes {shapes}; they do not fit the model")
        _check_variants(self)

    @property
    def name(self) -> str:
        """The model's name, also the stem of every exported file."""
        return self.meta.name

    @property
    def states(self) -> dict[str, tuple[int, ...]]:
        """Name → shape of every state."""
        return state_shapes(self.meta.ops, self.tensors, len(self.meta.inputs))

    @property
    def order(self) -> int:
        """The largest order of an SSM layer, what tells variants apart; 0 without such a layer."""
        return max((self.tensors[op.lam].shape[1] for op in self.meta.ops if isinstance(op, SSM)), default=0)

    @property
    def calibrated(self) -> bool:
        """Whether the bundle carries the ranges that integer code needs."""
        return self.meta.calibration is not None

    def without_calibration(self) -> Bundle:
        """The same models without ranges, plan and scales: where weights change, none of them holds."""
        kept = {name: a for name, a in self.tensors.items() if not name.startswith((PREFIX, SCALES))}
        meta = self.meta.model_copy(update=dict.fromkeys(INTEGER_FIELDS))
        variants = tuple(variant.without_calibration() for variant in self.variants)
        return Bundle(meta, kept if self.calibrated else self.tensors, variants)

    @property
    def orders(self) -> tuple[int, ...]:
        """What ``variant`` takes: the main model's order, then those of the variants, descending."""
        return (self.order, *(variant.order for variant in self.variants))

    def variant(self, order: int) -> Bundle:
        """The model at one of ``orders``, as a bundle that holds nothing else.

        A variant is named ``NAME_orderN``, so that C code of several can be linked into one program.

        Raises:
            InputError: no such order; the message lists those there are.
        """
        if isinstance(order, bool) or not isinstance(order, int | np.integer):
            raise InputError(f"order {order!r} is no whole number; write one of {self.orders}")
        for model in (replace(self, variants=()), *self.variants):
            if model.order == order:
                return model
        raise InputError(
            f"the bundle {self.name!r} holds no model of order {order}; it holds order"
            f" {' and '.join(map(str, self.orders))}"
        )

    def with_variants(self, variants: Sequence[Bundle]) -> Bundle:
        """Put the same model at other orders beside this one, in the place of its present variants.

        Args:
            variants: reduced bundles of the same model: same name, task, inputs, outputs and period, orders
                that differ from each other and from this one's. They come back as ``NAME_orderN``.

        Raises:
            InputError: one of them is another model, or two have the same order.
        """
        named = []
        for model in sorted(variants, key=lambda model: model.order, reverse=True):
            if model.variants:
                raise InputError("a variant cannot hold variants; give variant.variant(ORDER), one model")
            name = variant_name(self.name, model.order)
            if model.name not in (self.name, name):
                raise InputError(
                    f"the variant is named {model.name!r}, the model {self.name!r}; they must agree"
                )
            named.append(replace(model, meta=model.meta.model_copy(update={"name": name})))
        return replace(self, variants=tuple(named))

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
        layers = (op for op in self.meta.ops if isinstance(op, SSM))
        return tuple(ssm_system(op, self.tensors, self.meta.period_s) for op in layers)

    def to_bytes(self) -> bytes:
        """The file's bytes; equal models give equal bytes."""
        from safetensors.numpy import save

        document = _document(self.meta)
        tensors = packed(self.meta.ops, self.tensors)
        if self.variants:
            others = {f"order{v.order}": packed(v.meta.ops, v.tensors) for v in self.variants}
            tensors, renamed = pack(tensors, others)
            document["version"] = 2
            document["variants"] = [
                _document(variant.meta, OWN_FIELDS) | {"tensors": names}
                for variant, names in zip(self.variants, renamed, strict=True)
            ]
        metas = [model.meta for model in (self, *self.variants)]
        if any(meta.calibration for meta in metas):
            document["version"] = 3
        if any(meta.rounding or meta.plan is not None for meta in metas):
            document["version"] = 4
        if any(_has_channels(meta) for meta in metas):
            document["version"] = 5
        return save(tensors, {"ssmith": json.dumps(document, sort_keys=True, allow_nan=False)})

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
            json.dumps(raw, allow_nan=False)  # NaN and infinity are no JSON, and could not be written again
        except (SafetensorError, KeyError, TypeError, ValueError, RecursionError) as error:
            raise InputError(
                f"it is damaged or no ssmith bundle ({type(error).__name__}: {error})"
            ) from error
        version = raw.get("version") if isinstance(raw, dict) else None
        if version not in VERSIONS:
            raise InputError(f"it has format version {version!r}; this release reads versions 1 to 5")
        several: tuple[VariantMeta, ...] = ()
        try:
            if version == 2 or (version > 2 and "variants" in raw):
                several = _Variants.model_validate({"variants": raw.pop("variants", ())}).variants
            raw["version"] = 1  # what is left is the main model's document
            meta = BundleMeta.model_validate(raw)
        except ValidationError as error:
            raise InputError(f"metadata field {first_problem(error)}") from error
        models: list[BundleMeta | VariantMeta] = [meta, *several]
        for field_name, since in (("calibration", 3), ("plan", 4), ("rounding", 4)):
            if version < since and any(getattr(model, field_name) is not None for model in models):
                raise InputError(f"it has a {field_name}, which format version {version} does not know")
        if version < 5 and any(_has_channels(model) for model in models):
            raise InputError(f"it has an SSM with channels, which format version {version} does not know")
        if several:
            return _assembled(meta, several, tensors)
        return cls(meta, unpacked(meta.ops, tensors))


def _document(meta: BundleMeta, include: set[str] | None = None) -> dict[str, Any]:
    """What goes into the file; what there is not is not mentioned, as in versions that did not know it."""
    document = meta.model_dump(mode="json", include=include)
    for key in INTEGER_FIELDS:
        if getattr(meta, key) is None:
            document.pop(key)
    for op in document["ops"]:
        if op.get("channels", op) is None:
            op.pop("channels")
    return document


def _has_channels(meta: BundleMeta | VariantMeta) -> bool:
    return any(isinstance(op, SSM) and op.channels is not None for op in meta.ops)


def variant_name(name: str, order: int) -> str:
    """``NAME_orderN``: the name of a variant, of its files and of its C functions.

    Raises:
        InputError: the name is too long for that.
    """
    longer = f"{name}_order{order}"
    if len(longer) > MAX_NAME:
        raise InputError(
            f"the variant's name {longer!r} has more than {MAX_NAME} letters; it becomes a C identifier, so"
            " give the model a shorter name"
        )
    return longer


def _named(meta: BundleMeta | VariantMeta) -> set[str]:
    """The tensors that ops, golden cases, a calibration and scales name."""
    names = {name for op in meta.ops for name in tensor_names(op)} | integer_names(meta)
    return names | {f"golden.{case.name}.{part}" for case in meta.golden for part in GOLDEN_PARTS}


def _assembled(meta: BundleMeta, several: tuple[VariantMeta, ...], tensors: Mapping[str, Float32]) -> Bundle:
    """A version-2 file as bundles, every one checked like a file of its own."""
    frozen = {name: _frozen(name, array) for name, array in tensors.items()}  # once, then shared
    wanted = [(_named(variant), variant.tensors) for variant in several]
    main, parts = unpack(frozen, _named(meta), wanted)
    model = Bundle(meta, unpacked(meta.ops, main))
    variants = []
    for own, part in zip(several, parts, strict=True):
        fields = {key: getattr(own, key) for key in OWN_FIELDS}
        variant = Bundle(meta.model_copy(update=fields), unpacked(own.ops, part))
        name = variant_name(meta.name, variant.order)
        variants.append(replace(variant, meta=variant.meta.model_copy(update={"name": name})))
    return replace(model, variants=tuple(sorted(variants, key=lambda v: v.order, reverse=True)))


def _check_variants(bundle: Bundle) -> None:
    """Refuse variants that are not this model at other orders."""
    if bundle.variants and not bundle.order:
        raise InputError(f"the model {bundle.name!r} has no SSM layer, so it has one order only")
    if len(bundle.variants) > MAX_VARIANTS:
        raise InputError(
            f"{len(bundle.variants)} variants beside the model {bundle.name!r}; a bundle holds up to"
            f" {MAX_VARIANTS}, so choose fewer orders"
        )
    shared = set(BundleMeta.model_fields) - OWN_FIELDS - {"name"}
    for variant in bundle.variants:
        for key in sorted(shared):
            if getattr(variant.meta, key) != getattr(bundle.meta, key):
                raise InputError(f"the variant of order {variant.order} has another {key} than the model")
        if variant.name != variant_name(bundle.name, variant.order) or variant.variants:
            raise InputError(f"variant {variant.name!r} was not made by with_variants")
    for larger, smaller in pairwise(sorted(bundle.orders, reverse=True)):
        if larger == smaller:
            raise InputError(
                f"two models of order {larger} in one bundle; orders tell variants apart, so each must differ"
            )


def _frozen(name: str, array: Float32) -> Float32:
    if array.dtype != np.float32:
        raise InputError(f"tensor {name!r} has type {array.dtype}; a bundle holds float32 only")
    if array.size == 0:
        raise InputError(f"tensor {name!r} is empty (shape {array.shape})")
    if not np.isfinite(array).all():
        raise InputError(f"tensor {name!r} holds NaN or infinity")
    if array.flags.owndata and array.flags.c_contiguous and not array.flags.writeable:
        return array  # frozen before: variants share it
    copy = np.array(array, dtype=np.float32, order="C")
    copy.flags.writeable = False
    return copy
