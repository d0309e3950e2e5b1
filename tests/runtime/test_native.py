"""Native equals the float32 reference bit for bit, on any op list and however the frames are split."""

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ssmith import compiler
from ssmith.errors import InputError, MissingToolError
from ssmith.export import c99
from ssmith.export.manifest import write_manifest
from ssmith.runtime import native
from ssmith.runtime.reference import run
from tests.bundles import random_bundle
from tests.op_lists import any_bundle, frames

pytestmark = [
    pytest.mark.usefixtures("library_cache"),
    pytest.mark.skipif(compiler.find_compiler() is None, reason="no C compiler"),
]
seeds = st.integers(0, 2**32 - 1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("artifacts")
    bundle = random_bundle(np.random.default_rng(0), width=17)
    write_manifest(bundle, folder, c99.lower(bundle, folder))
    return folder


def loadable(bundle, folder):
    path = folder / f"{bundle.name}.ssmc"
    path.write_bytes(c99.ssmc_bytes(bundle))
    return native.open_backend(path)


def assert_same_bits(bundle, backend, block, lengths):
    expected, last = run(bundle.meta.ops, bundle.tensors, block, precision="float32")
    pieces = [backend.process(piece) for piece in np.split(block, np.cumsum(lengths)[:-1]) if len(piece)]
    assert np.array_equal(np.concatenate(pieces), expected)
    assert all(np.array_equal(value, last[name]) for name, value in backend.state_get().items())
    backend.reset()
    steps = np.stack([backend.step(u) for u in block])
    assert np.array_equal(steps, expected)


@settings(max_examples=150, deadline=None)
@given(seeds, st.integers(1, 14), st.lists(st.integers(0, 19), min_size=1, max_size=5))
def test_loadable_form_on_any_op_list(tmp_path_factory, seed, count, lengths):
    bundle = any_bundle(seed, count=count)
    backend = loadable(bundle, tmp_path_factory.getbasetemp())
    assert_same_bits(bundle, backend, frames(bundle, sum(lengths) + 1, seed), [*lengths, 1])


@settings(max_examples=8, deadline=None)
@given(seeds, st.lists(st.integers(0, 19), min_size=1, max_size=5))
def test_generated_form_on_any_op_list(tmp_path_factory, seed, lengths):
    bundle = any_bundle(seed, count=14)
    folder = tmp_path_factory.mktemp("generated")
    c99.lower(bundle, folder)
    backend = native.open_backend(folder / "net.c")
    assert_same_bits(bundle, backend, frames(bundle, sum(lengths) + 1, seed), [*lengths, 1])


@pytest.mark.parametrize("width", [1, 2, 3, 4, 5, 8, 15, 16, 17, 31, 33, 63, 64, 65, 96, 127, 130])
def test_every_tile_width(tmp_path, width):
    bundle = random_bundle(
        np.random.default_rng(width), width=width, orders=(max(1, width // 3),), golden_frames=()
    )
    assert_same_bits(bundle, loadable(bundle, tmp_path), frames(bundle, 9), [4, 5])


@pytest.mark.parametrize("form", ["net.c", "net.ssmc"])
def test_ten_thousand_frames_do_not_drift(tmp_path, form):
    bundle = random_bundle(np.random.default_rng(1), radius=(0.99, 0.9999), pool="mean")
    c99.lower(bundle, tmp_path)
    block = frames(bundle, 10_000)
    exact, _ = run(bundle.meta.ops, bundle.tensors, block)
    got = native.open_backend(tmp_path / form).process(block)
    assert np.abs(got - exact).max() < 1e-4 * np.abs(exact).max()


@pytest.mark.parametrize("form", ["", "net.c", "net.h", "net.ssmc"])
def test_instances_share_nothing(folder, form):
    a, b = native.open_backend(folder / form), native.open_backend(folder / form)
    block = np.random.default_rng(2).standard_normal((20, 3), np.float32)
    expected = a.process(block)
    a.reset()
    mixed = []
    for u in block:
        mixed.append(a.step(u))
        b.step(-u)
    assert np.array_equal(np.stack(mixed), expected)


@pytest.mark.parametrize("form", ["net.c", "net.ssmc"])
def test_resuming_from_a_saved_state_is_exact(folder, form):
    backend = native.open_backend(folder / form)
    block = np.random.default_rng(3).standard_normal((20, 3), np.float32)
    backend.process(block[:9])
    saved = backend.state_get()
    assert [len(v) for v in saved.values()] == [8, 6, 17, 1]
    expected = backend.process(block[9:])
    backend.process(block)
    backend.state_set(saved)
    assert np.array_equal(backend.process(block[9:]), expected)


def test_a_state_that_is_not_finite_is_refused(folder):
    for form in ("net.c", "net.ssmc"):
        backend = native.open_backend(folder / form)
        bad = {name: np.full_like(v, np.inf) for name, v in backend.state_get().items()}
        with pytest.raises(InputError, match="never have"):
            backend.state_set(bad)


def test_long_blocks_are_cut_for_the_frame_count(folder, monkeypatch):
    block = np.random.default_rng(4).standard_normal((50, 3), np.float32)
    expected = native.open_backend(folder / "net.c").process(block)
    monkeypatch.setattr(native, "MAX_FRAMES", 7)
    assert np.array_equal(native.open_backend(folder / "net.c").process(block), expected)


def test_flags_keep_the_reference_s_bits():
    command = compiler.compile_command(native.FLAGS)
    assert "-ffp-contract=off" in command
    assert not any("fast" in part for part in command)


def copied(folder, tmp_path):
    return shutil.copytree(folder, tmp_path / "copy")


@pytest.mark.parametrize("name", ["net.c", "net.h", "net_weights.h", "ssm_kernels.h"])
def test_a_changed_source_in_a_folder_is_refused(folder, tmp_path, name):
    path = copied(folder, tmp_path) / name
    path.write_text(path.read_text() + "\n")
    with pytest.raises(InputError, match="not the file that manifest"):
        native.open_backend(path.parent)


def test_a_lone_or_foreign_source_is_refused(folder, tmp_path):
    with pytest.raises(InputError, match="needs its header beside it"):
        native.open_backend(tmp_path / "net.c")
    copy = copied(folder, tmp_path)
    (copy / "ssm_kernels.h").unlink()
    with pytest.raises(InputError, match=r"ssm_kernels\.h does not lie beside"):
        native.open_backend(copy / "net.c")
    for suffix in (".c", ".h"):
        (tmp_path / "other").with_suffix(suffix).write_text("int other;\n")
    with pytest.raises(InputError, match=r"not written by `ssmith export`"):
        native.open_backend(tmp_path / "other.c")
    folder_without = tmp_path / "onnx_only"
    write_manifest(random_bundle(np.random.default_rng(0)), folder_without, [])
    with pytest.raises(InputError, match=r"holds no \.c and no \.ssmc"):
        native.open_backend(folder_without)


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (lambda data: b"", "no .ssmc file"),
        (lambda data: b"GGUF" + data[4:], "no .ssmc file"),
        (lambda data: data[:-1], "damaged"),
        (lambda data: data[:200] + bytes([data[200] ^ 1]) + data[201:], "damaged"),
    ],
)
def test_a_damaged_file_is_refused(folder, tmp_path, edit, words):
    path = tmp_path / "net.ssmc"
    path.write_bytes(edit((folder / "net.ssmc").read_bytes()))
    with pytest.raises(InputError, match=words):
        native.open_backend(path)


def test_no_compiler_says_what_to_install(folder, monkeypatch):
    monkeypatch.setattr(compiler, "find_compiler", lambda: None)
    for form in ("", "net.c", "net.ssmc"):
        with pytest.raises(MissingToolError, match=r"native backend.*apt install gcc.*or use backend='onnx'"):
            native.open_backend(folder / form)


@pytest.mark.skipif(importlib.util.find_spec("ziglang") is None, reason="ziglang is not installed")
def test_the_ziglang_package_is_compiler_enough(folder, tmp_path):
    """On a machine where no compiler is in the path."""
    block = np.random.default_rng(5).standard_normal((9, 3), np.float32)
    expected = native.open_backend(folder / "net.c").process(block)
    np.save(tmp_path / "block.npy", block)
    program = (
        "import sys, numpy as np\n"
        "from ssmith.compiler import find_compiler\n"
        "from ssmith.runtime import Session\n"
        "assert find_compiler()[1:] == ['-m', 'ziglang', 'cc'], find_compiler()\n"
        "block, out = (f'{sys.argv[2]}/{name}.npy' for name in ('block', 'out'))\n"
        "np.save(out, Session.open(sys.argv[1]).process(np.load(block)))\n"
    )
    environment = {key: value for key, value in os.environ.items() if key != "CC"}
    environment |= {"PATH": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "libraries")}
    environment.setdefault("ZIG_GLOBAL_CACHE_DIR", str(Path("~/.cache/zig").expanduser()))
    command = [sys.executable, "-c", program, str(folder / "net.c"), str(tmp_path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert np.array_equal(np.load(tmp_path / "out.npy"), expected)
