"""Not a warning from any compiler for any processor, as C99 and as C++."""

import pytest

from tests.native.programs import toolchain
from tests.native.toolchains import STRICT, TOOLCHAINS, compile_object

CPP = ("-xc++", "-std=c++11")
# The first three have a C compiler only (zig compiles C++ for such processors); glibc's C++ wants __GNUC__.
WITHOUT_CPP = ("aarch64-gcc", "aarch64-gcc-dotprod", "riscv64-gcc", "no-gnu-clang")
SOURCES = ("net.c", "ssm.c")


def objects(name, workshop, tmp_path, *flags):
    tools = toolchain(name)
    folder = workshop.artifacts("layers")
    for source in SOURCES:
        yield compile_object(tools, folder / source, tmp_path / f"{source}.o", (*STRICT, *flags))


@pytest.mark.parametrize("name", TOOLCHAINS)
def test_c99(workshop, tmp_path, name):
    for flags in (["-O3", "-ffp-contract=off"], ["-Os", "-ffp-contract=off", "-DSSM_PLAIN"]):
        assert all(path.stat().st_size for path in objects(name, workshop, tmp_path, "-std=c99", *flags))


@pytest.mark.parametrize("name", [name for name in TOOLCHAINS if name not in WITHOUT_CPP])
def test_cpp(workshop, tmp_path, name):
    flags = ("-O2", "-ffp-contract=off")
    assert all(path.stat().st_size for path in objects(name, workshop, tmp_path, *CPP, *flags))
