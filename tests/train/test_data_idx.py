"""IDX files: what is written is read; whatever is damaged is refused with its name."""

import gzip
import tracemalloc

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from ssmith.datasets import OFFICIAL, data_folder
from ssmith.errors import InputError
from ssmith.recipe import Recipe
from ssmith.train.data import load
from ssmith.train.data_idx import LARGEST, idx_splits, read_idx
from tests.idx_files import PARTS, idx_bytes, write_idx, write_image_set

images = arrays(np.uint8, array_shapes(min_dims=3, max_dims=3, max_side=5))
FETCHED = data_folder("smnist")  # before any test moves the cache
same_folder = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


@same_folder
@given(values=images, suffix=st.sampled_from(["", ".gz"]))
def test_what_is_written_is_read(tmp_path, values, suffix):
    path = tmp_path / f"images{suffix}"
    write_idx(path, values)
    found = read_idx(path, 3)
    assert found.dtype == np.uint8 and np.array_equal(found, values)


@same_folder
@given(values=images, compressed=st.booleans(), data=st.data())
def test_a_file_cut_anywhere_is_refused(tmp_path, values, compressed, data):
    content = idx_bytes(values)
    if compressed:
        content = gzip.compress(content, mtime=0)
    path = tmp_path / ("cut.gz" if compressed else "cut")
    path.write_bytes(content[: data.draw(st.integers(0, len(content) - 1))])
    with pytest.raises(InputError, match=r"cut.*(truncated|damaged|again)"):
        read_idx(path, 3)


@same_folder
@given(values=images, place=st.integers(0, 3), wrong=st.integers(1, 255))
def test_another_magic_number_is_refused(tmp_path, values, place, wrong):
    content = bytearray(idx_bytes(values))
    content[place] ^= wrong
    (tmp_path / "other").write_bytes(content)
    with pytest.raises(InputError, match=r"an IDX file of images starts with 00 00 08 03"):
        read_idx(tmp_path / "other", 3)


def test_a_file_of_labels_is_no_file_of_images(tmp_path):
    write_idx(tmp_path / "labels", np.zeros(5, np.uint8))
    assert read_idx(tmp_path / "labels", 1).shape == (5,)
    with pytest.raises(InputError, match=r"starts with the bytes 00 00 08 01"):
        read_idx(tmp_path / "labels", 3)


def test_gz_that_is_none_is_refused(tmp_path):
    (tmp_path / "x.gz").write_bytes(idx_bytes(np.zeros(5, np.uint8)))
    with pytest.raises(InputError, match=r"cannot read .*Not a gzipped file"):
        read_idx(tmp_path / "x.gz", 1)


def test_a_small_file_that_unpacks_to_a_large_one_is_not_unpacked(tmp_path):
    """The header tells how much to read; 64 MB of zeros behind it stay compressed."""
    path = tmp_path / "bomb.gz"
    path.write_bytes(gzip.compress(idx_bytes(np.zeros(8, np.uint8)) + bytes(2**26), 1))
    tracemalloc.start()
    with pytest.raises(InputError, match=r"should hold 8 values .* but holds more"):
        read_idx(path, 1)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**22


@pytest.mark.parametrize("shape", [(2**32 - 1,) * 3, (LARGEST + 1, 1, 1), (3, 0, 3)])
def test_a_header_that_promises_the_impossible_is_refused(tmp_path, shape):
    header = bytes((0, 0, 8, 3)) + b"".join(n.to_bytes(4, "big") for n in shape)
    (tmp_path / "header").write_bytes(header)
    with pytest.raises(InputError, match=r"from 1 to 1,073,741,824 can be read"):
        read_idx(tmp_path / "header", 3)


def recipe(source, folder, *overrides):
    document = {"name": "images", "task": "classification", "data": {"source": source, "path": str(folder)}}
    return Recipe.parse(document, "test")


@pytest.mark.parametrize(("source", "suffix"), [("smnist", ""), ("fashion-mnist", ".gz")])
def test_a_folder_of_four_files_becomes_sequences(tmp_path, source, suffix):
    splits = load(recipe(source, write_image_set(tmp_path, suffix=suffix)))
    assert [len(part) for part in (splits.train, splits.validation, splits.test)] == [54, 6, 20]
    pixels = read_idx(tmp_path / f"t10k-images-idx3-ubyte{suffix}", 3)
    for image, sequence in zip(pixels, splits.test.inputs, strict=True):
        assert np.array_equal(np.round(sequence * 255), image.reshape(12, 1))  # row by row
    assert splits.test.targets.tolist() == [i % 10 for i in range(PARTS["t10k"])]
    assert tuple(signal.name for signal in splits.outputs) == OFFICIAL[source].classes


def test_files_that_do_not_belong_together_are_refused(tmp_path):
    folder = write_image_set(tmp_path)
    write_idx(folder / "t10k-labels-idx1-ubyte", np.zeros(21, np.uint8))
    with pytest.raises(InputError, match=r"holds 20 images but .*t10k-labels-idx1-ubyte holds 21 labels"):
        load(recipe("smnist", folder))
    write_idx(folder / "t10k-labels-idx1-ubyte", np.arange(20, dtype=np.uint8))
    with pytest.raises(InputError, match=r"label 10 of image 10 in .*t10k-labels.* go from 0 to 9"):
        load(recipe("smnist", folder))
    write_idx(folder / "t10k-labels-idx1-ubyte", np.zeros(20, np.uint8))
    write_idx(folder / "t10k-images-idx3-ubyte", np.zeros((20, 5, 3), np.uint8))
    with pytest.raises(InputError, match=r"training images have 12 pixels, test images 15"):
        load(recipe("smnist", folder))


@pytest.mark.parametrize("name", sorted(OFFICIAL))
def test_what_is_not_there_is_said_with_the_command_that_gets_it(tmp_path, monkeypatch, name):
    monkeypatch.setenv("SSMITH_DATA", str(tmp_path))
    with pytest.raises(InputError, match=f"ssmith fetch {name}.*data.path"):
        idx_splits(name, None, seed=0, period_s=None)
    folder = write_image_set(tmp_path / name)
    (folder / "train-labels-idx1-ubyte").unlink()
    with pytest.raises(InputError, match=f"train-labels-idx1-ubyte .* is not in .*ssmith fetch {name}"):
        idx_splits(name, None, seed=0, period_s=None)


@pytest.mark.skipif(not FETCHED.is_dir(), reason="MNIST is not fetched: ssmith fetch smnist")
def test_the_official_files_are_what_the_literature_says():
    splits = idx_splits("smnist", FETCHED, seed=0, period_s=None)
    assert [len(part) for part in (splits.train, splits.validation, splits.test)] == [54_000, 6_000, 10_000]
    assert {u.shape for u in splits.test.inputs} == {(784, 1)}
    np.testing.assert_allclose([splits.input_mean[0], splits.input_std[0]], [0.1307, 0.3081], atol=5e-4)
    assert np.bincount(splits.test.targets).tolist() == [
        980,
        1135,
        1032,
        1010,
        982,
        892,
        958,
        1028,
        974,
        1009,
    ]
