"""``qemu:MODEL``: a microcontroller's board, or a Linux processor in user mode."""

from __future__ import annotations

from ssmith.devices import qemu_system, qemu_user
from ssmith.devices.target import Target


def open_target(model: str) -> Target:
    """The target of this model."""
    if model.startswith("cortex-m"):
        return qemu_system.open_target(model)
    return qemu_user.open_target(model)
