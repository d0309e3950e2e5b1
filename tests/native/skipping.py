"""Tests ask for a toolchain by name and are skipped where this machine lacks it."""

from __future__ import annotations

import pytest

from tests.native.emulators import qemu_counts
from tests.native.toolchains import TOOLCHAINS, Toolchain


def toolchain(name: str, *, counts: bool = False) -> Toolchain:
    """A toolchain by name; the test is skipped where its tools are missing.

    Args:
        name: one of ``TOOLCHAINS``.
        counts: whether instructions are to be counted.
    """
    found = TOOLCHAINS[name]
    if found.missing:
        pytest.skip(f"{found.missing} is not installed: make deps")
    if counts and found.runner in ("user", "system") and not qemu_counts():
        pytest.skip("the instruction counter speaks the plugin interface of QEMU 4.2 to 8")
    return found
