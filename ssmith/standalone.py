"""The verbs on single files outside a run: quantize, export, verify, new, devices; `reduction` has reduce."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ssmith import stages
from ssmith.bundle import Bundle
from ssmith.errors import InputError
from ssmith.files import check_writable, write_atomic
from ssmith.quantization import HeldOut, calibrated, check_integer, examine, facts_of
from ssmith.recipe import ExportSettings, Recipe
from ssmith.run import find_run

Facts = dict[str, Any]


def export_bundle(
    bundle: Path,
    folder: Path,
    *,
    precisions: Sequence[str] | None = None,
    activation_bits: int = 16,
) -> Facts:
    """Write every format of a bundle into a folder, and check each on the backends that are here.

    Args:
        bundle: the model.
        folder: where to write.
        precisions: what must be written; None writes float32, and int8 if the bundle is ready for it.
        activation_bits: of int8, 16 or 8.

    Raises:
        InputError: a precision that was asked for cannot be written.
        SsmithError: an artifact does not compute what the model computes.
    """
    model = Bundle.read(bundle)
    wanted = _settings(precisions, activation_bits)
    if precisions and "int8" in precisions:
        check_integer(model, wanted.activation_bits)  # asked for, so no note in its place
    plan, left_out = stages.writable(model, wanted)
    files = stages.lower(model, folder, plan)
    sizes: Facts = {str(path): path.stat().st_size for path in files}
    return sizes | left_out | stages.require_equal(stages.prove(folder, model))


def quantize_bundle(
    source: Path, target: Path | None, *, data: str | None = None, activation_bits: int = 16
) -> Facts:
    """Give a bundle the ranges that int8 needs, and measure what int8 costs it.

    Ranges come from the training sequences of ``data``, the cost is measured on its validation
    sequences; without data the golden inputs serve for both.

    Args:
        source: a bundle; ranges that it has are replaced.
        target: the new bundle, default NAME-quantized.ssm.
        data: recipe, or run folder, whose data to use.
        activation_bits: to measure with, 16 or 8; the bundle is the same for both.

    Raises:
        InputError: the data do not fit the model, or the model has no int8 form; nothing is written.
    """
    model = Bundle.read(source)
    bits = _settings(None, activation_bits).activation_bits
    target = target or source.with_name(f"{source.stem}-quantized.ssm")
    if target.suffix != ".ssm":
        raise InputError(
            f"--out {target}: what comes out is a bundle, and is opened as one by its name; end it in .ssm"
        )
    check_writable(target)
    if data is None:
        golden = [case.input for case in model.golden()]
        ready, held_out = calibrated(model, golden), HeldOut(golden, "the golden inputs of the bundle")
    else:
        stages.need("train", "scipy")
        from ssmith.train.model_data import load_for

        recipe, splits = load_for(model, recipe_of(data))
        ready, held_out = calibrated(model, splits.train.inputs), HeldOut.of(recipe, splits)
    found = examine(ready, held_out, bits)
    if found.refused:
        raise InputError(f"{source} has no int8 form: {found.refused}")
    ready.write(target)
    return {"bundle": str(target), "bytes": target.stat().st_size, **facts_of(found)}


def recipe_of(source: str) -> Recipe:
    """The recipe that ``--data`` names: a TOML file, one that ships, or that of a run folder.

    Raises:
        InputError: it is none of these.
    """
    path = Path(source)
    return find_run(path).recipe if path.is_dir() else Recipe.load(source)


def _settings(precisions: Sequence[str] | None, activation_bits: int) -> ExportSettings:
    """What the command line says, as a recipe would."""
    if activation_bits not in (8, 16):
        raise InputError(
            f"--activation-bits {activation_bits}: int8 has activations of 16 bits (accurate) or 8 bits"
            " (fast); write one of them"
        )
    if unknown := [name for name in precisions or () if name not in ("float32", "int8")]:
        raise InputError(f"--precision {unknown[0]}: write float32 or int8")
    given = {"precisions": tuple(dict.fromkeys(precisions))} if precisions else {}
    return ExportSettings.model_validate({"activation_bits": activation_bits, **given})


def verify_artifacts(folder: Path, bundle: Path) -> Facts:
    """Check an artifact folder against its bundle.

    Raises:
        SsmithError: an artifact does not compute what the model computes.
    """
    return stages.require_equal(stages.prove(folder, Bundle.read(bundle)))


def propose_recipe(data: Path, target: Path) -> list[str]:
    """Write a recipe for somebody's data; returns what was assumed.

    Raises:
        InputError: the data cannot be understood, or ``target`` exists.
    """
    if target.exists():
        raise InputError(f"{target} exists; give another --out so that it is not overwritten")
    stages.need("train", "scipy")
    from ssmith.train.propose import propose

    text, assumptions = propose(data, target.parent)
    write_atomic(target, text.encode())
    return assumptions


def list_devices() -> list[Facts]:
    """Every target with what it can measure here."""
    from ssmith.devices.bench import TARGETS

    return [{"target": name, **asdict(make().probe())} for name, make in TARGETS.items()]
