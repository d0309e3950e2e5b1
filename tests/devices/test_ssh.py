"""Boards by ssh, against a real sshd on loopback: what works, and everything that goes wrong on the way."""

import json
import os
import shutil
import subprocess
import threading
import time
from dataclasses import replace

import numpy as np
import pytest

from ssmith.benching import bench_on
from ssmith.compiler import find_compiler
from ssmith.devices import fetched, ssh
from ssmith.devices.board import with_toolchain
from ssmith.devices.everywhere import bench_everywhere
from ssmith.devices.fleet import Board as Fleet
from ssmith.devices.fleet import read_fleet
from ssmith.devices.host import Host
from ssmith.devices.link import LinkError
from ssmith.devices.target import Plan
from ssmith.devices.toolchain import Toolchain, with_zig
from ssmith.errors import InputError, SsmithError
from ssmith.measurement import read_measurements
from tests.devices import sshd

pytestmark = pytest.mark.skipif(
    sshd.SSHD is None or shutil.which("ssh") is None, reason="needs sshd (apt install openssh-server)"
)
needs_compiler = pytest.mark.skipif(find_compiler() is None, reason="needs a C compiler (apt install gcc)")
BRIEF = Plan(steps=200, warmup_limit=100, time_limit_s=2.0, paced_limit_s=0.05, cold_starts=1)
NATIVE = {"backends": ["native"]}


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    """Starts servers; each has a folder for its board's files."""
    running = []

    def start_one(**options):
        folder = tmp_path_factory.mktemp("sshd")
        running.append(sshd.start(folder, **options))
        (folder / "board").mkdir()
        return running[-1]

    yield start_one
    for server in running:
        server.stop()


@pytest.fixture(scope="module")
def server(start):
    return start(environment=sshd.python_environment())


@pytest.fixture(scope="module")
def plain(artifacts, tmp_path_factory):
    """Of the artifacts, the float32 model alone."""
    folder = tmp_path_factory.mktemp("plain") / "artifacts"
    shutil.copytree(artifacts, folder)
    shutil.copy(artifacts.parent / "kws.ssm", folder.parent)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"] = [file for file in manifest["files"] if file["precision"] == "float32"]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


@pytest.fixture
def board(server, monkeypatch):
    return reached(server, monkeypatch)


def reached(server, monkeypatch, **changes):
    """The server as a target that compiles with the board's compiler: zig's C library takes long to build."""
    monkeypatch.setenv("PATH", f"{server.folder}/bin:{os.environ['PATH']}")
    ssh._connection.cache_clear()
    place = ssh.open_target(f"board:{server.port}:{server.folder}/board")
    return replace(with_toolchain(place, Toolchain(on_target=True)), **changes)


def rows(place, artifacts, monkeypatch, *, beside=False, plan=BRIEF, **options):
    """What ``bench_everywhere`` makes of it; a host measured beside it goes on whatever happens."""
    monkeypatch.setattr(
        "ssmith.devices.everywhere.find_target", lambda name: place if "ssh" in name else Host()
    )
    boards = {name: Fleet(target=name) for name in ("ssh", "host")[: 1 + beside]}
    found = bench_everywhere(artifacts, boards, plan=replace(plan, session=False), **options)
    assert all(row.error is None for row in found if row.target == "host")
    assert found[-1].target == ("host" if beside else "ssh")
    return [row for row in found if row.target != "host"]


def test_every_backend_is_measured_and_the_board_is_left_clean(board, server, artifacts, monkeypatch):
    found = {row.label: row for row in rows(board, artifacts, monkeypatch)}
    assert {"native", "native int8", "onnx", "reference"} <= set(found)
    for row in found.values():
        assert row.error is None and row.metric_kind == "latency" and row.golden.passed
        assert 1 <= row.timing.samples <= BRIEF.steps and row.timing.min_us > 0
        assert row.cold_start_us is None and row.load_us > 0  # its clock is not ours
        assert row.deadline.period_us == pytest.approx(5_000.0)
        assert row.fingerprint["machine"] == os.uname().machine
        assert row.fingerprint["system"].startswith(os.uname().sysname)
    native = found["native"]
    assert native.golden.tolerance == 0.0 and native.clock == "c"
    assert "-O3" in native.fingerprint["compiler_flags"] and native.fingerprint["compiler"]
    assert found["onnx"].clock == "python" and found["onnx"].fingerprint["onnxruntime"]
    assert not [*(server.folder / "board").iterdir()]


@needs_compiler
def test_the_users_toolchain_compiles_what_ships(board, plain, tmp_path, monkeypatch):
    if shutil.which("cmake") is None:
        pytest.skip("needs CMake (apt install cmake)")
    file = tmp_path / "own.cmake"
    file.write_text('set(CMAKE_C_COMPILER gcc)\nset(CMAKE_C_FLAGS_INIT "-fno-tree-vectorize")\n')
    twice = replace(BRIEF, repeats=2)
    found = rows(with_toolchain(board, Toolchain(file)), plain, monkeypatch, plan=twice, **NATIVE)
    for row in found:
        assert row.error is None and row.golden.passed
        assert "-fno-tree-vectorize" in row.fingerprint["compiler_flags"]
        assert row.fingerprint["toolchain_file"] == "own.cmake" and "gcc" in row.fingerprint["compiler"]


def test_a_row_tells_the_compiler_and_the_command_that_gives_it_again(board, plain, tmp_path):
    out = tmp_path / "rows.json"
    bench_on(
        plain,
        [board.name],
        fleet=tmp_path / "none",
        backends=["native"],
        plan=BRIEF,
        cc_on_target=True,
        out=out,
    )
    (row,) = read_measurements(out)
    assert row.error is None and row.command.endswith(" --cc-on-target") and board.name in row.command
    assert row.fingerprint["compiler_flags"].startswith("cc -std=c99 -O3")


def test_a_fleet_names_the_toolchain_of_a_board(tmp_path):
    (tmp_path / "own.cmake").touch()
    fleet = tmp_path / "devices.toml"
    fleet.write_text('[pi]\ntarget = "ssh:pi@pi"\ntoolchain = "own.cmake"\n')
    assert read_fleet(fleet)["pi"].toolchain == tmp_path / "own.cmake"
    for wrong, message in (
        ('target = "host"\ncc_on_target = true', "host takes no --toolchain"),
        ('target = "ssh:pi@pi"\ntoolchain = "none.cmake"', "no toolchain file"),
    ):
        fleet.write_text(f"[pi]\n{wrong}\n")
        with pytest.raises(InputError, match=message):
            read_fleet(fleet)


@pytest.mark.slow
def test_zig_builds_a_static_program_for_the_board(board, plain, monkeypatch):
    pytest.importorskip("ziglang")
    found = rows(with_toolchain(board, Toolchain()), plain, monkeypatch, **NATIVE)
    assert [row.golden.passed for row in found] == [True]
    assert all("-linux-musl" in row.fingerprint["compiler_flags"] for row in found)


def test_a_connection_that_drops_is_a_row(board, server, plain, monkeypatch):
    cut = threading.Event()

    def drop():
        while not cut.is_set():
            if any((server.folder / "board").glob("*/output/main")):
                server.cut()
                return
            time.sleep(0.01)

    thread = threading.Thread(target=drop)
    thread.start()
    try:
        slow = replace(BRIEF, steps=1_000_000, time_limit_s=1.0)
        (row,) = rows(board, plain, monkeypatch, plan=slow, **NATIVE)
        (again,) = rows(board, plain, monkeypatch, **NATIVE)
    finally:
        cut.set()
        thread.join()
    assert "connection to board was lost" in row.error
    assert row.timing is None and row.metric_kind == "correctness"
    assert again.error is None  # the next one connects again


@pytest.mark.parametrize(
    ("blocks", "message"), [(8, "board did not take the files"), (700, "is the disk full?")]
)
def test_a_full_disk_is_a_row(start, plain, monkeypatch, blocks, message):
    """A limit on the size of files cuts writes short as a full disk does, in bringing or in measuring."""
    shell = f'sh -c \'trap "" XFSZ; ulimit -f {blocks}; exec sh -c "$SSH_ORIGINAL_COMMAND"\''
    limited = start(command=shell)
    (row,) = rows(
        reached(limited, monkeypatch),
        plain,
        monkeypatch,
        beside=blocks == 8,
        plan=replace(BRIEF, steps=60_000),
        **NATIVE,
    )
    assert message in row.error and row.timing is None
    assert not [*(limited.folder / "board").iterdir()]


def test_a_folder_that_cannot_be_written_is_a_row(board, plain, monkeypatch):
    (row, *_) = rows(replace(board, base="/proc/none"), plain, monkeypatch, **NATIVE)
    assert "cannot make a folder in /proc/none" in row.error


def test_a_wrong_architecture_is_a_row(board, plain, tmp_path, monkeypatch):
    if shutil.which("aarch64-linux-gnu-gcc") is None or os.uname().machine == "aarch64":
        pytest.skip("needs a compiler for another processor (apt install gcc-aarch64-linux-gnu)")
    file = tmp_path / "wrong.cmake"
    file.write_text(
        "set(CMAKE_SYSTEM_NAME Linux)\nset(CMAKE_SYSTEM_PROCESSOR aarch64)\n"
        "set(CMAKE_C_COMPILER aarch64-linux-gnu-gcc)\n"
    )
    for row in rows(with_toolchain(board, Toolchain(file)), plain, monkeypatch, **NATIVE):
        assert f"uname -m: {os.uname().machine}" in row.error and "does not start the program" in row.error
        assert row.timing is None


def test_a_program_that_hangs_is_killed_on_the_board(start, plain, monkeypatch):
    """The board's model never returns: its compiler is a script that makes a program that sleeps."""
    server = start()
    tools, pids = server.folder / "tools", server.folder / "pids"
    tools.mkdir()
    (tools / "cc").write_text(
        '#!/bin/sh\n[ "$1" = --version ] && { echo stuck 1.0; exit; }\n'
        f'printf "#!/bin/sh\\n[ \\$# = 0 ] && exit 2\\necho \\$\\$ >> {pids}; exec sleep 600\\n"'
        " > board_loop\n"
    )
    (tools / "cc").chmod(0o755)
    config = server.folder / "sshd_config"
    server.stop()
    config.write_text(config.read_text() + f'ForceCommand PATH={tools}:$PATH; eval "$SSH_ORIGINAL_COMMAND"\n')
    process = subprocess.Popen([sshd.SSHD, "-D", "-f", config, "-E", server.folder / "log"])
    again = replace(server, process=process)
    try:
        sshd.answering(again)
        place = reached(again, monkeypatch, grace_s=1.0)
        found = rows(place, plain, monkeypatch, **NATIVE)
        assert found and all("did not end within" in row.error for row in found)
        started = [int(line) for line in pids.read_text().split()]
        assert len(started) == len(found) and not any(os.path.exists(f"/proc/{pid}") for pid in started)
    finally:
        again.stop()


def test_a_board_without_python_runs_the_generated_c(start, plain, monkeypatch):
    server = start(environment={"SSMITH_PYTHON": "/nowhere/python3"})
    place = reached(server, monkeypatch)
    probe = place.probe()
    assert probe.backends == ("native",) and "no python3" in probe.missing["reference"]
    found = rows(place, plain, monkeypatch, backends=["native", "onnx"])
    assert [row.error is None for row in found] == [False, True]
    assert "no python3" in found[0].error


def test_another_version_of_ssmith_is_not_trusted(start, tmp_path, monkeypatch):
    script = tmp_path / "python3"
    script.write_text(
        '#!/bin/sh\necho welcome\necho \'ssmith.packages={"python": "CPython 3.12", "ssmith": "0.0.1"}\'\n'
    )
    script.chmod(0o755)
    probe = reached(start(environment={"SSMITH_PYTHON": str(script)}), monkeypatch).probe()
    assert "ssmith 0.0.1" in probe.missing["onnx"] and "install the same" in probe.missing["onnx"]


def test_a_host_that_is_not_there_is_a_row(plain, monkeypatch):
    ssh._connection.cache_clear()
    place = ssh.open_target("nobody@127.0.0.1:1")
    (row,) = rows(place, plain, monkeypatch, **NATIVE)
    assert "no connection to nobody@127.0.0.1" in row.error and "ssh -p 1 nobody@127.0.0.1 true" in row.error


def test_something_else_than_a_shell_is_a_row(start, plain, monkeypatch):
    server = start(command="echo This account is for mail only")
    (row,) = rows(reached(server, monkeypatch), plain, monkeypatch, **NATIVE)
    assert "does not answer as a POSIX shell" in row.error and "mail only" in row.error


@pytest.mark.parametrize("name", ["-oProxyCommand=x", "", "a b", "host:0", "host:99999", "host:here", "a@-b"])
def test_names_that_are_no_host_are_refused(name):
    with pytest.raises(InputError, match="names no host"):
        ssh.open_target(name)


@pytest.mark.parametrize(
    ("name", "host", "port", "base"),
    [
        ("pi@raspberrypi.local", "pi@raspberrypi.local", None, "/tmp"),
        ("board:2222", "board", 2222, "/tmp"),
        ("root@board:/data", "root@board", None, "/data"),
        ("me@[fe80::1]:22:/x y", "me@fe80::1", 22, "/x y"),
    ],
)
def test_places_by_name(name, host, port, base):
    place = ssh.open_target(name)
    assert (place.name, place.base) == (f"ssh:{name}", base)
    assert place.link == ssh.Ssh(host, port)


def test_toolchains_are_for_boards_and_exclude_each_other(tmp_path):
    with pytest.raises(InputError, match="host takes no --toolchain"):
        with_toolchain(Host(), Toolchain())
    with pytest.raises(InputError, match="no toolchain file"):
        Toolchain(tmp_path / "none.cmake")
    with pytest.raises(InputError, match="exclude each other"):
        Toolchain(tmp_path, on_target=True)
    pytest.importorskip("ziglang")
    with pytest.raises(SsmithError, match="'s390x' is not among x86_64"):
        with_zig(tmp_path / "m.c", tmp_path, "s390x", ())


STATS = "overhead_ns 1\nload_ns 5\npeak_rss_bytes 0\n"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("samples.i64", b"\0" * 9, "damaged"),
        ("samples.i64", (-1).to_bytes(8, "little", signed=True), "damaged"),
        ("samples.i64", (10**15).to_bytes(8, "little"), "damaged"),
        ("samples.i64", b"", "no sample"),
        ("late.i64", None, "did not send"),
        ("stats.txt", b"overhead_ns nan\n", "impossible"),
        ("stats.txt", b"\xff\xfe", "no readable"),
        ("stats.txt", b"load_ns 5\n", "usable overhead_ns"),
        ("../golden.f32", b"\0" * 11, "11 bytes of golden outputs, 24 are due"),
    ],
)
def test_output_that_a_board_should_not_send_is_refused(tmp_path, name, content, message):
    main = tmp_path / "main"
    main.mkdir()
    for kept in ("samples", "busy", "late"):
        np.arange(1, 4).astype("<i8").tofile(main / f"{kept}.i64")
    (main / "stats.txt").write_text(STATS)
    (tmp_path / "golden.f32").write_bytes(bytes(24))
    assert fetched.read(tmp_path, (2, 3), "board").golden_outputs.shape == (2, 3)
    (main / name).unlink()
    if content is not None:
        (main / name).write_bytes(content)
    with pytest.raises(SsmithError, match=message):
        fetched.read(tmp_path, (2, 3), "board")


def test_a_stream_that_leaves_its_folder_is_refused(start, tmp_path, monkeypatch):
    import tarfile

    bad = tmp_path / "bad.tar"
    with tarfile.open(bad, "w") as tar:
        tar.add(bad.parent, "../outside", recursive=False)
    server = start(command=f"cat {bad}")
    with pytest.raises(SsmithError, match="no readable tar stream"):
        reached(server, monkeypatch).link.get("/x", tmp_path)
    with pytest.raises(LinkError, match="no answer within 1 s"):
        reached(start(command="sleep 30"), monkeypatch).link.run("true", timeout_s=1.0)
