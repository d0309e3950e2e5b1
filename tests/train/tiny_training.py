"""A training of about a second, also a program to be killed: tiny_training.py FOLDER [KEY=VALUE …]."""

import sys
from pathlib import Path

import numpy as np

from ssmith.bundle import Signal
from ssmith.recipe import Recipe
from ssmith.train.loop import train
from ssmith.train.splits import Recording, Recordings, split

BASE = {
    "name": "tiny",
    "task": "classification",
    "data": {"source": "digits"},
    "model": {"width": 4, "order": 16, "blocks": 2, "norm": "batch", "dropout": 0.2, "pooling": "mean"},
    "train": {"steps": 60, "batch": 8, "evaluate_every": 7, "checkpoint_every": 5, "loggers": ["csv"]},
    "reduce": {"order": 6, "cuts": 3, "sequences": 20, "max_loss_increase": 10.0},
}


def recipe(**sections):
    """The base recipe with values, or keys of its sections, changed."""
    raw = {
        k: {**v, **sections.get(k, {})} if isinstance(v, dict) else sections.get(k, v)
        for k, v in BASE.items()
    }
    return Recipe.parse(raw, "tiny")


def data(task="classification"):
    """Fast and slow oscillations of unequal length: classes, or the wave a quarter period later."""
    rng = np.random.default_rng(0)
    items = []
    for index in range(90):
        label = index % 3
        time, frequency = np.arange(rng.integers(20, 40)), 0.3 * (label + 1)
        angle = frequency * time + rng.uniform(0, 6)
        wave = np.sin(angle) + 0.1 * rng.standard_normal(len(time))
        later = np.cos(angle)[:, None].astype(np.float32)
        target = label if task == "classification" else later
        items.append(Recording(f"wave {index}", wave[:, None].astype(np.float32), target))
    outputs = () if task == "classification" else (Signal(name="later"),)
    recordings = Recordings(tuple(items), (Signal(name="wave"),), outputs)
    return split(recordings, task, seed=0, validation=0.2, test=0.2)


if __name__ == "__main__":
    overrides: dict = {}
    for argument in sys.argv[2:]:
        key, value = argument.split("=")
        section, name = key.split(".")
        parsed = int(value) if value.isdigit() else None if value == "none" else value
        overrides.setdefault(section, {})[name] = parsed
    print(train(recipe(**overrides), data(), Path(sys.argv[1]), threads=1))
