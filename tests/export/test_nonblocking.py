"""The compiler's own proof that no function of a model allocates, locks or waits: function effects."""

import importlib.util
import shutil
import subprocess
import sys

import numpy as np
import pytest

from ssmith.export import c99
from ssmith.runtime.calibrate import calibrate
from tests.bundles import random_bundle

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("ziglang") is None, reason="ziglang is not installed"
)
WARNINGS = ["-Wfunction-effects", "-Wall", "-Wextra", "-Wconversion", "-pedantic", "-Werror"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Both precisions of a model with every kind of op."""
    folder = tmp_path_factory.mktemp("artifacts")
    bundle = random_bundle(np.random.default_rng(0))
    block = np.random.default_rng(1).standard_normal((40, 3)).astype(np.float32)
    c99.lower(calibrate(bundle, [block]), folder)
    return folder


def complaints(folder, name):
    """What clang says of a C file, or of a C++ header."""
    language = ["cc", "-std=c99"] if name.endswith(".c") else ["c++", "-std=c++17", "-xc++"]
    command = [sys.executable, "-m", "ziglang", *language, *WARNINGS, "-ffp-contract=off", "-c"]
    source = folder / name
    if not name.endswith(".c"):
        source = folder / "includes.cpp"
        source.write_text(f'#include "{name}"\n')
    done = subprocess.run([*command, source, "-o", folder / "probe.o"], capture_output=True, text=True)
    return done.stderr


@pytest.mark.parametrize("name", ["net.c", "net_int8.c", "ssm.c", "net.hpp", "net_int8.hpp", "ssm.hpp"])
def test_nothing_blocks(folder, name):
    assert complaints(folder, name) == ""


def test_the_proof_can_fail(folder, tmp_path):
    copy = shutil.copytree(folder, tmp_path / "copy")
    text = (copy / "net.c").read_text()
    assert text.count("    memcpy(a, in,") == 1
    slow = text.replace("    memcpy(a, in,", "    free(malloc(1));\n    memcpy(a, in,")
    (copy / "net.c").write_text("#include <stdlib.h>\n" + slow)
    assert "must not call non-'nonblocking' function" in complaints(copy, "net.c")
