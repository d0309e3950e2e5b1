"""The generated integer form: ``NAME_int8.h``, ``NAME_int8.c``, ``NAME_int8_weights.h``."""

from __future__ import annotations

from itertools import groupby
from typing import Any

from ssmith.bundle import MAX_NAME, Bundle
from ssmith.errors import InputError
from ssmith.export.c99_form import Form, Run
from ssmith.export.c99_integer_plan import Array, IntegerPlan, integer_plan
from ssmith.export.c99_integer_text import array_text, call_text, op_text, state_table
from ssmith.export.c99_source import literal
from ssmith.ops import Float32
from ssmith.runtime.artifacts import INTEGER_KERNELS, integer_name
from ssmith.runtime.integer_model import IntegerModel

STACK_BYTES = 512  # of the deepest chain of calls on a 32-bit processor; a test measures it
MAGIC = {16: b"SSM2", 8: b"SSM3"}  # of a saved state; what its words are worth depends on the codes
TABLES = {"gelu", "gate"}  # kernels that bring a table of their own
TABLE_BYTES = 384
STATE_CHECKS = {  # kernels with states → what tells whether 32-bit words can be theirs
    "rotate_l16": "ssm_modes_fit",
    "rotate_l32": "ssm_modes_fit",
    "pool_mean": "ssm_pool_mean_fits",
    "pool_ema": "ssm_pool_ema_fits",
}

_BLOCKS = """\
/* T <= {upper}_BLOCK frames: in (T, {inputs}), out (T, {outputs}). */
static void {name}_block_codes({name}_t *m, const int16_t *in, int32_t *out, size_t T)
{{
    memcpy(out, {name}_network(m, in, T), T * {outputs} * sizeof *out);
}}

#ifndef {upper}_NO_FLOAT
/* The same in real values. The input codes stand where q will: they are read before it is written. */
static void {name}_block({name}_t *m, const float *in, float *out, size_t T)
{{
    ssm_encode(in, {name}_input_factor, m->codes, T, {inputs});
    ssm_decode({name}_network(m, m->codes, T), {name}_output_scale, out, T, {outputs});
}}
#endif
"""


def check_integer_name(bundle: Bundle) -> str:
    """``NAME_int8``: stem of the files, functions and macros of the integer form.

    Raises:
        InputError: it is too long.
    """
    name = integer_name(bundle.name)
    if len(name) > MAX_NAME:
        raise InputError(
            f"the int8 model's name {name!r} has {len(name)} letters, more than {MAX_NAME}; it becomes a C"
            " identifier, so give the model a shorter name, or export float32 only"
        )
    return name


def integer_form(bundle: Bundle, model: IntegerModel) -> Form:
    """The integer form: kernel calls in the order of the ops, float only at the edges.

    Raises:
        InputError: a dimension is beyond the engine's limit, or the name is too long.
    """
    name, layout = check_integer_name(bundle), integer_plan(model)
    upper, vectors = name.upper(), max(sum(layout.vectors.values()), 1)
    code_bytes = sum(layout.code_bytes.values())
    return Form(
        bundle=bundle,
        name=name,
        precision="int8",
        kernels=INTEGER_KERNELS,
        magic=MAGIC[model.activation_bits],
        word="int32",
        members=(
            f"int32_t vectors[{vectors} * {upper}_BLOCK];",
            f"int16_t codes[{code_bytes // 2} * {upper}_BLOCK];",
            f"int32_t state[{max(layout.state_words, 1)}];",
        ),
        scratch_bytes=f"({4 * vectors + code_bytes} * {upper}_BLOCK)",
        state_words=layout.state_words,
        states=state_table(model),
        flash_bytes=_flash_bytes(model, layout),
        stack_bytes=STACK_BYTES,
        network=_network(name, model, layout),
        state_check=_state_check(name, layout),
        runs=(
            Run(
                "", "float", "float", f"ssm_ifinite(in, (size_t)frames * {upper}_INPUTS)", f"{upper}_NO_FLOAT"
            ),
            Run("_codes", "int16_t", "int32_t"),
        ),
        start="    ssm_find_level();\n",
        notes=_notes(name, upper, model),
        about=about(model),
        meta_fields="const float *input_scale, *output_scale; /* per value: real = code * scale */\n",
        meta_values=f",\n    {name}_input_scale, {name}_output_scale",
    )


def about(model: IntegerModel) -> dict[str, Any]:
    """What tools are told beside ``describe``: precision, digest of the integers, code bits, state types."""
    return {
        "precision": "int8",
        "integer_sha256": model.sha256,
        "activation_bits": model.activation_bits,
        "state_types": [f"int{state.bits}" for state in model.states],
    }


def integer_weights_text(bundle: Bundle, model: IntegerModel) -> str:
    """``NAME_int8_weights.h``: every weight, multiplier and scale."""
    name, layout = check_integer_name(bundle), integer_plan(model)
    bits = model.activation_bits
    parts = [
        f"/* {name}_weights.h - for {name}.c only.  SPDX-License-Identifier: 0BSD\n"
        f"   Matrices are packed as ssm_dot_a{bits}() in {INTEGER_KERNELS} describes. */\n"
    ]
    for identifier, array in _named(name, layout).values():
        values = [str(value) for value in array.ravel().tolist()]
        parts.append(array_text(f"{array.dtype}_t", identifier, array, values))
    for part, scales in _scales(model).items():
        text = array_text("float", f"{name}_{part}", scales, [literal(value) for value in scales])
        edge = part == "input_factor"
        parts.append(f"#ifndef {name.upper()}_NO_FLOAT\n{text}#endif\n" if edge else text)
    return "\n".join(parts)


_Key = tuple[str, bytes]


def _key(array: Array) -> _Key:
    """Equal arrays stand once."""
    return array.dtype.str, array.tobytes()


def _named(name: str, layout: IntegerPlan) -> dict[_Key, tuple[str, Array]]:
    """Key → (C identifier, array), in the order of first use."""
    found: dict[_Key, tuple[str, Array]] = {}
    taken: set[str] = set()
    for call in layout.calls:
        for part, array in call.arrays.items():
            if array is None or _key(array) in found:
                continue
            identifier = f"{name}_{call.op.replace('.', '_')}_{part}"
            while identifier in taken:
                identifier += "_"
            taken.add(identifier)
            found[_key(array)] = identifier, array
    return found


def _scales(model: IntegerModel) -> dict[str, Float32]:
    """What joins codes and real values: ``encode`` multiplies with the factor, 1 / input scale."""
    return {
        "input_scale": model.input_scale,
        "input_factor": model.input_factor,
        "output_scale": model.output_scale,
    }


def _flash_bytes(model: IntegerModel, layout: IntegerPlan) -> int:
    arrays = [array for _, array in _named("", layout).values()]
    tables = TABLES & {call.kernel for call in layout.calls}
    return sum(a.nbytes for a in (*arrays, *_scales(model).values())) + TABLE_BYTES * len(tables)


def _network(name: str, model: IntegerModel, layout: IntegerPlan) -> str:
    """``NAME_network``: T frames of codes through every op; then what calls it."""
    upper, bits = name.upper(), model.activation_bits
    edges = {"inputs": len(model.input_scale), "outputs": len(model.output_scale)}
    lines, at = [], "m->vectors"
    for buffer, width in layout.vectors.items():
        lines.append(f"    int32_t *const {buffer} = {at}; /* (T, {width}) */")
        at = f"{buffer} + {width} * {upper}_BLOCK"
    at = "m->codes" if bits == 16 else "(int8_t *)m->codes"
    for buffer, width in layout.codes.items():
        lines.append(f"    int{bits}_t *const {buffer} = {at}; /* (T, {width}) */")
        at = f"{buffer} + {layout.code_bytes[buffer] * 8 // bits} * {upper}_BLOCK"
    if layout.state_words:
        lines.append("    int32_t *const state = m->state;")
    named, joint = _named(name, layout), "\n       "
    ops = {op.name: op for op in model.ops}
    for op, calls in groupby(layout.calls, key=lambda call: call.op):
        group = list(calls)
        what = op_text(ops[op], group[0].width_in, model) if op else [f"the input, {edges['inputs']} codes"]
        lines += ["", f"    /* {joint.join(what)} */"]
        for call in group:
            names = {part: named[_key(a)][0] for part, a in call.arrays.items() if a is not None}
            lines.append(f"    {call_text(call, bits, names)}")
    return (
        f"/* T <= {upper}_BLOCK frames of codes, in (T, {edges['inputs']}); the result, (T,"
        f" {edges['outputs']}), stays in m. */\n"
        f"static const int32_t *{name}_network({name}_t *m, const int16_t *in, size_t T)\n{{\n"
        + "\n".join(lines)
        + f"\n\n    return {layout.result};\n}}\n\n"
        + _BLOCKS.format(name=name, upper=upper, **edges)
    )


def _notes(name: str, upper: str, model: IntegerModel) -> tuple[str, ...]:
    bits = model.activation_bits
    return (
        f"Integers throughout: int8 weights, int{bits} activations, int32 sums and states.",
        f"{name}_step() takes and gives real values; a frame with a NaN or an infinity is refused whole"
        f"\n     and changes nothing. -D{upper}_NO_FLOAT leaves it out, and with it every float instruction.",
        f"{name}_step_codes() takes int16 codes and gives int32: real value = code * scale, scales in"
        f"\n     {name}_meta; input codes beyond +-32767 scales must be clamped by the caller.",
    )


_STATE_CHECK = """\
/* 1 if the words of the blob lie where the arithmetic keeps them */
static int {name}_state_fits(const unsigned char *blob)
{{
    const unsigned char *const words = blob + sizeof {name}_blob;
    return {conditions};
}}
"""


def _state_check(name: str, layout: IntegerPlan) -> str:
    conditions = [
        f"{STATE_CHECKS[call.kernel]}(words + {4 * call.state_at}, {call.state_words})"
        for call in layout.calls
        if call.state_words
    ]
    return _STATE_CHECK.format(name=name, conditions=" &&\n           ".join(conditions or ["words != NULL"]))
