"""Splitting: nothing in two parts, nothing lost, statistics from training alone."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ssmith.bundle import Signal
from ssmith.errors import InputError
from ssmith.train.splits import Recording, Recordings, split, stratified


def labelled(counts, steps=6):
    """Recordings of constant value: its own number, so that it can be told apart after the split."""
    labels = [label for label, count in counts.items() for _ in range(count)]
    items = [
        Recording(f"r{i}", np.full((steps + i % 3, 1), i, np.float32), label)
        for i, label in enumerate(labels)
    ]
    return Recordings(tuple(items), (Signal(name="u"),))


def measured(lengths, seed=0):
    rng = np.random.default_rng(seed)
    items = [
        Recording(
            f"r{i}", rng.standard_normal((n, 2)).astype(np.float32), np.arange(n, dtype=np.float32)[:, None]
        )
        for i, n in enumerate(lengths)
    ]
    return Recordings(tuple(items), (Signal(name="a"), Signal(name="b")), (Signal(name="y"),), 0.01)


def values(part):
    return [int(u[0, 0]) for u in part.inputs]


@given(st.integers(3, 60), st.integers(0, 5), st.sampled_from([(0.15, 0.15), (0.3, 0.2), (0.01, 0.5)]))
def test_by_sequence_every_recording_is_in_exactly_one_part(n, seed, shares):
    splits = split(
        labelled({"a": n, "b": n}), "classification", seed=seed, validation=shares[0], test=shares[1]
    )
    parts = [values(part) for part in (splits.train, splits.validation, splits.test)]
    assert sorted(v for part in parts for v in part) == list(range(2 * n))
    assert len(parts[1]) == max(1, round(2 * n * shares[0]))
    assert len(parts[2]) == max(1, round(2 * n * shares[1]))


def test_the_seed_decides_and_nothing_else():
    def tested(seed):
        found = split(labelled({"a": 20, "b": 20}), "classification", seed=seed, validation=0.2, test=0.2)
        return values(found.test)

    assert tested(1) == tested(1) != tested(2)


@given(st.dictionaries(st.sampled_from("abcdef"), st.integers(1, 30), min_size=1), st.integers(0, 1000))
def test_every_prefix_of_a_stratified_order_holds_each_label_in_its_share(counts, seed):
    labels = [label for label, count in counts.items() for _ in range(count)]
    order = stratified(labels, np.random.default_rng(seed))
    assert sorted(order) == list(range(len(labels)))
    seen = Counter()
    for position, index in enumerate(order, start=1):
        seen[labels[index]] += 1
        for label, count in counts.items():
            assert abs(seen[label] - count * position / len(labels)) <= len(counts)


def test_small_classes_keep_to_training_before_anything_else():
    splits = split(labelled({"common": 40, "rare": 2}), "classification", seed=0, validation=0.2, test=0.2)
    assert 1 in splits.train.targets
    assert any("no sequence of class rare" in note for note in splits.notes)


def test_labels_become_numbers_in_order():
    splits = split(labelled({10: 6, 9: 6, 2: 6}), "classification", seed=0, validation=0.2, test=0.2)
    assert [signal.name for signal in splits.outputs] == ["2", "9", "10"]
    original = [10] * 6 + [9] * 6 + [2] * 6
    for part in (splits.train, splits.validation, splits.test):
        assert [[2, 9, 10][k] for k in part.targets] == [original[i] for i in values(part)]
    assert np.array_equal(splits.output_mean, np.zeros(3)) and np.array_equal(splits.output_std, np.ones(3))


def test_statistics_come_from_training_alone():
    data = measured([50, 60, 70, 80, 90, 100])
    splits = split(data, "regression", seed=0, validation=0.2, test=0.2)
    frames = np.concatenate(splits.train.inputs)
    np.testing.assert_allclose(splits.input_mean, frames.mean(0), rtol=1e-5)
    np.testing.assert_allclose(splits.input_std, frames.std(0), rtol=1e-5)
    np.testing.assert_allclose(splits.output_std, np.concatenate(splits.train.targets).std(0), rtol=1e-5)
    assert splits.period_s == 0.01
    assert list(splits.test.lengths) == [len(y) for y in splits.test.targets]


def test_by_time_the_parts_follow_each_other_in_every_recording():
    splits = split(measured([100, 40]), "regression", seed=0, validation=0.2, test=0.1, split_by="time")
    for i, total in enumerate((100, 40)):
        joined = np.concatenate([part.targets[i] for part in (splits.train, splits.validation, splits.test)])
        assert np.array_equal(joined[:, 0], np.arange(total))
    assert list(splits.train.lengths) == [70, 28]


@given(st.integers(2, 60), st.integers(2, 20), st.integers(1, 20))
def test_windows_cover_every_frame_and_stay_in_their_part(total, window, stride):
    splits = split(
        measured([total] * 3), "regression", seed=0, validation=0.3, test=0.3, window=window, stride=stride
    )
    for part, step in ((splits.train, stride), (splits.validation, window), (splits.test, window)):
        assert max(part.lengths) <= window
        starts = [int(y[0, 0]) for y in part.targets]
        assert starts == list(range(0, starts[-1] + 1, step))
        if step <= window:
            assert {float(v) for y in part.targets for v in y[:, 0]} == set(map(float, range(total)))
        if step >= window:
            assert sum(part.lengths) <= total  # no frame twice


def test_no_training_window_reaches_into_later_time():
    splits = split(
        measured([200]), "regression", seed=0, validation=0.2, test=0.2, split_by="time", window=16, stride=4
    )
    assert max(y.max() for y in splits.train.targets) < min(y.min() for y in splits.validation.targets)
    assert max(y.max() for y in splits.validation.targets) < min(y.min() for y in splits.test.targets)


def test_a_constant_input_is_kept_and_said():
    data = measured([30, 30, 30])
    for item in data.items:
        item.input[:, 1] = 7
    splits = split(data, "regression", seed=0, validation=0.2, test=0.2)
    assert splits.input_std[1] == 1
    assert any("input 'b' is 7 in every training frame" in note for note in splits.notes)


def with_target(data, value):
    return Recordings(
        tuple(Recording(i.name, i.input, np.full_like(i.target, value)) for i in data.items),
        data.inputs,
        data.outputs,
    )


@pytest.mark.parametrize(
    ("data", "task", "message"),
    [
        (with_target(measured([30, 30, 30]), 0.1), "regression", "target 'y' is 0.1 in every training frame"),
        (labelled({"a": 9}), "classification", "every training sequence has the label 'a'"),
        (labelled({"a": 1, "b": 1}), "classification", "2 sequences cannot be split"),
        (measured([30]), "regression", '1 sequence cannot be split.*split_by = "time"'),
        (Recordings((), (Signal(name="u"),)), "regression", "not a single sequence"),
        (measured([5, 0, 5]), "regression", "r1 has no frames"),
        (labelled({"a": 4, "b": 4}), "regression", "r.* has the label"),
        (measured([5, 5, 5]), "classification", "array of shape .* one label a sequence"),
    ],
)
def test_what_cannot_be_trained_on_is_refused(data, task, message):
    with pytest.raises(InputError, match=message):
        split(data, task, seed=0, validation=0.2, test=0.2)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_value_that_is_not_finite_is_found(bad):
    data = measured([20, 20, 20])
    data.items[1].input[13, 1] = bad
    with pytest.raises(InputError, match=f"input 'b' of r1 is {bad} at step 13"):
        split(data, "regression", seed=0, validation=0.2, test=0.2)
    data = measured([20, 20, 20])
    data.items[2].target[4, 0] = bad
    with pytest.raises(InputError, match=f"target 'y' of r2 is {bad} at step 4"):
        split(data, "regression", seed=0, validation=0.2, test=0.2)


def test_lengths_that_differ_are_refused():
    data = measured([20, 20, 20])
    short = Recording("r9", data.items[0].input, data.items[0].target[:-1])
    with pytest.raises(InputError, match="r9 has 20 input frames but 19 target frames"):
        split(
            Recordings((*data.items, short), data.inputs, data.outputs),
            "regression",
            seed=0,
            validation=0.2,
            test=0.2,
        )


def test_too_short_to_split_along_time():
    with pytest.raises(InputError, match="r0 has 5 steps, too few"):
        split(measured([5]), "regression", seed=0, validation=0.15, test=0.15, split_by="time")
