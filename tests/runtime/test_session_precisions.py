"""One model in every precision: who opens it, the same bits from all of them, states that move between."""

import shutil

import numpy as np
import pytest

from ssmith.compiler import find_compiler
from ssmith.errors import InputError
from ssmith.export import c99
from ssmith.export.manifest import write_manifest
from ssmith.runtime import Session
from ssmith.runtime.calibrate import calibrate
from tests.bundles import random_bundle

pytestmark = [
    pytest.mark.usefixtures("library_cache"),
    pytest.mark.skipif(find_compiler() is None, reason="no C compiler"),
]
BLOCK = np.random.default_rng(5).standard_normal((40, 3)).astype(np.float32)


def exported(run, bits, pool="ema"):
    """An artifact folder with both precisions, the bundle beside it."""
    bundle = calibrate(random_bundle(np.random.default_rng(0), pool=pool), [BLOCK])
    bundle.write(run / "net.ssm")
    artifacts = run / "artifacts"
    write_manifest(
        bundle, artifacts, c99.lower(bundle, artifacts, activation_bits=bits), activation_bits=bits
    )
    return artifacts


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return exported(tmp_path_factory.mktemp("run"), 16)


@pytest.fixture(scope="module")
def folder_a8(tmp_path_factory):
    return exported(tmp_path_factory.mktemp("run_a8"), 8, pool="mean")


def same(first, second):
    return all(np.array_equal(value, second[name]) for name, value in first.items())


def opened(folder, precision):
    """Native from the folder and from both files, and the reference."""
    stem = "net_int8" if precision.startswith("int8") else "net"
    forms = [folder, folder / f"{stem}.c", folder / f"{stem}.ssmc", folder.parent / "net.ssm"]
    return [Session.open(form, precision=precision) for form in forms]


def bits(folder, precision):
    """All of them give the same bits and the same states, whole and frame by frame."""
    sessions = opened(folder, precision)
    results = [session.process(BLOCK) for session in sessions]
    reference = sessions[-1]
    saved = reference.state_get()
    expected = reference.process(BLOCK[:7])
    for session, result in zip(sessions[:-1], results, strict=False):
        assert session.precision == precision
        assert np.array_equal(result, results[-1])
        assert same(session.state_get(), saved)
        assert np.array_equal(np.stack([session.step(u) for u in BLOCK[:7]]), expected)
        session.reset()
        session.state_set(saved)  # the reference's state goes on in C, and C's in the reference
        reference.state_set(session.state_get())
        assert np.array_equal(session.process(BLOCK[:7]), expected)
        assert np.array_equal(reference.process(BLOCK[:7]), expected)
    return results[-1]


def test_every_precision_has_one_result(folder):
    results = {precision: bits(folder, precision) for precision in ("float32", "float32-fma", "int8")}
    exact = Session.open(folder, precision="float64").process(BLOCK)
    errors = {precision: np.abs(result - exact).max() for precision, result in results.items()}
    assert errors["float32"] < 1e-5
    assert errors["float32-fma"] < 1e-5
    assert not np.array_equal(results["float32"], results["float32-fma"])
    assert 1e-5 < errors["int8"] < 0.1 * np.abs(exact).max()


def test_eight_bit_activations(folder, folder_a8):
    bits(folder_a8, "int8-a8")
    assert Session.open(folder_a8, precision="int8").precision == "int8-a8"  # what the folder holds
    assert Session.open(folder_a8, precision="int8", backend="reference").precision == "int8-a8"
    assert Session.open(folder_a8 / "net_int8.ssmc").precision == "int8-a8"
    with pytest.raises(InputError, match="16-bit activations, so its precision is int8"):
        Session.open(folder, precision="int8-a8", backend="native")
    with pytest.raises(InputError, match="computes in int8, not in int8-a8"):
        Session.open(folder / "net_int8.c", precision="int8-a8")


def test_a_folder_is_float32_unless_asked(folder):
    assert Session.open(folder).precision == "float32"
    with pytest.raises(InputError, match="computes in int8, not in float32"):
        Session.open(folder / "net_int8.c", precision="float32")


@pytest.mark.parametrize("form", ["", "net_int8.ssmc", "../net.ssm"])
def test_an_integer_session_keeps_the_promises(folder, form):
    session = Session.open(folder / form, precision="int8")
    session.process(BLOCK)
    saved = session.state_get()
    assert all(value.dtype.kind == "i" for value in saved.values())
    bad = BLOCK.copy()
    bad[30, 1] = np.nan
    with pytest.raises(InputError, match=r"block\[30, 1\] is nan"):
        session.process(bad)
    with pytest.raises(InputError, match=r"u\[1\] is nan"):
        session.step(bad[30])
    floats = {name: value.astype(np.float32) for name, value in saved.items()}
    with pytest.raises(InputError, match="of type int"):
        session.state_set(floats)
    beyond = {name: np.full_like(value, np.iinfo(np.int32).max) for name, value in saved.items()}
    if session.backend == "native":
        with pytest.raises(InputError, match="never have"):
            session.state_set(beyond)
    assert same(saved, session.state_get())
    out = np.empty((40, 2), np.float32)
    assert session.process(BLOCK, out) is out


def test_a_bundle_without_ranges_says_what_to_run(tmp_path):
    random_bundle(np.random.default_rng(0)).write(tmp_path / "net.ssm")
    with pytest.raises(InputError, match="ssmith quantize"):
        Session.open(tmp_path / "net.ssm", precision="int8")


def test_a_changed_integer_kernel_is_refused(folder, tmp_path):
    copy = shutil.copytree(folder, tmp_path / "copy")
    kernels = copy / "ssm_integer.h"
    kernels.write_text(kernels.read_text() + "\n")
    with pytest.raises(InputError, match="not the file that manifest"):
        Session.open(copy, precision="int8")
