"""Libraries are built once, appear whole, fit where they are loaded; failures say what to do."""

import ctypes
import os
import stat
import subprocess
import sys

import pytest

from ssmith import compiler
from ssmith.compiler import build_library, compile_command, find_compiler
from ssmith.errors import MissingToolError, SsmithError

pytestmark = pytest.mark.skipif(find_compiler() is None, reason="no C compiler")
UNIT = '#include "answer.h"\nint answer(void) { return ANSWER; }\n'
FLAGS = (("-O1", "-fopenmp"), ("-O1",))


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "ssmith"


@pytest.fixture
def header(tmp_path):
    path = tmp_path / "answer.h"
    path.write_text("#ifndef ANSWER\n#define ANSWER 42\n#endif\n")
    return path


@pytest.fixture
def wrapped(tmp_path, monkeypatch):
    """Put a shell script before the compiler."""

    def wrap(script):
        path = tmp_path / "wrapper"
        path.write_text(f'#!/bin/sh\n{script}\nexec {find_compiler()[0]} "$@"\n')
        path.chmod(0o755)
        monkeypatch.setenv("CC", str(path))

    return wrap


def build(header, unit=UNIT, flags=FLAGS):
    return build_library(unit, [header], flags)


def answer(library):
    return ctypes.CDLL(str(library)).answer()


def forbid_compiling(monkeypatch):
    monkeypatch.setattr(compiler, "_compile", lambda *_: pytest.fail("compiled again"))


def test_a_library_is_built_once_and_found_again(header, cache, monkeypatch):
    first = build(header)
    assert answer(first) == 42
    forbid_compiling(monkeypatch)
    assert build(header) == first
    assert list(cache.iterdir()) == [first]
    assert stat.S_IMODE(cache.stat().st_mode) & 0o022 == 0


def test_whatever_goes_in_makes_another_library(header, wrapped):
    libraries = [
        build(header),
        build(header, UNIT.replace("ANSWER;", "ANSWER + 1;")),
        build(header, flags=[("-DANSWER=44",)]),
    ]
    header.write_text("#define ANSWER 45\n")
    libraries.append(build(header))
    wrapped('[ "$1" = --version ] && echo other')
    libraries.append(build(header))
    assert len(set(libraries)) == 5
    assert [answer(library) for library in libraries] == [42, 43, 44, 45, 45]


def test_processes_may_build_the_same_thing_at_the_same_time(header, cache):
    code = (
        "import ctypes, sys, pathlib\n"
        "from ssmith.compiler import build_library\n"
        "path = build_library(sys.argv[1], [pathlib.Path(sys.argv[2])], [('-O1',)])\n"
        "sys.exit(ctypes.CDLL(str(path)).answer() != 42)\n"
    )
    racers = [subprocess.Popen([sys.executable, "-c", code, UNIT, str(header)]) for _ in range(4)]
    assert [racer.wait(timeout=60) for racer in racers] == [0] * 4
    assert len(list(cache.iterdir())) == 1


def test_where_the_cache_cannot_be_written_a_folder_of_the_process_serves(header, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    library = build(header)
    assert answer(library) == 42
    assert not library.is_relative_to(tmp_path)
    forbid_compiling(monkeypatch)
    assert build(header) == library


def test_the_folder_of_the_process_ends_with_it(header, tmp_path):
    (tmp_path / "file").write_text("not a folder")
    code = (
        "import sys, pathlib\n"
        "from ssmith.compiler import build_library\n"
        "print(build_library(sys.argv[1], [pathlib.Path(sys.argv[2])], [('-O1',)]))\n"
    )
    environment = os.environ | {"XDG_CACHE_HOME": str(tmp_path / "file"), "TMPDIR": str(tmp_path / "tmp")}
    (tmp_path / "tmp").mkdir()
    command = [sys.executable, "-c", code, UNIT, str(header)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.startswith(str(tmp_path / "tmp"))
    assert list((tmp_path / "tmp").iterdir()) == []


def test_the_cache_is_where_the_user_says(cache, tmp_path, monkeypatch):
    assert compiler.cache_folder() == cache
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert compiler.cache_folder() == tmp_path / ".cache" / "ssmith"


def test_cc_is_followed(header, monkeypatch):
    monkeypatch.setenv("CC", "cc -DANSWER=7")
    assert find_compiler() == ["cc", "-DANSWER=7"]
    assert answer(build(header)) == 7
    monkeypatch.setenv("CC", "  ")
    assert find_compiler() is not None
    monkeypatch.setenv("CC", "no-such-compiler-anywhere")
    assert find_compiler() is None
    with pytest.raises(MissingToolError, match=r"CC names 'no-such.*gcc.*name it in the variable CC"):
        build(header)


def test_without_a_compiler_it_says_what_to_install(header, tmp_path, monkeypatch):
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(compiler.importlib.util, "find_spec", lambda name: None)
    for attempt in (lambda: build(header), lambda: compile_command(FLAGS)):
        with pytest.raises(MissingToolError, match=r"no C compiler.*apt install gcc.*xcode-select.*ziglang"):
            attempt()


def test_a_compiler_that_does_not_work_is_told_apart(header, cache, monkeypatch):
    monkeypatch.setenv("CC", "false")
    with pytest.raises(SsmithError, match="cannot compile an empty file: exit code 1"):
        compile_command(FLAGS)
    with pytest.raises(SsmithError, match=r"refused answer\.h"):
        build(header)
    assert not cache.exists()


def test_refused_source_shows_the_compiler_s_words(header, cache):
    header.write_text("#error too bad\n")
    with pytest.raises(SsmithError, match="too bad"):
        build(header)
    assert not cache.exists()


def test_flags_that_the_compiler_lacks_give_way_to_the_next(header, wrapped):
    wrapped('case "$*" in *-fopenmp*) echo "no OpenMP" >&2; exit 1;; esac')
    assert compile_command(FLAGS)[1:] == ["-O1"]
    assert answer(build(header)) == 42


def test_only_openmp_reaches_the_linker(header, tmp_path, wrapped):
    """With -ffast-math at the link, subnormal numbers become zero in the whole process."""
    wrapped(f'case "$*" in *-shared*) echo "$@" >> {tmp_path}/links;; esac')
    build(header, flags=[("-O3", "-ffast-math", "-fopenmp")])
    link = (tmp_path / "links").read_text().split()
    assert "-fopenmp" in link
    assert "-ffast-math" not in link


def test_the_version_is_one_line(monkeypatch):
    assert compiler.compiler_version(find_compiler()) != ""
    assert "\n" not in compiler.compiler_version(find_compiler())
    assert compiler.compiler_version(["/no/such/compiler"]) == ""
