"""The network in float64 with its matrix products rounded as an artifact rounds them.

What a precision does to the outputs can so be known before anything is written, and quickly: all
frames of all sequences go through one op at a time. The exported files must compute the same; ``verify``
holds them against it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np

from ssmith.bundle import Bundle
from ssmith.errors import InputError
from ssmith.ops import SSM, Add, Affine, Embedding, Float32, Gate, LayerNorm, Linear, Pool, Save, Tensors
from ssmith.quant import product_weights
from ssmith.recipe import ArtifactPrecision, Format
from ssmith.runtime.arithmetic import Float64, gelu64, sigmoid64
from ssmith.runtime.integer_lower import ActivationBits
from ssmith.runtime.products import rounded_products
from ssmith.runtime.rounding import Dynamic, Rounding, Static, WeightsOnly, halved
from ssmith.runtime.weight_blocks import blocks_of

States = dict[str, Float64]
FRAMES = 16_384  # of all sequences together, run at once: temporaries of a few MB


def roundings(
    bundle: Bundle,
    precision: ArtifactPrecision,
    activation_bits: ActivationBits = 16,
    format: Format = "onnx",
) -> dict[str, Rounding] | None:
    """What an exported precision makes of each product, by key; a product that is left out stays exact.

    Args:
        bundle: calibrated for int8 and mixed.
        precision: of the artifact.
        activation_bits: of int8; ExecuTorch's are 8 in any case.
        format: of the artifact.

    Returns:
        None where there is no such simulation: ``int8-all``, whose rounding is ONNX Runtime's own.

    Raises:
        InputError: the bundle lacks what the precision needs.
    """
    if precision == "int8-all":
        return None
    if precision == "float32":
        return {}
    if precision == "mixed":
        return planned(bundle, plan_of(bundle), format)
    if precision == "int8":
        bits: ActivationBits = 8 if format == "executorch" else activation_bits
        return {key: Static(product) for key, product in rounded_products(bundle, bits).items()}
    weights = weights_of(bundle)
    if precision == "float16":
        return {key: WeightsOnly(halved(weight)) for key, weight in weights.items()}
    exact = channel_products(bundle)
    weights = {key: weight for key, weight in weights.items() if key not in exact}
    if precision == "int8-dynamic":
        kind: Literal["onnx", "executorch"] = "executorch" if format == "executorch" else "onnx"
        return {key: Dynamic.of(weight, kind) for key, weight in weights.items()}
    width: Literal[8, 4] = 8 if precision == "int8-weights" else 4
    return {key: WeightsOnly(blocks_of(weight, width).real) for key, weight in weights.items()}


def plan_of(bundle: Bundle) -> dict[str, str]:
    """The precision of each product that somebody chose for a bundle.

    Raises:
        InputError: nobody did.
    """
    if bundle.meta.plan is None:
        raise InputError(
            f"the bundle {bundle.name!r} has no plan of precisions, which mixed needs; make one with"
            " `ssmith quantize BUNDLE --loss-budget 0.03`"
        )
    return dict(bundle.meta.plan)


def planned(bundle: Bundle, plan: Mapping[str, str], format: Format = "onnx") -> dict[str, Rounding]:
    """The roundings of a plan; codes of 16 bits are float32 in ExecuTorch, which has none."""
    used = set(plan.values())
    found: dict[str, Rounding] = {}
    sizes: dict[str, ActivationBits] = {"int8-a16": 16, "int8-a8": 8}
    for name, bits in sizes.items():
        if name in used and not (bits == 16 and format == "executorch"):
            products = rounded_products(bundle, bits)
            found |= {key: Static(products[key]) for key, chosen in plan.items() if chosen == name}
    return found


def channel_products(bundle: Bundle) -> set[str]:
    """The keys of B and C of layers with channels.

    Scales of their own, a row or a block, would outweigh the few weights that they belong to, so these
    products stay float32 in int8-dynamic, int8-weights and int4-weights.
    """
    layers = [op.name for op in bundle.meta.ops if isinstance(op, SSM) and op.channels is not None]
    return {f"{name}.{side}" for name in layers for side in "BC"}


def weights_of(bundle: Bundle) -> dict[str, Float64]:
    """The matrix of each product by key, (M, K) in float64."""
    keys = product_weights(bundle.meta.ops)
    return {key: bundle.tensors[name].astype(np.float64) for key, name in keys.items()}


def run_simulated(
    bundle: Bundle,
    roundings: Mapping[str, Rounding],
    block: Float64 | Float32,
    state: Mapping[str, Float64] | None = None,
    *,
    state_steps: Mapping[str, Float64] | None = None,
) -> tuple[Float64, States]:
    """Feed a block of frames: (output, state after the last frame). Pure.

    Args:
        bundle: the network.
        roundings: how the product of a key is computed; exactly where it has none.
        block: frames (T, U), or (batch, T, U): streams of their own.
        state: name → values (n), or (batch, n); None is a fresh start.
        state_steps: for an SSM's name, real value of one code of its planar states (2N): they are kept as
            such codes from frame to frame; exactly where there is none.

    Returns:
        Outputs (T, Y) or (batch, T, Y), and the states.
    """
    v = np.asarray(block, np.float64)
    after = {name: np.zeros((*v.shape[:-2], *shape)) for name, shape in bundle.states.items()}
    after |= {name: np.array(value, np.float64) for name, value in (state or {}).items()}
    tensors, slots = bundle.tensors, dict[int, Float64]()

    def product(key: str, weight: str, u: Float64) -> Float64:
        if key in roundings:
            return roundings[key](u)
        y: Float64 = u @ tensors[weight].T.astype(np.float64)
        return y

    for op in bundle.meta.ops:
        if isinstance(op, Linear):
            v = product(op.name, op.weight, v)
            v = v if op.bias is None else v + tensors[op.bias]
        elif isinstance(op, SSM):
            key = f"{op.name}.B"
            drive = product(key, op.B, v)
            states = _scan(tensors[op.lam], drive, after, op.state, (state_steps or {}).get(op.name))
            y = product(f"{op.name}.C", op.C, states)
            direct = roundings[key].heard(v) if key in roundings else v
            v = y if op.D is None else y + tensors[op.D] * direct
        elif isinstance(op, Embedding):
            table = tensors[op.weight].astype(np.float64)
            v = table[np.clip(np.rint(v[..., 0]), 0, len(table) - 1).astype(np.int64)]
        elif isinstance(op, Affine):
            v = v * tensors[op.scale].astype(np.float64) + tensors[op.shift]
        elif isinstance(op, LayerNorm):
            v = _layernorm(v, op, tensors)
        elif isinstance(op, Gate):
            half = v.shape[-1] // 2
            v = v[..., :half] * sigmoid64(v[..., half:])
        elif isinstance(op, Save):
            slots[op.slot] = v
        elif isinstance(op, Add):
            v = v + slots[op.slot]
        elif isinstance(op, Pool):
            v = _pool(v, op, after)
        else:
            v = gelu64(v)
    return v, after


def simulate(
    bundle: Bundle,
    roundings: Mapping[str, Rounding],
    sequences: Sequence[Float32],
    *,
    state_steps: Mapping[str, Float64] | None = None,
) -> list[Float64]:
    """Outputs of several sequences (T_i, U), each from a fresh start, many at a time: (T_i, Y) each.

    Shorter ones are filled up at their end, which changes nothing before it.
    """
    found: list[Float64] = [np.zeros((0, len(bundle.meta.outputs)))] * len(sequences)
    order = sorted(range(len(sequences)), key=lambda i: len(sequences[i]))
    while order:
        longest = max(len(sequences[order[-1]]), 1)
        take = max(FRAMES // longest, 1)
        order, chosen = order[:-take], order[-take:]
        streams = np.zeros((len(chosen), longest, len(bundle.meta.inputs)))
        for row, i in enumerate(chosen):
            streams[row, : len(sequences[i])] = sequences[i]
        outputs, _ = run_simulated(bundle, roundings, streams, state_steps=state_steps)
        for row, i in enumerate(chosen):
            found[i] = outputs[row, : len(sequences[i])]
    return found


def _scan(lam: Float32, drive: Float64, after: States, name: str, step: Float64 | None) -> Float64:
    """All states of x ← λ x + d, planar: (…, T, 2N); the last ones are kept in ``after``."""
    poles = lam[0] + 1j * lam[1].astype(np.float64)
    n, frames = len(poles), drive.shape[-2]
    if frames == 0:
        return drive
    states = np.empty_like(drive)
    if step is None:
        x = drive[..., :n] + 1j * drive[..., n:]
        x[..., 0, :] += poles * (after[name][..., :n] + 1j * after[name][..., n:])
        x = _accumulated(x, poles)
        states[..., :n], states[..., n:] = x.real, x.imag
    else:
        kept = after[name]
        for t in range(frames):
            z = poles * (kept[..., :n] + 1j * kept[..., n:])
            kept = np.rint((np.concatenate([z.real, z.imag], -1) + drive[..., t, :]) / step) * step
            states[..., t, :] = kept
    after[name] = states[..., -1, :].copy()
    return states


def _accumulated(x: Float64, factor: Float64) -> Float64:
    """y_t = Σ_{s ≤ t} factor^(t-s) x_s along axis -2, in log2(T) passes: windows of 1, 2, 4, … frames."""
    x, width, power = x.copy(), 1, factor
    while width < x.shape[-2]:
        x[..., width:, :] += power * x[..., :-width, :]  # NumPy reads all of an overlap before it writes
        width, power = 2 * width, power * power
    return x


def _layernorm(v: Float64, op: LayerNorm, tensors: Tensors) -> Float64:
    centred = v - v.mean(-1, keepdims=True)
    variance = (centred**2).mean(-1, keepdims=True)
    y: Float64 = centred / np.sqrt(variance + op.eps) * tensors[op.scale] + tensors[op.shift]
    return y


def _pool(v: Float64, op: Pool, after: States) -> Float64:
    """The running mean: s ← decay s + v, w ← decay w + 1, y = s / w."""
    if v.shape[-2] == 0:
        return v
    joined = np.concatenate([v, np.ones((*v.shape[:-1], 1))], -1)
    joined[..., 0, :] += op.decay * np.concatenate([after[op.sum], after[op.count]], -1)
    joined = _accumulated(joined, np.array(op.decay))
    after[op.sum], after[op.count] = joined[..., -1, :-1].copy(), joined[..., -1, -1:].copy()
    y: Float64 = joined[..., :-1] / joined[..., -1:]
    return y
