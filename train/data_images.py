"""Official image sets as sequences: one pixel a step, row by row, and the split their authors made.

The test set is the official one. Of the official training images ``VALIDATION`` are held out, stratified
by label and drawn from the recipe's seed. Bytes 0 … 255 become 0 … 1; mean and deviation are measured over
the training images and applied by the network, as for every source.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ssmith.bundle import Signal
from ssmith.errors import InputError
from ssmith.train.splits import Float32, Int64, SequenceSet, Splits, stratified

UInt8 = NDArray[np.uint8]

VALIDATION = 0.1  # share of the official training images, as in the literature
_COUNTED_AT_ONCE = 1000  # images; bounds the memory that counting their bytes takes


@dataclass(frozen=True, eq=False)
class Images:
    """Labelled images as sequences of bytes.

    Args:
        pixels: shape (n, T, U), U colours.
        labels: numbers of the classes, shape (n,).
    """

    pixels: UInt8
    labels: UInt8


def split_images(
    train: Images,
    test: Images,
    *,
    seed: int,
    channels: Sequence[str],
    classes: Sequence[str],
    period_s: float | None,
) -> Splits:
    """Three sets from the official two.

    All sequences of a set are views of one float32 array.

    Args:
        train: the official training images.
        test: the official test images.
        seed: of the choice of validation images.
        channels: names of the U colours.
        classes: name of each label.
        period_s: seconds between pixels, or None.

    Raises:
        InputError: images of another size in one of the sets, or too few to hold any out.
    """
    if train.pixels.shape[1:] != test.pixels.shape[1:]:
        raise InputError(
            f"training images have {train.pixels.shape[1]} pixels, test images {test.pixels.shape[1]}; they"
            " are not of one data set, so put the right files together"
        )
    n_validation = round(VALIDATION * len(train.labels))
    if n_validation == 0 or len(test.labels) == 0:
        raise InputError(
            f"{len(train.labels)} training and {len(test.labels)} test images are too few; a tenth of the"
            " training images validates, so give at least ten, and one to test on"
        )
    order = stratified(train.labels.tolist(), np.random.default_rng([seed, 0x1D8]))
    held_out, used = np.sort(order[:n_validation]), np.sort(order[n_validation:])
    mean, std = _statistics(train.pixels, used)
    return Splits(
        _sequences(train, used),
        _sequences(train, held_out),
        _sequences(test, np.arange(len(test.labels))),
        inputs=tuple(Signal(name=name, minimum=0.0, maximum=1.0) for name in channels),
        outputs=tuple(Signal(name=name) for name in classes),
        period_s=period_s,
        task="classification",
        input_mean=mean,
        input_std=std,
        output_mean=np.zeros(len(classes), np.float32),
        output_std=np.ones(len(classes), np.float32),
        notes=(
            f"{n_validation:,} of the {len(train.labels):,} official training images validate, chosen by the"
            f" seed; the {len(test.labels):,} official test images test",
        ),
    )


def check_labels(labels: UInt8, classes: int, source: object) -> None:
    """Refuse labels without a class.

    Raises:
        InputError: the first label that is no number below ``classes``, and where it is.
    """
    bad = np.flatnonzero(labels >= classes)
    if len(bad):
        raise InputError(
            f"label {labels[bad[0]]} of image {bad[0]} in {source} is no class: labels go from 0 to"
            f" {classes - 1}; the file is damaged or of another data set"
        )


def _sequences(images: Images, picked: Int64) -> SequenceSet:
    frames = np.divide(images.pixels[picked], np.float32(255), dtype=np.float32)
    return SequenceSet(tuple(frames), images.labels[picked].astype(np.int64))


def _statistics(pixels: UInt8, picked: Int64) -> tuple[Float32, Float32]:
    """Mean and standard deviation of each colour over some images; deviation 1 where it is zero.

    From counts of the 256 levels c(v): mean = Σ c v / Σ c, variance = Σ c (v − mean)² / Σ c.
    """
    colours = pixels.shape[2]
    counts = np.zeros((colours, 256))
    for first in range(0, len(picked), _COUNTED_AT_ONCE):
        part = pixels[picked[first : first + _COUNTED_AT_ONCE]]
        for colour in range(colours):
            counts[colour] += np.bincount(part[:, :, colour].ravel(), minlength=256)
    levels = np.arange(256) / 255
    total = counts.sum(1)
    mean = counts @ levels / total
    std = np.sqrt((counts * (levels - mean[:, None]) ** 2).sum(1) / total)
    return mean.astype(np.float32), np.where(std > 0, std, 1).astype(np.float32)
