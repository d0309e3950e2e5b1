r"""Truncated backpropagation through time [Williams1990]: long recordings in chunks, states carried over.

A batch has several lanes. Each plays recordings from start to end, chunk by chunk; the network's state goes
from a chunk to the next without its gradient, and is zero again at the start of each recording. What a step
needs is one chunk, however long the recordings are.

Where a lane is depends on nothing but seed and step. If every recording is one chunk long, the batches are
those of training on whole sequences.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ssmith.errors import InputError
from ssmith.train.data import batch_indices
from ssmith.train.splits import Int64, SequenceSet

State = dict[str, Tensor]

# Statistics and the check of a cut look at pieces from a zero state: this many chunks long, so that slow
# modes come to life, and this many frames in all.
PIECE_CHUNKS = 16
PIECE_FRAMES = 1 << 22


@dataclass(frozen=True)
class Place:
    """Where a lane is.

    Attributes:
        recording: its number in the training set.
        first: the step at which the chunk starts.
        age: steps since the lane's state was zero; 0 says that it is to be now.
    """

    recording: int
    first: int
    age: int


class Lanes:
    """The places of all lanes at each training step.

    Lane l plays entry l of batch 0, then of batch 1 and so on (``batch_indices``). The lanes start spread
    over their first recordings: else all would be at a recording's start at once, and all the same where
    there is a single recording.

    Args:
        lengths: steps of each recording, (n,).
        seed: of the order of recordings.
        batch: lanes.
        chunk: steps of a chunk; the last one of a recording may be shorter.
        carry: else chunks of all recordings come in any order, each with age 0.
    """

    def __init__(self, lengths: Int64, *, seed: int, batch: int, chunk: int, carry: bool = True) -> None:
        self.lengths, self.seed, self.batch, self.chunk, self.carry = lengths, seed, batch, chunk, carry
        self._step, self._turns = 0, [0] * batch
        self._places: list[Place] = []
        self._loose = (
            [] if carry else [Place(i, a, 0) for i, n in enumerate(lengths) for a in self._firsts(n)]
        )
        self._rewind()

    def at(self, step: int) -> list[Place]:
        """The places at a step; cheap for the same or a later step than the last one asked for."""
        if not self.carry:
            return [self._loose[i] for i in batch_indices(self.seed, step, len(self._loose), self.batch)]
        if step < self._step:
            self._rewind()
        while self._step < step:
            self._places = [self._next(lane, place) for lane, place in enumerate(self._places)]
            self._step += 1
        return self._places

    def _rewind(self) -> None:
        self._step, self._turns, self._places = 0, [0] * self.batch, []
        for lane in range(self.batch):
            recording = self._recording(lane)
            firsts = self._firsts(self.lengths[recording])
            self._places.append(Place(recording, firsts[lane * len(firsts) // self.batch], 0))

    def _firsts(self, steps: int) -> range:
        """Where the chunks of a recording start."""
        return range(0, int(steps), self.chunk)

    def _recording(self, lane: int) -> int:
        return int(batch_indices(self.seed, self._turns[lane], len(self.lengths), self.batch)[lane])

    def _next(self, lane: int, place: Place) -> Place:
        first = place.first + self.chunk
        if first < self.lengths[place.recording]:
            return Place(place.recording, first, place.age + self.chunk)
        self._turns[lane] += 1
        return Place(self._recording(lane), 0, 0)


def chunks_at(data: SequenceSet, places: list[Place], chunk: int) -> SequenceSet:
    """The chunks at some places, as a set of sequences with targets at every step; views, no copies."""
    assert isinstance(data.targets, tuple)  # the recipe has refused labels
    where = [(place.recording, slice(place.first, place.first + chunk)) for place in places]
    return SequenceSet(
        tuple(data.inputs[i][steps] for i, steps in where),
        tuple(data.targets[i][steps] for i, steps in where),
    )


def resumed(state: Mapping[str, Tensor] | None, ages: Tensor) -> Mapping[str, Tensor] | None:
    """The state that a chunk starts with: without gradient, zero in lanes of age 0 (batch,)."""
    if state is None:
        return None
    going_on = ages[:, None] > 0
    # where, not a product: behind the end of a recording a state may be anything.
    return {name: torch.where(going_on, tensor.detach(), 0.0) for name, tensor in state.items()}


def pieces(data: SequenceSet, chunk: int, sequences: int | None) -> SequenceSet:
    """Some pieces of recordings, ``PIECE_CHUNKS`` chunks long or to the end, evenly chosen from all.

    Args:
        data: recordings with targets at every step.
        chunk: steps.
        sequences: at most so many, and not more than fit into ``PIECE_FRAMES``; None: only that.
    """
    size = PIECE_CHUNKS * chunk
    places = [Place(i, a, 0) for i, n in enumerate(data.lengths) for a in range(0, int(n), size)]
    limit = max(1, PIECE_FRAMES // size)
    count = min(len(places), limit if sequences is None else min(limit, sequences))
    chosen = np.linspace(0, len(places), count, endpoint=False).astype(int)
    return chunks_at(data, [places[i] for i in chosen], size)


def check_recordings(lengths: Int64, chunk: int) -> None:
    """Refuse recordings that a chunk would be longer than.

    Raises:
        InputError: a recording is shorter than one chunk.
    """
    shortest = int(lengths.argmin())
    if lengths[shortest] < chunk:
        raise InputError(
            f"training recording {shortest} has {lengths[shortest]} steps, fewer than train.chunk = {chunk}:"
            f" its chunk would be padded; write train.chunk = {lengths[shortest]} or less, or leave the"
            " recording out"
        )
