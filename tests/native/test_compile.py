"""Not a warning from any compiler for any processor, as C99 and as C++; sizes as the header says."""

import pytest

from tests.native.skipping import toolchain
from tests.native.toolchains import STRICT, TOOLCHAINS, compile_object

# The first three have a C compiler only (zig compiles C++ for such processors); glibc's C++ wants __GNUC__.
WITHOUT_CPP = ("aarch64-gcc", "aarch64-gcc-dotprod", "riscv64-gcc", "no-gnu-clang")
SETTINGS = {
    "c99": ("-std=c99", "-O3", "-ffp-contract=off"),
    "c99-plain": ("-std=c99", "-Os", "-ffp-contract=off", "-DSSM_PLAIN"),
    "c++11": ("-xc++", "-std=c++11", "-O2", "-ffp-contract=off"),
}
SOURCES = ("net.c", "net_int8.c", "ssm.c")
LAYOUT = """
#include "net.h"
#include "net_int8.h"
typedef char float_bytes_as_told[sizeof(net_t) == NET_RAM_BYTES ? 1 : -1];
typedef char int8_bytes_as_told[sizeof(net_int8_t) == NET_INT8_RAM_BYTES ? 1 : -1];
"""


@pytest.mark.parametrize(
    ("name", "setting"),
    [(n, s) for n in TOOLCHAINS for s in SETTINGS if s != "c++11" or n not in WITHOUT_CPP],
)
def test_no_warning(workshop, tmp_path, name, setting):
    tools = toolchain(name)
    folder = workshop.artifacts("layers")
    for source in SOURCES:
        flags = (*STRICT, *SETTINGS[setting])
        assert compile_object(tools, folder / source, tmp_path / "object.o", flags).stat().st_size > 0


@pytest.mark.parametrize("name", TOOLCHAINS)
def test_the_header_tells_the_size_of_the_memory(workshop, tmp_path, name):
    tools = toolchain(name)
    layout = tmp_path / "layout.c"
    layout.write_text(LAYOUT)
    compile_object(tools, layout, tmp_path / "layout.o", ("-std=c99", f"-I{workshop.artifacts('layers')}"))
