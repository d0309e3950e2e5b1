"""CIFAR-10 in its official binary form: a folder of files of 3,073-byte records.

A record is one byte for the label, then 1,024 bytes each for red, green and blue, row by row. As a sequence
an image has T = 1,024 steps, a pixel each, of U = 3 colours.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ssmith.errors import InputError
from ssmith.train.data_images import Images, check_labels, split_images
from ssmith.train.splits import Splits

PIXELS = 32 * 32
COLOURS = ("red", "green", "blue")
RECORD = 1 + PIXELS * len(COLOURS)  # bytes
FOLDER = "cifar-10-batches-bin"
TRAIN_FILES = tuple(f"data_batch_{i}.bin" for i in range(1, 6))
TEST_FILES = ("test_batch.bin",)
CLASSES = (
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
)


def cifar_splits(path: Path, *, seed: int, period_s: float | None) -> Splits:
    """CIFAR-10 as sequences.

    Args:
        path: the folder ``cifar-10-batches-bin``, or the one that holds it.
        seed: of the validation images.
        period_s: seconds between pixels, or None.

    Raises:
        InputError: a file is missing, truncated or no CIFAR-10.
    """
    folder = path / FOLDER if (path / FOLDER).is_dir() else path
    if not (folder / TRAIN_FILES[0]).is_file():
        pickled = any((place / "data_batch_1").is_file() for place in (path, path / "cifar-10-batches-py"))
        reason = "the Python version, and pickles are not read" if pickled else f"no {TRAIN_FILES[0]}"
        raise InputError(
            f"data.path {path} holds {reason}; give the folder {FOLDER} of the binary version, unpacked"
        )
    train, test = (read_records([folder / name for name in names]) for names in (TRAIN_FILES, TEST_FILES))
    return split_images(train, test, seed=seed, channels=COLOURS, classes=CLASSES, period_s=period_s)


def read_records(files: list[Path]) -> Images:
    """The images of some files, in order.

    Args:
        files: at least one.

    Raises:
        InputError: a file is missing, ends within a record, is empty, or has a label above 9.
    """
    pixels, labels = [], []
    for file in files:
        try:
            content = np.fromfile(file, np.uint8)
        except OSError as error:
            raise InputError(
                f"cannot read {file}: {error.strerror or error}; unpack all six files"
            ) from error
        if len(content) == 0 or len(content) % RECORD:
            raise InputError(
                f"{file} has {len(content):,} bytes, which is not a whole number of records of {RECORD:,}"
                " bytes; it is truncated or no CIFAR-10 (CIFAR-100's records are longer), so get it again"
            )
        records = content.reshape(-1, RECORD)
        check_labels(records[:, 0], len(CLASSES), file)
        labels.append(records[:, 0])
        pixels.append(records[:, 1:].reshape(-1, len(COLOURS), PIXELS).transpose(0, 2, 1))
    return Images(np.concatenate(pixels), np.concatenate(labels))
