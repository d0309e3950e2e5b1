"""The loadable integer form, ``NAME_int8.ssmc``: kernel calls as records; see ``runtime/c/ssm.h``."""

from __future__ import annotations

import struct

from ssmith.bundle import Bundle
from ssmith.export.c99_binary import ALIGNMENT, HEADER_BYTES, OP_BYTES, finished
from ssmith.export.c99_integer import about
from ssmith.export.c99_integer_plan import Call, Kernel, integer_plan
from ssmith.runtime.integer_model import IntegerModel

KINDS: dict[Kernel, int] = {
    "input": 1,
    "embedding": 2,
    "quantize": 3,
    "dot": 4,
    "requant": 5,
    "feedthrough": 6,
    "rotate_l16": 7,
    "rotate_l32": 8,
    "gelu": 9,
    "gate": 10,
    "layernorm": 11,
    "save": 12,
    "add": 13,
    "pool_mean": 14,
    "pool_ema": 15,
    "drive": 16,
    "readout": 17,
}
BUFFERS = {
    name: number for number, name in enumerate(("in", "a", "b", "q", "z", *(f"s{k}" for k in range(16))))
}


def integer_ssmc_bytes(bundle: Bundle, model: IntegerModel) -> bytes:
    """The bytes of ``NAME_int8.ssmc``; equal models give equal bytes.

    Raises:
        InputError: a dimension is beyond the engine's limit.
    """
    calls = integer_plan(model).calls
    body = bytearray(HEADER_BYTES + OP_BYTES * len(calls))
    placed: dict[bytes, int] = {}

    def place(data: bytes) -> int:
        if data not in placed:
            body.extend(bytes(-len(body) % ALIGNMENT))
            placed[data] = len(body)
            body.extend(data)
        return placed[data]

    for index, call in enumerate(calls):
        offsets = [
            0 if array is None else place(array.astype(array.dtype.newbyteorder("<")).tobytes())
            for array in call.arrays.values()
        ]
        struct.pack_into("<I2H2I4i2I", body, HEADER_BYTES + OP_BYTES * index, *_record(call, offsets))
    edges = (*model.input_factor, *model.output_scale)
    scales_at = place(struct.pack(f"<{len(edges)}f", *edges))
    return finished(
        body,
        bundle,
        len(calls),
        "int8",
        about(model),
        codes=(model.activation_bits, scales_at),
        scales=(*map(float, model.input_scale), *map(float, model.output_scale)),
    )


def _record(call: Call, offsets: list[int]) -> tuple[int, ...]:
    return (
        *(KINDS[call.kernel], BUFFERS[call.source], BUFFERS[call.target]),
        *(call.width_in, call.width_out),
        *(*call.numbers, *[0] * (4 - len(call.numbers))),
        *(*offsets, *[0] * (2 - len(offsets))),
    )
