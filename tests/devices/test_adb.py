"""Android devices: a real ``adb`` without a device, and a device stood in for by a script of that name."""

import os
import shutil

import pytest

from ssmith.compiler import find_compiler
from ssmith.devices import adb, bench
from ssmith.devices.board import with_toolchain
from ssmith.devices.target import Plan
from ssmith.devices.toolchain import Toolchain
from ssmith.errors import InputError, MissingToolError

PLAN = Plan(steps=100, warmup_limit=50, time_limit_s=1.0, paced_limit_s=0.02, cold_starts=1)
# The words of adb 29 and 34; files are copied, the shell is this machine's.
FAKE = """#!/bin/sh
echo "$@" >> {log}
[ "$1" = devices ] && {{ echo "List of devices attached"; printf "ABC123\\tdevice\\n"; exit 0; }}
[ "$2" = ABC123 ] || {{ echo "error: device '$2' not found" >&2; exit 1; }}
[ -e {gone} ] && {{ echo "adb: device offline" >&2; exit 1; }}
shift 2
case $1 in
    shell) [ "$2" = -T ] && exec sh -c "$3" ;;
    push) cp "$2" "$3" && exit 0 ;;
    pull) cp -r "$2" "$3" && exit 0 ;;
esac
echo "unexpected $*" >&2; exit 1
"""


@pytest.fixture
def log(tmp_path, monkeypatch):
    tools = tmp_path / "bin"
    tools.mkdir()
    (tools / "adb").write_text(FAKE.format(log=tmp_path / "log", gone=tmp_path / "gone"))
    (tools / "adb").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    monkeypatch.setattr(adb, "FOLDER", str(tmp_path))
    return tmp_path / "log"


@pytest.mark.skipif(find_compiler() is None, reason="needs a C compiler (apt install gcc)")
def test_the_runner_is_pushed_run_and_pulled(log, artifacts):
    place = with_toolchain(adb.open_target("ABC123"), Toolchain(on_target=True))
    (row,) = bench(artifacts, place, backends=["native"], precisions=["float32"], plan=PLAN)
    assert row.target == "adb:ABC123" and row.metric_kind == "latency"
    assert row.golden.passed and row.golden.tolerance == 0.0
    calls = [line.split() for line in log.read_text().splitlines() if line.startswith("-s ")]
    verbs = [call[2] for call in calls]
    assert set(verbs) == {"shell", "push", "pull"} and verbs[-1] == "shell"
    assert {call[1] for call in calls} == {"ABC123"}
    assert not [*log.parent.glob("ssmith-*")]


def test_a_device_that_is_not_connected_is_absent(log):
    probe = adb.open_target("XYZ").probe()
    assert "'XYZ' not found" in probe.absent and "connected: ABC123 device" in probe.absent


def test_a_device_that_goes_offline_is_absent(log):
    (log.parent / "gone").touch()
    assert "device offline" in adb.open_target("ABC123").probe().absent


def test_without_adb_it_says_what_to_install(tmp_path, monkeypatch, artifacts):
    monkeypatch.setenv("PATH", str(tmp_path))
    place = adb.open_target("ABC123")
    assert "apt install adb" in place.probe().absent
    with pytest.raises(MissingToolError, match="apt install adb"):
        bench(artifacts, place, plan=PLAN)


@pytest.mark.skipif(shutil.which("adb") is None, reason="needs adb (apt install adb)")
def test_the_real_adb_without_a_device(tmp_path, monkeypatch):
    port = 20_000 + os.getpid() % 30_000  # a server of the test's own
    monkeypatch.setenv("ANDROID_ADB_SERVER_PORT", str(port))
    monkeypatch.setenv("HOME", str(tmp_path))
    place = adb.open_target("emulator-5554")
    try:
        probe = place.probe()
    finally:
        adb.call(["adb", "kill-server"], timeout_s=10.0, place="adb")
    assert "not found" in probe.absent and "no device is connected" in probe.absent


@pytest.mark.parametrize("serial", ["", "-d", "a b", "a;b", "$(x)"])
def test_serials_that_are_none_are_refused(serial):
    with pytest.raises(InputError, match="names no device"):
        adb.open_target(serial)
