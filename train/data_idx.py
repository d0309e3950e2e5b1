"""IDX, the format of MNIST's files, and the data sets that come in it.

An IDX file is two zero bytes, a byte for the type (8: unsigned bytes), a byte for the number of
dimensions, each dimension as a big-endian 32-bit number, then the values. A folder holds
``train-images-idx3-ubyte``, ``train-labels-idx1-ubyte`` and the same for ``t10k``, plain or as ``.gz``.
"""

from __future__ import annotations

import gzip
import math
import zlib
from pathlib import Path

import numpy as np

from ssmith.datasets import OFFICIAL, data_folder
from ssmith.errors import InputError
from ssmith.train.data_images import Images, UInt8, check_labels, split_images
from ssmith.train.splits import Splits

LARGEST = 2**30  # values in a file; a header that promises more is refused before anything is read
_UNSIGNED_BYTES = 8


def idx_splits(name: str, folder: Path | None, *, seed: int, period_s: float | None) -> Splits:
    """A data set of ``ssmith.datasets.OFFICIAL`` as sequences of T = rows × columns steps, U = 1.

    Args:
        name: "smnist" or "fashion-mnist".
        folder: with the four files; None: where ``ssmith fetch`` puts them.
        seed: of the validation images.
        period_s: seconds between pixels, or None.

    Raises:
        InputError: a file is missing, damaged or of another data set.
    """
    classes = OFFICIAL[name].classes
    place = data_folder(name) if folder is None else folder
    if folder is None and not place.is_dir():
        raise InputError(
            f'data.source = "{name}" reads {place}, which is not there yet; get the files with'
            f" `ssmith fetch {name}`, or write data.path = the folder that holds them"
        )
    train, test = (read_images(place, part, len(classes), name) for part in ("train", "t10k"))
    return split_images(train, test, seed=seed, channels=("pixel",), classes=classes, period_s=period_s)


def read_images(folder: Path, part: str, classes: int, name: str) -> Images:
    """The images and labels of one part.

    Args:
        folder: that holds the files.
        part: "train" or "t10k".
        classes: how many there are.
        name: of the data set, for messages.

    Raises:
        InputError: a file is missing, damaged, or has other counts or labels than it may.
    """
    image_file = find_idx(folder, f"{part}-images-idx3-ubyte", name)
    label_file = find_idx(folder, f"{part}-labels-idx1-ubyte", name)
    pixels, labels = read_idx(image_file, 3), read_idx(label_file, 1)
    if len(pixels) != len(labels):
        raise InputError(
            f"{image_file} holds {len(pixels)} images but {label_file} holds {len(labels)} labels; they do"
            " not belong together"
        )
    check_labels(labels, classes, label_file)
    return Images(pixels.reshape(len(pixels), -1, 1), labels)


def find_idx(folder: Path, file: str, name: str) -> Path:
    """A file of a data set, plain or compressed.

    Raises:
        InputError: it is not in the folder.
    """
    for candidate in (folder / file, folder / f"{file}.gz"):
        if candidate.is_file():
            return candidate
    raise InputError(
        f"{file} (or {file}.gz) is not in {folder}; `ssmith fetch {name}` gets all four files, and data.path"
        " names the folder that holds them"
    )


def read_idx(path: Path, dimensions: int) -> UInt8:
    """Read one IDX file of unsigned bytes.

    Args:
        path: plain, or compressed with the suffix .gz.
        dimensions: how many it has to have.

    Raises:
        InputError: another magic number, no values, or fewer or more bytes than the header says.
    """
    opened = gzip.open if path.suffix == ".gz" else open
    try:
        with opened(path, "rb") as file:
            header = file.read(4 + 4 * dimensions)
            shape = _shape(header, dimensions, path)
            size = math.prod(shape)
            values = file.read(size + 1)  # one more than there may be: a longer file is damaged too
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"cannot read {path}: {error}; get the file again") from error
    if len(values) != size:
        found = f"holds {len(values)}" if len(values) < size else "holds more"
        raise InputError(
            f"{path} should hold {size} values ({' × '.join(map(str, shape))}) but {found}; the file is"
            " truncated or damaged, so get it again"
        )
    return np.frombuffer(values, np.uint8).reshape(shape)


def _shape(header: bytes, dimensions: int, path: Path) -> tuple[int, ...]:
    expected = bytes((0, 0, _UNSIGNED_BYTES, dimensions))
    if header[:4] != expected:
        raise InputError(
            f"{path} starts with the bytes {header[:4].hex(' ') or '(none)'}; an IDX file of"
            f" {'images' if dimensions == 3 else 'labels'} starts with {expected.hex(' ')}. It is another"
            " file, or damaged"
        )
    if len(header) < 4 + 4 * dimensions:
        raise InputError(f"{path} ends within its header; the file is truncated, so get it again")
    shape = tuple(np.frombuffer(header, ">u4", dimensions, 4).tolist())
    if not 0 < math.prod(shape) <= LARGEST:
        raise InputError(
            f"the header of {path} promises {' × '.join(map(str, shape))} values; from 1 to {LARGEST:,} can"
            " be read, so the file is damaged"
        )
    return shape
