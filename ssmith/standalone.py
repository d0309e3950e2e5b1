"""The verbs that work on single files outside a run: export, verify, reduce, new, devices."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from ssmith import stages
from ssmith.bundle import Bundle
from ssmith.errors import InputError
from ssmith.files import write_atomic
from ssmith.recipe import Recipe

Facts = dict[str, Any]


def export_bundle(bundle: Path, folder: Path, *, opset: int = 20) -> Facts:
    """Write every format of a bundle into a folder, and check each on the backends that are here.

    Raises:
        SsmithError: an artifact does not compute what the model computes.
    """
    model = Bundle.read(bundle)
    files = stages.lower(model, folder, ("onnx", "c99"), opset=opset)
    sizes: Facts = {str(path): path.stat().st_size for path in files}
    return sizes | stages.require_equal(stages.prove(folder, model))


def verify_artifacts(folder: Path, bundle: Path) -> Facts:
    """Check an artifact folder against its bundle.

    Raises:
        SsmithError: an artifact does not compute what the model computes.
    """
    return stages.require_equal(stages.prove(folder, Bundle.read(bundle)))


def reduce_bundle(
    source: Path, target: Path, *, order: int | None, tolerance: float | None, data: str | None
) -> Facts:
    """Cut a frozen model to an order or a tolerance, with statistics from a recipe's data or without.

    Raises:
        InputError: not one of order and tolerance, or the data does not fit the model.
    """
    if (order is None) == (tolerance is None):
        raise InputError("give --order STATES or --tolerance SHARE, one of them: it says how far to cut")
    stages.need("train", "torch", "scipy")
    from ssmith.train.posthoc import reduce_posthoc

    bundle = Bundle.read(source)
    recipe = None if data is None else Recipe.load(data)
    reduced, cuts = reduce_posthoc(bundle, order=order, tolerance=tolerance, recipe=recipe)
    reduced.write(target)
    return {
        "bundle": str(target),
        "bytes": f"{source.stat().st_size} -> {target.stat().st_size}",
        "cuts": [
            {"layer": cut["layer"], "order": f"{cut['order_before']} -> {cut['order_after']}"} for cut in cuts
        ],
    }


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
