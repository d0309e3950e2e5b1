"""Some of a bundle's programs made in a second process, while the first makes the others.

``python -m ssmith.export.executorch_beside FORM:PRECISION …`` reads a bundle on stdin and writes the bytes of
each program, in this order, its length in eight bytes before it. Lowering is one thread of Python that no
lock lets go of, so a second core needs a second process; it imports all of torch and executorch once more.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from typing import cast

from ssmith.bundle import Bundle
from ssmith.export.executorch import Form, Piece, to_program
from ssmith.recipe import ArtifactPrecision

WORTH = 4  # so many programs are made sooner here than a second process is there
_COST: dict[Form, float] = {"step": 1.5, "stream": 1.5, "sequence": 3, "portable": 1}  # about seconds
_ROUNDED = 2  # times as much where products are rounded
_START = 1.0


def shares(pieces: Sequence[Piece]) -> tuple[list[Piece], list[Piece]]:
    """Which programs are made here, and which beside: about as long, the float32 step always here."""
    held = [piece for piece in pieces if piece == ("step", "float32")]
    if len(pieces) <= WORTH:
        return list(pieces), []
    here, beside = list(held), list[Piece]()
    spent = [sum(map(_cost, here)), _START]
    for piece in sorted((p for p in pieces if p not in held), key=_cost, reverse=True):
        which = spent.index(min(spent))
        (here, beside)[which].append(piece)
        spent[which] += _cost(piece)
    return here, beside


@contextlib.contextmanager
def made_beside(bundle: Bundle, pieces: Sequence[Piece]) -> Iterator[Callable[[], dict[Piece, bytes]]]:
    """Start to make programs; what is yielded waits for them and returns their bytes.

    It returns nothing where the other process failed, be it for want of memory: whoever then makes
    them itself either can or gets the error with its words. Files without a name carry all of it, so a
    killed parent leaves nothing behind.
    """
    if not pieces:
        yield dict
        return
    words = [f"{form}:{precision}" for form, precision in pieces]
    command = [sys.executable, "-m", "ssmith.export.executorch_beside", *words]
    with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as found:
        given.write(bundle.to_bytes())
        given.seek(0)
        child = subprocess.Popen(command, stdin=given, stdout=found, stderr=subprocess.DEVNULL)

        def wait() -> dict[Piece, bytes]:
            if child.wait() != 0:
                return {}
            found.seek(0)
            return {piece: found.read(int.from_bytes(found.read(8), "little")) for piece in pieces}

        try:
            yield wait
        finally:
            child.kill()
            child.wait()


def _cost(piece: Piece) -> float:
    form, precision = piece
    return _COST[form] * (1 if precision == "float32" else _ROUNDED)


def _main(words: Sequence[str]) -> None:
    result = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what others print is no program
    bundle = Bundle.from_bytes(sys.stdin.buffer.read())
    with result:
        for word in words:
            form, precision = word.split(":")
            data = to_program(bundle, cast(Form, form), cast(ArtifactPrecision, precision)).data
            result.write(len(data).to_bytes(8, "little") + data)


if __name__ == "__main__":
    _main(sys.argv[1:])
