"""The same bits on every processor, from every compiler, by every path: those of the NumPy reference."""

import pytest

from tests.native.emulators import run
from tests.native.models import expected
from tests.native.programs import toolchain
from tests.native.toolchains import TOOLCHAINS

RUNNING = [name for name, found in TOOLCHAINS.items() if found.runner != "none"]
FUSED = [name for name in RUNNING if TOOLCHAINS[name].fma]
NOISE, FRESH = 0, 1
STEPS = 2000
STEPS_EMULATED_FLOAT = 48  # where each float operation is a function call
BLOCK = 16


@pytest.mark.parametrize("name", RUNNING)
def test_float32_of_the_model_of_reference(workshop, name):
    tools = toolchain(name)
    program = workshop.program(tools, "reference")
    steps = STEPS if tools.hard_float else STEPS_EMULATED_FLOAT
    answer = expected("reference", "float32", steps)
    assert run(tools, program, NOISE, steps, 0, FRESH) == answer
    assert run(tools, program, NOISE, steps, BLOCK, FRESH) == answer


@pytest.mark.parametrize("name", RUNNING)
@pytest.mark.parametrize("model", ["layers", "tokens"])
def test_float32_of_every_kind_of_op(workshop, name, model):
    tools = toolchain(name)
    program = workshop.program(tools, model)
    answer = expected(model, "float32", 200)
    assert {run(tools, program, NOISE, 200, block, FRESH) for block in (0, 1, 7, BLOCK)} == {answer}


@pytest.mark.parametrize("name", RUNNING)
def test_float32_of_the_loadable_form(workshop, name):
    tools = toolchain(name)
    program = workshop.engine_program(tools, "layers")
    answer = expected("layers", "float32", 200)
    assert {run(tools, program, NOISE, 200, block, FRESH) for block in (0, 7)} == {answer}
