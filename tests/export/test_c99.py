"""Both C forms together: written bytes, every compiler setting, the check against the golden vectors."""

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from ssmith.compiler import find_compiler
from ssmith.errors import InputError
from ssmith.export import c99
from ssmith.runtime.artifacts import ENGINE, INTEGER_KERNELS, KERNELS, WRAPPER
from ssmith.runtime.reference import run
from tests.bundles import random_bundle
from tests.calibrated import calibrated
from tests.op_lists import any_bundle, frames

HERE = Path(__file__).parent
STRICT = ["-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-pedantic", "-Werror"]
pytestmark = pytest.mark.usefixtures("library_cache")
needs_compiler = pytest.mark.skipif(find_compiler() is None, reason="no C compiler")


def compiled(folder, output, *arguments):
    command = [*find_compiler(), f"-I{folder}", *map(str, arguments), "-o", str(folder / output)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder / output


def test_equal_models_give_equal_bytes(tmp_path):
    for place in ("a", "b"):
        c99.lower(random_bundle(np.random.default_rng(0)), tmp_path / place)
    names = {path.name for path in (tmp_path / "a").iterdir()}
    own = {"net.c", "net.h", "net.hpp", "net_weights.h", "CMakeLists.txt", "net.ssmc"}
    assert names - c99.engine_files().keys() == own
    assert {KERNELS, INTEGER_KERNELS, WRAPPER, *ENGINE} <= names
    for name in names:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_every_source_file_carries_its_licence(tmp_path):
    for path in c99.lower(random_bundle(np.random.default_rng(0)), tmp_path):
        if path.suffix != ".ssmc":
            assert "SPDX-License-Identifier: 0BSD" in path.read_text()[:400]


@pytest.mark.parametrize(
    "name", ["int8", "uint_fast16", "size", "string", "ssm_kernels", "time", "class", "read", "log"]
)
def test_a_name_that_c_uses_is_refused(tmp_path, name):
    with pytest.raises(InputError, match=f"Rename it, for example to 'my_{name}'"):
        c99.lower(random_bundle(np.random.default_rng(0), name=name), tmp_path)
    assert not list(tmp_path.iterdir())


@needs_compiler
def test_check_passes_and_notices_a_changed_weight(tmp_path):
    bundle = random_bundle(np.random.default_rng(1))
    c99.lower(bundle, tmp_path)
    rows = c99.check(bundle, tmp_path)
    assert all(row.passed for row in rows)
    assert {row.artifact for row in rows} == {"net.c", "net.ssmc"}
    weights = tmp_path / "net_weights.h"
    text = weights.read_text()
    start = text.index("{", text.index("net_head_weight")) + 1
    weights.write_text(text[:start] + "1.0f + " + text[start:])
    failed = {(row.artifact, row.case) for row in c99.check(bundle, tmp_path) if not row.passed}
    assert ("net.c", "noise_0/bits") in failed
    assert {artifact for artifact, _ in failed} == {"net.c"}


@needs_compiler
@pytest.mark.parametrize(
    ("flags", "block"),
    [
        (["-std=c99", "-O3", "-march=native"], 0),
        (["-std=c99", "-O3"], 5),
        (["-std=c99", "-O2", "-DNET_BLOCK=1"], 64),
        (["-std=c11", "-O1", "-DNET_BLOCK=7"], 64),
        (["-std=c99", "-O0"], 3),
        (["-std=gnu99", "-O3", "-march=native", "-DSSM_PLAIN"], 9),
        (["-xc++", "-std=c++11", "-O3"], 4),
        (["-xc++", "-std=c++20", "-O2", "-march=native"], 0),
    ],
)
@pytest.mark.parametrize("wide", [False, True])
def test_every_setting_gives_the_reference_s_bits(tmp_path, flags, block, wide):
    """Also runs what the header promises, see stream.c; strict warnings are errors."""
    width, outputs = (65, 2) if wide else (5, 7)
    bundle = random_bundle(np.random.default_rng(2), width=width, outputs=outputs, orders=(6, 17))
    c99.lower(bundle, tmp_path)
    if any("c++" in flag for flag in flags) and shutil.which("g++") is None and "gcc" in find_compiler()[0]:
        pytest.skip("no C++ compiler")
    defines = ["-DMODEL=net", "-DUPPER=NET", '-DMODEL_HEADER="net.h"']
    sources = [HERE / "stream.c"]
    model = compiled(tmp_path, "net.o", "-ffp-contract=off", *STRICT, *flags, "-c", tmp_path / "net.c")
    if any("c++" in flag for flag in flags):
        flags = [flag for flag in flags if "++" not in flag]  # the caller is C, as in a mixed project
    program = compiled(tmp_path, "stream", *defines, *flags, *sources, "-xnone", model, "-lm")
    block_in = frames(bundle, 77)
    done = subprocess.run([program, str(block)], input=block_in.tobytes(), capture_output=True)
    assert done.returncode == 0, f"promise of stream.c line {done.returncode}"
    expected, _ = run(bundle.meta.ops, bundle.tensors, block_in, precision="float32")
    assert np.array_equal(np.frombuffer(done.stdout, np.float32).reshape(expected.shape), expected)


@needs_compiler
@pytest.mark.parametrize("flags", [["-std=c99"], ["-xc++", "-std=c++11"]])
def test_engine_compiles_without_a_warning(tmp_path, flags):
    c99.lower(random_bundle(np.random.default_rng(0)), tmp_path)
    for option in (["-O3", "-march=native"], ["-Os", "-DSSM_PLAIN", "-DSSM_BLOCK=1"]):
        compiled(tmp_path, "ssm.o", *STRICT, *flags, *option, "-c", tmp_path / "ssm.c")


@needs_compiler
def test_any_op_list_compiles_without_a_warning(tmp_path):
    for seed in range(3):
        c99.lower(any_bundle(seed, count=12), tmp_path)
        compiled(tmp_path, "net.o", *STRICT, "-std=c99", "-O3", "-march=native", "-c", tmp_path / "net.c")


@needs_compiler
@pytest.mark.parametrize("form", ["net", "net_int8"])
def test_fast_math_is_refused_by_the_source(form, tmp_path):
    c99.lower(calibrated(random_bundle(np.random.default_rng(0))), tmp_path)
    command = [
        *find_compiler(),
        "-ffast-math",
        "-c",
        str(tmp_path / f"{form}.c"),
        "-o",
        str(tmp_path / "net.o"),
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode != 0
    assert "-ffast-math changes" in done.stderr
