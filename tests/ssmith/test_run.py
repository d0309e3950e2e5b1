"""A folder that is no run: the message says what to give instead."""

from __future__ import annotations

import numpy as np
import pytest

from ssmith.errors import InputError
from ssmith.lowering import lower
from ssmith.recipe import ExportSettings, Recipe
from ssmith.run import find_run, open_run
from tests.bundles import random_bundle

FLOAT = ExportSettings(formats=("c99",), precisions=("float32",))


def test_an_artifact_folder_is_told_from_a_run(tmp_path):
    alone = tmp_path / "artifacts"
    bundle = random_bundle(np.random.default_rng(0))
    lower(bundle, alone, FLOAT)
    with pytest.raises(InputError, match=r"ssmith verify .*artifacts --bundle NAME\.ssm"):
        find_run(alone)
    run = open_run(Recipe.load("digits"), runs=tmp_path / "runs")
    lower(bundle, run.artifacts, FLOAT)
    with pytest.raises(InputError, match=f"{run.folder} is their run: give that folder"):
        find_run(run.artifacts)
    with pytest.raises(InputError, match=r"no run folder \(recipe\.json is missing or damaged\)$"):
        find_run(tmp_path)
