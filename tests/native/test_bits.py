"""The same bits on every processor, from every compiler, by every path: those of the NumPy reference."""

import pytest

from tests.native.emulators import run
from tests.native.models import expected
from tests.native.programs import PRECISIONS
from tests.native.skipping import toolchain
from tests.native.toolchains import TOOLCHAINS

RUNNING = [name for name, found in TOOLCHAINS.items() if found.runner != "none"]
# Where each multiply-add is one instruction; elsewhere it would be a slow function of the C library.
FUSED = [name for name in RUNNING if TOOLCHAINS[name].fma]
CASES = [(name, precision) for precision in PRECISIONS for name in RUNNING if precision != "float32-fma"]
CASES += [(name, precision) for precision in PRECISIONS for name in FUSED if precision == "float32-fma"]
# These get the long run; the others share their processor or their instructions with one of them.
LONG = {
    "x86-gcc",
    "x86-gcc-native",
    "x86-clang",
    "x86-zig",
    "aarch64-gcc",
    "cortex-m4",
    "cortex-m55",
    "wasm32-zig",
}
NOISE, FRESH = 0, 1
BLOCK = 16


def steps(name, precision):
    if not TOOLCHAINS[name].hard_float and not PRECISIONS[precision].codes:
        return 48  # every float operation is a call
    return 2000 if name in LONG else 500


@pytest.mark.parametrize(("name", "precision"), CASES)
def test_the_model_of_reference(workshop, name, precision):
    tools = toolchain(name)
    program = workshop.program(tools, "reference", precision)
    frames = steps(name, precision)
    answer = expected("reference", precision, frames)
    assert run(tools, program, NOISE, frames, 0, FRESH) == answer
    assert run(tools, program, NOISE, frames, BLOCK, FRESH) == answer


@pytest.mark.parametrize(("name", "precision"), CASES)
def test_every_kind_of_op_in_any_block(workshop, name, precision):
    tools = toolchain(name)
    for model in ("layers", "tokens"):
        program = workshop.program(tools, model, precision)
        answer = expected(model, precision, 100)
        assert {run(tools, program, NOISE, 100, block, FRESH) for block in (0, 7)} == {answer}, model


@pytest.mark.parametrize(("name", "precision"), [case for case in CASES if case[1] != "float32-fma"])
def test_the_loadable_form(workshop, name, precision):
    tools = toolchain(name)
    program = workshop.engine_program(tools, "layers", precision)
    answer = expected("layers", precision, 100)
    assert {run(tools, program, NOISE, 100, block, FRESH) for block in (0, 7)} == {answer}
