"""Both ways into a CMake project, configured, built and run: an artifact folder, and FetchContent."""

import shutil
import subprocess
from importlib import resources
from pathlib import Path

import numpy as np
import pytest

from ssmith.export import c99
from tests.bundles import random_bundle

HERE = Path(__file__).parent
pytestmark = [
    pytest.mark.skipif(shutil.which("cmake") is None, reason="cmake is not installed"),
    pytest.mark.skipif(shutil.which("gcc") is None, reason="gcc is not installed"),
]
HEAD = "cmake_minimum_required(VERSION 3.18)\nproject(product LANGUAGES C)\n"
PROGRAM = 'add_executable(product "{}")\n'.format(HERE / "cmake_program.c")


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory):
    folder = tmp_path_factory.mktemp("artifacts")
    c99.lower(random_bundle(np.random.default_rng(0)), folder)
    return folder


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    """``runtime/c`` where a checkout of the project has it."""
    checkout = tmp_path_factory.mktemp("checkout")
    with resources.as_file(resources.files("ssmith.runtime") / "c") as sources:
        shutil.copytree(sources, checkout / "runtime" / "c")
    return checkout


def configured(tmp_path, text, *options):
    (tmp_path / "CMakeLists.txt").write_text(HEAD + text)
    command = ["cmake", "-S", tmp_path, "-B", tmp_path / "build", "-Wdev", "-DCMAKE_C_COMPILER=gcc", *options]
    return subprocess.run(command, capture_output=True, text=True)


def built_and_run(tmp_path, text, *options):
    done = configured(tmp_path, text, *options)
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr, done.stderr
    done = subprocess.run(["cmake", "--build", tmp_path / "build", "-v"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    commands = [line for line in done.stdout.splitlines() if " -c " in line]
    for line in commands:
        if "cmake_program.c" not in line and "-bytes" not in line:
            assert "-ffp-contract=off" in line and "-std=c99" in line
    program = subprocess.run([tmp_path / "build" / "product"], capture_output=True, text=True)
    assert program.returncode == 0, f"exit code {program.returncode}"
    return program.stdout


def fetched(engine):
    return (
        "include(FetchContent)\n"
        f'FetchContent_Declare(ssmith SOURCE_DIR "{engine}" SOURCE_SUBDIR runtime/c)\n'
        "FetchContent_MakeAvailable(ssmith)\n"
    )


def test_a_folder_is_a_library(artifacts, engine, tmp_path):
    """No FetchContent: sub-directories, with a block size of one's own."""
    shutil.copy(artifacts / "net.ssmc", tmp_path / "sound.ssmc")
    text = (
        "set(NET_BLOCK 7)\n"
        f'add_subdirectory("{artifacts}" net)\n'
        f'add_subdirectory("{engine}/runtime/c" engine)\n'
        "ssmith_add_model(tone sound.ssmc)\n" + PROGRAM + "target_link_libraries(product net::net tone)\n"
    )
    assert built_and_run(tmp_path, text) == "7 frames a block\n"


@pytest.mark.parametrize("name", ["net", "controller"])
def test_fetch_content_adds_both_forms(artifacts, engine, tmp_path, name):
    text = (
        fetched(engine)
        + f'ssmith_add_model({name} "{artifacts}")\nssmith_add_model(tone "{artifacts}/net.ssmc")\n'
        + PROGRAM
        + f"target_link_libraries(product {name} tone)\n"
    )
    assert built_and_run(tmp_path, text, "-DCMAKE_BUILD_TYPE=Release") == "4 frames a block\n"


def test_what_is_no_model_is_refused(engine, tmp_path):
    (tmp_path / "model.onnx").write_text("")
    for path in ("model.onnx", "nothing.ssmc", "build"):
        done = configured(tmp_path, fetched(engine) + f"ssmith_add_model(net {path})\n")
        assert done.returncode != 0
        assert "neither an artifact folder" in done.stderr
