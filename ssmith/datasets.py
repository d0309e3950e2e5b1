"""The official data sets that `ssmith fetch` gets: their files, what is in them, where they are kept."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ssmith.compiler import cache_folder

FOLDER_VARIABLE = "SSMITH_DATA"  # environment: the folder that holds one folder a data set


@dataclass(frozen=True)
class Official:
    """A published data set with a fixed split.

    Args:
        title: what people call it.
        classes: name of each label.
        files: name → SHA-256 of each file, uncompressed.
    """

    title: str
    classes: tuple[str, ...]
    files: Mapping[str, str]


OFFICIAL: Mapping[str, Official] = {
    "smnist": Official(
        "MNIST",
        tuple("0123456789"),
        {
            "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
            "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
            "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
            "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
        },
    ),
}


def data_folder(name: str) -> Path:
    """Where a data set is kept: ``$SSMITH_DATA/NAME``, else ``data/NAME`` in the user's cache; not created."""
    base = os.environ.get(FOLDER_VARIABLE)
    return (Path(base) if base else cache_folder() / "data") / name
