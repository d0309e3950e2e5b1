"""Tests ask for a toolchain by name and are skipped where this machine lacks it."""

from __future__ import annotations

import pytest

from ssmith.devices.plugin import why_not
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
    if counts and found.runner in ("user", "system") and (reason := why_not(found.machine[0])) is not None:
        pytest.skip(reason)
    return found
