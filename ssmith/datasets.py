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
    "fashion-mnist": Official(
        "Fashion-MNIST",
        (
            "T-shirt/top",
            "Trouser",
            "Pullover",
            "Dress",
            "Coat",
            "Sandal",
            "Shirt",
            "Sneaker",
            "Bag",
            "Ankle boot",
        ),
        {
            "train-images-idx3-ubyte": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
            "train-labels-idx1-ubyte": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
            "t10k-images-idx3-ubyte": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
            "t10k-labels-idx1-ubyte": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
        },
    ),
}


def data_folder(name: str) -> Path:
    """Where a data set is kept: ``$SSMITH_DATA/NAME``, else ``data/NAME`` in the user's cache; not made."""
    base = os.environ.get(FOLDER_VARIABLE)
    return (Path(base) if base else cache_folder() / "data") / name
