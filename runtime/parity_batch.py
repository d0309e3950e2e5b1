"""ONNX models in batches: the graphs have a batch axis, and each stream of it must stay its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from ssmith.ops import Float32
from ssmith.runtime.parity_rows import Judgement, ParityRow, Where, compare
from ssmith.runtime.stimuli import Stimulus

FRAMES = 200
ONE_SCALE = (
    "DynamicQuantizeLinear takes one scale for all of a call, so that different streams change each other"
)


def batch_rows(
    path: Path,
    where: Where,
    streams: Sequence[Stimulus],
    alone: Mapping[str, Float32],
    split: Callable[[Stimulus], Judgement],
) -> list[ParityRow]:
    """A row a stream: all of them at once against each by itself.

    Args:
        path: an ``.onnx`` file.
        where: what rows say about it.
        streams: what to feed.
        alone: what the artifact made of each.
        split: what feeding a stream in another way may change.
    """
    from ssmith.runtime.onnx import open_backend

    note = f"one of {len(streams)} streams at once"
    if where.precision == "int8-dynamic":
        streams, note = (
            [streams[0]] * len(streams),
            f"{len(streams)} copies of one stream at once: {ONE_SCALE}",
        )
    together = np.stack([s.frames[:FRAMES] for s in streams])
    got = open_backend(path).streams(together)
    rows = []
    for s, output in zip(streams, got, strict=True):
        judged = split(s)
        judged = judged._replace(reason=f"{note}; {judged.reason}")
        rows.append(compare(output, alone[s.name][:FRAMES], judged, where, "batch", f"{s.name}/batch"))
    return rows
