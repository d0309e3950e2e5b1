import time

import numpy as np

from ssmith.devices.worker import (
    clock_ns,
    loop_overhead_ns,
    peak_rss_bytes,
    run_back_to_back,
    run_blocks,
    run_paced,
)


def test_back_to_back_feeds_frames_in_a_circle_and_stops_at_the_limit():
    seen = []
    samples = run_back_to_back(seen.append, ["a", "b", "c"], 7, 10**9)
    assert seen == list("abcabca")
    assert len(samples) == 7 and (samples >= 0).all()
    stopped = run_back_to_back(lambda _: time.sleep(2e-3), [None], 10**6, 5_000_000)
    assert 1 <= len(stopped) <= 10


def test_paced_steps_start_no_earlier_than_due_and_lateness_adds_up():
    period_ns, starts = 2_000_000, []

    def step(_):
        starts.append(time.perf_counter_ns())
        if len(starts) == 3:
            time.sleep(5e-3)

    busy, late = run_paced(step, [None], 6, period_ns)
    assert (np.diff(starts)[:2] > 0).all()
    # The schedule is absolute and nothing is skipped; the first step may itself have been late.
    assert starts[5] - starts[0] >= 5 * period_ns - late[0]
    assert (late >= busy).all()
    assert late[2] > period_ns and late[3] > period_ns  # the step after a slow one is late, too


def test_the_clock_is_the_one_that_c_reads():
    before = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
    assert before <= clock_ns() <= time.clock_gettime_ns(time.CLOCK_MONOTONIC)


def test_peak_memory_grows_with_what_is_used():
    before = peak_rss_bytes()
    block = np.ones(max(before // 8, 1) + (1 << 23))
    assert block[-1] == 1.0
    assert peak_rss_bytes() > before


def test_blocks_hold_the_frames_in_a_circle():
    seen = []
    found = run_blocks(seen.append, np.arange(6, dtype=np.float32).reshape(3, 2), [2, 5], 10**7)
    assert set(found) == {2, 5} and all(1 <= len(times) <= 1000 for times in found.values())
    assert {block.shape for block in seen} == {(2, 2), (5, 2)}
    assert seen[-1][:, 0].tolist() == [0, 2, 4, 0, 2]


def test_a_paced_run_that_falls_behind_is_ended():
    busy, late = run_paced(lambda _: time.sleep(0.4), [None], 50, 1_000_000)
    assert 1 <= len(busy) == len(late) < 50


def test_what_the_loop_costs_is_told():
    assert loop_overhead_ns(200) > 0
