"""Random bundles with ranges, ready to become integer models."""

from __future__ import annotations

from itertools import cycle
from typing import Any, get_args

import numpy as np

from ssmith.bundle import Bundle
from ssmith.quant import SCALES, ProductPrecision, Rounding, product_weights
from ssmith.runtime.calibrate import calibrate
from tests.op_lists import frames


def calibrated(bundle: Bundle, count: int = 200, seed: int = 0) -> Bundle:
    """The same model, its ranges taken from ``count`` random frames."""
    return calibrate(bundle, [frames(bundle, count, seed)])


def with_scales(bundle: Bundle, seed: int = 0, bits: int = 8, steps: int = 7) -> Bundle:
    """A calibrated model with scales for every product that no choice by ranges would have given."""
    rng = np.random.default_rng(seed)
    scales: dict[str, Any] = {}
    for key, name in product_weights(bundle.meta.ops).items():
        weight = bundle.tensors[name]
        parts: dict[str, Any] = {
            "step": rng.uniform(0.01, 0.05, weight.shape[1]),
            "offset": rng.uniform(-0.3, 0.3, weight.shape[1]),
            "row": rng.uniform(0.8, 1.2, len(weight)) * max(float(np.abs(weight).max()), 1e-3) * 0.05 / 127,
        }
        scales |= {f"{SCALES}{key}.{part}": array.astype(np.float32) for part, array in parts.items()}
    meta = bundle.meta.model_copy(update={"rounding": Rounding(activation_bits=bits, steps=steps)})
    return Bundle(meta, {**bundle.tensors, **scales}, bundle.variants)


def planned(bundle: Bundle) -> Bundle:
    """The same model with a plan that gives the three precisions to its products in turns."""
    turns = cycle(get_args(ProductPrecision))
    plan = {key: next(turns) for key in product_weights(bundle.meta.ops)}
    return Bundle(bundle.meta.model_copy(update={"plan": plan}), bundle.tensors, bundle.variants)
