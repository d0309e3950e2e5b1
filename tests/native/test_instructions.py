"""Instructions of one step of the model of reference, emulated: below the goals, and not drifting.

``instructions.json`` holds what was counted last, with the compilers that built it; rewrite it with
``python -m tests.native.record`` when a kernel got better. With other compilers only the goals hold.
"""

import json
import math

import pytest

from ssmith.compiler import compiler_version
from tests.native.emulators import per_step
from tests.native.record import GOALS, RECORDED, key
from tests.native.skipping import toolchain

DRIFT = 0.03


@pytest.mark.parametrize(("name", "precision"), GOALS, ids=lambda part: part)
def test_instructions_of_a_step(workshop, name, precision):
    tools = toolchain(name, counts=True)
    found = per_step(tools, workshop.program(tools, "reference", precision))
    assert found <= GOALS[name, precision]
    recorded = json.loads(RECORDED.read_text())
    if recorded["compilers"][name] == compiler_version(tools.compiler):
        assert math.isclose(found, recorded["steps"][key(name, precision)], rel_tol=DRIFT)
