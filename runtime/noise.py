r"""What quantisation does to the outputs, predicted before any integer is computed.

Five sources, each a small disturbance of the float64 model on given inputs:

- **weights**: the int8 matrices in place of the exact ones, with the bias that takes back their mean error;
- **poles**: λ as rounded;
- **activations**: every code is off by a uniform error, variance step²/12, white and independent;
- **states**: the scan rounds three times a frame and real component, which through the impulse response
  of each mode reaches output o with the variance

.. math::  \sum_k |C_{ok}|^2 \frac{3}{12} \frac{\mathrm{unit}_k^2}{1 - |\lambda_k|^2}

  (the Gramian of a mode driven by white noise), ``unit`` the real value of a state's code.

- **saturation**: vectors and states end where their codes do.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssmith.bundle import Bundle
from ssmith.ops import SSM, Add, Embedding, Linear, Op, Save, Tensors
from ssmith.quant import PREFIX
from ssmith.runtime.arithmetic import Float64
from ssmith.runtime.integer_model import EmbeddingOp, IntegerModel, LinearOp, Requant, SsmOp
from ssmith.runtime.reference import State, run

SOURCES = ("weights", "poles", "activations", "states", "saturation")
_SYNTHETIC = 500  # frames of white input where a bundle holds no golden inputs
_ROUNDINGS = 3 / 12  # variance a frame and real component: the drive and two products


def predicted_snr_db(
    bundle: Bundle,
    model: IntegerModel,
    sources: tuple[str, ...] = SOURCES,
    inputs: Iterable[NDArray[Any]] | None = None,
) -> float:
    """Signal to error of the integer model's outputs in dB, all outputs and frames together.

    Args:
        bundle: calibrated.
        model: its integer form.
        sources: which of ``SOURCES`` to count.
        inputs: what the model is fed, each (T, U); None: the golden inputs.

    Returns:
        10 log10(Σ y² / Σ e²); infinite where nothing disturbs.
    """
    rng = np.random.default_rng(0)
    signal = error = 0.0
    for given in _inputs(bundle, model) if inputs is None else inputs:
        block = given.astype(np.float64)
        exact, _ = run(bundle.meta.ops, bundle.tensors, block)
        disturbed = _disturbed(bundle, model, block, sources, rng)
        signal += float((exact**2).sum())
        error += float(((disturbed - exact) ** 2).sum())
    if error == 0.0:
        return float("inf")
    return 10.0 * float(np.log10(max(signal, 1e-300) / error))


def state_variance(op: SsmOp, unit: Float64, reads: Float64) -> Float64:
    """Variance that the scan's rounding adds to each output of an SSM, see the top of this file.

    Args:
        op: the quantised layer.
        unit: real value of a state's code, planar (2N).
        reads: C, planar (Y, 2N).
    """
    modulus = (op.lam.astype(np.float64) ** 2).sum(0) / 2.0**62
    own = unit**2 * _ROUNDINGS / np.tile(1 - modulus, 2)
    variance: Float64 = reads**2 @ own
    return variance


def _inputs(bundle: Bundle, model: IntegerModel) -> Iterator[Float64]:
    """The golden inputs, or white noise in the calibrated range of a bundle without."""
    for case in bundle.golden():
        yield case.input.astype(np.float64)
    if bundle.golden():
        return
    rng = np.random.default_rng(0)
    low, high, mean = bundle.tensors[f"{PREFIX}input"].astype(np.float64)
    if isinstance(model.ops[0], EmbeddingOp):
        yield rng.integers(int(low[0]), int(high[0]) + 1, (_SYNTHETIC, 1)).astype(np.float64)
    else:
        noise = rng.standard_normal((_SYNTHETIC, len(mean)))
        frames: Float64 = np.clip(mean + noise * (high - low) / 6, low, high)
        yield frames


def _disturbed(
    bundle: Bundle, model: IntegerModel, v: Float64, sources: tuple[str, ...], rng: np.random.Generator
) -> Float64:
    """The float64 model with the disturbances of these sources."""
    integer = {op.name: op for op in model.ops}
    tensors, slots = bundle.tensors, dict[int, Float64]()
    for op in bundle.meta.ops:
        own = integer.get(op.name)
        if isinstance(own, LinearOp | SsmOp):
            v = _coded(v, f"{op.name}.codes", own.quantize.limit, model, sources, rng)
        if isinstance(op, Linear) and isinstance(own, LinearOp) and "weights" in sources:
            v = _linear(op, own, v, tensors, model)
        elif isinstance(op, SSM) and isinstance(own, SsmOp):
            v = _ssm(op, own, v, tensors, model, sources, rng)
        elif isinstance(op, Embedding) and isinstance(own, EmbeddingOp) and "weights" in sources:
            table = own.table * _real(own.requant) * model.scales[f"{op.name}.output"]
            v = _run(op, {op.weight: table.astype(np.float32)}, v)
        elif isinstance(op, Save):
            slots[op.slot] = v
        elif isinstance(op, Add):
            v = v + slots[op.slot]
        else:
            v = _run(op, tensors, v)
    return v


def _linear(op: Linear, own: LinearOp, v: Float64, tensors: Tensors, model: IntegerModel) -> Float64:
    exact = tensors[op.weight].astype(np.float64)
    rounded = _matrix(
        own.weight, own.requant, model.scales[f"{op.name}.output"], model.scales[f"{op.name}.codes"]
    )
    bias = 0.0 if op.bias is None else tensors[op.bias].astype(np.float64)
    y: Float64 = v @ rounded.T + bias + (exact - rounded) @ _mean(tensors, f"{op.name}.input")
    return y


def _ssm(
    op: SSM,
    own: SsmOp,
    v: Float64,
    tensors: Tensors,
    model: IntegerModel,
    sources: tuple[str, ...],
    rng: np.random.Generator,
) -> Float64:
    scale = {part: model.scales[f"{op.name}.{part}"] for part in ("codes", "state", "state_codes", "output")}
    drives, reads = tensors[op.B].astype(np.float64), tensors[op.C].astype(np.float64)
    lam = tensors[op.lam].astype(np.float64)
    offset, bias = np.zeros(len(drives)), np.zeros(len(reads))
    if "weights" in sources:
        B = _matrix(own.B, own.drive, scale["state"], scale["codes"])
        C = _matrix(own.C, own.requant, scale["output"], scale["state_codes"])
        offset = (drives - B) @ _mean(tensors, f"{op.name}.input")
        bias = (reads - C) @ _mean(tensors, f"{op.name}.state")
        drives, reads = B, C
    if "poles" in sources:
        lam = own.lam / 2.0**31
    bare = op.model_copy(update={"C": "identity", "D": None})
    parts = {op.lam: lam, op.B: np.eye(len(drives)), "identity": np.eye(len(drives))}
    states = _run(bare, parts, v @ drives.T + offset)
    states = _coded(states, f"{op.name}.state_codes", own.state_quantize.limit, model, sources, rng)
    y: Float64 = states @ reads.T + bias
    if "states" in sources:
        spread = np.sqrt(state_variance(own, scale["state"], reads))
        y = y + rng.standard_normal(y.shape) * spread
    return y if op.D is None else y + tensors[op.D].astype(np.float64) * v


def _matrix(weight: NDArray[np.int8], rule: Requant, to: Float64, step: Float64) -> Float64:
    """The real matrix that an int8 one and its rule stand for: outputs in ``to``, inputs in ``step``."""
    matrix: Float64 = weight.astype(np.float64) * (_real(rule) * to)[:, None] / step
    return matrix


def _real(rule: Requant) -> Float64:
    factor: Float64 = rule.multiplier.astype(np.float64) * 2.0 ** (rule.shift - 32)
    return factor


def _mean(tensors: Tensors, key: str) -> Float64:
    mean: Float64 = tensors[f"{PREFIX}{key}"][2].astype(np.float64)
    return mean


def _coded(
    v: Float64, key: str, limit: int, model: IntegerModel, sources: tuple[str, ...], rng: np.random.Generator
) -> Float64:
    """A vector as its codes tell it: clipped to what they reach, off by a uniform error of ±step/2."""
    step, offset = model.scales[key], model.scales[f"{key}.offset"]
    if "saturation" in sources:
        v = np.clip(v, offset - limit * step, offset + limit * step)
    if "activations" in sources:
        v = v + (rng.random(v.shape) - 0.5) * step
    return v


def _run(op: Op, tensors: Mapping[str, Any], v: Float64) -> Float64:
    state: State = {}
    y, _ = run([op], tensors, v, state)
    return y.astype(np.float64)
