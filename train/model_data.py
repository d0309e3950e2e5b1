"""The data that a finished model was trained with, split as they were then."""

from __future__ import annotations

import re

from ssmith.bundle import Bundle
from ssmith.errors import InputError
from ssmith.recipe import Recipe
from ssmith.train.data import load
from ssmith.train.splits import Splits


def load_for(bundle: Bundle, recipe: Recipe) -> tuple[Recipe, Splits]:
    """Load a recipe's data for a model; the recipe comes back with the seed of the split.

    The seed that the bundle records decides over the split: with the recipe's own, sequences that the model
    has learned from could be among the held-out ones.

    Args:
        bundle: the model.
        recipe: whose data to load.

    Raises:
        InputError: the data has other inputs, outputs or another task than the model, or cannot be read.
    """
    origin = bundle.meta.provenance
    if origin.get("recipe") == recipe.name and "seed" in origin:
        recipe = recipe.model_copy(update={"seed": _seed(origin["seed"])})
    splits = load(recipe)
    model = (len(bundle.meta.inputs), len(bundle.meta.outputs))
    data = (len(splits.inputs), len(splits.outputs))
    if model != data:
        raise InputError(
            f"the model has {model[0]} inputs and {model[1]} outputs, the data {data[0]} and {data[1]}; give"
            " --data the recipe that the model was trained with"
        )
    if bundle.meta.task != splits.task:
        raise InputError(
            f"the model does {bundle.meta.task}, the data are for {splits.task}; give --data the recipe that"
            " the model was trained with"
        )
    return recipe, splits


def _seed(text: str) -> int:
    if not re.fullmatch("[0-9]{1,10}", text) or int(text) >= 2**32:
        raise InputError(
            f"the bundle says that its data were split with the seed {text[:40]!r}, which is no seed; its"
            " provenance is damaged, so freeze the model again"
        )
    return int(text)
