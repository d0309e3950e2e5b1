"""Targets by name: ``host``, ``emulated:cortex-m4``, ``ssh:pi@raspberrypi.local`` and so on.

Each kind stands in a file of its own, imported when it is asked for.
"""

from __future__ import annotations

import difflib
import importlib
from dataclasses import dataclass
from typing import cast

from ssmith.devices.target import Target
from ssmith.errors import InputError


@dataclass(frozen=True)
class Family:
    """A kind of target.

    Args:
        module: of ssmith.devices, with ``open_target(model: str) -> Target`` that knows its models.
        models: what stands behind the colon where there is a fixed list; empty where the kind is one target.
        form: what stands behind the colon where it is the user's, ``USER@HOST``.
        what: one sentence for lists.
        remote: it has a processor of its own, so that it may work while others do.
        counted: its numbers are counts or estimates, the same whatever else this machine does.
    """

    module: str
    what: str
    remote: bool = False
    counted: bool = False
    models: tuple[str, ...] = ()
    form: str | None = None


FAMILIES: dict[str, Family] = {
    "host": Family("host", "this machine: real latency"),
    "emulated": Family(
        "emulated",
        "cores emulated by packages of pip: bits, instructions, flash, RAM and stack; no time",
        counted=True,
        models=("cortex-m4", "cortex-m7", "aarch64"),
    ),
    "wasm": Family("wasm", "WebAssembly under wasmtime: bits and operators (fuel); no time", counted=True),
    "qemu": Family(
        "qemu",
        "QEMU: boards from reset on, Linux processors in user mode; instructions, no time",
        counted=True,
        models=(
            "cortex-m3",
            "cortex-m4",
            "cortex-m7",
            "cortex-m55",
            "riscv64",
            "aarch64",
            "aarch64-cortex-a53",
            "aarch64-cortex-a72",
            "aarch64-cortex-a76",
            "aarch64-neoverse-n1",
        ),
    ),
    "ssh": Family("ssh", "a board with Linux: real latency", remote=True, form="USER@HOST"),
    "serial": Family(
        "serial",
        "a microcontroller that runs the bench firmware: real latency",
        remote=True,
        form="/dev/ttyACM0",
    ),
    "adb": Family("adb", "an Android device: real latency", remote=True, form="SERIAL"),
    "mca": Family(
        "mca",
        "llvm-mca: cycles by a model of the core, from blocks counted under QEMU; no time",
        counted=True,
        models=("cortex-a53", "cortex-a72", "cortex-m4", "cortex-m7"),
    ),
}


def find_target(name: str) -> Target:
    """The target of this name.

    Raises:
        InputError: there is none; the message names the nearest.
    """
    kind, colon, model = name.partition(":")
    family = FAMILIES.get(kind)
    if family is None:
        raise InputError(f"there is no target {name!r}; write {_listed(name, list(names()))}")
    if family.form is not None and not model:
        raise InputError(f"target {name!r} lacks its place; write {kind}:{family.form}")
    if family.form is None and bool(colon) != bool(family.models):
        raise InputError(f"there is no target {name!r}; write {_listed(name, _names_of(kind, family))}")
    if family.models and model not in family.models:
        raise InputError(f"there is no target {name!r}; write {_listed(name, _names_of(kind, family))}")
    return cast(Target, importlib.import_module(f"ssmith.devices.{family.module}").open_target(model))


def is_remote(name: str) -> bool:
    """Whether a target works on a processor that no other target needs."""
    return FAMILIES[name.partition(":")[0]].remote


def is_counted(name: str) -> bool:
    """Whether what else this machine does leaves a target's numbers as they are."""
    return FAMILIES[name.partition(":")[0]].counted


def names() -> list[str]:
    """Every target that has a fixed name, and the form of the others."""
    return [name for kind, family in FAMILIES.items() for name in _names_of(kind, family)]


def _names_of(kind: str, family: Family) -> list[str]:
    if family.form is not None:
        return [f"{kind}:{family.form}"]
    return [f"{kind}:{model}" for model in family.models] or [kind]


def _listed(name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, known, 3)
    return " or ".join(near or known)
