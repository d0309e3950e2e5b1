"""Runs that are stopped and killed, and go on."""

import json
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ssmith.errors import InputError
from ssmith.train.loop import train
from ssmith.train.run import read_rows
from tests.train.tiny_training import data, recipe

PROGRAM = Path(__file__).with_name("tiny_training.py")
FILES = ("last.safetensors", "best.safetensors", "metrics.jsonl", "metrics.csv", "cuts.json")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("finished")
    return folder, train(recipe(), data(), folder, threads=1)


def same(a, b):
    return [name for name in FILES if (a / name).read_bytes() != (b / name).read_bytes()]


def test_half_a_line_at_the_end_is_dropped(tmp_path):
    (tmp_path / "rows").write_text('{"step": 1}\n{"step": 2}\n{"st')
    assert read_rows(tmp_path / "rows") == [{"step": 1}, {"step": 2}]
    assert read_rows(tmp_path / "missing") == []


class Stop(Exception):
    """Raised from the progress call: a run that is stopped there."""


@pytest.mark.parametrize("at", [5, 17, 18, 36, 37, 59])
def test_a_stopped_run_goes_on_to_the_same_bytes(finished, tmp_path, at):
    def stop(progress):
        if progress.step == at:
            raise Stop

    with pytest.raises(Stop):
        train(recipe(), data(), tmp_path, threads=1, on_progress=stop)
    result = train(recipe(), data(), tmp_path, threads=2)  # keeps its own number of threads
    assert same(finished[0], tmp_path) == []
    assert result.test_metric == finished[1].test_metric and result.threads == 1


SCHEDULES = {
    "gradual": {"schedule": "gradual"},
    "plateau": {"schedule": "plateau", "window": (0.1, 0.6)},
    "loss": {"order": None, "max_loss": 0.3, "gate": 0.0},
    "states": {"order": None, "max_states": 12, "refit": True},
}


@pytest.mark.parametrize("which", list(SCHEDULES))
def test_every_schedule_and_goal_goes_on_to_the_same_bytes(tmp_path, which):
    """Stopped between two looks or cuts."""
    settings = recipe(reduce=SCHEDULES[which])
    names = (*FILES, *(["spectra.json"] if which == "plateau" else []))
    train(settings, data(), tmp_path / "whole", threads=1)

    def stop(progress):
        if progress.step == 24:
            raise Stop

    with pytest.raises(Stop):
        train(settings, data(), tmp_path / "stopped", threads=1, on_progress=stop)
    result = train(settings, data(), tmp_path / "stopped", threads=1)
    assert max(result.orders) < 16
    for name in names:
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "stopped" / name).read_bytes(), name


def test_a_plateau_is_told_in_a_file_of_its_own(tmp_path):
    train(recipe(reduce=SCHEDULES["plateau"]), data(), tmp_path, threads=1)
    looks = json.loads((tmp_path / "spectra.json").read_text())
    [step] = {cut["step"] for cut in json.loads((tmp_path / "cuts.json").read_text())}
    assert [look["step"] for look in looks] == sorted(2 * list(range(6, step + 1)))
    assert looks[0]["change"] is None and all(look["change"] >= 0 for look in looks[2:])
    assert {len(look["singular_values"]) for look in looks} == {32}


def kill_and_resume(folder, kills, seed):
    """Start the program, kill it after a random time, `kills` times; then let it finish."""
    rng = random.Random(seed)
    for _ in range(kills):
        # Past the imports, most moments are inside the training.
        process = subprocess.Popen([sys.executable, str(PROGRAM), str(folder)], stdout=subprocess.DEVNULL)
        start = time.monotonic()
        before = len(list(folder.glob("*"))) if folder.exists() else 0
        while process.poll() is None and time.monotonic() - start < 60:
            if folder.exists() and len(list(folder.glob("*"))) > before:
                break
            time.sleep(0.005)
            if before and time.monotonic() - start > 2.0:
                break
        time.sleep(rng.uniform(0, 0.6))
        process.kill()
        process.wait()
    subprocess.run([sys.executable, str(PROGRAM), str(folder)], check=True, stdout=subprocess.DEVNULL)


@pytest.mark.slow
@pytest.mark.parametrize("kills,seed", [(5, 0), (20, 1)])
def test_killed_at_random_moments_it_ends_with_the_same_bytes(finished, tmp_path, kills, seed):
    folder = tmp_path / "killed"
    kill_and_resume(folder, kills, seed)
    assert same(finished[0], folder) == []
    assert not list(folder.glob(".*"))


DYING_WRITE = """
import os, signal, sys
calls, replace = 0, os.replace
program, folder, name, which, moment = sys.argv[1:]
def dying(source, target):
    global calls
    calls += os.path.basename(target) == name
    if calls == int(which):
        if moment == "after":
            replace(source, target)
        os.kill(os.getpid(), signal.SIGKILL)
    replace(source, target)
os.replace = dying
sys.argv[:] = [program, folder]
exec(compile(open(program).read(), program, "exec"), {"__name__": "__main__"})
"""


@pytest.mark.parametrize(
    "name,which,moment",
    [
        ("last.safetensors", 1, "before"),
        ("best.safetensors", 2, "after"),
        ("cuts.json", 3, "before"),
        ("elapsed.json", 9, "before"),
        ("result.json", 1, "before"),
    ],
)
def test_killed_around_a_rename_it_ends_with_the_same_bytes(finished, tmp_path, name, which, moment):
    arguments = [sys.executable, "-c", DYING_WRITE, str(PROGRAM), str(tmp_path), name, str(which), moment]
    assert subprocess.run(arguments, stdout=subprocess.DEVNULL).returncode == -9
    assert moment == "after" or list(tmp_path.glob(".*"))
    train(recipe(), data(), tmp_path, threads=1)
    assert same(finished[0], tmp_path) == []
    assert not list(tmp_path.glob(".*"))  # nothing half-written is left behind


def test_a_folder_from_another_run_is_refused_and_stays_as_it_is(finished, tmp_path):
    folder = finished[0]
    before = {name: (folder / name).read_bytes() for name in FILES}
    other = data()
    other.train.inputs[0][0] += 1
    for changed, splits, seed in (
        (recipe(train={"steps": 61}), data(), 0),
        (recipe(), data(), 1),
        (recipe(), other, 0),
    ):
        with pytest.raises(InputError, match="other settings, data or another seed"):
            train(changed, splits, folder, seed=seed)
    assert before == {name: (folder / name).read_bytes() for name in FILES}
