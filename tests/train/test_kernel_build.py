import ctypes
import os
import subprocess
import sys

import pytest

from ssmith.train import kernel_build
from ssmith.train.kernel_build import BuildError, build, cache_folder, find_compiler

ANSWER = "#ifndef ADD\n#define ADD 0\n#endif\nint answer(void) { return 42 + ADD; }\n"


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "answer.c"
    path.write_text(ANSWER)
    return path


def answer(library):
    return ctypes.CDLL(str(library)).answer()


def test_a_library_is_built_once_and_found_again(source, tmp_path, monkeypatch):
    first = build(source, folder=tmp_path / "cache")
    assert answer(first) == 42
    monkeypatch.setattr(kernel_build, "_compile", lambda *_: pytest.fail("compiled again"))
    assert build(source, folder=tmp_path / "cache") == first
    assert [p.name for p in (tmp_path / "cache").iterdir()] == [first.name]


def test_another_source_define_or_compiler_is_another_library(source, tmp_path, monkeypatch):
    folder = tmp_path / "cache"
    libraries = [build(source, folder=folder), build(source, ("-DADD=1",), folder=folder)]
    wrapper = tmp_path / "othercc"
    wrapper.write_text(f'#!/bin/sh\n[ "$1" = --version ] && echo other\nexec {find_compiler()[0]} "$@"\n')
    wrapper.chmod(0o755)
    with monkeypatch.context() as patch:
        patch.setenv("CC", str(wrapper))
        libraries.append(build(source, folder=folder))
    source.write_text(ANSWER.replace("42", "43"))
    libraries.append(build(source, folder=folder))
    assert len(set(libraries)) == 4
    assert [answer(p) for p in libraries] == [42, 43, 42, 43]


def test_processes_may_build_the_same_thing_at_the_same_time(source, tmp_path):
    code = (
        "import ctypes, sys, pathlib\n"
        "from ssmith.train.kernel_build import build\n"
        "path = build(pathlib.Path(sys.argv[1]), folder=pathlib.Path(sys.argv[2]))\n"
        "sys.exit(ctypes.CDLL(str(path)).answer() != 42)\n"
    )
    command = [sys.executable, "-c", code, str(source), str(tmp_path / "cache")]
    racers = [subprocess.Popen(command) for _ in range(4)]
    assert [racer.wait(timeout=60) for racer in racers] == [0] * 4
    assert len(list((tmp_path / "cache").iterdir())) == 1


def test_where_the_cache_cannot_be_written_a_temporary_folder_serves(source, tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    library = build(source, folder=blocked / "cache")
    assert answer(library) == 42
    assert not library.is_relative_to(tmp_path)


def test_the_cache_is_where_the_user_says(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "ssmith"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "ssmith"


def test_without_a_compiler_it_says_so(source, tmp_path, monkeypatch):
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BuildError, match="no C compiler"):
        build(source, folder=tmp_path / "cache")


@pytest.mark.parametrize("compiler", ["/no/such/compiler", "   ", "false"])
def test_a_compiler_that_does_not_work_is_an_error_too(source, tmp_path, monkeypatch, compiler):
    monkeypatch.setenv("CC", compiler)
    with pytest.raises(BuildError):
        build(source, folder=tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


def test_what_the_compiler_refuses_is_told(tmp_path):
    source = tmp_path / "bad.c"
    source.write_text("int f(void) { return undeclared; }\n")
    with pytest.raises(BuildError, match="undeclared"):
        build(source, folder=tmp_path / "cache")


def test_a_compiler_without_openmp_or_native_code_is_served(source, tmp_path, monkeypatch):
    picky = tmp_path / "picky"
    picky.write_text(
        "#!/bin/sh\n"
        'for a in "$@"; do case "$a" in -fopenmp|-march=native) echo "no $a" >&2; exit 1;; esac; done\n'
        f'exec {find_compiler()[0]} "$@"\n'
    )
    picky.chmod(0o755)
    monkeypatch.setenv("CC", str(picky))
    assert answer(build(source, folder=tmp_path / "cache")) == 42
    assert os.listdir(tmp_path / "cache")
