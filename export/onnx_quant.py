"""The nodes of a model whose matrix products are rounded: int8, int8-dynamic, int8- and int4-weights, mixed.

Weights and codes are those of ``ssmith.runtime.simulate.roundings``, so that the file computes what the
simulation says. All other ops are the float32 model's; poles and states stay float32.
"""

from __future__ import annotations

import numpy as np

from ssmith.bundle import Bundle
from ssmith.export.onnx_graph import Graph
from ssmith.export.onnx_ops import emit
from ssmith.export.onnx_quant_products import Exact, How, as_real, codes_of, multiply, scaled
from ssmith.export.onnx_quant_states import emit_states
from ssmith.ops import SSM, Affine, Linear, Op, Tensors
from ssmith.quant import product_weights
from ssmith.recipe import ArtifactPrecision
from ssmith.runtime.integer_lower import ActivationBits
from ssmith.runtime.integer_model import Float64
from ssmith.runtime.rounding import Static, WeightsOnly
from ssmith.runtime.simulate import roundings
from ssmith.runtime.weight_blocks import blocks_of


def ways(bundle: Bundle, precision: ArtifactPrecision, activation_bits: ActivationBits) -> dict[str, How]:
    """How each product, by its key, is computed in a precision; exactly for ``int8-all``, see there.

    Raises:
        InputError: the bundle has no ranges or no plan, and the precision needs them.
    """
    weights = {key: bundle.tensors[name] for key, name in product_weights(bundle.meta.ops).items()}
    found: dict[str, How] = {key: Exact(weight) for key, weight in weights.items()}
    for key, rounding in (roundings(bundle, precision, activation_bits) or {}).items():
        if isinstance(rounding, WeightsOnly):
            found[key] = blocks_of(weights[key], 8 if precision == "int8-weights" else 4)
        else:
            found[key] = rounding  # type: ignore[assignment]  # Static or Dynamic: what these precisions use
    return found


def emit_quantised(graph: Graph, bundle: Bundle, how: dict[str, How], current: str) -> str:
    """Append all ops; returns the name of the last vector.

    An affine op right before a product with codes is not computed by itself: its factors and shifts go into
    those that make the codes.
    """
    ops, tensors, slots = bundle.meta.ops, bundle.tensors, dict[int, str]()
    folded: Affine | None = None
    for op, following in zip(ops, [*ops[1:], None], strict=True):
        if isinstance(op, Affine) and _reads_codes(following, how):
            folded = op
            continue
        if isinstance(op, Linear):
            current = _linear(graph, op, tensors, how[op.name], current, folded)
        elif isinstance(op, SSM):
            current = _ssm(graph, op, tensors, how, current, folded)
        else:
            current = emit(graph, op, tensors, current, slots)
        folded = None
    return current


def _reads_codes(op: Op | None, how: dict[str, How]) -> bool:
    """Whether an op's first product takes codes."""
    key = op.name if isinstance(op, Linear) else f"{op.name}.B" if isinstance(op, SSM) else None
    return key is not None and isinstance(how[key], Static)


def _linear(graph: Graph, op: Linear, tensors: Tensors, how: How, v: str, folded: Affine | None) -> str:
    bias = None if op.bias is None else tensors[op.bias].astype(np.float64)
    if isinstance(how, Static):
        v = _codes(graph, how, v, tensors, folded, op.name)
        bias = how.product.bias + (0.0 if bias is None else bias)
    return multiply(graph, how, v, op.name, bias)


def _ssm(graph: Graph, op: SSM, tensors: Tensors, how: dict[str, How], v: str, folded: Affine | None) -> str:
    """An SSM, y = C x + D ∘ v with x ← λ x + B v; where B takes codes, D multiplies what they stand for."""
    into, out = how[f"{op.name}.B"], how[f"{op.name}.C"]
    if isinstance(into, Static):
        v = _codes(graph, into, v, tensors, folded, f"{op.name}.B")
    drive = multiply(graph, into, v, f"{op.name}.B", into.product.bias if isinstance(into, Static) else None)
    x = emit_states(graph, op, tensors[op.lam], drive)
    if isinstance(out, Exact) and not graph.sequence:
        # A value of its own: ``int8-all`` rounds what a product reads, and the state must not be that.
        x = graph.node("Identity", [x], f"{op.name}/read")
    bias = out.product.bias if isinstance(out, Static) else None
    if isinstance(out, Static):
        x = _codes(graph, out, x, tensors, None, f"{op.name}.C")
    if op.D is None:
        return multiply(graph, out, x, f"{op.name}.C", bias)
    d = tensors[op.D].astype(np.float64)
    constant = np.zeros(len(d)) if bias is None else bias
    if isinstance(into, Static):
        codes = into.product.codes
        v = as_real(graph, codes, v, f"{op.name}.B")
        d, constant = d * codes.step, constant + d * codes.offset
    through = scaled(graph, v, d, constant, f"{op.name}/through")
    return multiply(graph, out, x, f"{op.name}.C", plus=through)


def _codes(graph: Graph, how: Static, v: str, tensors: Tensors, folded: Affine | None, name: str) -> str:
    """The codes of a product's input, of v or of what an affine op makes of v."""
    codes = how.product.codes
    gain: Float64 = np.ones(len(codes.step)) if folded is None else tensors[folded.scale].astype(np.float64)
    shift: Float64 = np.zeros_like(gain) if folded is None else tensors[folded.shift].astype(np.float64)
    return codes_of(graph, codes, v, gain, shift, name)
