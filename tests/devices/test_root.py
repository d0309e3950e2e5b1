"""The aarch64 root: made whole or not at all, never used when changed; ONNX Runtime inside it.

The last tests run where the root is in the cache already, or with SSMITH_ROOT_TESTS=1, which downloads it.
"""

import json
import os
import shutil

import pytest

from ssmith.bundle import Bundle
from ssmith.devices import root
from ssmith.devices.bench import bench
from ssmith.devices.guest import missing_in
from ssmith.devices.prefix import processor_root
from ssmith.devices.qemu_user import _meaning
from ssmith.devices.registry import find_target
from ssmith.devices.root_parts import LOADER, link_merged, python_version
from ssmith.errors import InputError, MissingToolError, SsmithError
from ssmith.export.manifest import write_manifest
from ssmith.files import sha256

FORCED = os.environ.get("SSMITH_ROOT_TESTS") == "1"


@pytest.fixture
def small(tmp_path):
    """A root of three files."""
    tree = tmp_path / "aarch64" / root.TREE
    (tree / "usr/bin").mkdir(parents=True)
    (tree / "usr/bin/python3.11").write_text("ELF")
    (tree / "usr/lib").mkdir()
    (tree / "usr/lib" / LOADER).write_text("loader")
    (tree / "link").symlink_to("usr/lib")
    (tree.parent / root.RECORD).write_text(json.dumps({"tree_sha256": root.tree_digest(tree)}))
    return tree


def changed(tree):
    (tree / "usr/bin/python3.11").write_text("FLE")


def grown(tree):
    (tree / "usr/sitecustomize.py").write_text("import os")


def shrunk(tree):
    (tree / "usr/bin/python3.11").unlink()


def turned(tree):
    (tree / "link").unlink()
    (tree / "link").symlink_to("/usr/lib")


def unrecorded(tree):
    (tree.parent / root.RECORD).unlink()


def scribbled(tree):
    (tree.parent / root.RECORD).write_text("[]")


@pytest.mark.parametrize("harm", [changed, grown, shrunk, turned, unrecorded, scribbled])
def test_a_changed_root_is_none(small, harm):
    assert root.checked_tree(small.parent) == small
    harm(small)
    assert root.checked_tree(small.parent) is None


def fake_tools(folder, monkeypatch, apt_get):
    """A PATH whose apt-get is a script of ours."""
    for name, text in (("apt-get", apt_get), ("apt-config", "exit 0"), ("dpkg", "exit 1")):
        (folder / name).write_text(f"#!/bin/sh\n{text}\n")
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/bin:/usr/bin")


def test_no_package_tools_and_no_network(tmp_path, monkeypatch):
    cache, tools = tmp_path / "cache", tmp_path / "tools"
    tools.mkdir()
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    monkeypatch.setenv("PATH", str(tools))
    with pytest.raises(MissingToolError, match="apt-get is not here"):
        root.make_root()
    with pytest.raises(SsmithError, match=r"names no release|gave no arm64 packages"):
        fake_tools(tools, monkeypatch, "exit 100")
        root.make_root(suite="no-such-release")
    fake_tools(tools, monkeypatch, 'echo "Could not resolve mirror.example" >&2; exit 100')
    with pytest.raises(SsmithError, match=r"(?s)gave no arm64 packages: .*Could not resolve"):
        root.make_root()
    assert list((cache / "ssmith" / "roots").iterdir()) == []


def test_without_a_root_the_probe_says_how_to_get_one(tmp_path, monkeypatch):
    if shutil.which("qemu-aarch64") is None:
        pytest.skip("qemu-aarch64 not found: make deps")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    root.find_root.cache_clear()
    try:
        probe = find_target("qemu:aarch64-cortex-a76").probe()
    finally:
        root.find_root.cache_clear()
    assert "onnx" not in probe.backends
    assert "python -m ssmith.devices.root" in probe.missing["onnx"]
    assert "python -m ssmith.devices.root" in probe.missing["executorch"]
    (tmp_path / root.SITE).mkdir()
    assert "--suite trixie" in missing_in(tmp_path)["executorch"] and "onnx" not in missing_in(tmp_path)


def test_a_processor_s_root_hides_this_machine(small, tmp_path):
    link_merged(small)
    prefix = processor_root(small, tmp_path / "prefix", "cortex-a76")
    assert (prefix / "lib" / LOADER).read_text() == "loader"
    told = (prefix / "proc/cpuinfo").read_text()
    assert "CPU part\t: 0xd0b" in told and "asimddp" in told
    assert (prefix / "sys/devices/system/cpu/possible").read_text() == "0\n"
    assert python_version(small) == "3.11"
    (small / "usr/bin/python3.11").unlink()
    with pytest.raises(InputError, match="holds no Python"):
        python_version(small)


@pytest.fixture(scope="module")
def real():
    """The root of the user's cache."""
    if shutil.which("qemu-aarch64") is None:
        pytest.skip("qemu-aarch64 not found: make deps")
    if not FORCED and root.find_root() is None:
        pytest.skip("the aarch64 root is not in the cache; SSMITH_ROOT_TESTS=1 downloads it")
    return root.make_root()


@pytest.mark.slow
def test_what_the_root_was_made_from_is_on_record(real):
    record = json.loads((real.parent / root.RECORD).read_text())
    names = " ".join(record["made_from"])
    assert "libc6_" in names and "onnxruntime-" in names and "numpy-" in names
    assert all(len(digest) == 64 for digest in record["made_from"].values())
    assert record["tree_sha256"] == root.tree_digest(real)
    header = (real / "usr/bin" / f"python{record['python']}").read_bytes()[:20]
    assert header[:4] == b"\x7fELF" and header[18] == 183  # EM_AARCH64


@pytest.mark.slow
def test_onnx_runtime_s_own_build_computes_the_model(real, artifacts):
    before = sha256(real.parent / root.RECORD), root.tree_digest(real)
    (row,) = bench(artifacts, "qemu:aarch64-cortex-a76", backends=["onnx"])
    assert row.golden.passed and row.golden.against == "reference float64"
    assert row.metric_kind == "instructions" and 10_000 < row.instructions_per_step < 1_000_000
    assert row.timing is None and any("aarch64 root: onnxruntime=" in note for note in row.notes)
    assert (sha256(real.parent / root.RECORD), root.tree_digest(real)) == before  # running writes nothing


@pytest.mark.slow
@pytest.mark.skipif(not FORCED, reason="exports with torch first; SSMITH_ROOT_TESTS=1 runs this")
def test_executorch_without_torch_computes_the_model(real, run_folder, tmp_path):
    if (reason := find_target("qemu:aarch64").probe().missing.get("executorch")) is not None:
        pytest.skip(reason)
    executorch = pytest.importorskip("ssmith.export.executorch")
    pytest.importorskip("executorch")
    bundle = Bundle.read(run_folder / "kws.ssm")
    shutil.copy(run_folder / "kws.ssm", tmp_path)
    folder = tmp_path / "artifacts"
    write_manifest(bundle, folder, executorch.lower(bundle, folder))
    (row,) = bench(folder, "qemu:aarch64", backends=["executorch"], precisions=["float32"])
    assert row.golden.passed and row.golden.against == "reference float64"
    assert 10_000 < row.instructions_per_step < 1_000_000
    assert any("executorch-numpy-runtime=" in note for note in row.notes)


def test_a_crash_of_the_executorch_runtime_says_what_helps():
    assert "ended by signal 11 (exported by an older ssmith? export it again)" in _meaning(
        "executorch", -11, ""
    )
    assert _meaning("onnx", -11, "") == "the program was ended by signal 11"
    assert _meaning("native", 3, "") == "the program ended with exit code 3"
