"""Calibration: what the vectors before the weights, and the states, are on data; pure float64.

Every sequence is run from a fresh state. For each channel the bundle then carries minimum, maximum and
mean, and the covariance between channels (of more than 512 channels only the variances), from which
``ssmith.runtime.integer_lower`` makes codes and weights. The same bundle and sequences give the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ssmith.bundle import Bundle
from ssmith.errors import InputError
from ssmith.ops import SSM, Add, Float32, Linear, Save
from ssmith.quant import MOST_COVARIANCES, PREFIX, SCALES, Calibration
from ssmith.runtime.arithmetic import Float64
from ssmith.runtime.reference import State, run

CHUNK = 4096  # frames at a time: a recording of hours needs no more memory than a short one


@dataclass
class _Range:
    """Minimum, maximum and the first two moments of vectors seen so far."""

    low: Float64
    high: Float64
    total: Float64
    products: Float64  # Σ v vᵀ, or only its diagonal where that is all that is kept
    count: int

    @classmethod
    def of(cls, vectors: Float64) -> _Range:
        many = vectors.shape[1] > MOST_COVARIANCES
        products = (vectors * vectors).sum(0) if many else vectors.T @ vectors
        return cls(vectors.min(0), vectors.max(0), vectors.sum(0), products, len(vectors))

    def joined(self, other: _Range) -> _Range:
        return _Range(
            np.minimum(self.low, other.low),
            np.maximum(self.high, other.high),
            self.total + other.total,
            self.products + other.products,
            self.count + other.count,
        )

    def tensors(self, key: str) -> dict[str, Float32]:
        """What the bundle keeps, by name; a mean that rounding put out of its range is put back.

        Raises:
            InputError: values so large that their variance is beyond float32.
        """
        mean = self.total / self.count
        low, high = self.low.astype(np.float32), self.high.astype(np.float32)
        rows = np.array([low, high, np.clip(mean.astype(np.float32), low, high)])
        if key == "input":
            return {f"{PREFIX}{key}": rows}
        if self.products.ndim == 1:
            covariance = np.maximum(self.products / self.count - mean * mean, 0.0)[None]
        else:
            covariance = self.products / self.count - np.outer(mean, mean)
            np.fill_diagonal(covariance, np.maximum(covariance.diagonal(), 0.0))
            covariance = (covariance + covariance.T) / 2
        if (largest := np.abs(covariance).max()) > np.finfo(np.float32).max:
            raise InputError(
                f"on the calibration data the variance of {key} is {largest:.3g}, more than float32 holds;"
                " drop the frames with such values, or scale the inputs before training"
            )
        return {f"{PREFIX}{key}": rows, f"{PREFIX}{key}.covariance": covariance.astype(np.float32)}


def calibrate(bundle: Bundle, sequences: Sequence[Float32]) -> Bundle:
    """The same model with the ranges that it and its variants show on these sequences.

    A plan and trained scales stay, for the weights do.

    Args:
        bundle: the model; a calibration that it has is replaced.
        sequences: inputs as the model will meet them, each (T, U); training data, not test data.

    Raises:
        InputError: no frames, a sequence of another width, one that is not finite, or one so large that
            a variance is beyond float32.
    """
    width = len(bundle.meta.inputs)
    sequences = [np.asarray(sequence, np.float32) for sequence in sequences]
    for i, sequence in enumerate(sequences):
        if sequence.ndim != 2 or sequence.shape[1] != width:
            raise InputError(
                f"calibration sequence {i} has shape {sequence.shape}; the model reads (T, {width})"
            )
        if not np.isfinite(sequence).all():
            raise InputError(f"calibration sequence {i} holds NaN or infinity, which no range can cover")
    sequences = [sequence for sequence in sequences if len(sequence)]
    if not sequences:
        raise InputError("no frames to calibrate with; give at least one sequence of the training data")
    variants = tuple(calibrate(variant, sequences) for variant in bundle.variants)
    bare = bundle.without_calibration()
    ranges: dict[str, _Range] = {}
    for sequence in sequences:
        state: State = {}
        for start in range(0, len(sequence), CHUNK):
            block = sequence[start : start + CHUNK].astype(np.float64)
            for key, vectors in seen_vectors(bare, block, state):
                found = _Range.of(vectors)
                ranges[key] = ranges[key].joined(found) if key in ranges else found
    tensors = {name: array for key, found in ranges.items() for name, array in found.tensors(key).items()}
    tensors |= {name: array for name, array in bundle.tensors.items() if name.startswith(SCALES)}
    facts = Calibration(sequences=len(sequences), frames=sum(map(len, sequences)))
    meta = bundle.meta.model_copy(update={"calibration": facts})
    return Bundle(meta, {**bare.tensors, **tensors}, variants)


def seen_vectors(bundle: Bundle, block: Float64, state: State) -> Iterator[tuple[str, Float64]]:
    """The vectors of a few frames that a calibration describes, by key: (T, n) in float64.

    ``state`` is advanced in place; an empty one is a fresh start.
    """
    tensors = dict(bundle.tensors)
    slots: dict[int, Float64] = {}
    yield "input", block
    v = block
    for op in bundle.meta.ops:
        if isinstance(op, Linear | SSM):
            yield f"{op.name}.input", v
        if isinstance(op, SSM):
            tensors["identity"] = np.eye(2 * tensors[op.lam].shape[1], dtype=np.float32)
            bare = op.model_copy(update={"C": "identity", "D": None})
            yield f"{op.name}.state", run([bare], tensors, v, state)[0].astype(np.float64)
        if isinstance(op, Save):
            slots[op.slot] = v
        elif isinstance(op, Add):
            v = v + slots[op.slot]
        else:
            y, after = run([op], tensors, v, state)
            state.update(after)
            v = y.astype(np.float64)
