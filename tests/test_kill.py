"""Killed with −9 anywhere, the same command ends with the same bytes.

`benchmarks/kill_and_resume.py` does the same at twenty random moments of every stage.
"""

from __future__ import annotations

import pytest

from tests.killing import leftovers, results, run_arguments, run_verb

# Each rerun goes on from the last checkpoint and dies at the next of these, train to report.
CHAIN = [
    ("inside a step", 3),
    ("before a rename", 6),
    ("inside a cut", 1),
    ("inside a write", 5),
    ("inside a cut", 1),
    ("after a rename", 12),
    ("before a rename", 12),
    ("after a rename", 12),
    ("before a rename", 8),
]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    runs = tmp_path_factory.mktemp("whole")
    ended = run_verb(run_arguments(runs))
    assert ended.code == 0, ended.stderr
    return results(runs / "it")


def test_a_chain_of_kills_changes_nothing(undisturbed, tmp_path):
    died = [(run_verb(run_arguments(tmp_path), *moment), moment) for moment in CHAIN]
    assert [moment for ended, moment in died if not ended.killed] == []
    ended = run_verb(run_arguments(tmp_path))
    assert ended.code == 0, ended.stderr
    found = results(tmp_path / "it")
    assert found.keys() == undisturbed.keys()
    assert [name for name in found if found[name] != undisturbed[name]] == []
    assert leftovers(tmp_path / "it") == []


def test_a_finished_run_does_nothing_again(undisturbed, tmp_path):
    assert run_verb(run_arguments(tmp_path)).code == 0
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "it").rglob("*") if p.is_file()}
    assert run_verb(run_arguments(tmp_path)).code == 0
    after = {p: p.stat().st_mtime_ns for p in (tmp_path / "it").rglob("*") if p.is_file()}
    assert before == after
    assert results(tmp_path / "it") == undisturbed


def test_two_at_once_is_refused(tmp_path):
    import fcntl

    assert run_verb(["train", *run_arguments(tmp_path)[1:], "--set", "train.steps=8"]).code == 0
    with (tmp_path / "it" / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        ended = run_verb(["freeze", str(tmp_path / "it")])
    assert ended.code == 2
    assert "another ssmith" in ended.stderr
