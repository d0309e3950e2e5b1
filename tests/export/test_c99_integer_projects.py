"""An int8 model in C++ and CMake projects, beside its float32 form."""

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from ssmith.export import c99
from tests.bundles import random_bundle
from tests.calibrated import calibrated

HERE = Path(__file__).parent
STRICT = ["-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-pedantic", "-Werror"]
SANITIZE = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]


def run(command):
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr or f"exit code {done.returncode}"
    return done.stdout


@pytest.mark.parametrize(
    ("bits", "compilers", "flags"),
    [
        (16, ("gcc", "g++"), ["-O1", *SANITIZE]),
        (8, ("clang", "clang++"), ["-O1", "-DNET_INT8_BLOCK=3"]),
    ],
)
def test_the_wrapper_gives_the_bits_of_c(tmp_path, bits, compilers, flags):
    for tool in compilers:
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed")
    c, cpp = compilers
    c99.lower(calibrated(random_bundle(np.random.default_rng(0))), tmp_path, ("int8",), bits)
    built = tmp_path / "net_int8.o"
    run([c, "-std=c99", "-ffp-contract=off", *STRICT, *flags, "-c", tmp_path / "net_int8.c", "-o", built])
    program = tmp_path / "wrapper"
    command = [cpp, "-std=c++17", *STRICT, *flags, f"-I{tmp_path}", HERE / "wrapper_int8.cpp", built]
    run([*command, "-o", program])
    run([program])


@pytest.mark.skipif(shutil.which("cmake") is None, reason="cmake is not installed")
@pytest.mark.skipif(shutil.which("gcc") is None, reason="gcc is not installed")
def test_both_precisions_link_into_one_program(tmp_path):
    c99.lower(calibrated(random_bundle(np.random.default_rng(0))), tmp_path / "model")
    (tmp_path / "main.c").write_text(
        '#include <stdio.h>\n#include "net.h"\n#include "net_int8.h"\n'
        "static net_t a;\nstatic net_int8_t b;\n"
        "int main(void)\n{\n"
        "    float in[NET_INPUTS] = {0}, out[NET_OUTPUTS];\n"
        "    if (net_init(&a) != NET_OK || net_int8_init(&b) != NET_INT8_OK) return 1;\n"
        "    if (net_step(&a, in, out) != NET_OK || net_int8_step(&b, in, out) != NET_INT8_OK) return 2;\n"
        "    puts(net_meta.precision);\n    puts(net_int8_meta.precision);\n    return 0;\n}\n"
    )
    (tmp_path / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.16)\nproject(product LANGUAGES C)\nadd_subdirectory(model)\n"
        "add_executable(product main.c)\n"
        "target_link_libraries(product PRIVATE net::net net_int8::net_int8)\n"
    )
    run(["cmake", "-S", tmp_path, "-B", tmp_path / "build", "-DCMAKE_C_COMPILER=gcc"])
    run(["cmake", "--build", tmp_path / "build"])
    assert run([tmp_path / "build" / "product"]).split() == ["float32", "int8"]
