"""The verbs on single files outside a run: quantize, export, verify, new, devices; `reduction` has reduce."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from ssmith import stages
from ssmith.bundle import Bundle
from ssmith.errors import InputError, first_problem
from ssmith.files import check_writable, write_atomic
from ssmith.lowering import lower, need, need_format, writable
from ssmith.ops import Float32
from ssmith.quantization import HeldOut, calibrated, check_integer, examine, facts_of
from ssmith.quantization_data import wild_frames
from ssmith.quantization_progress import show_progress
from ssmith.recipe import WRITES, ArtifactPrecision, ExportSettings, Recipe
from ssmith.run import find_run

Facts = dict[str, Any]


def export_bundle(
    bundle: Path,
    folder: Path,
    *,
    formats: Sequence[str] | None = None,
    precisions: Sequence[str] | None = None,
    activation_bits: int = 16,
    opset: int = 20,
) -> Facts:
    """Write every format of a bundle into a folder, and check each on the backends that are here.

    Args:
        bundle: the model.
        folder: where to write.
        formats: onnx, executorch, c99; None writes all that this machine can write.
        precisions: what must be written; None writes float32, and int8 if the bundle is ready for it.
        activation_bits: of int8, 16 or 8.
        opset: of ONNX, 18 or 20.

    Raises:
        InputError: a precision that was asked for cannot be written.
        SsmithError: an artifact does not compute what the model computes.
    """
    model = Bundle.read(bundle)
    wanted = _settings(precisions, activation_bits, formats, opset)
    if precisions and "int8" in precisions:
        check_integer(model, wanted.activation_bits)  # asked for, so no note in its place
    if formats:  # as above
        for format_ in wanted.formats:
            need_format(format_)
    pieces, left_out = writable(model, wanted)
    files = lower(model, folder, wanted, pieces)
    sizes: Facts = {str(path): path.stat().st_size for path in files}
    return sizes | left_out | stages.require_equal(stages.prove(folder, model, quick=True))


def quantize_bundle(
    source: Path,
    target: Path | None,
    *,
    data: str | None = None,
    activation_bits: int = 16,
    sensitivity: bool = False,
    loss_budget: float | None = None,
    qat_steps: int = 0,
    precisions: Sequence[ArtifactPrecision] | None = None,
    quiet: bool = True,
) -> Facts:
    """Give a bundle the ranges that int8 needs, and measure what int8 costs it.

    Ranges come from the training sequences of ``data``, the cost is measured on its validation
    sequences; without data the golden inputs serve for both.

    Args:
        source: a bundle; ranges that it has are replaced.
        target: the new bundle, default NAME-quantized.ssm.
        data: recipe, or run folder, whose data to use.
        activation_bits: to measure and to train with, 16 or 8; untrained, the bundle is the same for both.
        sensitivity: also round each tensor alone; the rows are under "sensitivity", the most sensitive first.
        loss_budget: choose the precision of each product, so that the loss rises by this share at most.
        qat_steps: of training with rounding, before all else; needs data.
        precisions: to measure besides int8, by simulation.
        quiet: show no progress on stderr.

    Raises:
        InputError: the data do not fit the model, show no ranges or cannot train it, or the model has no
            int8 form; nothing is written.
    """
    from ssmith.quantization_plan import with_plan
    from ssmith.quantization_rows import precision_rows
    from ssmith.quantization_sensitivity import sensitivity as tensor_sensitivity

    model = Bundle.read(source)
    bits = _settings(None, activation_bits).activation_bits
    target = target or source.with_name(f"{source.stem}-quantized.ssm")
    if target.suffix != ".ssm":
        raise InputError(
            f"--out {target}: what comes out is a bundle, and is opened as one by its name; end it in .ssm"
        )
    check_writable(target)
    ready, held_out, facts = _prepared(model, data, bits, qat_steps, quiet)
    found = examine(ready, held_out, bits)
    if found.refused:
        raise InputError(f"{source} has no int8 form: {found.refused}")
    named = list(dict.fromkeys(precisions or ()))
    if loss_budget is not None:
        with show_progress("precision of each product", quiet=quiet) as chosen:
            ready = with_plan(ready, held_out, loss_budget, on_progress=chosen)
        facts["plan"] = dict(ready.meta.plan or {})
        named = list(dict.fromkeys([*named, "mixed"]))
    if named:
        wanted = ExportSettings(precisions=tuple(named), activation_bits=bits)
        rows = precision_rows(ready, held_out, wanted)
        found = found.model_copy(update={"bundle_sha256": ready.sha256, "precisions": rows})
    if sensitivity:
        with show_progress("sensitivity", quiet=quiet) as tried:
            alone = tensor_sensitivity(ready, held_out, on_progress=tried)
        facts["sensitivity"] = [row.document() for row in alone]
    ready.write(target)
    return {"bundle": str(target), "bytes": target.stat().st_size, **facts_of(found), **facts}


def _prepared(
    model: Bundle, data: str | None, bits: Literal[8, 16], qat_steps: int, quiet: bool
) -> tuple[Bundle, HeldOut, Facts]:
    """A bundle with ranges, and trained scales if asked for; what to measure it on; what to tell the user."""
    facts: Facts = {}
    if data is None:
        if qat_steps:
            raise InputError(
                f"{qat_steps} steps of training with rounding need the data that the model was trained on;"
                " write --data RECIPE too"
            )
        shown: Sequence[Float32] = [case.input for case in model.golden()]
        ready, held_out = calibrated(model, shown), HeldOut(shown, "the golden inputs of the bundle")
    else:
        need("train", "scipy")
        from ssmith.train.model_data import load_for

        recipe, splits = load_for(model, recipe_of(data))
        shown = splits.train.inputs
        ready, held_out = calibrated(model, shown), HeldOut.of(recipe, splits)
        if qat_steps:
            from ssmith.train.progress import show_progress as show_training
            from ssmith.train.qat import quantisation_aware

            with show_training("training with rounding", quiet=quiet) as training:
                trained = quantisation_aware(
                    ready, recipe, splits, qat_steps, activation_bits=bits, on_progress=training
                )
            ready, facts = trained.bundle, trained.facts()
    if wild := wild_frames(shown):
        facts["warnings"] = [str(one) for one in wild]
    return ready, held_out, facts


def recipe_of(source: str) -> Recipe:
    """The recipe that ``--data`` names: a TOML file, one that ships, or that of a run folder.

    Raises:
        InputError: it is none of these.
    """
    path = Path(source)
    return find_run(path).recipe if path.is_dir() else Recipe.load(source)


def _settings(
    precisions: Sequence[str] | None,
    activation_bits: int,
    formats: Sequence[str] | None = None,
    opset: int = 20,
) -> ExportSettings:
    """What the command line says, as a recipe would."""
    if opset not in (18, 20):
        raise InputError(f"--opset {opset}: write 20, or 18 for older runtimes")
    if activation_bits not in (8, 16):
        raise InputError(
            f"--activation-bits {activation_bits}: int8 has activations of 16 bits (accurate) or 8 bits"
            " (fast); write one of them"
        )
    _known("--format", formats, tuple(WRITES))
    _known("--precision", precisions, tuple(dict.fromkeys(p for known in WRITES.values() for p in known)))
    given: Facts = {"activation_bits": activation_bits, "opset": opset}
    if precisions:
        given["precisions"] = tuple(dict.fromkeys(precisions))
    if formats:
        given["formats"] = tuple(dict.fromkeys(formats))
    try:
        return ExportSettings.model_validate(given)
    except ValidationError as error:
        raise InputError(first_problem(error)) from None


def _known(option: str, given: Sequence[str] | None, known: Sequence[str]) -> None:
    if unknown := [name for name in given or () if name not in known]:
        raise InputError(f"{option} {unknown[0]}: write {', '.join(known[:-1])} or {known[-1]}")


def verify_artifacts(folder: Path, bundle: Path, data: str | None = None) -> Facts:
    """Check an artifact folder against its bundle.

    Args:
        folder: of artifacts.
        bundle: what they were made from.
        data: recipe, or run folder, whose validation set to run too.

    Raises:
        InputError: the data do not fit the model.
        SsmithError: an artifact does not compute what the model computes.
    """
    model = Bundle.read(bundle)
    held_out = None
    if data is not None:
        need("train", "scipy")
        from ssmith.train.model_data import load_for

        held_out = stages.validation_of(*load_for(model, recipe_of(data)))
    report = stages.prove(folder, model, held_out)
    return stages.require_equal(report) | {stages.TABLE: stages.table_of(report)}


def propose_recipe(data: Path, target: Path) -> list[str]:
    """Write a recipe for somebody's data; returns what was assumed.

    Raises:
        InputError: the data cannot be understood, or ``target`` exists.
    """
    if target.exists():
        raise InputError(f"{target} exists; give another --out so that it is not overwritten")
    need("train", "scipy")
    from ssmith.train.propose import propose

    text, assumptions = propose(data, target.parent)
    write_atomic(target, text.encode())
    return assumptions


def list_devices() -> list[Facts]:
    """Every target with what it can measure here, and what to install where it cannot."""
    from ssmith.devices.registry import FAMILIES, find_target, names

    rows: list[Facts] = []
    for name in names():
        family = FAMILIES[name.partition(":")[0]]
        known: Facts = {"absent": None} if family.form else asdict(find_target(name).probe())
        rows.append({"target": name, "what": family.what, **known})
    return rows


def device_rows(devices: Sequence[Facts]) -> list[tuple[str, str, str, str]]:
    """For people: (target, backends, what its numbers are, what it is or why it cannot be used).

    What a family of targets is stands with its first; what a backend lacks follows.
    """
    rows, told = [], ""
    for device in devices:
        if device["absent"]:
            rows.append((device["target"], "–", "–", str(device["absent"])))
            continue
        kinds = [kind.replace("_", " ") for kind in device.get("measures", ()) if kind != "correctness"]
        words = [] if device["what"] == told else [device["what"]]
        told = device["what"]
        words += dict.fromkeys(device.get("missing", {}).values())
        backends = ", ".join(device.get("backends", ()))
        rows.append((device["target"], backends, ", ".join(kinds), "; ".join(words)))
    return rows
