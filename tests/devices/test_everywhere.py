"""Many boards: names of a fleet, rows for what fails, everything else still measured."""

from __future__ import annotations

import json

import pytest

from ssmith.benching import bench_on, read_baseline
from ssmith.devices import registry
from ssmith.devices.everywhere import bench_everywhere
from ssmith.devices.fleet import Board, boards_of, read_fleet
from ssmith.devices.host import Host
from ssmith.errors import InputError, SsmithError
from ssmith.measurement import read_measurements
from tests.devices.conftest import SHORT

FLEET = """
[desk]
target = "host"
backends = ["reference"]
note = "the one under the desk"

[shelf]
target = "host"
backends = ["reference"]
"""


@pytest.fixture
def fleet(tmp_path):
    path = tmp_path / "devices.toml"
    path.write_text(FLEET)
    return path


def test_a_name_is_a_target_a_board_or_the_fleet(fleet, tmp_path):
    assert list(boards_of(["fleet"], fleet)) == ["desk", "shelf"]
    assert boards_of(["shelf", "host"], fleet) == {
        "shelf": Board(target="host", backends=("reference",)),
        "host": Board(target="host"),
    }
    with pytest.raises(InputError, match=r"no target 'hots'; write host.*desk, shelf"):
        boards_of(["hots"], fleet)
    with pytest.raises(InputError, match="cannot read the fleet"):
        boards_of(["fleet"], tmp_path / "absent.toml")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "names no board"),
        ("[a]\ntarget = 3", "a.target"),
        ('[a]\ntarget = "hots"', "board 'a': there is no target"),
        ('[a]\ntarget = "host"\nbackend = []', "a.backend"),
        ("[a", "no valid TOML"),
    ],
)
def test_a_wrong_fleet_file_is_refused(tmp_path, text, words):
    path = tmp_path / "devices.toml"
    path.write_text(text)
    with pytest.raises(InputError, match=words):
        read_fleet(path)


def test_boards_are_told_apart_and_what_fails_is_a_row(artifacts, fleet, monkeypatch):
    class Broken(Host):
        def run(self, job, plan):
            raise SsmithError("the cable is gone")

    class Absent(Host):
        def probe(self):
            raise SsmithError("nobody answers")

    made = iter([Broken(), Absent(), Host()])
    monkeypatch.setattr("ssmith.devices.everywhere.find_target", lambda name: next(made))
    board = Board(target="host", backends=("reference",), note="mine")
    seen = []
    rows = bench_everywhere(
        artifacts, {"one": board, "two": board, "three": board}, plan=SHORT, on_row=seen.append
    )
    assert [(row.target, row.error) for row in rows] == [
        ("one", "the cable is gone"),
        ("two", "nobody answers"),
        ("three", None),
    ]
    assert rows == seen
    assert rows[0].metric_kind == "correctness" and rows[0].timing is None
    assert rows[2].timing is not None and rows[2].notes[0] == "mine"


def test_remote_boards_work_at_once(artifacts, monkeypatch):
    import threading

    both = threading.Barrier(2, timeout=60)

    class Waiting(Host):
        def run(self, job, plan):
            both.wait()  # passes only if the other one is here too
            return super().run(job, plan)

    monkeypatch.setitem(registry.FAMILIES, "host", registry.Family("host", "far away", remote=True))
    monkeypatch.setattr("ssmith.devices.everywhere.find_target", lambda name: Waiting())
    board = Board(target="host", backends=("reference",))
    rows = bench_everywhere(artifacts, {"one": board, "two": board}, plan=SHORT)
    assert [(row.target, row.error) for row in rows] == [("one", None), ("two", None)]


def test_what_a_board_has_no_runtime_for_is_a_line_or_where_asked_for_a_row(artifacts):
    pytest.importorskip("wasmtime")
    wasm, told = {"w": Board(target="wasm")}, []
    rows = bench_everywhere(artifacts, wasm, plan=SHORT, on_skip=lambda *words: told.append(words))
    assert told and told[0][0] == "w" and "reference (no runtime for it there)" in told[0][1]
    assert all(row.backend == "native" for row in rows)
    (row,) = bench_everywhere(artifacts, wasm, backends=["reference"], plan=SHORT)
    assert (row.backend, row.error) == ("reference", "no runtime for it there")


def test_emulators_count_after_this_machine_was_timed_two_at_once(artifacts, monkeypatch):
    import threading

    both, order = threading.Barrier(2, timeout=60), []

    class Counting(Host):
        def run(self, job, plan):
            order.append("counted")
            both.wait()
            return super().run(job, plan)

    class Timed(Host):
        def run(self, job, plan):
            order.append("timed")
            return super().run(job, plan)

    monkeypatch.setattr(
        "ssmith.devices.everywhere.find_target", lambda name: Timed() if name == "host" else Counting()
    )
    boards = {n: Board(target=n, backends=("reference",)) for n in ("emulated:cortex-m4", "host", "wasm")}
    rows = bench_everywhere(artifacts, boards, plan=SHORT)
    assert [(row.target, row.error) for row in rows] == [(name, None) for name in boards]
    assert order == ["timed", "counted", "counted"]


def test_bench_of_an_artifact_folder_with_a_gate(artifacts, fleet, tmp_path):
    out = tmp_path / "rows.json"
    facts = bench_on(artifacts, ["desk"], fleet=fleet, plan=SHORT, out=out)
    assert set(facts) == {"desk reference"}
    (row,) = read_measurements(out)
    assert row.target == "desk" and read_baseline(out) == [row]
    options = {"fleet": fleet, "plan": SHORT, "baseline": out}
    held = bench_on(artifacts, ["desk"], fail_if=["latency.p50>+10000%"], **options)
    assert held["gate"] == "1 comparisons with the baseline held"
    with pytest.raises(SsmithError, match="nothing could be compared"):
        bench_on(artifacts, ["shelf"], fail_if=["latency.p50>+10000%"], **options)
    cheap = json.loads(out.read_text())
    timing = cheap["measurements"][0]["timing"]
    timing |= {
        name: value / 1e6
        for name, value in timing.items()
        if name.endswith("_us") and isinstance(value, float)
    }
    out.write_text(json.dumps(cheap))
    with pytest.raises(SsmithError, match=r"dearer than the baseline:\n  desk reference: .*allows") as closed:
        bench_on(artifacts, ["desk"], fail_if=["latency.p50>+15%"], **options)
    assert closed.value.exit_code == 1


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"fail_if": ["instructions>+2%"]}, "write --baseline report.json too"),
        ({"fail_if": ["nonsense"]}, "is no condition"),
        ({"baseline": "absent.json", "fail_if": ["instructions>+2%"]}, "cannot read the baseline"),
        ({"targets": ["hots"]}, "no target 'hots'"),
    ],
)
def test_mistakes_are_found_before_anything_is_measured(artifacts, fleet, tmp_path, options, words):
    targets = options.pop("targets", ["host"])
    if "baseline" in options:
        options["baseline"] = tmp_path / options["baseline"]
    with pytest.raises(InputError, match=words):
        bench_on(artifacts, targets, fleet=fleet, **options)
