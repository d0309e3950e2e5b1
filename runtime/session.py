"""Session: one model running, frame by frame or block by block, whatever computes it.

    session = Session.open("runs/kws/artifacts")     # a folder picks the fastest backend there is
    y = session.step(u)                              # u (U,) -> y (Y,)
    ys = session.process(block)                      # (T, U) -> (T, Y), the same numbers as stepping
    saved = session.state_get(); session.reset(); session.state_set(saved)
    small = Session.open("runs/kws/artifacts", order=8)     # of a bundle that holds several orders

A session holds one stream's state: use one per stream and never from two threads at once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ssmith.errors import InputError
from ssmith.ops import Float32
from ssmith.runtime.choice import BackendName as BackendName
from ssmith.runtime.choice import choose
from ssmith.runtime.frames import (
    FLOAT32,
    Direct,
    Precision,
    as_array,
    as_frames,
    check_out,
    refuse_not_finite,
)

ndarray = np.ndarray  # one lookup less a step


class Backend(Protocol):
    """What ``Session`` needs from the code that computes; shapes and finiteness are checked before a call.

    A backend that looks for NaN and infinity itself says so by ``checks_frames = True``; one that can
    write where it is told has ``process_into(block, out)``, and one whose step is one call has
    ``direct``.
    """

    name: str
    inputs: int
    outputs: int
    period_s: float | None
    meta: dict[str, Any]

    @property
    def precision(self) -> Precision:
        """What it computes in."""

    def reset(self) -> None:
        """All states zero."""

    def process(self, block: Float32) -> Float32:
        """(T, U) → (T, Y), C-contiguous float32, T ≥ 1."""

    def step(self, u: Float32) -> Float32:
        """(U,) → (Y,)."""

    def state_get(self) -> dict[str, Any]:
        """Name → copy of the state."""

    def state_set(self, saved: Mapping[str, Any]) -> None:
        """Continue from what ``state_get`` returned."""


class Session:
    """A running model; see the top of this file.

    Args:
        backend: an open backend; ``Session.open`` makes one from a path.
    """

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._states = {name: np.asarray(value) for name, value in backend.state_get().items()}
        self._frame = (backend.inputs,)
        self._checked: bool = getattr(backend, "checks_frames", False)
        self._direct: Direct | None = getattr(backend, "direct", None)
        self._into: Callable[[Float32, Float32], None] | None = getattr(backend, "process_into", None)

    @classmethod
    def open(
        cls,
        path: Path | str,
        backend: BackendName | None = None,
        precision: Precision | None = None,
        order: int | None = None,
        *,
        threads: int = 1,
        providers: Sequence[str] | None = None,
    ) -> Session:
        """Open a finished artifact.

        Args:
            path: an artifact folder, or one ``.onnx``, ``.pte``, ``.ssmc``, ``.c``/``.h`` or ``.ssm`` file.
            backend: ``"native"``, ``"onnx"``, ``"executorch"`` or ``"reference"``; None takes what the file
                needs and for a folder the first of these that can run here.
            precision: ``"float64"``, the reference's default; ``"float32"``, the C engine's arithmetic
                and everyone else's default; ``"float32-fma"``, the same with fused multiply-add;
                ``"int8"`` or ``"int8-a8"``, the integer model with 16-bit or 8-bit activations, as C or
                computed by the reference. Of a folder, ``"int8"`` is the integer model it holds. ONNX
                and ExecuTorch have more: ``ssmith.recipe.WRITES``.
            order: which model of a folder or bundle that holds several; None opens the main one.
            threads: of ONNX Runtime, or of ExecuTorch, for all its sessions in the process; a step is too
                small to share, so more than one seldom pays. The others use one.
            providers: ONNX Runtime's execution providers in order of preference; None is its CPU.

        Raises:
            InputError: nothing there, the backend cannot open it, or there is no such precision or
                order; the message then lists those there are.
            MissingToolError: the backend needs something that is not installed.
        """
        chosen, path, precision = choose(Path(path), backend, precision, order)
        if chosen == "native":
            return cls(_open_native(path, precision))
        if isinstance(threads, bool) or not isinstance(threads, int) or threads < 1:
            raise InputError(f"threads is {threads!r}; write a whole number, 1 or more")
        if providers is not None and chosen != "onnx":
            raise InputError(
                f"providers are ONNX Runtime's, and {path.name} is opened by the {chosen} backend; leave them"
                " out or write backend='onnx'"
            )
        if chosen == "onnx":
            return cls(_open_onnx(path, precision, threads, providers))
        if chosen == "executorch":
            return cls(_open_executorch(path, precision, threads))
        return cls(_open_reference(path, precision or "float64", order))

    @property
    def backend(self) -> str:
        """Who computes: ``native``, ``onnx``, ``executorch`` or ``reference``."""
        return self._backend.name

    @property
    def precision(self) -> Precision:
        """What it computes in."""
        return self._backend.precision

    @property
    def inputs(self) -> int:
        """U, values per input frame."""
        return self._backend.inputs

    @property
    def outputs(self) -> int:
        """Y, values per output frame."""
        return self._backend.outputs

    @property
    def period_s(self) -> float | None:
        """Seconds between frames, or None where the model has no rate."""
        return self._backend.period_s

    @property
    def meta(self) -> dict[str, Any]:
        """What the artifact says about its model: names, units, states, digest."""
        return self._backend.meta

    def reset(self) -> None:
        """Forget the past: the next frame is the first of a new sequence."""
        self._backend.reset()

    def step(self, u: ArrayLike, out: Float32 | None = None) -> Float32:
        """Feed one frame.

        Args:
            u: shape (U,), finite numbers; a float32 array is the quickest.
            out: where y goes, float32 of shape (Y,); None makes a new array.

        Returns:
            y of shape (Y,): ``out``, or a new array.

        Raises:
            InputError: the shape is wrong or a value is not a finite number; the state is untouched.
        """
        if not (type(u) is ndarray and u.dtype is FLOAT32 and u.shape == self._frame):
            u = as_frames(u, self._frame, "u")
        if out is not None:
            check_out(out, (self.outputs,))
        if self._direct is not None:  # of the native backend: every call between here and C costs
            frame, run, arguments, result = self._direct
            frame[...] = u
            if run(arguments) != 0:
                refuse_not_finite("u", u)
        else:
            if not np.isfinite(u).all():
                refuse_not_finite("u", u)
            result = self._backend.step(u)
        if out is None:
            return result.copy()
        out[...] = result
        return out

    def process(self, block: ArrayLike, out: Float32 | None = None) -> Float32:
        """Feed T frames at once: the same numbers as T steps, faster.

        The native backend reads a C-contiguous float32 ``block`` and writes ``out`` where they lie, and
        other Python threads run meanwhile.

        Args:
            block: shape (T, U), finite numbers; T = 0 is allowed.
            out: where the result goes, float32 of shape (T, Y), C-contiguous; None makes a new array.
                It may share memory with ``block``.

        Returns:
            Shape (T, Y): ``out``, or a new array.

        Raises:
            InputError: as ``step``.
        """
        frames = as_frames(block, (None, self.inputs), "block")
        if out is not None:
            check_out(out, (len(frames), self.outputs))
        if not (self._checked or np.isfinite(frames).all()):
            refuse_not_finite("block", frames)
        if len(frames) == 0:
            return np.zeros((0, self.outputs), np.float32) if out is None else out
        if out is None:
            return self._backend.process(frames)
        if self._into is None:
            out[:] = self._backend.process(frames)
        else:
            self._into(frames, out)
        return out

    def state_get(self) -> dict[str, NDArray[Any]]:
        """A copy of every state by name: ``state_0`` (2N) …, ``pool_sum`` (H), ``pool_count`` (1).

        Floats, or of an integer model its integers.
        """
        return self._backend.state_get()

    def state_set(self, saved: Mapping[str, ArrayLike]) -> None:
        """Continue from what ``state_get`` returned, from this or another backend of the model.

        Raises:
            InputError: a state is missing, unknown, of another shape or not finite; nothing is changed.
        """
        if set(saved) != set(self._states):
            raise InputError(
                f"the saved state has {sorted(saved)}, this model has {sorted(self._states)}; give back"
                " what state_get returned, from the same model"
            )
        checked = {name: _state(name, saved[name], own) for name, own in self._states.items()}
        self._backend.state_set(checked)


def _state(name: str, given: ArrayLike, own: NDArray[Any]) -> NDArray[Any]:
    """A saved state, if it is of the model's shape and kind of number."""
    value = as_array(given, f"state {name!r}, which you should give back as state_get returned it,")
    if value.shape != own.shape or value.dtype.kind != own.dtype.kind or not np.isfinite(value).all():
        raise InputError(
            f"state {name!r} must be {own.shape[0]} finite numbers of type {own.dtype}, got shape"
            f" {value.shape} of {value.dtype}; give back what state_get returned"
        )
    return value


def _open_native(path: Path, precision: Precision | None) -> Backend:
    from ssmith.runtime.native import open_backend

    return open_backend(path, precision)


def _open_onnx(
    path: Path, precision: Precision | None, threads: int, providers: Sequence[str] | None
) -> Backend:
    from ssmith.runtime.onnx import open_backend

    return open_backend(path, precision, threads=threads, providers=providers)


def _open_executorch(path: Path, precision: Precision | None, threads: int) -> Backend:
    from ssmith.runtime.executorch import open_backend

    return open_backend(path, precision, threads=threads)


def _open_reference(path: Path, precision: Precision, order: int | None) -> Backend:
    if precision == "int8":
        return _open_integer(path, 16, order)
    if precision == "int8-a8":
        return _open_integer(path, 8, order)
    from ssmith.runtime.reference import open_backend

    if precision not in ("float64", "float32", "float32-fma"):
        raise InputError(f"the reference does not compute in {precision}")
    return open_backend(path, precision, order)


def _open_integer(path: Path, activation_bits: Literal[8, 16], order: int | None) -> Backend:
    from ssmith.runtime.integer_backend import open_integer_reference

    return open_integer_reference(path, activation_bits, order)
