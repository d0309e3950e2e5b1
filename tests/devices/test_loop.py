"""The arguments of the loops, what they refuse, and that both write what is read."""

import os
import subprocess
import sys

import numpy as np
import pytest

from ssmith.compiler import find_compiler
from ssmith.devices import Plan, bench, loop
from ssmith.devices.host import Host, pinned
from ssmith.devices.target import AUDIO_BLOCKS, Job
from ssmith.errors import InputError
from tests.devices.conftest import SHORT

needs_compiler = pytest.mark.skipif(find_compiler() is None, reason="needs a C compiler (apt install gcc)")
needs_linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="cores are chosen on Linux")
QUICK = Plan(steps=300, warmup_limit=100, cold_starts=0, paced_limit_s=0.0, session=False)


@pytest.fixture(scope="module")
def compiled(artifacts, tmp_path_factory):
    """The C loop around the model, its frames beside it."""
    if find_compiler() is None:
        pytest.skip("needs a C compiler (apt install gcc)")
    host = Host()
    built = host.build(artifacts, "native", "float32", tmp_path_factory.mktemp("compiled"))
    return host.push(built, SHORT)


def started(compiled, output, *words, code=0):
    output.mkdir()
    arguments = [str(compiled.folder / "frames.f32"), str(output), *loop.numbers(compiled, QUICK, 0)]
    done = subprocess.run(
        [*compiled.command, *arguments, *words], check=False, capture_output=True, text=True
    )
    assert done.returncode == code, done.stderr


def job(tmp_path, period_s):
    return Job("native", "float32", "kws.c", tmp_path, ("run",), tmp_path, period_s)


def test_the_paced_run_is_as_long_as_asked_for_whatever_the_steps(tmp_path):
    plan = Plan(steps=10, paced_limit_s=600.0, period_s=2e-3)
    assert loop.paced_steps(job(tmp_path, None), plan) == 300_000
    assert loop.numbers(job(tmp_path, None), plan, 7)[2:] == ["300000", "2000000", "7"]
    assert loop.paced_steps(job(tmp_path, None), Plan()) == 0  # no rate
    assert loop.paced_steps(job(tmp_path, 1.0), Plan(paced_limit_s=0.0)) == 0
    assert loop.planned_s(job(tmp_path, None), plan) > 600


def test_blocks_come_by_themselves_for_audio_and_need_a_rate(tmp_path):
    assert loop.blocks_of(job(tmp_path, 1 / 16_000), Plan()) == AUDIO_BLOCKS
    assert loop.blocks_of(job(tmp_path, 5e-3), Plan()) == ()
    assert loop.blocks_of(job(tmp_path, 1 / 16_000), Plan(blocks=())) == ()
    with pytest.raises(InputError, match=r"has no rate.*--period"):
        loop.blocks_of(job(tmp_path, None), Plan(blocks=(32,)))


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"period_s": 0.0}, "period"),
        ({"rt_priority": 100}, "from 1 to 99"),
        ({"core": -1}, "count from 0"),
        ({"repeats": 0}, "measure nothing"),
        ({"blocks": (32, 0)}, "block of 0 frames"),
    ],
)
def test_a_plan_that_nobody_can_follow_is_refused(wrong, words):
    with pytest.raises(InputError, match=words):
        Plan(**wrong)


@needs_linux
def test_a_core_that_is_not_ours_is_refused_with_those_that_are():
    before = os.sched_getaffinity(0)
    with pytest.raises(InputError, match=r"core 4095 cannot be used here; take one of"), pinned(4095):
        pass
    with pinned(min(before)) as core:
        assert core == min(before) and os.sched_getaffinity(0) == {core}
    assert os.sched_getaffinity(0) == before


@pytest.mark.parametrize("clock", ["monotonic", "auto"])
def test_either_clock_of_the_c_loop_counts_the_steps_and_tells_its_cost(compiled, tmp_path, clock):
    started(compiled, tmp_path / "out", f"clock={clock}", "blocks=1,32", "block_limit_ns=1000000000")
    stats, raw = loop.read_stats(tmp_path / "out"), loop.read_output(tmp_path / "out")
    assert len(raw.samples) == 400 and raw.loop_overhead_ns is not None and raw.loop_overhead_ns >= 0
    assert set(raw.blocks) == {1, 32} and all(1 <= len(times) <= 1000 for times in raw.blocks.values())
    if clock == "monotonic":
        assert stats["counter"] == 0 and raw.fingerprint["timer"] == "CLOCK_MONOTONIC"


@pytest.mark.parametrize("word", ["speed=9", "clock=sundial", "blocks=0", "blocks=32;64", "nothing"])
def test_the_c_loop_refuses_an_option_that_it_does_not_know(compiled, tmp_path, word):
    started(compiled, tmp_path / "out", word, code=2)
    assert not (tmp_path / "out" / "stats.txt").exists()


@needs_compiler
@needs_linux
@pytest.mark.parametrize("backend", ["native", "reference"])
def test_a_priority_is_given_or_refused_clearly_or_left_out_if_asked(artifacts, backend):
    """Which of the first two happens depends on who runs the test; both end without half a result."""
    plan = Plan(steps=60, warmup_limit=0, cold_starts=0, paced_limit_s=0.02, rt_priority=10, session=False)
    try:
        (found,) = bench(artifacts, backends=[backend], precisions=PRECISION[backend], plan=plan)
    except InputError as error:
        assert "SCHED_FIFO priority 10" in str(error) and "--rt-fallback" in str(error)
        relaxed = Plan(**{**vars(plan), "rt_fallback": True})
        (found,) = bench(artifacts, backends=[backend], precisions=PRECISION[backend], plan=relaxed)
        assert any("real-time priority was refused" in note for note in found.notes)
    else:
        assert found.fingerprint["scheduler"].startswith("SCHED_FIFO 10")
    assert found.deadline.steps == 4


PRECISION = {"native": ["float32"], "reference": ["float64"]}


@needs_compiler
def test_repeats_take_turns_and_give_intervals(artifacts):
    rows = []
    plan = Plan(**{**vars(QUICK), "repeats": 3, "paced_limit_s": 0.05, "blocks": (8,), "cold_starts": 1})
    found = bench(
        artifacts,
        backends=["native", "reference"],
        precisions=["float32", "float64"],
        plan=plan,
        on_row=rows.append,
    )
    assert found == rows and [row.backend for row in rows] == ["native", "reference"]
    for row in rows:
        assert row.repeats == 3 and row.timing.samples > 3 * 150
        for name, (low, high) in row.intervals.items():
            assert low <= getattr(row.timing, name) <= high
        assert {"p50_us", "mean_us"} <= set(row.intervals)
        assert row.noisy in (True, False)
        assert row.noisy == (any(n.startswith("noisy: ") for n in row.notes) or not row.warmup_stable)
        assert row.deadline.steps == 10 and sum(row.deadline.late_counts) == 10  # of the first turn only
        (block,) = row.blocks
        assert (block.frames, block.rate_hz) == (8, pytest.approx(200.0))


def test_what_disturbed_a_run_is_told(tmp_path):
    for name, values in (("samples", np.full(1_000, 50)), ("busy", np.full(3, 5)), ("late", np.full(3, 9))):
        values.astype(np.int64).tofile(tmp_path / f"{name}.i64")
    lines = (
        "overhead_ns 20.5",
        "paced_planned 9",
        "preemptions 40",
        "preemptions_paced 11",
        "rt_refused 1",
        "rt_priority 0",
    )
    hot = (
        "rt_refused 1",
        "rt_priority 0",
        "frequency_khz_before 3000000",
        "frequency_khz_after 1500000",
        "temperature_mc_after 91250",
    )
    (tmp_path / "stats.txt").write_text("\n".join((*lines, *hot)) + "\n")
    raw = loop.read_output(tmp_path)
    assert raw.noise == (
        "other programs took the core 40 times in 1000 steps",
        "other programs took the core 11 times in 3 paced steps",
        "the core ran at 3000 MHz before and at 1500 MHz after",
    )
    assert any("after 3 of 9 steps" in note for note in raw.notes) and len(raw.notes) == 2
    assert raw.fingerprint["temperature_c_after"] == "91.2" and "scheduler" not in raw.fingerprint
