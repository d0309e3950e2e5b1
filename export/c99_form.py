"""What the generated C files of every precision have in common: header, source, wrapper.

``Form`` is what they differ in; ``export.c99_source`` makes the float form. The templates hold the
rest: ``model.h.in``, ``model.c.in`` and ``model.hpp.in``, each with its ``run`` part once for each kind
of frame that the model takes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib import resources
from string import Template
from typing import Any

from ssmith import __version__
from ssmith.bundle import Bundle, Signal
from ssmith.export.c99_plan import warmup_frames
from ssmith.runtime.reference import describe

ABI_VERSION = 2
BLOCK = 4  # frames per pass over the weights, the header's default
HOST_STACK_BYTES = 3072  # of the deepest chain of calls on 64-bit processors and x86; a test measures it
BLOB_HEADER_BYTES = 16  # of a saved state: 4 bytes of magic, 4 of size, 8 of the model's digest


@dataclass(frozen=True)
class Run:
    """One pair of functions, ``NAME_step`` and ``NAME_process``, that calls ``NAME_block``.

    Args:
        suffix: of both functions and of the static ``NAME_block`` they call.
        input: C type of an input value.
        output: C type of an output value.
        check: C condition under which ``frames`` input frames at ``in`` are taken, or "" for any.
        guard: macro that leaves both functions out if it is defined, or "".
    """

    suffix: str
    input: str
    output: str
    check: str = ""
    guard: str = ""


@dataclass(frozen=True)
class Form:
    """What the files of one precision differ in; text is C, in which ``NAME_BLOCK`` may stand.

    Args:
        bundle: the model.
        name: prefix of its files, functions and macros.
        precision: ``"float32"`` or ``"int8"``.
        kernels: the header with its arithmetic, a file in ``runtime/c``.
        magic: four bytes that open a saved state and tell the kind of its words.
        word: what a state word is, for the header's reader.
        members: the fields of ``NAME_t`` before ``ready``; the last is ``state``; all multiples of 4 bytes.
        scratch_bytes: expression, bytes of all members but the state.
        state_words: 32-bit words of state.
        states: the header's table of states.
        flash_bytes: weights and tables.
        stack_bytes: upper bound of the stack that any function takes on a 32-bit processor.
        network: ``static`` functions, among them ``NAME_block`` for every run.
        state_check: ``static int NAME_state_fits(const unsigned char *blob)``, header checked before.
        runs: the functions that take frames, the first is the one the header's example shows.
        start: statements with which ``NAME_init`` begins.
        notes: further lines of the header's list of promises.
        about: keys added to what ``describe`` tells tools.
        meta_fields: further fields of ``NAME_meta_t``.
        meta_arrays: constants that those point to.
        meta_values: their initialisers, each after a comma.
    """

    bundle: Bundle
    name: str
    precision: str
    kernels: str
    magic: bytes
    word: str
    members: Sequence[str]
    scratch_bytes: str
    state_words: int
    states: str
    flash_bytes: int
    stack_bytes: int
    network: str
    state_check: str
    runs: Sequence[Run]
    start: str = ""
    notes: Sequence[str] = ()
    about: dict[str, Any] = field(default_factory=dict)
    meta_fields: str = ""
    meta_arrays: str = ""
    meta_values: str = ""

    @property
    def state_bytes(self) -> int:
        """Bytes of a saved state."""
        return BLOB_HEADER_BYTES + 4 * self.state_words


def header(form: Form) -> str:
    """``NAME.h``."""
    meta = form.bundle.meta
    first = form.runs[0]
    period, rate = "", ""
    if meta.period_s is not None:
        rate = f", {1 / meta.period_s:.6g} frames a second"
        period = (
            f"#define {form.name.upper()}_PERIOD_US {meta.period_s * 1e6!r} /* between two frames */\n"
            f"#define {form.name.upper()}_RATE_HZ {1 / meta.period_s!r}\n"
        )
    about = json.dumps(describe(form.bundle) | form.about, sort_keys=True)
    return fill(
        "model.h.in",
        form,
        abi=ABI_VERSION,
        rate=rate,
        period=period,
        warmup=warmup_frames(form.bundle),
        suffix=first.suffix,
        example=_example(first, form.name.upper()),
        notes="".join(f"   - {note}\n" for note in form.notes),
        input_table=_signal_table(meta.inputs),
        output_table=_signal_table(meta.outputs),
        output_note=", the largest is the answer" if meta.task == "classification" else "",
        word=form.word,
        state_table=form.states,
        block=BLOCK,
        state_bytes=form.state_bytes,
        scratch_bytes=form.scratch_bytes,
        fixed_bytes=4 * max(form.state_words, 1) + 4,
        flash_bytes=form.flash_bytes,
        host_stack_bytes=HOST_STACK_BYTES,
        stack_bytes=form.stack_bytes,
        members="\n".join(f"    {line}" for line in form.members),
        meta_fields="".join(f"    {line}\n" for line in form.meta_fields.splitlines()),
        runs=_runs("run.h.in", form),
        meta=about.replace("*", "\\u002a"),  # no comment begins or ends inside
    )


def source(form: Form) -> str:
    """``NAME.c``."""
    meta = form.bundle.meta
    kernels = (resources.files("ssmith.runtime") / "c" / form.kernels).read_text("utf-8")
    version = re.search(r"#define (\w+_VERSION) (\d+)", kernels)
    assert version is not None, form.kernels
    return fill(
        "model.c.in",
        form,
        kernels_macro=version[1],
        kernels_version=version[2],
        start=form.start,
        network=form.network,
        runs=_runs("run.c.in", form),
        blob=_bytes(blob_header(form)),
        state_check=form.state_check,
        input_signals=_signals(meta.inputs),
        output_signals=_signals(meta.outputs),
        model_name=c_string(form.bundle.name),
        task=meta.task,
        period_s=repr(meta.period_s or 0.0),
        meta_arrays=form.meta_arrays,
        meta_values=form.meta_values,
        check_period=_check_period(meta.period_s, form.name.upper()),
    )


def wrapper(form: Form) -> str:
    """``NAME.hpp``."""
    parts, buffers = [], []
    for run in form.runs:
        check = (
            "        for (std::size_t i = 0; i < inputs; i++)\n"
            "            if (!finite(in[i], frames))\n"
            f"                return {form.name.upper()}_E_NONFINITE;\n"
        )
        text = fill(
            "run.hpp.in",
            form,
            suffix=run.suffix,
            input=run.input,
            output=run.output,
            check=check if run.check else "",
        )
        parts.append(_guarded(text, run.guard))
        members = (
            f"    {run.input} in{run.suffix}_[block * inputs] = {{}};\n"
            f"    {run.output} out{run.suffix}_[block * outputs] = {{}};\n"
        )
        buffers.append(_guarded(members, run.guard))
    return fill("model.hpp.in", form, runs="\n".join(parts), buffers="".join(buffers))


def cmake_lists(forms: Sequence[Form]) -> str:
    """``CMakeLists.txt`` with one static library for each form of a model."""
    return fill(
        "CMakeLists.txt.in",
        forms[0],
        name=forms[0].name,
        targets=", ".join(f"{form.name}::{form.name}" for form in forms),
        models=" ".join(form.name for form in forms),
    )


def blob_header(form: Form) -> bytes:
    """The 16 bytes that open a saved state: magic, size of the whole, start of the model's digest."""
    return form.magic + form.state_bytes.to_bytes(4, "little") + bytes.fromhex(form.bundle.sha256)[:8]


def fill(template: str, form: Form, **fields: object) -> str:
    """A template with a form's common fields and ``fields`` filled in."""
    text = (resources.files("ssmith.export") / "templates" / template).read_text("utf-8")
    common: dict[str, object] = {
        "file": form.name,
        "upper": form.name.upper(),
        "precision": form.precision,
        "kernels": form.kernels,
        "version": __version__,
        "digest": form.bundle.sha256,
        "short": form.bundle.sha256[:12],
        "inputs": len(form.bundle.meta.inputs),
        "outputs": len(form.bundle.meta.outputs),
    }
    return Template(text).substitute(common | fields)


def c_string(text: str) -> str:
    """A C string literal with exactly the UTF-8 bytes of ``text``; a zero byte would end it early."""
    parts = []
    for byte in text.encode("utf-8", "surrogatepass"):
        plain = 32 <= byte < 127 and chr(byte) not in '"\\?'  # "?" could begin a trigraph
        parts.append(chr(byte) if plain else f"\\{byte:03o}")
    return f'"{"".join(parts)}"'


def visible(text: str) -> str:
    """Text that cannot end or nest a comment, break a line or hide characters."""
    shown = "".join(c if c.isprintable() else " " for c in text)
    return shown.replace("*/", "* /").replace("/*", "/ *")


def _runs(template: str, form: Form) -> str:
    parts = []
    for run in form.runs:
        checks = {}
        for key, frames in (("check_frames", "frames"), ("check_frame", "1")):
            condition = run.check.replace("frames", frames)
            refuse = f"    if (!({condition}))\n        return {form.name.upper()}_E_NONFINITE;\n"
            checks[key] = refuse if run.check else ""
        text = fill(template, form, suffix=run.suffix, input=run.input, output=run.output, **checks)
        parts.append(_guarded(text, run.guard))
    return "\n".join(parts)


def _guarded(text: str, guard: str) -> str:
    return f"#ifndef {guard}\n{text}#endif\n" if guard else text


def _example(run: Run, upper: str) -> str:
    if run.input == run.output:
        return f"{run.input} in[{upper}_INPUTS], out[{upper}_OUTPUTS];"
    return f"{run.input} in[{upper}_INPUTS]; {run.output} out[{upper}_OUTPUTS];"


def _check_period(period_s: float | None, upper: str) -> str:
    if period_s is None:
        return "    (void)period_s; /* the model has no fixed rate */"
    low, high = (repr(period_s * (1 + sign * 1e-6)) for sign in (-1, 1))
    return (
        f"    if (!(period_s <= 0.0) && !(period_s >= {low} && period_s <= {high}))\n"
        f"        return {upper}_E_PERIOD;"
    )


def _signals(signals: Sequence[Signal]) -> str:
    rows = []
    for signal in signals:
        limits = (signal.minimum, signal.maximum)
        numbers = ", ".join(repr(float(limit or 0.0)) for limit in limits)
        known = ", ".join(str(int(limit is not None)) for limit in limits)
        rows.append(f"    {{{c_string(signal.name)}, {c_string(signal.unit)}, {numbers}, {known}}},\n")
    return "".join(rows)


def _signal_table(signals: Sequence[Signal]) -> str:
    lines = []
    for index, signal in enumerate(signals):
        limits = (signal.minimum, signal.maximum)
        span = "" if limits == (None, None) else f"  [{_bound(limits[0])}, {_bound(limits[1])}]"
        unit = f"  {signal.unit}" if signal.unit else ""
        lines.append(f"     {index:4}  {visible(signal.name + unit + span)}")
    return "\n".join(lines)


def _bound(value: float | None) -> str:
    return "-" if value is None else f"{value:g}"


def _bytes(data: bytes) -> str:
    return ", ".join(f"0x{byte:02x}" for byte in data)
