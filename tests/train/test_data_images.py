"""Official image sets: their split is kept, a tenth of training is held out, and little memory is used."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ssmith.errors import InputError
from ssmith.train.data_images import Images, check_labels, split_images


def made(n, seed, steps=6, colours=3, classes=4):
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, (n, steps, colours), np.uint8)
    pixels[:, 0, 0] = np.arange(n) % 256  # tells images apart
    return Images(pixels, rng.integers(0, classes, n).astype(np.uint8))


def split(train, test, seed=0, **changes):
    given_ = {"channels": ("a", "b", "c"), "classes": tuple("wxyz"), "period_s": None, **changes}
    return split_images(train, test, seed=seed, **given_)


def rows(images):
    return {(image.tobytes(), int(label)) for image, label in zip(images.pixels, images.labels, strict=True)}


def taken(part):
    found = zip(part.inputs, part.targets, strict=True)
    return {(np.round(u * 255).astype(np.uint8).tobytes(), int(label)) for u, label in found}


@given(st.integers(10, 120), st.integers(0, 2**32 - 1))
def test_a_tenth_of_training_validates_and_nothing_is_lost(n, seed):
    train, test = made(n, 1), made(7, 2)
    splits = split(train, test, seed)
    assert len(splits.validation) == round(0.1 * n)
    assert len(splits.train) + len(splits.validation) == n
    assert taken(splits.train) | taken(splits.validation) == rows(train)
    assert not taken(splits.train) & taken(splits.validation)
    assert taken(splits.test) == rows(test)


def test_validation_holds_each_label_in_its_share():
    train = made(1000, 3)
    splits = split(train, made(5, 4))
    shares = np.bincount(train.labels, minlength=4) * 0.1
    assert np.abs(np.bincount(splits.validation.targets, minlength=4) - shares).max() <= 1


def test_the_seed_chooses_the_validation_images():
    train, test = made(200, 5), made(5, 6)
    assert taken(split(train, test, 0).validation) == taken(split(train, test, 0).validation)
    assert taken(split(train, test, 0).validation) != taken(split(train, test, 1).validation)


def test_statistics_are_those_of_the_training_images_alone():
    train = made(2500, 7)  # more than are counted at once
    splits = split(train, made(5, 8))
    frames = np.concatenate(splits.train.inputs).astype(np.float64)
    np.testing.assert_allclose(splits.input_mean, frames.mean(0), rtol=1e-6)
    np.testing.assert_allclose(splits.input_std, frames.std(0), rtol=1e-6)
    assert frames.min() == 0 and frames.max() == 1
    dark = Images(np.zeros((20, 6, 3), np.uint8), train.labels[:20])
    assert split(dark, dark).input_std.tolist() == [1, 1, 1]


def test_all_sequences_of_a_set_are_views_of_one_array():
    splits = split(made(50, 9), made(10, 10))
    for part in (splits.train, splits.validation, splits.test):
        assert len({id(u.base) for u in part.inputs}) == 1
        assert all(u.flags.c_contiguous and u.dtype == np.float32 for u in part.inputs)


def test_too_few_images_are_refused():
    with pytest.raises(InputError, match="4 training and 3 test images are too few"):
        split(made(4, 0), made(3, 0))
    with pytest.raises(InputError, match="0 test images"):
        split(made(40, 0), made(0, 0))


def test_a_label_without_a_class_is_refused():
    check_labels(np.array([0, 3], np.uint8), 4, "f")
    with pytest.raises(InputError, match="label 4 of image 1 in f is no class: labels go from 0 to 3"):
        check_labels(np.array([0, 4, 9], np.uint8), 4, "f")
