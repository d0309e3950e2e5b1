"""A write is whole or not at all."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

import pytest

from ssmith.errors import InputError
from ssmith.files import SEAL, check_seal, check_writable, seal, sha256, write_atomic


def test_writes_and_replaces(tmp_path):
    path = tmp_path / "deep" / "file"
    write_atomic(path, b"one")
    write_atomic(path, b"two")
    assert path.read_bytes() == b"two"
    assert [p.name for p in path.parent.iterdir()] == ["file"]
    assert sha256(path) == "3fc4ccfe745870e2c0d99f71f30ff0656c8dedd41cc1d7d3d376b0dbe685e2f3"


def test_a_file_where_the_folder_should_be(tmp_path):
    (tmp_path / "blocked").write_text("here")
    with pytest.raises(InputError, match="cannot write"):
        write_atomic(tmp_path / "blocked" / "file", b"x")


def test_a_full_disk_leaves_the_old_file(tmp_path):
    """RLIMIT_FSIZE stands in for a full disk: the kernel refuses the same write call."""
    path = tmp_path / "file"
    path.write_bytes(b"old")
    code = (
        "import signal, resource, sys\nfrom pathlib import Path\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "from ssmith.files import write_atomic\nfrom ssmith.errors import InputError\n"
        "try:\n    write_atomic(Path(sys.argv[1]), b'x' * 5000)\nexcept InputError as e:\n"
        "    print(e); sys.exit(e.exit_code)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True)
    assert done.returncode == 2, done.stderr
    assert "untouched" in done.stdout
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 1000


def test_whether_a_path_could_be_written_is_known_before(tmp_path):
    check_writable(tmp_path / "file")
    check_writable(tmp_path / "deep" / "deeper" / "file")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "blocked").write_text("here")
    for path in (tmp_path, tmp_path / "blocked" / "file", Path("/proc/file"), tmp_path / ("n" * 300)):
        with pytest.raises(InputError, match="cannot write"):
            check_writable(path)
    assert [path.name for path in tmp_path.iterdir()] == ["blocked"]


def test_a_sealed_file_is_known_by_its_bytes(tmp_path):
    sealed = seal(b"before " + SEAL.encode() + b" after")
    assert len(sealed) == len(b"before  after") + len(SEAL)
    check_seal(sealed, tmp_path / "file")
    for i in range(len(sealed)):
        changed = bytearray(sealed)
        changed[i] ^= 1
        if 7 <= i < 7 + len(SEAL) - 64:
            continue  # the mark itself: without it a file has no seal
        with pytest.raises(InputError, match="damaged or was changed"):
            check_seal(bytes(changed), tmp_path / "file")
    with pytest.raises(InputError, match="damaged"):
        check_seal(sealed[:-1], tmp_path / "file")


def test_files_without_a_seal_pass_and_cannot_be_sealed(tmp_path):
    check_seal(b"made by somebody else", tmp_path / "file")
    with pytest.raises(ValueError, match="not 0 times"):
        seal(b"no placeholder")
    with pytest.raises(ValueError, match="not 2 times"):
        seal(SEAL.encode() * 2)
