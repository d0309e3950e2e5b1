"""Data that ranges are made from: what is refused, and what is pointed out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ssmith.errors import InputError
from ssmith.ops import Float32

FAR = 10.0  # times as far from the median as all but the outermost frames: a wild one
OUTERMOST = 0.001  # of the frames of a channel, at least one


@dataclass(frozen=True)
class WildFrame:
    """A value far beyond all others of its channel: the int8 steps of everything it drives grow by it.

    Attributes:
        sequence: its number among the sequences given.
        frame: its number in the sequence.
        channel: of the input.
        value: real.
        factor: its distance from the channel's median over that of all but the outermost frames.
    """

    sequence: int
    frame: int
    channel: int
    value: float
    factor: float

    def __str__(self) -> str:
        """One sentence for the user."""
        return (
            f"frame {self.frame} of calibration sequence {self.sequence} has {self.value:.4g} in input"
            f" {self.channel}, {self.factor:.3g} times as far from the median as 99.9 % of the frames; if it"
            " is an error of the recording, take it out: int8 is coarser by it"
        )


def check_varied(sequences: Sequence[Float32]) -> None:
    """Refuse sequences (T_i, U) that show no range at all; channels that are constant beside others are fine.

    Raises:
        InputError: there are frames, and they are all the same.
    """
    filled = [np.asarray(sequence) for sequence in sequences if len(sequence)]
    if not filled or any(sequence.ndim != 2 for sequence in filled):
        return  # calibrate says what is wrong with these
    first = filled[0][0]
    if all(sequence.shape[1:] == first.shape and (sequence == first).all() for sequence in filled):
        frames = sum(map(len, filled))
        raise InputError(
            f"all {frames} calibration frames are the same, so they show no range that int8 would have to"
            " cover; give sequences of the training data (--data RECIPE), in which the inputs change"
        )


def wild_frames(sequences: Sequence[Float32]) -> list[WildFrame]:
    """Frames that are far beyond all others, the farthest of each channel, in the order of the channels.

    A channel that hardly ever leaves its median (impulses) has no others to be beyond of.
    """
    filled = [(i, np.asarray(s, np.float64)) for i, s in enumerate(sequences) if len(s)]
    if not filled:
        return []
    values = np.concatenate([sequence for _, sequence in filled])
    starts = np.cumsum([0, *(len(sequence) for _, sequence in filled)])
    distance = np.abs(values - np.median(values, axis=0))
    few = max(1, math.ceil(OUTERMOST * len(values)))
    found = []
    for channel, column in enumerate(distance.T):
        if len(column) <= few:
            continue
        usual = float(np.partition(column, len(column) - few - 1)[len(column) - few - 1])
        worst = int(column.argmax())
        if usual > 0 and column[worst] > FAR * usual:
            part = int(np.searchsorted(starts, worst, side="right")) - 1
            frame, value = worst - int(starts[part]), float(values[worst, channel])
            found.append(WildFrame(filled[part][0], frame, channel, value, float(column[worst]) / usual))
    return found
