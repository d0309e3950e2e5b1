"""Libraries are built once, appear whole, and failures say what to do."""

import ctypes
import os
import stat

import pytest

from ssmith.errors import InputError, MissingToolError, SsmithError
from ssmith.runtime import compiler

pytestmark = pytest.mark.skipif(compiler.find_compiler() is None, reason="no C compiler")
SOURCE = '#include "answer.h"\nint answer(void) { return ANSWER; }\n'


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "ssmith" / "native"


@pytest.fixture
def header(tmp_path):
    path = tmp_path / "answer.h"
    path.write_text("#define ANSWER 42\n")
    return path


def build(header):
    return compiler.build_library(SOURCE, [header.parent], [header])


def test_a_library_is_built_once_and_works(header, cache, monkeypatch):
    library = build(header)
    assert ctypes.CDLL(str(library)).answer() == 42
    built = library.stat().st_mtime_ns
    assert build(header) == library
    assert library.stat().st_mtime_ns == built
    assert [path.name for path in cache.iterdir()] == [library.name]  # no build folder stays
    assert stat.S_IMODE(cache.stat().st_mode) & 0o022 == 0


def test_an_included_file_is_part_of_the_key(header):
    first = build(header)
    header.write_text("#define ANSWER 7\n")
    second = build(header)
    assert second != first
    assert ctypes.CDLL(str(second)).answer() == 7


def test_flags_keep_the_reference_s_bits():
    command = compiler.compile_command()
    assert "-ffp-contract=off" in command
    assert not any("fast" in part for part in command)


def test_cc_is_followed(monkeypatch, header):
    monkeypatch.setenv("CC", "no-such-compiler-anywhere")
    assert compiler.find_compiler() is None
    with pytest.raises(
        MissingToolError, match=r"CC names .no-such-compiler-anywhere.*name it in the variable CC"
    ):
        build(header)
    monkeypatch.setenv("CC", "cc -DEXTRA=1")
    assert compiler.find_compiler() == ["cc", "-DEXTRA=1"]


def test_a_compiler_that_does_not_work_is_told_apart(monkeypatch):
    monkeypatch.setenv("CC", "false")
    with pytest.raises(SsmithError, match="cannot compile an empty file"):
        compiler.compile_command()


def test_refused_source_shows_the_compiler_s_words(header, cache):
    header.write_text("#error too bad\n")
    with pytest.raises(SsmithError, match="too bad"):
        build(header)
    assert list(cache.iterdir()) == []


def test_a_cache_that_cannot_be_written(header, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(InputError, match="Set XDG_CACHE_HOME"):
        build(header)


def test_default_place(monkeypatch):
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert str(compiler.cache_folder()).startswith(os.path.expanduser("~"))
