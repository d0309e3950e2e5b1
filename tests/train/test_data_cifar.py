"""CIFAR-10's binary folder, with fabricated records."""

import numpy as np
import pytest

from ssmith.errors import InputError
from ssmith.recipe import Recipe
from ssmith.train.data import load
from ssmith.train.data_cifar import RECORD, TEST_FILES, TRAIN_FILES

PER_FILE = 10


@pytest.fixture
def folder(tmp_path):
    """Six files of ten records; red, green and blue of a pixel differ."""
    rng = np.random.default_rng(0)
    place = tmp_path / "cifar-10-batches-bin"
    place.mkdir()
    for name in (*TRAIN_FILES, *TEST_FILES):
        records = rng.integers(0, 256, (PER_FILE, RECORD), np.uint8)
        records[:, 0] = np.arange(PER_FILE)
        records.tofile(place / name)
    return place


def recipe(path):
    document = {"name": "c", "task": "classification", "data": {"source": "cifar10", "path": str(path)}}
    return Recipe.parse(document, "test")


def test_records_become_sequences_of_three_colours(folder):
    splits = load(recipe(folder))
    assert [len(part) for part in (splits.train, splits.validation, splits.test)] == [45, 5, 10]
    assert [signal.name for signal in splits.inputs] == ["red", "green", "blue"]
    assert [signal.name for signal in splits.outputs][:2] == ["airplane", "automobile"]
    records = (folder / TEST_FILES[0]).read_bytes()
    for i, (sequence, label) in enumerate(zip(splits.test.inputs, splits.test.targets, strict=True)):
        record = records[i * RECORD : (i + 1) * RECORD]
        assert label == record[0]
        assert sequence.shape == (1024, 3)
        for step, colour in ((0, 0), (33, 1), (1023, 2)):
            assert round(float(sequence[step, colour]) * 255) == record[1 + 1024 * colour + step]


def test_the_folder_that_holds_the_folder_will_do(folder):
    inner, outer = load(recipe(folder)), load(recipe(folder.parent))
    assert np.array_equal(inner.train.targets, outer.train.targets)


def test_a_path_is_needed():
    document = {"name": "c", "task": "classification", "data": {"source": "cifar10"}}
    with pytest.raises(InputError, match="source is 'cifar10', so write path"):
        Recipe.parse(document, "test")


@pytest.mark.parametrize("length", [0, RECORD - 1, 10 * RECORD + 1])
def test_a_truncated_file_is_refused(folder, length):
    (folder / TRAIN_FILES[3]).write_bytes(bytes(length))
    with pytest.raises(InputError, match=r"data_batch_4.bin has [\d,]+ bytes.*not a whole number of records"):
        load(recipe(folder))


def test_a_missing_file_is_named(folder):
    (folder / TEST_FILES[0]).unlink()
    with pytest.raises(InputError, match=r"cannot read .*test_batch\.bin"):
        load(recipe(folder))


def test_a_label_above_nine_is_refused(folder):
    content = bytearray((folder / TRAIN_FILES[0]).read_bytes())
    content[2 * RECORD] = 10
    (folder / TRAIN_FILES[0]).write_bytes(content)
    with pytest.raises(InputError, match=r"label 10 of image 2 in .*data_batch_1\.bin is no class"):
        load(recipe(folder))


def test_other_folders_are_explained(tmp_path):
    with pytest.raises(InputError, match=r"holds no data_batch_1\.bin"):
        load(recipe(tmp_path))
    (tmp_path / "data_batch_1").write_bytes(b"\x80")
    with pytest.raises(InputError, match="holds the Python version, and pickles are not read"):
        load(recipe(tmp_path))
