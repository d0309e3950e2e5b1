"""What a session takes and gives: frames of finite float32, and the words when they are not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ssmith.errors import InputError
from ssmith.ops import Float32

FLOAT32 = np.dtype(np.float32)
# Of a session: what its numbers are. An artifact's int8 with 8-bit activations is "int8-a8" here.
Precision = Literal[
    "float64",
    "float32",
    "float32-fma",
    "float16",
    "int8",
    "int8-a8",
    "int8-all",
    "int8-dynamic",
    "int8-weights",
    "int4-weights",
    "mixed",
]
Shape = tuple[int | None, ...]  # None fits any length


class Direct(NamedTuple):
    """A step as one call on fixed buffers: the least that Python can do.

    ``frame`` (U,) is read and ``result`` (Y,) written by ``run(arguments)``, which returns 0, or
    anything else if a value of the frame is not finite; then nothing has changed.
    """

    frame: Float32
    run: Callable[[Any], int]
    arguments: Any
    result: Float32


def as_frames(values: ArrayLike, shape: Shape, what: str) -> Float32:
    """``values`` as a C-contiguous float32 array of this shape; no copy where it is one already.

    Raises:
        InputError: another shape, or no real numbers. Whether they are finite is not looked at.
    """
    array = as_array(values, what)
    if array.ndim != len(shape) or array.shape[-1] != shape[-1]:
        raise InputError(
            f"{what} has shape {array.shape}, this model takes {_shown(shape)}: one value per input and frame"
        )
    if array.dtype == FLOAT32 and array.flags.c_contiguous:
        return array  # the usual case
    if array.dtype.kind not in "fiub":
        raise InputError(f"{what} has type {array.dtype}; give real numbers (float32)")
    with np.errstate(over="ignore"):
        frames = np.ascontiguousarray(array, FLOAT32)
    if not np.isfinite(frames).all():
        refuse_not_finite(what, frames, array)  # here the value can be shown as it was given
    return frames


def as_array(values: ArrayLike, what: str) -> NDArray[Any]:
    """``values`` as NumPy sees them.

    Raises:
        InputError: they are no array: rows of several lengths.
    """
    try:
        return np.asarray(values)
    except ValueError as error:
        found = str(error).partition(". The detected")[0]
        raise InputError(f"{what} is no array ({found}); give as many values in each row") from None


def refuse_not_finite(what: str, frames: Float32, given: NDArray[Any] | None = None) -> None:
    """Say which value of ``frames`` is not finite.

    Args:
        what: the frames' name.
        frames: one of them is NaN or infinite.
        given: the same values before their conversion.

    Raises:
        InputError: always.
    """
    where = tuple(int(i) for i in np.argwhere(~np.isfinite(frames))[0])
    value = (frames if given is None else given)[where]
    raise InputError(
        f"{what}{list(where)} is {value}, not a finite float32; it would stay in the state for ever: replace"
        " or drop the frame. Nothing was computed"
    )


def check_out(out: Any, shape: tuple[int, ...]) -> None:
    """Refuse an array that results cannot be written to.

    Raises:
        InputError: it is no writable C-contiguous float32 array of this shape.
    """
    if type(out) is np.ndarray and out.dtype is FLOAT32 and out.shape == shape and out.flags.carray:
        return
    if not isinstance(out, np.ndarray):
        raise InputError(f"out is a {type(out).__name__}; give a NumPy array, np.empty({shape}, np.float32)")
    flaws = "".join(f", {word}" for word, wrong in _flaws(out) if wrong)
    if out.shape != shape or out.dtype != FLOAT32 or flaws:
        raise InputError(
            f"out has shape {out.shape} and type {out.dtype}{flaws}; results are written in place, so give a"
            f" writable array np.empty({shape}, np.float32)"
        )


def _flaws(out: NDArray[Any]) -> list[tuple[str, bool]]:
    return [
        ("not contiguous", not out.flags.c_contiguous),
        ("read-only", not out.flags.writeable),
        ("not aligned", not out.flags.aligned),
    ]


def _shown(shape: Shape) -> str:
    return f"(T, {shape[-1]})" if len(shape) == 2 else f"({shape[0]},)"
