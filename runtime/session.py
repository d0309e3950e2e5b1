"""Session: one model running, frame by frame or block by block, whatever computes it.

    session = Session.open("runs/kws/artifacts")     # a folder picks the fastest backend there is
    y = session.step(u)                              # u (U,) -> y (Y,)
    ys = session.process(block)                      # (T, U) -> (T, Y), the same numbers as stepping
    saved = session.state_get(); session.reset(); session.state_set(saved)
    small = Session.open("runs/kws/artifacts", order=8)     # of a bundle that holds several orders

A session holds one stream's state: use one per stream and never from two threads at once.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ssmith.errors import InputError
from ssmith.ops import Float32
from ssmith.runtime.artifacts import at_order, find_bundle, read_manifest
from ssmith.runtime.reference import Precision

BackendName = Literal["native", "onnx", "reference"]
SUFFIXES: dict[str, BackendName] = {
    ".c": "native",
    ".h": "native",
    ".ssmc": "native",
    ".onnx": "onnx",
    ".ssm": "reference",
}


class Backend(Protocol):
    """What ``Session`` needs from the code that computes; shapes are checked before a call."""

    name: str
    inputs: int
    outputs: int
    period_s: float | None
    meta: dict[str, Any]

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
        self._shapes = {name: np.shape(value) for name, value in backend.state_get().items()}

    @classmethod
    def open(
        cls,
        path: Path | str,
        backend: BackendName | None = None,
        precision: Precision | None = None,
        order: int | None = None,
    ) -> Session:
        """Open a finished artifact.

        Args:
            path: an artifact folder, or one ``.onnx``, ``.ssmc``, ``.c``/``.h`` or ``.ssm`` file.
            backend: ``"native"``, ``"onnx"`` or ``"reference"``; None takes what the file needs and
                for a folder the first of these that can run here.
            precision: of the reference only: ``"float64"`` (default) or ``"float32"``, the C engine's
                arithmetic. The others compute in float32.
            order: which model of a folder or bundle that holds several; None opens the main one.

        Raises:
            InputError: nothing there, the backend cannot open it, or there is no such order; the message
                then lists those there are.
            MissingToolError: the backend needs something that is not installed.
        """
        path = Path(path)
        if backend is not None and backend not in set(SUFFIXES.values()):
            raise InputError(f"backend {backend!r} does not exist; write native, onnx or reference")
        if path.is_dir():
            chosen, path = _choose(path, backend, order)
        elif path.exists():
            chosen = _for_file(path, backend, order)
        else:
            raise InputError(f"{path} does not exist; give an artifact folder or one of its files")
        if precision is not None and precision not in ("float64", "float32"):
            raise InputError(f"precision {precision!r} does not exist; write float64 or float32")
        if precision == "float64" and chosen != "reference":
            raise InputError(
                f"the {chosen} backend computes in float32; for float64 open the .ssm bundle with"
                " backend='reference'"
            )
        if chosen == "reference":
            return cls(_open_reference(path, precision or "float64", order))
        return cls(_open_native(path) if chosen == "native" else _open_onnx(path))

    @property
    def backend(self) -> str:
        """Who computes: ``native``, ``onnx`` or ``reference``."""
        return self._backend.name

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

    def step(self, u: ArrayLike) -> Float32:
        """Feed one frame.

        Args:
            u: shape (U,), finite numbers.

        Returns:
            y of shape (Y,), a new array.

        Raises:
            InputError: the shape is wrong or a value is not a finite number; the state is untouched.
        """
        return self._backend.step(_frames(u, (self.inputs,), "u"))

    def process(self, block: ArrayLike) -> Float32:
        """Feed T frames at once: the same numbers as T steps, faster.

        Args:
            block: shape (T, U), finite numbers; T = 0 is allowed.

        Returns:
            Shape (T, Y), a new array.

        Raises:
            InputError: as ``step``.
        """
        frames = _frames(block, (None, self.inputs), "block")
        if len(frames) == 0:
            return np.zeros((0, self.outputs), np.float32)
        return self._backend.process(frames)

    def state_get(self) -> dict[str, NDArray[Any]]:
        """A copy of every state by name: ``state_0`` (2N) …, ``pool_sum`` (H), ``pool_count`` (1)."""
        return self._backend.state_get()

    def state_set(self, saved: Mapping[str, ArrayLike]) -> None:
        """Continue from what ``state_get`` returned, from this or another backend of the model.

        Raises:
            InputError: a state is missing, unknown, of another shape or not finite; nothing is changed.
        """
        if set(saved) != set(self._shapes):
            raise InputError(
                f"the saved state has {sorted(saved)}, this model has {sorted(self._shapes)}; give back"
                " what state_get returned, from the same model"
            )
        checked = {}
        for name, shape in self._shapes.items():
            value = np.asarray(saved[name])
            if value.shape != shape or value.dtype.kind != "f" or not np.isfinite(value).all():
                raise InputError(
                    f"state {name!r} must be {shape[0]} finite floats, got shape {value.shape} of"
                    f" {value.dtype}; give back what state_get returned"
                )
            checked[name] = value
        self._backend.state_set(checked)


def _frames(values: ArrayLike, shape: tuple[int | None, ...], what: str) -> Float32:
    """``values`` as a contiguous finite float32 array of this shape (None fits any length)."""
    array = np.asarray(values)
    if array.ndim != len(shape) or array.shape[-1] != shape[-1]:
        wanted = f"(T, {shape[-1]})" if len(shape) == 2 else f"({shape[0]},)"
        raise InputError(
            f"{what} has shape {array.shape}, this model takes {wanted}: one value per input and frame"
        )
    if array.dtype.kind not in "fiub":
        raise InputError(f"{what} has type {array.dtype}; give real numbers (float32)")
    if array.dtype == np.float32 and array.flags.c_contiguous:
        frames = array  # the usual case, without the cost of errstate
    else:
        with np.errstate(over="ignore"):
            frames = np.ascontiguousarray(array, np.float32)
    if not np.isfinite(frames).all():
        where = tuple(int(i) for i in np.argwhere(~np.isfinite(frames))[0])
        raise InputError(
            f"{what}{list(where)} is {array[where]}, not a finite float32; it would stay in the state for"
            " ever: replace or drop the frame, or call reset()"
        )
    return frames


def _for_file(path: Path, wanted: BackendName | None, order: int | None) -> BackendName:
    found = SUFFIXES.get(path.suffix)
    if found is None:
        raise InputError(
            f"{path} is no artifact: the suffix {path.suffix!r} is none of {', '.join(SUFFIXES)}"
        )
    if wanted not in (None, found):
        raise InputError(f"{path.name} is opened by the {found} backend, not by {wanted!r}")
    if order is not None and found != "reference":
        raise InputError(
            f"{path.name} holds one model, so there is no order={order} to choose; open the artifact folder"
            " or the .ssm bundle"
        )
    return found


def _choose(folder: Path, wanted: BackendName | None, order: int | None) -> tuple[BackendName, Path]:
    """The backend for an artifact folder and the path it opens, or why there is none."""
    possible: dict[BackendName, Path] = {}
    reasons: dict[BackendName, str] = {}
    manifest = read_manifest(folder)
    bundle, bundle_name = find_bundle(folder, manifest), f"{manifest.name}.ssm"  # it holds every order
    if order is not None:
        folder, manifest = at_order(folder, manifest, order)
    if manifest.first("c-source", "ssmc") is None:
        reasons["native"] = "the folder holds no .c and no .ssmc file"
    else:
        from ssmith.compiler import find_compiler

        possible["native"] = folder
        if find_compiler() is None:
            reasons["native"] = "no C compiler was found"
    if manifest.first("onnx-step", "onnx-sequence") is None:
        reasons["onnx"] = "the folder holds no .onnx file"
    else:
        possible["onnx"] = folder
        if importlib.util.find_spec("onnxruntime") is None:
            reasons["onnx"] = "onnxruntime is not installed"
    if bundle is None:
        reasons["reference"] = f"{bundle_name} lies neither in the folder nor beside it"
    else:
        possible["reference"] = bundle
    if (
        wanted is not None and wanted in possible
    ):  # a missing tool is then the backend's own, more helpful error
        return wanted, possible[wanted]
    ready = [name for name in possible if name not in reasons]
    if wanted is None and ready:
        return ready[0], possible[ready[0]]
    why = "; ".join(f"{name}: {reason}" for name, reason in reasons.items())
    raise InputError(f"{folder} cannot be opened with {wanted or 'any backend'} ({why})")


def _open_native(path: Path) -> Backend:
    from ssmith.runtime.native import open_backend

    return open_backend(path)


def _open_onnx(path: Path) -> Backend:
    from ssmith.runtime.onnx import open_backend

    return open_backend(path)


def _open_reference(path: Path, precision: Precision, order: int | None) -> Backend:
    from ssmith.runtime.reference import open_backend

    return open_backend(path, precision, order)
