"""Ways to feed one input to a session; each must give what feeding it whole gives."""

from __future__ import annotations

import zlib
from collections.abc import Callable

import numpy as np

from ssmith.ops import Float32
from ssmith.runtime.session import Session

Feed = Callable[[Session, Float32], Float32]
EVERY = 16  # frames to a piece, on average


def steps(session: Session, block: Float32) -> Float32:
    """Frame by frame."""
    session.reset()
    return np.stack([session.step(u) for u in block])


def pieces(name: str) -> Feed:
    """Blocks of random lengths, empty and single frames among them; each input is split in its own way."""
    rng = np.random.default_rng(zlib.crc32(name.encode()))

    def feed(session: Session, block: Float32) -> Float32:
        session.reset()
        cuts = np.sort(rng.integers(0, len(block) + 1, max(4, len(block) // EVERY)))
        return np.concatenate([session.process(piece) for piece in np.split(block, cuts)])

    return feed


def resumed(session: Session, block: Float32) -> Float32:
    """Stop in the middle, let another stream through, go on from the saved state."""
    session.reset()
    half = len(block) // 2
    first = session.process(block[:half])
    saved = session.state_get()
    session.reset()
    session.process(block[::-1])
    session.state_set(saved)
    return np.concatenate([first, session.process(block[half:])])


def reopened(other: Session) -> Feed:
    """Stop in the middle, and let another session of the same file go on from the saved state."""

    def feed(session: Session, block: Float32) -> Float32:
        session.reset()
        half = len(block) // 2
        first = session.process(block[:half])
        other.reset()
        other.state_set(session.state_get())
        return np.concatenate([first, other.process(block[half:])])

    return feed
