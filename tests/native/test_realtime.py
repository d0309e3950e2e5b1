"""What an interrupt may call: no allocation, no lock, no system call, bounded stack, the same time always."""

import subprocess
import sys

import pytest

from tests.native.emulators import count, run
from tests.native.models import expected
from tests.native.objects import deepest_stack, defined, undefined
from tests.native.programs import PRECISIONS, header_value, macro_value
from tests.native.skipping import toolchain
from tests.native.toolchains import ARM, EXACT, compile_object

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="seccomp is Linux's")
KINDS = {"noise": 0, "silence": 1, "largest": 2, "smallest": 3}
LIBRARY = {"memcpy", "memset", "memmove"}
# What run-time dispatch on x86-64 asks the compiler's own library about the processor.
DISPATCH = {"__cpu_model", "__cpu_indicator_init", "__cpu_features2", "_GLOBAL_OFFSET_TABLE_"}
FORBIDDEN = {
    "malloc",
    "calloc",
    "realloc",
    "free",
    "_sbrk",
    "printf",
    "exp",
    "expf",
    "sqrtf",
    "pthread_mutex_lock",
}
STACK_TARGETS = ["x86-gcc", "x86-gcc-native", "aarch64-gcc", "cortex-m4", "cortex-m55", "riscv64-gcc"]
SAME_TIME = [  # (toolchain, precision): float counts depend on the data where float is emulated
    (name, precision)
    for precision in PRECISIONS
    for name in ("aarch64-gcc", "cortex-m4", "cortex-m55", "cortex-m3")
    if name != "cortex-m3" or PRECISIONS[precision].codes
]


@pytest.mark.parametrize("name", ["x86-gcc", "x86-clang"])
@pytest.mark.parametrize("precision", PRECISIONS)
@linux_only
def test_no_allocation_and_no_system_call(workshop, name, precision):
    tools = toolchain(name)
    for model in ("layers", "tokens"):
        program = workshop.program(tools, model, precision, "-DBREAK=0", main="realtime.c")
        done = subprocess.run([program], capture_output=True, text=True, check=True)
        assert done.stdout == "allocations 000000\n"


@linux_only
def test_the_traps_close(workshop):
    tools = toolchain("x86-gcc-native")
    allocates = workshop.program(tools, "layers", "float32", "-DBREAK=1", main="realtime.c")
    done = subprocess.run([allocates], capture_output=True, text=True, check=True)
    assert done.stdout == "allocations 000002\n"
    calls = workshop.program(tools, "layers", "float32", "-DBREAK=2", main="realtime.c")
    assert subprocess.run([calls], capture_output=True, check=False).returncode == -9


@pytest.mark.parametrize(
    "name", ["x86-gcc", "x86-clang", "aarch64-gcc", "cortex-m4", "cortex-m3", "riscv64-gcc"]
)
@pytest.mark.parametrize("precision", PRECISIONS)
def test_objects_want_nothing_of_a_library(workshop, name, precision):
    tools = toolchain(name)
    wanted = undefined(tools, workshop.model_object(tools, "layers", precision)) - LIBRARY
    if name == "x86-gcc":
        wanted -= DISPATCH
    if tools.compiler == ARM:  # arithmetic without an instruction: the compiler's own library
        wanted = {symbol for symbol in wanted if not symbol.startswith("__aeabi_")}
    assert wanted == set()


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_board_s_program_holds_no_allocator_and_no_libm(workshop, precision):
    tools = toolchain("cortex-m4")
    assert not defined(tools, workshop.program(tools, "layers", precision)) & FORBIDDEN


@pytest.mark.parametrize("name", STACK_TARGETS)
@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_stack_stays_below_the_header_s_bound(workshop, name, precision):
    tools = toolchain(name)
    for model, level in (("reference", "-O3"), ("layers", "-Os")):
        bound = header_value(workshop, tools, model, precision, "STACK_BYTES")
        made = workshop.model_object(tools, model, precision, "-fcallgraph-info=su", level)
        used, chain = deepest_stack(made.with_suffix(".ci"))
        assert used <= bound, f"{model} {level}: {used} bytes by {' -> '.join(chain)}"


@pytest.mark.parametrize("name", STACK_TARGETS)
def test_the_engine_s_stack_stays_below_its_bound(workshop, tmp_path, name):
    tools = toolchain(name)
    engine = workshop.artifacts("layers") / "ssm.c"
    bound = macro_value(tools, engine.with_suffix(".h"), "SSM_STACK_BYTES")
    for level in ("-O3", "-Os"):
        made = compile_object(tools, engine, tmp_path / "ssm.o", (*EXACT, level, "-fcallgraph-info=su"))
        used, chain = deepest_stack(made.with_suffix(".ci"))
        assert used <= bound, f"{level}: {used} bytes by {' -> '.join(chain)}"


@pytest.mark.parametrize("precision", PRECISIONS)
def test_sanitizers_find_nothing(workshop, precision):
    tools = toolchain("x86-gcc")
    flags = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-O1", "-g")
    for model in ("layers", "tokens"):
        program = workshop.program(tools, model, precision, *flags)
        for kind in KINDS.values():
            for block in (0, 7):
                assert run(tools, program, kind, 100, block, 1) != "0" * 16
        assert run(tools, program, 0, 200, 7, 1) == expected(model, precision, 200)


@pytest.mark.parametrize(("name", "precision"), SAME_TIME)
def test_instructions_do_not_depend_on_the_data(workshop, name, precision):
    """To the instruction, over the whole program: start, sixteen frames of one kind, 48 steps."""
    tools = toolchain(name, counts=True)
    for model in ("small16", "layers"):
        program = workshop.program(tools, model, precision)
        steps = {
            kind: count(tools, program, data, 48, 0, 0).total - count(tools, program, data, 16, 0, 0).total
            for kind, data in KINDS.items()
        }
        assert len(set(steps.values())) == 1, f"{model}: {steps}"
