"""The models that targets are tried with, the frames they get, and what they must answer."""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from ssmith.bundle import Bundle
from ssmith.ops import Embedding, Float32
from ssmith.runtime.calibrate import calibrate
from ssmith.runtime.integer import run_integer
from ssmith.runtime.integer_lower import lower_integer
from ssmith.runtime.reference import Precision as FloatPrecision
from ssmith.runtime.reference import run
from tests.bundles import random_bundle


def reference() -> Bundle:
    """The model of reference: 4 blocks, H = N = 64, 40 → 12, 103k parameters."""
    return _network(width=64, blocks=4, inputs=40, outputs=12)


def small(width: int) -> Bundle:
    """One block, H = N = width, 1 → 1."""
    return _network(width=width, blocks=1, inputs=1, outputs=1)


def digits() -> Bundle:
    """The shapes of the digits recipe's model after its reduction."""
    rng = np.random.default_rng(3)
    return random_bundle(rng, width=16, orders=(12,), inputs=1, outputs=10, norm="affine", pool="mean")


def layers() -> Bundle:
    """The ops that the model of reference lacks, in odd sizes."""
    return random_bundle(np.random.default_rng(1), width=13, orders=(6, 17), norm="layer", pool="ema")


def tokens() -> Bundle:
    """Embedding, channels and cumulative pooling."""
    channels = ((1, 0, 5, 2, 8, 0, 3, 17, 4),)
    return random_bundle(np.random.default_rng(2), width=9, channels=channels, vocabulary=11, pool="mean")


MODELS: dict[str, Callable[[], Bundle]] = {
    "reference": reference,
    "small16": functools.partial(small, 16),
    "small8": functools.partial(small, 8),
    "digits": digits,
    "layers": layers,
    "tokens": tokens,
}


def _network(width: int, blocks: int, inputs: int, outputs: int) -> Bundle:
    return random_bundle(
        np.random.default_rng(0),
        width=width,
        orders=(width,) * blocks,
        inputs=inputs,
        outputs=outputs,
        norm="affine",
        pool="none",
    )


@functools.cache
def made(model: str) -> Bundle:
    """One of ``MODELS`` with a calibration."""
    bundle = MODELS[model]()
    block = frames(400, len(bundle.meta.inputs))
    if isinstance(bundle.meta.ops[0], Embedding):
        block = np.abs(np.rint(block * 5))
    return calibrate(bundle, [block])


@functools.cache
def expected(model: str, precision: str, count: int) -> str:
    """The hash of the reference's answer to ``count`` frames of noise."""
    bundle = made(model)
    inputs = len(bundle.meta.inputs)
    if precision in ("int8", "int8-a8"):
        integers = lower_integer(bundle, 8 if precision == "int8-a8" else 16)
        return fnv(run_integer(integers, codes(count, inputs))[0])
    kind: FloatPrecision = "float32-fma" if precision == "float32-fma" else "float32"
    output, _ = run(bundle.meta.ops, bundle.tensors, frames(count, inputs), precision=kind)
    return fnv(output)


def frames(count: int, inputs: int) -> Float32:
    """The noise of ``feed.c``: (T, U), exact in float32."""
    return (noise(count * inputs).astype(np.float32) * np.float32(2.0**-22)).reshape(count, inputs)


def codes(count: int, inputs: int) -> NDArray[np.int16]:
    """The same as codes: the upper 16 bits, rounded towards zero."""
    n = noise(count * inputs)
    return (np.sign(n) * (np.abs(n) // 256)).astype(np.int16).reshape(count, inputs)


def noise(count: int) -> NDArray[np.int64]:
    """Signed 24-bit numbers of the generator in ``feed.c``."""
    values = np.empty(count, np.int64)
    seed = 1
    for i in range(count):
        seed = (seed * 1664525 + 1013904223) % (1 << 32)
        values[i] = (seed >> 8) - (1 << 23)
    return values


def fnv(values: NDArray[np.generic]) -> str:
    """The hash of ``feed.c``: FNV-1a, 64 bits, over the bytes."""
    h = 0xCBF29CE484222325
    for byte in values.tobytes():
        h = ((h ^ byte) * 0x100000001B3) % (1 << 64)
    return f"{h:016x}"
