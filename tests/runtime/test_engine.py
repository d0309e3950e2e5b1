"""The loadable engine against wrong use, under the sanitizers; see engine.c. Damaged files: fuzz_ssmc.c."""

import shutil
import subprocess
from importlib import resources
from pathlib import Path

import numpy as np
import pytest

from ssmith.bundle import Bundle, Signal
from ssmith.export.c99_binary import ssmc_bytes
from tests.bundles import random_bundle
from tests.native.objects import deepest_stack

HERE = Path(__file__).parent
STRICT = ["-std=c99", "-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-pedantic", "-Werror"]
SANITIZE = ["-g", "-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
pytestmark = pytest.mark.skipif(shutil.which("gcc") is None, reason="gcc is not installed")


@pytest.fixture(scope="module")
def sources():
    with resources.as_file(resources.files("ssmith.runtime") / "c") as folder:
        yield folder


@pytest.fixture(scope="module")
def engine(sources, tmp_path_factory):
    """The checking program around the engine."""
    program = tmp_path_factory.mktemp("engine") / "engine"
    command = [
        "gcc",
        *STRICT,
        *SANITIZE,
        "-DSSM_NO_INT8",
        f"-I{sources}",
        HERE / "engine.c",
        sources / "ssm.c",
    ]
    done = subprocess.run([*command, "-lm", "-o", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return program


@pytest.mark.parametrize(
    "kind",
    [
        {"inputs": 3, "outputs": 2},
        {"inputs": 1, "outputs": 7, "pool": "mean", "norm": "affine"},
        {"inputs": 2, "outputs": 2, "orders": (), "pool": "none"},  # no state at all
    ],
)
def test_wrong_use_is_refused_and_changes_nothing(engine, tmp_path, kind):
    bundle = random_bundle(np.random.default_rng(0), **kind)
    signals = tuple(
        Signal(name=f"Füllstand {k}", unit="µm", minimum=k - 1.5, maximum=None if k else 3.0)
        for k in range(len(bundle.meta.inputs))
    )
    bundle = Bundle(bundle.meta.model_copy(update={"inputs": signals}), bundle.tensors)
    path = tmp_path / "net.ssmc"
    path.write_bytes(ssmc_bytes(bundle))
    done = subprocess.run([engine, path], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    told = done.stdout.splitlines()
    expected = [f"Füllstand {k}|µm|1 {k - 1.5:g}|{'0 0' if k else '1 3'}" for k in range(len(signals))]
    assert told[: len(signals)] == expected
    assert told[len(signals) :] == [f"out_{k}|m/s|0 0|0 0" for k in range(len(bundle.meta.outputs))]


@pytest.mark.parametrize(
    ("compiler", "flags"),
    [
        ("gcc", ["-O3"]),
        ("gcc", ["-Os"]),
        ("gcc", ["-O3", "-march=native"]),
        ("arm-none-eabi-gcc", ["-O3", "-mcpu=cortex-m4", "-mthumb", "-mfloat-abi=hard", "-mfpu=fpv4-sp-d16"]),
    ],
)
def test_the_stack_stays_below_the_header_s_bound(sources, tmp_path, compiler, flags):
    if shutil.which(compiler) is None:
        pytest.skip(f"{compiler} is not installed")
    made = tmp_path / "ssm.o"
    command = [
        compiler,
        "-std=c99",
        *flags,
        "-ffp-contract=off",
        "-fcallgraph-info=su",
        "-c",
        sources / "ssm.c",
    ]
    subprocess.run([*command, "-o", made], check=True)
    used, chain = deepest_stack(made.with_suffix(".ci"))
    text = f'#include "{sources / "ssm.h"}"\nunsigned bound = SSM_STACK_BYTES;\n'
    shown = subprocess.run(
        [compiler, "-E", "-P", "-"], input=text, capture_output=True, text=True, check=True
    )
    bound = int(shown.stdout.split("bound =")[1].strip(" ;\n"))
    assert bound / 8 < used <= bound, " -> ".join(chain)
