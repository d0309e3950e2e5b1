"""The generated form: ``NAME.h`` (the manual), ``NAME.c`` (the network), ``NAME_weights.h``."""

from __future__ import annotations

import numpy as np

from ssmith.bundle import Bundle
from ssmith.export.c99_form import Form, Run, visible
from ssmith.export.c99_plan import Plan, Step, Weights, modes_text, plan, tensors_of
from ssmith.ops import SSM, Add, Affine, Embedding, Gate, Gelu, LayerNorm, Linear, Pool, Save
from ssmith.runtime.artifacts import KERNELS

STACK_BYTES = 1024  # of the deepest chain of calls on a 32-bit processor; a test measures it
_STATE_CHECK = """\
/* 1 if no state in the blob is NaN or infinite */
static int {name}_state_fits(const unsigned char *blob)
{{
    size_t k;
    uint32_t word;
    for (k = sizeof {name}_blob; k < {upper}_STATE_BYTES; k += sizeof word) {{
        memcpy(&word, blob + k, sizeof word);
        if ((word & 0x7f800000u) == 0x7f800000u)
            return 0;
    }}
    return 1;
}}
"""


def float_form(bundle: Bundle) -> Form:
    """The float form: kernel calls in the order of the ops, states as they are.

    Raises:
        InputError: a dimension is beyond the engine's limit.
    """
    layout, upper = plan(bundle), bundle.name.upper()
    return Form(
        bundle=bundle,
        name=bundle.name,
        precision="float32",
        kernels=KERNELS,
        magic=b"SSM1",
        word="float",
        members=(
            f"float scratch[{layout.scratch_floats} * {upper}_BLOCK];",
            f"float state[{max(layout.state_floats, 1)}];",
        ),
        scratch_bytes=f"(4 * {layout.scratch_floats} * {upper}_BLOCK)",
        state_words=layout.state_floats,
        states=_state_table(layout),
        flash_bytes=sum(array.nbytes for _, array in _weights(bundle, layout).values()),
        stack_bytes=STACK_BYTES,
        network=_network(bundle, layout),
        state_check=_STATE_CHECK.format(name=bundle.name, upper=upper),
        runs=(Run("", "float", "float", f"ssm_all_finite(in, (size_t)frames * {upper}_INPUTS)"),),
        start="    ssm_find_level();\n",
        notes=("A frame with a NaN or an infinity is refused whole and changes nothing.",),
        about={"precision": "float32"},
    )


def _network(bundle: Bundle, layout: Plan) -> str:
    """``NAME_block``: T frames through every op."""
    weights = _weights(bundle, layout)
    name, upper = bundle.name, bundle.name.upper()
    inputs, outputs = len(bundle.meta.inputs), len(bundle.meta.outputs)
    lines, at = [], "m->scratch"
    for buffer, width in layout.buffers.items():
        lines.append(f"    float *const {buffer} = {at}; /* (T, {width}) */")
        at = f"{buffer} + {width} * {upper}_BLOCK"
    if layout.state_floats:
        lines.append("    float *const state = m->state;")
    lines += ["", f"    memcpy(a, in, T * {inputs} * sizeof *a);"]
    for step in layout.steps:
        arguments = {f: weights[key][0] for f, key in _keys(step, bundle).items()}
        lines += ["", f"    /* {step.op.name}: {_what(step)} */"]
        lines += [f"    {line}" for line in _calls(step, arguments)]
    lines += ["", f"    memcpy(out, {layout.steps[-1].target}, T * {outputs} * sizeof *out);"]
    return (
        f"/* T <= {upper}_BLOCK frames: in (T, {inputs}), out (T, {outputs}). */\n"
        f"SSM_NETWORK void {name}_block({name}_t *m, const float *in, float *out, size_t T)\n{{\n"
        + "\n".join(lines)
        + "\n}\n"
    )


def weights_text(bundle: Bundle) -> str:
    """``NAME_weights.h``: every weight to the last bit, as nine decimal digits."""
    parts = [
        f"/* {bundle.name}_weights.h - for {bundle.name}.c only.  SPDX-License-Identifier: 0BSD\n"
        "   Matrices are (in, out), row by row: one input's weights stand together. */\n"
    ]
    for name, array in _weights(bundle, plan(bundle)).values():
        shape = ", ".join(str(n) for n in array.shape)
        kind = "uint16_t" if array.dtype == np.uint16 else "float"
        numbers = [str(v) if kind == "uint16_t" else literal(float(v)) for v in array.ravel()]
        rows = [", ".join(numbers[i : i + 8]) for i in range(0, len(numbers), 8)]
        parts.append(
            f"/* ({shape}) */\nstatic const {kind} {name}[{array.size}] SSM_ALIGNED = {{\n    "
            + ",\n    ".join(rows)
            + "};\n"
        )
    return "\n".join(parts)


def literal(value: float | np.float32) -> str:
    """A C float literal that reads back as exactly this float32."""
    text = f"{np.float32(value):.9g}"
    return text + ("f" if any(c in text for c in ".e") else ".0f")


_Key = tuple[str, bytes]


def _key(name: str, array: Weights) -> _Key:
    """Identity of an array: ops that share a tensor in the same layout share one array."""
    return name, array.tobytes()


def _keys(step: Step, bundle: Bundle) -> dict[str, _Key]:
    """Field → identity of its array."""
    return {field: _key(name, array) for field, name, array in tensors_of(step, bundle)}


def _weights(bundle: Bundle, layout: Plan) -> dict[_Key, tuple[str, Weights]]:
    """Identity → (C identifier, array), in the order of first use."""
    found: dict[_Key, tuple[str, Weights]] = {}
    names: set[str] = set()
    for step in layout.steps:
        for field, name, array in tensors_of(step, bundle):
            identifier = f"{bundle.name}_{step.op.name.replace('.', '_')}_{field}"
            while identifier in names:
                identifier += "_"
            if _key(name, array) not in found:
                found[_key(name, array)] = identifier, array
                names.add(identifier)
    return found


def _what(step: Step) -> str:
    op, n, out = step.op, step.width_in, step.width_out
    if isinstance(op, Linear):
        return f"y = W v{' + b' if op.bias else ''}, {n} -> {out}"
    if isinstance(op, Embedding):
        return f"row of a table of {step.n}, 1 -> {out}"
    if isinstance(op, SSM):
        shape = modes_text(n, step.n, out, op.channels)
        return f"x = lambda x + B v, y = C x{' + D v' if op.D else ''}, {shape}"
    if isinstance(op, Save | Add):
        return f"{op.op} slot {op.slot}, {n}"
    return f"{op.op}, {n}" + (f" -> {out}" if n != out else "")


def _calls(step: Step, w: dict[str, str]) -> list[str]:
    """The kernel calls of one op; ``w`` maps its fields to identifiers."""
    op, n, out, a, b = step.op, step.width_in, step.width_out, step.source, step.target
    state = f"state + {step.state_at}" if step.state_at else "state"
    if isinstance(op, Linear):
        return [f"ssm_linear({a}, {w['weight']}, {w.get('bias', 'NULL')}, {b}, T, {n}, {out});"]
    if isinstance(op, Embedding):
        return [f"ssm_embedding({a}, {w['weight']}, {b}, T, {step.n}, {out});"]
    if isinstance(op, Affine):
        return [f"ssm_affine({a}, {w['scale']}, {w['shift']}, T, {n});"]
    if isinstance(op, LayerNorm):
        return [f"ssm_layernorm({a}, {w['scale']}, {w['shift']}, {literal(op.eps)}, T, {n});"]
    if isinstance(op, SSM):
        calls = [
            f"ssm_linear({a}, {w['B']}, NULL, x, T, {n}, {2 * step.n});",
            f"ssm_scan({state}, {w['lam']}, x, T, {step.n});",
            f"ssm_linear(x, {w['C']}, NULL, {b}, T, {2 * step.n}, {out});",
        ]
        if op.channels is not None:
            calls[0] = f"ssm_drive({a}, {w['B']}, {w['modes']}, x, T, {n}, {step.n});"
            calls[2] = f"ssm_readout(x, {w['C']}, {w['modes']}, {b}, T, {n}, {step.n});"
        return calls + ([f"ssm_feedthrough({b}, {w['D']}, {a}, T, {out});"] if op.D else [])
    if isinstance(op, Gelu):
        return [f"ssm_gelu({a}, T * {n});"]
    if isinstance(op, Gate):
        return [f"ssm_gate({a}, {b}, T, {out});"]
    if isinstance(op, Save):
        return [f"memcpy(s{op.slot}, {a}, T * {n} * sizeof *{a});"]
    if isinstance(op, Add):
        return [f"ssm_add({a}, s{op.slot}, T * {n});"]
    count = f"state + {step.state_at + n}"
    return [f"ssm_pool({a}, {state}, {count}, {literal(op.decay)}, T, {n});"]


def _state_table(layout: Plan) -> str:
    lines = []
    for step in layout.steps:
        if isinstance(step.op, SSM):
            what = f"{step.op.state}: {step.n} real parts, then {step.n} imaginary parts"
            lines.append(f"     {step.state_at:4}  {what}")
        if isinstance(step.op, Pool):
            lines.append(f"     {step.state_at:4}  {step.op.sum} ({step.width_in})")
            lines.append(f"     {step.state_at + step.width_in:4}  {step.op.count} (1)")
    return "\n".join(visible(line) for line in lines) or "     none"
