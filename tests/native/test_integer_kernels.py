"""The integer kernels in odd sizes: on every processor the bits of the portable C, which
``tests/runtime/test_integer_kernels.py`` compares with the reference. No read beyond an array."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.native.emulators import run
from tests.native.skipping import toolchain
from tests.native.toolchains import EXACT, HERE, STRICT, TOOLCHAINS, compile_object, link

SOURCE = HERE.parent / "runtime" / "integer_hash.c"
INCLUDE = f"-I{HERE.parents[1] / 'runtime' / 'c'}"
RUNNING = [name for name, found in TOOLCHAINS.items() if found.runner != "none"]
SANITIZED = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-O1")


def answer(name: str, folder: Path, *flags: str) -> str:
    """The hash that a build of the program prints."""
    tools = toolchain(name)
    objects = [compile_object(tools, SOURCE, folder / "hash.o", (*EXACT, *STRICT, INCLUDE, *flags))]
    if tools.runner == "wasm":
        memory = compile_object(tools, HERE / "memory.c", folder / "memory.o", ("-O2", "-fno-builtin"))
        objects.append(memory)
    linked = [flag for flag in flags if flag.startswith("-fsanitize")]
    return run(tools, link(tools, objects, folder / "program", linked), 0, 0, 0, 0)


@pytest.fixture(scope="module")
def portable(tmp_path_factory: pytest.TempPathFactory) -> str:
    return answer("x86-gcc", tmp_path_factory.mktemp("portable"), "-DSSM_PLAIN", *SANITIZED)


@pytest.mark.parametrize("name", RUNNING)
def test_every_processor_computes_the_bits_of_portable_c(portable, tmp_path, name):
    assert answer(name, tmp_path) == portable


@pytest.mark.parametrize("flag", ["-DSSM_NO_DISPATCH", "-march=x86-64-v3", "-march=native"])
def test_no_vector_unit_of_the_host_reads_beyond_an_array(portable, tmp_path, flag):
    assert answer("x86-gcc", tmp_path, flag, *SANITIZED) == portable
