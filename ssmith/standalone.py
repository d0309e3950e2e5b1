"""The verbs that work on single files outside a run: export, verify, new, devices; `reduction` has reduce."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from ssmith import stages
from ssmith.bundle import Bundle
from ssmith.errors import InputError
from ssmith.files import write_atomic

Facts = dict[str, Any]


def export_bundle(bundle: Path, folder: Path, *, opset: int = 20) -> Facts:
    """Write every format of a bundle into a folder, and check each on the backends that are here.

    Raises:
        SsmithError: an artifact does not compute what the model computes.
    """
    model = Bundle.read(bundle)
    formats, left_out = stages.writable(("onnx", "c99"))
    files = stages.lower(model, folder, formats, opset=opset)
    sizes: Facts = {str(path): path.stat().st_size for path in files}
    return sizes | left_out | stages.require_equal(stages.prove(folder, model))


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
