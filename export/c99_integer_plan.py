"""An integer model as a list of kernel calls: what the generated and the loadable form both write out.

Vectors (int32) stand in ``a`` or ``b``, codes in ``q`` (of an op's input) and ``z`` (of an SSM's states),
vectors kept for later in the slots ``s0`` to ``s15``. A matrix product reads codes and writes ``a``; a
gate, which halves its vector, writes the other one; everything else works in place.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ssmith.errors import InputError
from ssmith.export.c99_plan import MAX_DIM
from ssmith.runtime.integer_model import (
    AddOp,
    AffineOp,
    EmaPoolOp,
    EmbeddingOp,
    GateOp,
    GeluOp,
    Int8,
    IntegerModel,
    IntegerOp,
    LayerNormOp,
    LinearOp,
    MeanPoolOp,
    Quantize,
    Requant,
    SaveOp,
    SsmOp,
)
from ssmith.system import channel_mask

Kernel = Literal[
    "input",
    "embedding",
    "quantize",
    "dot",
    "requant",
    "feedthrough",
    "rotate_l16",
    "rotate_l32",
    "gelu",
    "gate",
    "layernorm",
    "save",
    "add",
    "pool_mean",
    "pool_ema",
    "drive",
    "readout",
]
Array = NDArray[np.integer[Any]]
VECTORS = ("a", "b")
CODES = ("q", "z")
MAX_ROWS = 1 << 15  # of an embedding: an int16 code is the index
GROUP = 16  # columns of a weight matrix that stand together


@dataclass(frozen=True, eq=False)
class Call:
    """One kernel call.

    Args:
        op: name of the op it belongs to, "" for the model's input.
        kernel: which kernel of ``ssm_integer.h``.
        source: buffer it reads; ``"in"`` is the caller's codes.
        target: buffer it writes; the same where it works in place.
        width_in: values per frame in ``source``; of an embedding the table's rows.
        width_out: values per frame in ``target``.
        numbers: the kernel's shift, limit, p, gain …, in the order of its parameters, at most four.
        arrays: part of the op → array or None, in the order of the kernel's parameters, at most two.
        state_at: where its states start in the flat state, in 32-bit words.
        state_words: how many it owns.
    """

    op: str
    kernel: Kernel
    source: str
    target: str
    width_in: int
    width_out: int
    numbers: tuple[int, ...] = ()
    arrays: dict[str, Array | None] = field(default_factory=dict)
    state_at: int = 0
    state_words: int = 0


@dataclass(frozen=True, eq=False)
class IntegerPlan:
    """The calls in order, and the memory they need.

    Args:
        calls: at least one.
        vectors: name → int32 values per frame of ``a``, ``b`` and the slots, used ones only.
        codes: name → codes per frame, padding included, of ``q`` and ``z``, used ones only.
        code_bytes: name → bytes per frame of ``q`` and ``z``; the input's int16 codes find room in ``q``.
        state_words: length of the flat state, in 32-bit words.
        result: the vector that holds the output in the end.
    """

    calls: tuple[Call, ...]
    vectors: dict[str, int]
    codes: dict[str, int]
    code_bytes: dict[str, int]
    state_words: int
    result: str


def integer_plan(model: IntegerModel) -> IntegerPlan:
    """Lay out a model.

    Raises:
        InputError: a dimension is beyond the engine's limit, or an embedding has more rows than codes.
    """
    inputs = len(model.input_scale)
    width, current, state_at = inputs, "a", 0
    calls: list[Call] = []
    if not isinstance(model.ops[0], EmbeddingOp):
        calls.append(Call("", "input", "in", "a", width, width, (model.input_shift,)))
    for op in model.ops:
        for call in _calls(op, width, current, state_at):
            _check(call)
            calls.append(call)
            state_at += call.state_words
            if call.target in VECTORS:
                width, current = call.width_out, call.target
    vectors, codes = dict[str, int](), dict[str, int]()
    for call in calls:
        found, n = (codes, padded(call.width_out)) if call.target in CODES else (vectors, call.width_out)
        found[call.target] = max(found.get(call.target, 0), n)
    code_bytes = {name: codes.get(name, 0) * model.activation_bits // 8 for name in CODES}
    code_bytes["q"] = max(code_bytes["q"], padded(2 * inputs))
    vectors, codes = (dict(sorted(found.items())) for found in (vectors, codes))
    return IntegerPlan(tuple(calls), vectors, codes, code_bytes, state_at, current)


def padded(n: int) -> int:
    """Codes of a frame as they lie in memory: a multiple of 4."""
    return n + -n % 4


def pack(weight: Int8) -> Int8:
    """A weight matrix (M, K) as the kernels read it, the same on every machine.

    K is filled up with zeros to a multiple of 4; columns stand in groups of 16, the last group may be
    narrower; inside a group row by row.
    """
    rows, columns = weight.shape
    filled = np.zeros((rows, padded(columns)), np.int8)
    filled[:, :columns] = weight
    groups = [filled[:, at : at + GROUP].ravel() for at in range(0, filled.shape[1], GROUP)]
    return np.concatenate(groups)


def _calls(op: IntegerOp, width: int, v: str, state_at: int) -> list[Call]:
    """The calls of one op on the vector ``v`` of ``width`` values."""
    name = op.name
    if isinstance(op, LinearOp):
        return [
            _quantize(name, "quantize", op.quantize, v, "q", width),
            *_product(name, "", op.weight, "q", op.requant, op.bias),
        ]
    if isinstance(op, EmbeddingOp):
        rows, columns = op.table.shape
        arrays: dict[str, Array | None] = {"table": op.table, "m": op.requant.multiplier}
        return [Call(name, "embedding", "in", "a", rows, columns, (op.requant.shift,), arrays)]
    if isinstance(op, SsmOp):
        return _ssm(op, width, v, state_at)
    if isinstance(op, GeluOp):
        return [Call(name, "gelu", v, v, width, width, (op.p,))]
    if isinstance(op, GateOp):
        return [Call(name, "gate", v, "b" if v == "a" else "a", width, width // 2, (op.p,))]
    if isinstance(op, AffineOp):
        return [_requant(name, "", op.requant, op.bias, v, width)]
    if isinstance(op, LayerNormOp):
        numbers = (op.requant.shift, op.mean_shift, op.mean_factor, op.eps)
        arrays = {"m": op.requant.multiplier, "b": op.bias}
        return [Call(name, "layernorm", v, v, width, width, numbers, arrays)]
    if isinstance(op, SaveOp):
        return [Call(name, "save", v, f"s{op.slot}", width, width)]
    if isinstance(op, AddOp):
        return [Call(name, "add", f"s{op.slot}", v, width, width)]
    if isinstance(op, MeanPoolOp):
        words = 2 * (width + 1)  # of 64-bit sums and their count
        return [Call(name, "pool_mean", v, v, width, width, (), {}, state_at, words)]
    assert isinstance(op, EmaPoolOp)
    return [Call(name, "pool_ema", v, v, width, width, (op.gain,), {}, state_at, width + 1)]


def _ssm(op: SsmOp, width: int, v: str, state_at: int) -> list[Call]:
    name, modes = op.name, op.lam.shape[1]
    narrow = op.lam_bits == 16
    lam: Array = (op.lam >> 16).astype(np.int16) if narrow else op.lam
    rotate = Call(
        *(name, "rotate_l16" if narrow else "rotate_l32", "a", "a", 2 * modes, 2 * modes),
        arrays={"lam": lam},
        state_at=state_at,
        state_words=2 * modes,
    )
    calls = [
        _quantize(name, "quantize", op.quantize, v, "q", width),
        *_product(name, "B", op.B, "q", op.drive, op.drive_bias, op.channels),
        rotate,
        _quantize(name, "states", op.state_quantize, "a", "z", 2 * modes),
        *_product(name, "C", op.C, "z", op.requant, op.bias, op.channels),
    ]
    if op.feedthrough is not None:
        arrays: dict[str, Array | None] = {"D_m": op.feedthrough.multiplier}
        calls.append(Call(name, "feedthrough", "q", "a", width, width, (op.feedthrough.shift,), arrays))
    return calls


def _quantize(op: str, part: str, rule: Quantize, source: str, target: str, width: int) -> Call:
    arrays: dict[str, Array | None] = {f"{part}_m": rule.requant.multiplier, f"{part}_b": rule.bias}
    return Call(op, "quantize", source, target, width, width, (rule.limit, rule.requant.shift), arrays)


def _product(
    op: str,
    part: str,
    weight: Int8,
    source: str,
    rule: Requant,
    bias: Array | None,
    channels: tuple[int, ...] | None = None,
) -> list[Call]:
    rows, columns = weight.shape
    kernel: Kernel = "dot"
    arrays: dict[str, Array | None] = {part or "weight": pack(weight)}
    if channels is not None:
        inside = np.tile(channel_mask(channels), (2, 1))
        kernel, own = ("drive", weight[inside]) if part == "B" else ("readout", weight.T[inside])
        arrays = {part: own, "modes": np.array(channels, np.uint16)}
    product = Call(op, kernel, source, "a", columns, rows, (), arrays)
    return [product, _requant(op, part, rule, bias, "a", rows)]


def _requant(op: str, part: str, rule: Requant, bias: Array | None, v: str, width: int) -> Call:
    stem = f"{part}_" if part else ""
    arrays: dict[str, Array | None] = {f"{stem}m": rule.multiplier, f"{stem}b": bias}
    return Call(op, "requant", v, v, width, width, (rule.shift,), arrays)


def _check(call: Call) -> None:
    largest = max(call.width_in, call.width_out)
    if call.kernel == "embedding" and call.width_in > MAX_ROWS:
        raise InputError(
            f"op {call.op!r} has a table of {call.width_in} rows; an int8 model reads its index as a 16-bit"
            f' code, which reaches {MAX_ROWS}. Export float32 only (precisions = ["float32"])'
        )
    if largest > MAX_DIM:
        raise InputError(
            f"op {call.op!r} has a dimension of {largest}; the C engine takes up to {MAX_DIM}. Make the"
            " layer smaller or export ONNX"
        )
