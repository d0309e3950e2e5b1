"""The loadable form, ``NAME.ssmc``: the format is described at the top of ``runtime/c/ssm.h``."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Sequence
from typing import Any

from ssmith.bundle import Bundle, Signal
from ssmith.export.c99_plan import Step, plan, tensors_of, warmup_frames
from ssmith.ops import SSM, LayerNorm, Pool
from ssmith.runtime.reference import describe

VERSIONS = {False: 2, True: 3}  # by whether an SSM has channels: a file is as old as it can be
HEADER_BYTES = 128
PRECISIONS = {"float32": 0, "int8": 1}
OP_BYTES = 40
ALIGNMENT = 64
KINDS = {
    name: number
    for number, name in enumerate(
        ("linear", "embedding", "affine", "layernorm", "ssm", "gelu", "gate", "save", "add", "pool"), 1
    )
}
CHANNELS = 11  # kind of an SSM with channels


def ssmc_bytes(bundle: Bundle) -> bytes:
    """The bytes of ``NAME.ssmc``; equal models give equal bytes.

    Raises:
        InputError: a dimension is beyond the engine's limit.
    """
    steps = plan(bundle).steps
    body = bytearray(HEADER_BYTES + OP_BYTES * len(steps))
    placed: dict[tuple[str, bytes], int] = {}
    for index, step in enumerate(steps):
        offsets = dict[str, int]()
        for field, name, array in tensors_of(step, bundle):
            data = array.astype(array.dtype.newbyteorder("<")).tobytes()
            if (name, data) not in placed:
                body += bytes(-len(body) % ALIGNMENT)
                placed[name, data] = len(body)
                body += data
            offsets[field] = placed[name, data]
        struct.pack_into("<5If4I", body, HEADER_BYTES + OP_BYTES * index, *_record(step, offsets))
    return finished(body, bundle, len(steps), "float32", {"precision": "float32"})


def finished(
    body: bytearray,
    bundle: Bundle,
    ops: int,
    precision: str,
    about: dict[str, Any],
    *,
    codes: tuple[int, int] = (0, 0),
    scales: Sequence[float] = (),
) -> bytes:
    """A whole file from ops and tensors: signals, strings, text and header added.

    Args:
        body: room for the header, then the records of ``ops`` ops, then tensors.
        bundle: the model.
        ops: how many.
        precision: ``"float32"`` or ``"int8"``.
        about: keys added to what ``describe`` tells tools.
        codes: bits of a code and offset of the scales, of an int8 model.
        scales: of an int8 model, what a code of each input, then of each output is worth.
    """
    signals, strings = _signals((*bundle.meta.inputs, *bundle.meta.outputs), scales)
    text = json.dumps(describe(bundle) | about, sort_keys=True).encode()
    body += bytes(-len(body) % 8)
    signals_at = len(body)
    strings_at = signals_at + len(signals)
    text_at = strings_at + len(strings)
    body += signals + strings + text
    body[16:HEADER_BYTES] = struct.pack(
        "<6Id32s7I20x",
        *(len(bundle.meta.inputs), len(bundle.meta.outputs), ops, HEADER_BYTES, text_at, len(text)),
        bundle.meta.period_s or 0.0,
        bytes.fromhex(bundle.sha256),
        *(PRECISIONS[precision], warmup_frames(bundle), signals_at, strings_at, len(strings), *codes),
    )
    channels = any(isinstance(op, SSM) and op.channels is not None for op in bundle.meta.ops)
    body[:16] = struct.pack("<4s3I", b"SSMC", VERSIONS[channels], len(body), zlib.crc32(body[16:]))
    return bytes(body)


def _signals(signals: Sequence[Signal], scales: Sequence[float]) -> tuple[bytes, bytes]:
    """The records of the signals and the strings they point into."""
    records, strings, at = bytearray(), bytearray(), dict[str, int]()
    for signal, scale in zip(signals, scales or [0.0] * len(signals), strict=True):
        for text in (signal.name, signal.unit):
            if text not in at:
                at[text] = len(strings)
                strings += text.encode("utf-8", "surrogatepass") + b"\0"
        known = (signal.minimum is not None) | (signal.maximum is not None) << 1
        numbers = (signal.minimum or 0.0, signal.maximum or 0.0)
        records += struct.pack("<2I2dIf", at[signal.name], at[signal.unit], *numbers, known, scale)
    return bytes(records), bytes(strings)


def _record(step: Step, offsets: dict[str, int]) -> tuple[float, ...]:
    op, modes = step.op, offsets.pop("modes", None)
    scalar = op.eps if isinstance(op, LayerNorm) else op.decay if isinstance(op, Pool) else 0.0
    return (
        KINDS[op.op] if modes is None else CHANNELS,
        step.width_in,
        step.width_out,
        step.n,
        getattr(op, "slot", 0) if modes is None else modes,
        scalar,
        *offsets.values(),
        *[0] * (4 - len(offsets)),
    )
