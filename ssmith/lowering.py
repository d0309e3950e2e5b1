"""A bundle → its artifacts: which formats and precisions can be written, and writing them."""

from __future__ import annotations

import importlib.util
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from ssmith.bundle import Bundle
from ssmith.errors import InputError, MissingToolError
from ssmith.quantization import check_integer
from ssmith.recipe import WRITES, ArtifactPrecision, ExportSettings, Format

Piece = tuple[Format, ArtifactPrecision]
TITLES: dict[Format, str] = {"onnx": "ONNX", "executorch": "ExecuTorch", "c99": "C99"}
# What writing a format needs: the extra that brings it, and the packages to look for.
_PACKAGES: dict[Format, tuple[str, tuple[str, ...]]] = {
    "onnx": ("export", ("onnx",)),
    "executorch": ("executorch", ("torch", "executorch", "torchao")),
}
_ONNXRUNTIME: frozenset[ArtifactPrecision] = frozenset(
    ("int8-all", "int8-dynamic", "int8-weights", "int4-weights")
)
_CALIBRATED: frozenset[ArtifactPrecision] = frozenset(("int8", "mixed"))


def need(extra: str, *modules: str) -> None:
    """Refuse early when an optional part is missing.

    Raises:
        MissingToolError: names the package and how to install it.
    """
    if missing := absent(*modules):
        raise MissingToolError(f"{missing[0]} is not installed; write pip install 'ssmith[{extra}]'")


def need_format(format_: Format) -> None:
    """Refuse early when writing a format wants a package that is missing; raises as ``need``."""
    if format_ in _PACKAGES:
        extra, packages = _PACKAGES[format_]
        need(extra, *packages)


def absent(*modules: str) -> list[str]:
    """Those of the packages that are not installed."""
    return [module for module in modules if importlib.util.find_spec(module) is None]


def wanted_pieces(settings: ExportSettings) -> list[Piece]:
    """Every wanted format with every wanted precision that it has."""
    return [(f, p) for f in settings.formats for p in settings.precisions if p in WRITES[f]]


def writable(bundle: Bundle, settings: ExportSettings) -> tuple[list[Piece], dict[str, Any]]:
    """What can be written of what is wanted, and a note for the user about the rest.

    Raises:
        InputError: nothing can; MissingToolError where a package is what is missing.
    """
    pieces = wanted_pieces(settings)
    refusals = refused(bundle, settings)
    left = [piece for piece in pieces if piece not in refusals]
    if not left:
        raise next(iter(refusals.values()))
    return left, {"not written": _notes(refusals, pieces)} if refusals else {}


def refused(bundle: Bundle, settings: ExportSettings) -> dict[Piece, InputError]:
    """The wanted pieces that cannot be written, each with the reason."""
    found: dict[Piece, InputError] = {}
    for piece in wanted_pieces(settings):
        try:
            _check(bundle, settings, *piece)
        except InputError as error:
            found[piece] = error
    return found


def lower(
    bundle: Bundle,
    folder: Path,
    settings: ExportSettings,
    pieces: Collection[Piece] | None = None,
    *,
    processes: int = 1,
) -> list[Path]:
    """Write the artifacts of a bundle and their manifest, those of a variant into ``orderN/``.

    ``prove`` checks them.

    Args:
        bundle: the model.
        folder: the artifact folder.
        settings: what is wanted, and how it is written.
        pieces: what ``writable`` left of it; None writes all that is wanted.
        processes: that may work at once, where a format takes long.

    Raises:
        InputError: a piece cannot be written; ``writable`` finds that out beforehand.
    """
    from ssmith.export import c99, executorch, onnx
    from ssmith.export.manifest import write_manifest
    from ssmith.runtime.artifacts import MANIFEST, variant_folder

    chosen = wanted_pieces(settings) if pieces is None else list(pieces)
    below: list[Path] = []
    for variant in bundle.variants:
        place = variant_folder(folder, variant.order)
        below += lower(variant, place, settings, chosen, processes=processes)
    bits = settings.activation_bits
    files: list[Path] = []
    if precisions := _of("onnx", chosen):
        files += onnx.lower(bundle, folder, opset=settings.opset, precisions=precisions, activation_bits=bits)
    if precisions := _of("executorch", chosen):
        files += executorch.lower(bundle, folder, precisions, processes=processes)
    if precisions := _of("c99", chosen):
        files += c99.lower(bundle, folder, precisions, bits)
    write_manifest(bundle, folder, files, activation_bits=bits)
    return [*files, folder / MANIFEST, *below]


def _of(format_: Format, pieces: Collection[Piece]) -> tuple[ArtifactPrecision, ...]:
    return tuple(precision for name, precision in pieces if name == format_)


def _check(bundle: Bundle, settings: ExportSettings, format_: Format, precision: ArtifactPrecision) -> None:
    """Refuse what this machine or this bundle cannot make.

    Raises:
        InputError: why not, and what to do about it.
    """
    need_format(format_)
    if precision in _ONNXRUNTIME and format_ == "onnx":
        need("onnx", "onnxruntime")
    if precision == "mixed" and bundle.meta.plan is None:
        raise InputError(
            f"{bundle.name} has no plan of which product is written in which precision; write ssmith quantize"
            " NAME.ssm --data RECIPE --loss-budget 0.03, or name mixed in the recipe's precisions before the"
            " run freezes its model"
        )
    if precision in _CALIBRATED:
        check_integer(bundle, 8 if format_ == "executorch" else settings.activation_bits)


def _notes(refusals: Mapping[Piece, InputError], pieces: Collection[Piece]) -> list[str]:
    """One line for each reason, and before it all that it hits."""
    hit: dict[str, list[Piece]] = {}
    for piece, error in refusals.items():
        hit.setdefault(str(error), []).append(piece)
    return [f"{_named(gone, pieces)}: {reason}" for reason, gone in hit.items()]


def _named(gone: Collection[Piece], pieces: Collection[Piece]) -> str:
    """``ONNX, C99`` where formats are missing whole, else ``int8, mixed as ONNX``."""
    formats = list(dict.fromkeys(format_ for format_, _ in gone))
    titles = ", ".join(TITLES[name] for name in formats)
    if len(gone) == sum(format_ in formats for format_, _ in pieces):
        return titles
    precisions = ", ".join(dict.fromkeys(precision for _, precision in gone))
    everywhere = all(piece in gone for piece in pieces if piece[1] in precisions.split(", "))
    return precisions if everywhere else f"{precisions} as {titles}"
