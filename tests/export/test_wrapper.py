"""The C++ wrappers of both forms against what they promise, see wrapper.cpp."""

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from ssmith.export import c99
from tests.bundles import random_bundle

HERE = Path(__file__).parent
STRICT = ["-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-pedantic", "-Werror"]
SANITIZE = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The model net, and another one of its shape in other.ssmc."""
    folder = tmp_path_factory.mktemp("artifacts")
    c99.lower(random_bundle(np.random.default_rng(0)), folder)
    (folder / "other.ssmc").write_bytes(c99.ssmc_bytes(random_bundle(np.random.default_rng(1))))
    return folder


def run(command, folder):
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr or f"exit code {done.returncode}"
    return done.stdout


@pytest.mark.parametrize(
    ("compilers", "flags", "own"),
    [
        (("gcc", "g++"), ["-O2", "-std=c++17", "-DSSM_NO_INT8"], []),
        (("gcc", "g++"), ["-O1", "-std=c++20", "-DNET_BLOCK=1", "-DSSM_BLOCK=3", "-DSSM_NO_INT8"], SANITIZE),
        (("clang", "clang++"), ["-O2", "-std=c++17", "-DNET_BLOCK=5", "-DSSM_NO_INT8"], []),
    ],
)
def test_wrappers_keep_their_promises(folder, tmp_path, compilers, flags, own):
    for tool in compilers:
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed")
    c, cpp = compilers
    blocks = [flag for flag in flags if flag.startswith("-D")]
    for name in ("net", "ssm"):
        command = [c, "-std=c99", "-O2", "-ffp-contract=off", *STRICT, *blocks, *own]
        run([*command, "-c", folder / f"{name}.c", "-o", tmp_path / f"{name}.o"], folder)
    objects = [tmp_path / "net.o", tmp_path / "ssm.o"]
    program = tmp_path / "wrapper"
    command = [cpp, *STRICT, *flags, *own, f"-I{folder}", HERE / "wrapper.cpp", *objects, "-pthread"]
    run([*command, "-o", program], folder)
    run([program, "net.ssmc", "other.ssmc"], folder)
