"""A recipe says what it means, and a wrong one says what to write instead."""

from __future__ import annotations

import pytest

from ssmith.errors import InputError
from ssmith.recipe import Recipe
from ssmith.recipe_text import shipped_recipes


@pytest.mark.parametrize("name", sorted(shipped_recipes()))
def test_shipped_recipes_load(name):
    assert Recipe.load(name).name == name


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("train.stepz=5", "did you mean 'steps'"),
        ("trian.steps=5", "did you mean 'train'"),
        ("reduce.order=-3", "1 or more"),
        ("reduce.order=65", "goes down"),
        ("reduce.order=[4, 4]", "2 orders for 1 blocks"),
        ("reduce.tolerance=0.1", "order and tolerance are two goals"),
        ("reduce.max_bytes=0", "greater than or equal to 1"),
        ("reduce.layers.1.order=4", "the model has layers 0 to 0"),
        ("reduce.layers.0.order=65", "starts with 64"),
        ("reduce.layers.0.ordre=4", "did you mean 'order'"),
        ("reduce.layers.0={keep = true, order = 4}", "write it alone"),
        ("reduce={order = 3, minimum_order = 4}", "order 3 is below minimum_order 4"),
        ("reduce={tolerance = 0.1, minimum_order = 65}", "minimum_order 65 is above model.order 64"),
        ("reduce.layers.0={order = 3, minimum_order = 4}", "order 3 is below minimum_order 4"),
        ("reduce.window=[0.6, 0.3]", "first ≤ last"),
        ("model.norm=group", "'layer', 'batch' or 'none'"),
        ("model.minimum_radius=0.9995", "below maximum_radius"),
        ("model.encoder=embedding", "go together"),
        ("data.source=files", "path"),
        ("data.test=0.8", "less than a tenth"),
        ("train.learning_rate=0", "greater than 0"),
        ("train.learning_rate=nan", "train.learning_rate"),
        ('export={formats = ["c99"], precisions = ["int8-all"]}', "int8-all is written as onnx, so nothing"),
        ('export={formats = ["c99"], precisions = ["mixed"]}', "mixed is written as onnx"),
        ("export.precisions=[]", "at least 1 item"),
        ("export.activation_bits=12", "8 or 16"),
        ("seed", "key=value"),
        ("name.x=1", "is a value, not a section"),
        ("name=No Spaces", "name"),
    ],
)
def test_wrong_values_are_named(override, message):
    with pytest.raises(InputError, match=message.replace("[", r"\[")):
        Recipe.load("digits", (override,))


def test_overrides_take_toml_values_and_bare_words():
    recipe = Recipe.load("digits", ("train.steps=7", "model.norm=batch", "reduce.window=[0.1, 0.4]"))
    assert (recipe.train.steps, recipe.model.norm, recipe.reduce.window) == (7, "batch", (0.1, 0.4))


@pytest.mark.parametrize(
    "goal", ["tolerance=0.1", "bound=0.05", "max_loss=0.01", "max_states=9", "max_bytes=4096"]
)
def test_each_goal_stands_alone(goal):
    settings = Recipe.load("digits", ("reduce.order=4",)).reduce
    assert settings.goal == "order" and settings.cuts_anything
    raw = {"name": "mine", "task": "regression", "data": {"path": "x.csv"}}
    name, value = goal.split("=")
    settings = Recipe.parse({**raw, "reduce": {name: float(value)}}, "mine").reduce
    assert settings.goal == name and settings.cuts_anything
    assert not Recipe.parse(raw, "mine").reduce.cuts_anything
    own = Recipe.parse({**raw, "reduce": {"layers": {"0": {"order": 4}}}}, "mine").reduce
    assert own.goal is None and own.cuts_anything


def test_digest_ignores_the_seed_and_notices_the_rest():
    base = Recipe.load("digits")
    assert Recipe.load("digits", ("seed=9",)).digest() == base.digest()
    assert Recipe.load("digits", ("train.steps=9",)).digest() != base.digest()


def test_paths_are_relative_to_the_recipe(tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text('name = "mine"\ntask = "regression"\n[data]\npath = "data.csv"\ntargets = ["y"]\n')
    assert Recipe.load(file).data.path == tmp_path.resolve() / "data.csv"


def test_files_that_are_no_recipe(tmp_path):
    with pytest.raises(InputError, match=r"one of: .*digits"):
        Recipe.load(tmp_path / "absent.toml")
    broken = tmp_path / "broken.toml"
    broken.write_text("name = ")
    with pytest.raises(InputError, match="no valid TOML"):
        Recipe.load(broken)
    broken.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="UTF-8"):
        Recipe.load(broken)


def test_default_pooling_follows_the_task():
    assert Recipe.load("digits", ("model.pooling=ema",)).pooling == "ema"
    assert Recipe.load("flexjoint").pooling == "none"
