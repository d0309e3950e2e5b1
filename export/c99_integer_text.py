"""The lines of a generated integer model: calls, comments, arrays."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from ssmith.export.c99_form import visible
from ssmith.export.c99_integer_plan import Call
from ssmith.export.c99_plan import modes_text
from ssmith.runtime.integer_model import (
    AddOp,
    AffineOp,
    EmaPoolOp,
    EmbeddingOp,
    GateOp,
    GeluOp,
    IntegerModel,
    IntegerOp,
    LayerNormOp,
    LinearOp,
    MeanPoolOp,
    SaveOp,
    SsmOp,
)

_PRODUCT = {False: "W q", True: "C z"}  # what the accumulator of a linear op, of an SSM holds
PER_LINE = {1: 24, 2: 14, 4: 8}  # bytes of a value → values a line


def call_text(call: Call, bits: int, names: Mapping[str, str]) -> str:
    """A kernel call as a C statement; ``names``: part of the op → identifier of its array."""
    s, t, n, m = call.source, call.target, call.width_in, call.width_out
    arrays = [names.get(part, "NULL") for part in call.arrays]
    numbers = [str(number) for number in call.numbers]
    state = f"state + {call.state_at}" if call.state_at else "state"
    forms: dict[str, tuple[str, list[str]]] = {
        "input": ("ssm_iinput", [s, t, *numbers, f"T * {n}"]),
        "embedding": ("ssm_iembedding", [s, *arrays, t, *numbers, "T", str(n), str(m)]),
        "quantize": (f"ssm_quantize_a{bits}", [s, *arrays, t, *numbers, "T", str(n)]),
        "dot": (f"ssm_dot_a{bits}", [s, *arrays, t, "T", str(n), str(m)]),
        "drive": (f"ssm_drive_a{bits}", [s, *arrays, t, "T", str(n), str(m // 2)]),
        "readout": (f"ssm_readout_a{bits}", [s, *arrays, t, "T", str(m), str(n // 2)]),
        "requant": ("ssm_requant", [t, *arrays, *numbers, "T", str(n)]),
        "feedthrough": (f"ssm_ifeedthrough_a{bits}", [t, s, *arrays, *numbers, "T", str(n)]),
        "rotate_l16": ("ssm_rotate_l16", [state, *arrays, t, "T", str(n // 2)]),
        "rotate_l32": ("ssm_rotate_l32", [state, *arrays, t, "T", str(n // 2)]),
        "gelu": ("ssm_igelu", [t, *numbers, f"T * {n}"]),
        "gate": ("ssm_igate", [s, t, *numbers, "T", str(m)]),
        "layernorm": ("ssm_ilayernorm", [t, *arrays, *numbers, "T", str(n)]),
        "save": ("memcpy", [t, s, f"T * {n} * sizeof *{s}"]),
        "add": ("ssm_iadd", [t, s, f"T * {n}"]),
        "pool_mean": ("ssm_ipool_mean", [t, state, "T", str(n)]),
        "pool_ema": ("ssm_ipool_ema", [t, state, *numbers, "T", str(n)]),
    }
    function, arguments = forms[call.kernel]
    return f"{function}({', '.join(arguments)});"


def op_text(op: IntegerOp, width: int, model: IntegerModel) -> list[str]:
    """Lines on what an op does: its shapes, what codes are worth, how large values can get at most."""
    worth = [
        f"of {label} {_span(model.scales[f'{op.name}.{part}'])}"
        for part, label in (("codes", "q"), ("state", "the state"), ("state_codes", "z"))
        if f"{op.name}.{part}" in model.scales
    ]
    bounds = [
        f"|{label}| < 2^{math.log2(model.proofs[f'{op.name}.{part}'] + 1):.1f}"
        for part, label in (
            ("drive", "B q"),
            ("state", "x"),
            ("accumulator", _PRODUCT[isinstance(op, SsmOp)]),
        )
        if f"{op.name}.{part}" in model.proofs
    ]
    lines = [f"{op.name}: {_formula(op, width)}"]
    if worth:
        lines.append(f"one unit {', '.join(worth)}")
    if bounds:
        lines.append(f"always {', '.join(bounds)}")
    return [visible(line) for line in lines]


def state_table(model: IntegerModel) -> str:
    """The header's table: place in 32-bit words, name, what it holds."""
    ssm = {op.state for op in model.ops if isinstance(op, SsmOp)}
    lines, at = [], 0
    for state in model.states:
        half = state.length // 2
        what = f": {half} real parts, then {half} imaginary parts" if state.name in ssm else ""
        wide = ", two words each, lower first" if state.bits == 64 else ""
        lines.append(visible(f"     {at:4}  {state.name}{what or f' ({state.length}{wide})'}"))
        at += state.length * state.bits // 32
    return "\n".join(lines) or "     none"


def array_text(kind: str, name: str, array: NDArray[np.generic], values: list[str]) -> str:
    """The C definition of a constant array."""
    per_line = PER_LINE[array.itemsize]
    rows = [", ".join(values[at : at + per_line]) for at in range(0, len(values), per_line)]
    shape = ", ".join(str(n) for n in array.shape)
    body = ",\n    ".join(rows)
    return f"/* ({shape}) */\nstatic const {kind} {name}[{array.size}] SSM_ALIGNED = {{\n    {body}}};\n"


def _formula(op: IntegerOp, width: int) -> str:
    if isinstance(op, LinearOp):
        return f"y = W v{' + b' if op.bias is not None else ''}, {width} -> {len(op.weight)}"
    if isinstance(op, EmbeddingOp):
        rows, columns = op.table.shape
        return f"row of a table of {rows}, 1 -> {columns}"
    if isinstance(op, SsmOp):
        feed = " + D v" if op.feedthrough is not None else ""
        shape = modes_text(width, op.lam.shape[1], len(op.C), op.channels)
        return f"x = lambda x + B v, y = C x{feed}, {shape}"
    if isinstance(op, SaveOp | AddOp):
        return f"{'save' if isinstance(op, SaveOp) else 'add'} slot {op.slot}, {width}"
    if isinstance(op, GateOp):
        return f"gate, {width} -> {width // 2}"
    kinds: dict[type, str] = {
        GeluOp: "gelu",
        AffineOp: "y = scale v + shift",
        LayerNormOp: "layernorm",
        MeanPoolOp: "mean of all frames",
        EmaPoolOp: "exponential mean of the frames",
    }
    return f"{kinds[type(op)]}, {width}"


def _span(scale: NDArray[np.float64]) -> str:
    low, high = float(scale.min()), float(scale.max())
    return f"{low:.3g}" if low == high else f"{low:.3g} to {high:.3g}"
