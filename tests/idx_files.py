"""Small data sets in the official layouts."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

PARTS = {"train": 60, "t10k": 20}  # images in each


def idx_bytes(values: NDArray[np.uint8]) -> bytes:
    """An array as the content of an IDX file."""
    header = bytes((0, 0, 8, values.ndim)) + b"".join(n.to_bytes(4, "big") for n in values.shape)
    return header + values.tobytes()


def write_idx(path: Path, values: NDArray[np.uint8]) -> None:
    """Write an IDX file, compressed if it is called so."""
    content = idx_bytes(values)
    path.write_bytes(gzip.compress(content, mtime=0) if path.suffix == ".gz" else content)


def write_image_set(folder: Path, *, rows: int = 4, columns: int = 3, suffix: str = "") -> Path:
    """The four files of an MNIST of ``PARTS`` images, each label equally often."""
    rng = np.random.default_rng(rows)
    folder.mkdir(parents=True, exist_ok=True)
    for part, n in PARTS.items():
        pixels = rng.integers(0, 256, (n, rows, columns), np.uint8)
        write_idx(folder / f"{part}-images-idx3-ubyte{suffix}", pixels)
        write_idx(folder / f"{part}-labels-idx1-ubyte{suffix}", (np.arange(n) % 10).astype(np.uint8))
    return folder
