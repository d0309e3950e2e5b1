"""The op list of a bundle as nodes, in every precision: how products are computed, and what becomes one.

Weights and codes are those of ``ssmith.runtime.simulate.roundings``, so that the file computes what the
simulation says. Poles and states stay float32 in every precision.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ssmith.bundle import Bundle
from ssmith.export.onnx_channels import Channels, Side
from ssmith.export.onnx_chunks import emit_chunked_states
from ssmith.export.onnx_graph import Graph
from ssmith.export.onnx_ops import emit
from ssmith.export.onnx_pool import emit_chunked_pool, emit_pool
from ssmith.export.onnx_powers import Powers, emit_powers
from ssmith.export.onnx_products import Exact, Half, How, as_real, codes_of, multiply, scaled
from ssmith.export.onnx_turn import Poles, emit_matrix, emit_turned, is_dense
from ssmith.ops import SSM, Affine, Gate, Linear, Op, Pool, Tensors
from ssmith.quant import product_weights
from ssmith.recipe import ArtifactPrecision
from ssmith.runtime.integer_lower import ActivationBits
from ssmith.runtime.integer_model import Float64
from ssmith.runtime.rounding import Static, WeightsOnly
from ssmith.runtime.simulate import roundings
from ssmith.runtime.weight_blocks import blocks_of

Ways = Mapping[str, How]


@dataclass(frozen=True)
class Piece:
    """An op and what is computed with it: the affine op before it, the gate after it."""

    op: Op
    affine: Affine | None = None
    gate: Gate | None = None


def ways(bundle: Bundle, precision: ArtifactPrecision, activation_bits: ActivationBits) -> dict[str, How]:
    """How each product, by its key, is computed in a precision; exactly for ``int8-all``, see there.

    Raises:
        InputError: the bundle has no ranges or no plan, and the precision needs them; a weight is too large
            for float16.
    """
    weights = {key: bundle.tensors[name] for key, name in product_weights(bundle.meta.ops).items()}
    if precision == "float16":
        return {key: Half.of(key, weight) for key, weight in weights.items()}
    found: dict[str, How] = {key: Exact(weight) for key, weight in weights.items()}
    for key, rounding in (roundings(bundle, precision, activation_bits) or {}).items():
        if isinstance(rounding, WeightsOnly):
            found[key] = blocks_of(weights[key], 8 if precision == "int8-weights" else 4)
        else:
            found[key] = rounding  # type: ignore[assignment]  # Static or Dynamic: what these precisions use
    return found


def emit_network(graph: Graph, bundle: Bundle, how: Ways, current: str, *, apart: bool = False) -> str:
    """Append all ops; returns the name of the last vector.

    Args:
        graph: what to append to.
        bundle: the model.
        how: of ``ways``.
        current: name of the input, of whole chunks in a sequence model.
        apart: no product reads or gives a state itself, for a quantiser that rounds what products touch.
    """
    pieces, tensors, slots = list(_pieces(bundle.meta.ops, how)), bundle.tensors, dict[int, str]()
    layers = {p.op.name: _poles(p, tensors, how, apart) for p in pieces if isinstance(p.op, SSM)}
    known: Mapping[str, str | Powers] = {}
    if graph.sequence:
        known = emit_powers(graph, list(layers.values()))
    elif not is_dense(list(layers.values())):
        known = emit_turned(graph, list(layers.values()))
    for piece in pieces:
        op = piece.op
        if isinstance(op, Linear):
            current = _linear(graph, piece, op, tensors, how[op.name], current)
        elif isinstance(op, SSM):
            ssm = _Ssm(graph, op, tensors, piece.affine, how[f"{op.name}.B"], how[f"{op.name}.C"], apart)
            current = ssm.emit(layers[op.name], known.get(op.name), current)
        elif isinstance(op, Pool) and graph.sequence:
            current = emit_chunked_pool(graph, op, current, bundle.states[op.sum][0])
        elif isinstance(op, Pool):
            current = emit_pool(graph, op, current)
        else:
            current = emit(graph, op, tensors, current, slots)
    return current


def _pieces(ops: Sequence[Op], how: Ways) -> Iterator[Piece]:
    """The ops in order.

    An affine op right before a product is not computed by itself: its factors and shifts go into the weights,
    or into those that make codes. A gate splits the rows of the product before it, so that nothing is cut.
    """
    affine: Affine | None = None
    skipped: Gate | None = None
    for op, following in zip(ops, [*ops[1:], None], strict=True):
        if op is skipped:
            continue
        if isinstance(op, Affine) and isinstance(_first(following, how), Exact | Static):
            affine = op
            continue
        gated = isinstance(op, Linear) and isinstance(how[op.name], Exact | Half)
        skipped = following if gated and isinstance(following, Gate) else None
        yield Piece(op, affine, skipped)
        affine = None


def _first(op: Op | None, how: Ways) -> How | None:
    """How an op's first product is computed."""
    key = op.name if isinstance(op, Linear) else f"{op.name}.B" if isinstance(op, SSM) else None
    return None if key is None else how[key]


def _poles(piece: Piece, tensors: Tensors, how: Ways, apart: bool) -> Poles:
    """With the constant part of B v, where λ x is added to the product B v itself."""
    op = piece.op
    assert isinstance(op, SSM)
    constant = None
    if piece.affine is not None and isinstance(how[f"{op.name}.B"], Exact) and not apart:
        constant = tensors[op.B].astype(np.float64) @ tensors[piece.affine.shift].astype(np.float64)
    return Poles(op, tensors[op.lam], constant)


def _linear(graph: Graph, piece: Piece, op: Linear, tensors: Tensors, how: How, v: str) -> str:
    bias = None if op.bias is None else tensors[op.bias].astype(np.float64)
    if isinstance(how, Static):
        v = _codes(graph, how, v, tensors, piece.affine, op.name)
        bias = how.product.bias + (0.0 if bias is None else bias)
    elif isinstance(how, Exact):
        how, constant = _folded(how, tensors, piece.affine)
        bias = constant if bias is None else bias if constant is None else bias + constant
    if piece.gate is None:
        return multiply(graph, how, v, op.name, bias)
    assert isinstance(how, Exact | Half)
    half = len(how.weight) // 2
    halves = []
    for part, rows in (("value", slice(half)), ("logit", slice(half, None))):
        part_bias = None if bias is None else bias[rows]
        halves.append(multiply(graph, how.rows(rows), v, f"{op.name}/{part}", part_bias))
    opening = graph.node("Sigmoid", [halves[1]], f"{piece.gate.name}/opening")
    return graph.node("Mul", [halves[0], opening], f"{piece.gate.name}/y")


@dataclass(frozen=True)
class _Ssm:
    """One SSM, x ← λ x + B v and y = C x + D ∘ v."""

    graph: Graph
    op: SSM
    tensors: Tensors
    affine: Affine | None
    into: How
    out: How
    apart: bool

    def emit(self, layer: Poles, known: str | Powers | None, v: str) -> str:
        """Append its nodes; ``known`` of ``emit_turned`` or ``emit_powers``. Returns the name of y."""
        graph, op, into, out = self.graph, self.op, self.into, self.out
        constant, exact = None, into
        if isinstance(into, Static):
            v = self._codes(into, v, self.affine, "B")
            constant = into.product.bias
        elif isinstance(into, Exact):
            exact, constant = _folded(into, self.tensors, self.affine)
        x = self._states(layer, exact, v, constant, known)
        if self.apart:
            x = graph.node("Identity", [x], f"{op.name}/read")
        bias = out.product.bias if isinstance(out, Static) else None
        if isinstance(out, Static):
            x = self._codes(out, x, None, "C")
        if op.D is None:
            return self._multiply(out, x, "C", bias)
        return self._multiply(out, x, "C", plus=self._through(v, bias))

    def _states(
        self, layer: Poles, into: How, v: str, constant: Float64 | None, known: str | Powers | None
    ) -> str:
        graph, op = self.graph, self.op
        after = f"{op.state}_out"
        if isinstance(known, str) and isinstance(into, Exact) and not self.apart:
            return self._multiply(into, v, "B", plus=known, output=after)
        drive = self._multiply(into, v, "B", constant)
        if isinstance(known, Powers):
            return emit_chunked_states(graph, layer, known, drive)
        if known:
            return graph.node("Add", [drive, known], f"{op.name}/turned_on", output=after)
        return graph.node(
            "Gemm", [op.state, emit_matrix(graph, layer), drive], f"{op.name}/turned", output=after
        )

    def _through(self, v: str, bias: Float64 | None) -> str:
        """D ∘ v + bias, of what codes stand for where v is codes."""
        assert self.op.D is not None
        d = self.tensors[self.op.D].astype(np.float64)
        constant = np.zeros(len(d)) if bias is None else bias
        if isinstance(self.into, Static):
            codes = self.into.product.codes
            if self.op.channels is None:
                v = as_real(self.graph, codes, v, f"{self.op.name}.B")
            d, constant = d * codes.step, constant + d * codes.offset
        elif self.affine is not None:
            constant = constant + d * self.tensors[self.affine.shift]
            d = d * self.tensors[self.affine.scale]
        return scaled(self.graph, v, d, constant, f"{self.op.name}/through")

    def _multiply(
        self, how: How, v: str, side: Side, bias: Float64 | None = None, plus: str = "", output: str = ""
    ) -> str:
        """B v or C v, see ``multiply``; without the zeros of channels."""
        if self.op.channels is None:
            return multiply(self.graph, how, v, f"{self.op.name}.{side}", bias, plus, output)
        assert isinstance(how, Exact | Half | Static)  # see ``roundings``
        return Channels(self.op.name, self.op.channels).multiply(self.graph, how, v, side, bias, plus, output)

    def _codes(self, how: Static, v: str, folded: Affine | None, side: Side) -> str:
        real = self.op.channels is not None
        return _codes(self.graph, how, v, self.tensors, folded, f"{self.op.name}.{side}", real=real)


def _folded(how: Exact, tensors: Tensors, affine: Affine | None) -> tuple[Exact, Float64 | None]:
    """W (scale ∘ v + shift) as another product of v, and a constant."""
    if affine is None:
        return how, None
    weight = how.weight.astype(np.float64)
    shift = weight @ tensors[affine.shift].astype(np.float64)
    return Exact((weight * tensors[affine.scale]).astype(np.float32)), shift


def _codes(
    graph: Graph,
    how: Static,
    v: str,
    tensors: Tensors,
    folded: Affine | None,
    name: str,
    *,
    real: bool = False,
) -> str:
    """The codes of a product's input, of v or of what an affine op makes of v."""
    codes = how.product.codes
    gain: Float64 = np.ones(len(codes.step)) if folded is None else tensors[folded.scale].astype(np.float64)
    shift: Float64 = np.zeros_like(gain) if folded is None else tensors[folded.shift].astype(np.float64)
    return codes_of(graph, codes, v, gain, shift, name, real=real)
