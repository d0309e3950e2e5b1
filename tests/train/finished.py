"""Small finished models and their data, for the tests of what happens after training.

Waves of three frequencies in an NPZ file; a network of two blocks with BatchNorm, trained for a second or
two and frozen. Everything is real and small.
"""

import atexit
import functools
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from ssmith.bundle import Bundle
from ssmith.recipe import Recipe
from ssmith.train.checkpoint import Checkpoint
from ssmith.train.data import load
from ssmith.train.freeze import GoldenInput, freeze
from ssmith.train.loop import load_network, train

ORDERS = (16, 12)
RECIPE = """
name = "waves"
task = "{task}"
[data]
path = "{folder}/waves.npz"
inputs = ["wave"]
targets = ["{target}"]
validation = 0.3
test = 0.2
[model]
width = 6
order = [16, 12]
blocks = 2
norm = "batch"
pooling = "{pooling}"
[train]
steps = 200
batch = 10
learning_rate = 1e-2
evaluate_every = 50
checkpoint_every = 200
threads = 1
"""


@functools.cache
def folder() -> Path:
    """Of the data; removed at exit."""
    kept = TemporaryDirectory()
    atexit.register(kept.cleanup)
    rng = np.random.default_rng(0)
    labels = np.arange(150) % 3
    lengths = rng.integers(30, 50, len(labels))
    time = np.arange(lengths.max())
    angle = 0.25 * (labels[:, None] + 1) * time + rng.uniform(0, 6, (len(labels), 1))
    wave = 3 * np.sin(angle) + rng.standard_normal(angle.shape) + 20  # an offset and a scale worth folding
    later = 5 * np.cos(angle) - 7
    np.savez(
        Path(kept.name) / "waves.npz",
        wave=wave.astype(np.float32)[:, :, None],
        label=labels,
        later=later.astype(np.float32)[:, :, None],
        lengths=lengths,
    )
    return Path(kept.name)


def recipe_path(task="classification") -> Path:
    """A recipe file of the data."""
    target, pooling = ("label", "mean") if task == "classification" else ("later", "none")
    path = folder() / f"{task}.toml"
    path.write_text(RECIPE.format(task=task, folder=folder(), target=target, pooling=pooling))
    return path


def recipe(task="classification") -> Recipe:
    return Recipe.load(recipe_path(task))


def bundle(task="classification", seed=0) -> Bundle:
    """The trained network, frozen with two golden sequences."""
    return _bundle(task, seed)


@functools.cache
def _bundle(task: str, seed: int) -> Bundle:
    settings = recipe(task).model_copy(update={"seed": seed})
    splits = load(settings)
    with TemporaryDirectory() as run:
        train(settings, splits, Path(run), threads=1)
        network = load_network(settings, splits, Checkpoint.read(Path(run) / "best.safetensors"))
    return freeze(
        network,
        name="waves",
        task=settings.task,
        inputs=splits.inputs,
        outputs=splits.outputs,
        golden_inputs=[GoldenInput(f"validation_{i}", splits.validation.inputs[i]) for i in range(2)],
        provenance={"recipe": "waves", "seed": str(seed)},
    )
