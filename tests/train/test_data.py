"""What the training loop gets: shipped data sets, any torch Dataset, batches as pure functions."""

from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import TensorDataset

from ssmith.errors import InputError
from ssmith.recipe import Recipe
from ssmith.train.data import batch_indices, collate, from_dataset, load
from ssmith.train.splits import SequenceSet


@pytest.fixture(scope="module")
def digits():
    return load(Recipe.load("digits"))


@pytest.fixture(scope="module")
def flexjoint():
    return load(Recipe.load("flexjoint"))


def same(a, b):
    return all(np.array_equal(x, y) for x, y in zip(a.inputs, b.inputs, strict=True))


def test_digits_are_split_once_and_evenly(digits):
    assert [len(part) for part in (digits.train, digits.validation, digits.test)] == [1200, 197, 400]
    parts = (digits.train, digits.validation, digits.test)
    images = [u.tobytes() for part in parts for u in part.inputs]
    assert len(set(images)) == 1797  # no image is in two parts
    counts = np.array([np.bincount(part.targets, minlength=10) for part in parts])
    shares = np.array([[1200], [197], [400]]) / 1797
    assert np.abs(counts - shares * counts.sum(0)).max() <= 2
    assert [signal.name for signal in digits.outputs] == list("0123456789")


def test_digits_show_each_pixel_for_two_steps_between_minus_one_and_one(digits):
    for u in digits.test.inputs[:20]:
        assert u.shape == (128, 1) and u.dtype == np.float32
        assert np.array_equal(u[0::2], u[1::2])
        assert np.array_equal(np.round((u + 1) * 8), (u + 1) * 8) and abs(u).max() <= 1


def test_shipped_data_follow_the_seed(digits, flexjoint):
    assert same(load(Recipe.load("digits")).test, digits.test)
    other = load(Recipe.load("digits", ("seed=1",)))
    assert not same(other.test, digits.test)
    again = load(Recipe.load("flexjoint"))
    assert same(again.train, flexjoint.train)
    assert flexjoint.train.inputs[0].tobytes() != flexjoint.test.inputs[0].tobytes()


def test_flexjoint_has_episodes_of_unequal_length_at_one_kilohertz(flexjoint):
    assert flexjoint.period_s == 1e-3
    assert len(set(flexjoint.train.lengths)) > 10
    assert [signal.unit for signal in (*flexjoint.inputs, *flexjoint.outputs)] == ["N m", "rad/s"]
    assert isinstance(flexjoint.train.targets, tuple)
    for u, y in zip(flexjoint.train.inputs, flexjoint.train.targets, strict=True):
        assert u.shape == y.shape


@pytest.mark.parametrize(
    ("recipe", "change", "message"),
    [
        ("digits", "data.window=16", "data.window belongs to source"),
        ("digits", "data.path=here", "data.path belongs to source"),
        ("smnist", "data.validation=0.2", "data.validation belongs to source"),
        ("smnist", "task=regression", '"smnist" is a classification task'),
        ("digits", "task=regression", '"digits" is a classification task'),
        ("flexjoint", "data.rate_hz=500", "simulated at 1000 Hz"),
        ("flexjoint", "task=classification", '"flexjoint" is a regression task'),
    ],
)
def test_settings_that_would_be_ignored_are_refused(recipe, change, message):
    with pytest.raises(InputError, match=message):
        load(Recipe.load(recipe, (change,)))


def test_a_recipe_written_out_in_full_loads_too(digits):
    written = Recipe.parse(Recipe.load("digits").model_dump(mode="json"), "run folder")
    assert same(load(written).train, digits.train)


@given(st.integers(1, 40), st.integers(1, 50), st.integers(0, 2**32 - 1))
def test_batches_go_through_every_epoch_once(n, batch, seed):
    stream = np.concatenate([batch_indices(seed, step, n, batch) for step in range(3 * n // batch + 1)])
    assert stream.min() >= 0 and stream.max() < n
    for epoch in range(len(stream) // n):
        assert sorted(stream[epoch * n : (epoch + 1) * n]) == list(range(n))


@given(st.integers(0, 10**6), st.integers(1, 100), st.integers(1, 64))
def test_batches_of_any_size_cut_the_same_stream(step, n, batch):
    one_by_one = [batch_indices(7, step * batch + i, n, 1) for i in range(batch)]
    assert np.array_equal(batch_indices(7, step, n, batch), np.concatenate(one_by_one))


def test_epochs_and_seeds_differ():
    orders = {batch_indices(seed, step, 20, 20).tobytes() for seed in range(5) for step in range(5)}
    assert len(orders) == 25


def test_every_sequence_comes_equally_often_at_every_place():
    first = Counter(int(batch_indices(0, step, 5, 5)[0]) for step in range(2000))
    assert all(300 < first[i] < 500 for i in range(5))


def test_collate_pads_with_zeros_and_tells_lengths():
    inputs = tuple(np.full((n, 2), n, np.float32) for n in (3, 5, 2))
    batch = collate(SequenceSet(inputs, tuple(u[:, :1] for u in inputs)), [2, 0])
    assert batch.x.shape == (2, 3, 2) and batch.y.shape == (2, 3, 1)
    assert batch.lengths.tolist() == [2, 3] and batch.lengths.dtype == torch.int64
    assert batch.x[0, :2].eq(2).all() and batch.x[0, 2:].eq(0).all() and batch.x[1].eq(3).all()
    assert batch.y[0, 2:].eq(0).all()
    labels = collate(SequenceSet(inputs, np.array([4, 5, 6])), np.array([1, 2]))
    assert labels.y.tolist() == [5, 6] and labels.y.dtype == torch.int64


def test_a_batch_shares_no_memory_with_the_set():
    data = SequenceSet((np.ones((3, 1), np.float32),), np.array([0]))
    batch = collate(data, [0])
    batch.x.zero_()
    batch.y.fill_(9)
    assert data.inputs[0].sum() == 3 and data.targets[0] == 0


def test_a_torch_dataset_is_split_like_files():
    x, y = torch.randn(30, 12, 2), torch.arange(30) % 3
    splits = from_dataset(TensorDataset(x, y), "classification", inputs=["a", "b"], period_s=0.1)
    assert len(splits.train) + len(splits.validation) + len(splits.test) == 30
    assert [signal.name for signal in splits.inputs] == ["a", "b"] and splits.period_s == 0.1
    lookup = {x[i].numpy().tobytes(): int(y[i]) for i in range(30)}
    for part in (splits.train, splits.validation, splits.test):
        for u, label in zip(part.inputs, part.targets, strict=True):
            assert lookup[u.tobytes()] == int(splits.outputs[label].name)


def test_torch_datasets_that_are_already_apart_stay_apart():
    def made(n, seed):
        generator = torch.Generator().manual_seed(seed)
        x = torch.randn(n, 8, generator=generator)  # (T,): one input
        return TensorDataset(x, x.cumsum(1))

    splits = from_dataset(made(6, 0), "regression", validation=made(2, 1), test=made(3, 2))
    assert [len(part) for part in (splits.train, splits.validation, splits.test)] == [6, 2, 3]
    for u, y in zip(splits.test.inputs, splits.test.targets, strict=True):
        np.testing.assert_allclose(np.cumsum(u, 0), y, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("items", "task", "options", "message"),
    [
        ([], "classification", {}, "is empty"),
        ([(np.zeros((2, 2, 2)), 0)], "classification", {}, r"x of dataset\[0\] has shape \(2, 2, 2\)"),
        ([(np.zeros(4), 0.5)], "classification", {}, "one whole number or string"),
        ([(np.array(["a"]), 0)], "classification", {}, "numbers of shape"),
        ([(np.zeros(4), 0)] * 4, "classification", {"inputs": ["a", "b"]}, "2 input names for 1"),
        ([(np.zeros(4), 0)] * 4, "classification", {"test": [(np.zeros(4), 0)]}, "two of one kind"),
        ([(np.zeros(4), np.zeros(3))] * 4, "regression", {}, "4 input frames but 3 target frames"),
        (
            [(np.zeros(4), i) for i in range(2)],
            "classification",
            {"validation": [(np.zeros(4), 0)], "test": [(np.zeros(4), 5)]},
            "label 5 is in test but never in training",
        ),
        (
            [(np.zeros(4), i) for i in range(2)],
            "classification",
            {"validation": [(np.full(4, np.nan), 0)], "test": [(np.zeros(4), 1)]},
            r"input 'input_0' of validation\[0\] is nan at step 0",
        ),
    ],
)
def test_datasets_that_cannot_be_used_are_refused(items, task, options, message):
    with pytest.raises(InputError, match=message):
        from_dataset(items, task, **options)


def token_recipe(path, vocabulary, inputs=("token",)):
    return Recipe.parse(
        {
            "name": "tokens",
            "task": "classification",
            "data": {"path": str(path), "inputs": inputs, "targets": ["label"]},
            "model": {"encoder": "embedding", "vocabulary": vocabulary},
        },
        "test",
    )


def test_tokens_for_an_embedding_are_checked_and_not_normalised(tmp_path):
    rng = np.random.default_rng(0)
    tokens, label = rng.integers(0, 9, (12, 20)), np.arange(12) % 2
    tokens[0, 0] = 9
    np.savez(tmp_path / "d.npz", token=tokens, label=label, half=tokens / 2)
    splits = load(token_recipe(tmp_path / "d.npz", 10))
    assert splits.input_mean == 0 and splits.input_std == 1
    for recipe, message in (
        (token_recipe(tmp_path / "d.npz", 9), "holds 9, but an embedding"),
        (token_recipe(tmp_path / "d.npz", 9, ("half",)), "whole numbers from 0 to 8"),
        (token_recipe(tmp_path / "d.npz", 10, ("token", "half")), "reads one input"),
    ):
        with pytest.raises(InputError, match=message):
            load(recipe)
