"""The loadable form, ``NAME.ssmc``: the format is described at the top of ``runtime/c/ssm.h``."""

from __future__ import annotations

import json
import struct
import zlib

from ssmith.bundle import Bundle
from ssmith.export.c99_plan import Step, plan, tensors_of
from ssmith.ops import LayerNorm, Pool
from ssmith.runtime.reference import describe

VERSION = 1
HEADER_BYTES = 96
OP_BYTES = 40
ALIGNMENT = 64
KINDS = {
    name: number
    for number, name in enumerate(
        ("linear", "embedding", "affine", "layernorm", "ssm", "gelu", "gate", "save", "add", "pool"), 1
    )
}


def ssmc_bytes(bundle: Bundle) -> bytes:
    """The bytes of ``NAME.ssmc``; equal models give equal bytes.

    Raises:
        InputError: a dimension is beyond the engine's limit.
    """
    steps = plan(bundle).steps
    body = bytearray(HEADER_BYTES + OP_BYTES * len(steps))
    placed: dict[tuple[str, bytes], int] = {}
    for index, step in enumerate(steps):
        offsets = []
        for _, name, array in tensors_of(step, bundle):
            data = array.astype("<f4").tobytes()
            if (name, data) not in placed:
                body += bytes(-len(body) % ALIGNMENT)
                placed[name, data] = len(body)
                body += data
            offsets.append(placed[name, data])
        struct.pack_into("<5If4I", body, HEADER_BYTES + OP_BYTES * index, *_record(step, offsets))
    body += bytes(-len(body) % 4)
    text = json.dumps(describe(bundle), sort_keys=True).encode()
    rest = struct.pack(
        "<6IQ32s16x",
        *(len(bundle.meta.inputs), len(bundle.meta.outputs), len(steps), HEADER_BYTES),
        *(len(body), len(text)),
        round((bundle.meta.period_s or 0.0) * 1e9),
        bytes.fromhex(bundle.sha256),
    )
    body[16:HEADER_BYTES] = rest
    body += text
    checksum = zlib.crc32(body[16:])
    body[:16] = struct.pack("<4s3I", b"SSMC", VERSION, len(body), checksum)
    return bytes(body)


def _record(step: Step, offsets: list[int]) -> tuple[float, ...]:
    op = step.op
    scalar = op.eps if isinstance(op, LayerNorm) else op.decay if isinstance(op, Pool) else 0.0
    return (
        KINDS[op.op],
        step.width_in,
        step.width_out,
        step.n,
        getattr(op, "slot", 0),
        scalar,
        *offsets,
        *[0] * (4 - len(offsets)),
    )
