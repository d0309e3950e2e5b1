"""The native backend: compiles the C engine for this machine and calls it.

Both C forms: the generated ``NAME.c`` is compiled as it is, ``NAME.ssmc`` is given to the loadable
engine, which is compiled once. The results are the float32 reference's, bit for bit.
"""

from __future__ import annotations

import ctypes
import json
import re
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssmith.compiler import build_library
from ssmith.errors import InputError, MissingToolError, SsmithError
from ssmith.ops import Float32
from ssmith.runtime.artifacts import ENGINE, KERNELS, read_manifest, verified

BLOB_HEADER_BYTES = 16  # of a state saved by C
MAX_FRAMES = 1 << 20  # per call into C: its frame count is 32 bits wide
# contract=off: a fused multiply-add rounds once where the reference rounds twice. The vector
# instructions of this processor change no bit.
_PLAIN = ("-std=c99", "-O3", "-ffp-contract=off")
FLAGS = ((*_PLAIN, "-march=native"), (*_PLAIN, "-mcpu=native"), _PLAIN)
_OPEN_ERRORS = {
    -9: "it is no .ssmc file of version 2",
    -10: "it is damaged: cut short, changed, or impossible",
    -11: "the engine asks for more memory than was given",
}


@dataclass(frozen=True)
class _Model:
    """An open model in C: its functions' prefix, its handle and what must stay alive."""

    library: ctypes.CDLL
    prefix: str
    handle: Any
    keep: tuple[Any, ...]

    def call(self, function: str, *arguments: Any) -> None:
        status = getattr(self.library, f"{self.prefix}_{function}")(self.handle, *arguments)
        if status != 0:
            raise SsmithError(f"{self.prefix}_{function} returned {status}, see its header")


class NativeBackend:
    """One open C model behind ``Session``."""

    name = "native"

    def __init__(self, model: _Model, meta: dict[str, Any]) -> None:
        self._model = model
        self.meta = meta
        self.inputs = len(meta["inputs"])
        self.outputs = len(meta["outputs"])
        self.period_s: float | None = meta["period_s"]
        dtypes = meta.get("state_types", ["float32"] * len(meta["states"]))
        self._states = [
            (name, n, np.dtype(kind)) for (name, n), kind in zip(meta["states"], dtypes, strict=True)
        ]
        self._blob_bytes = BLOB_HEADER_BYTES + sum(n * dtype.itemsize for _, n, dtype in self._states)
        self._step = getattr(model.library, f"{model.prefix}_step")
        self._in = np.zeros(self.inputs, np.float32)
        self._out = np.zeros(self.outputs, np.float32)
        self._step_arguments = (model.handle, _pointer(self._in), _pointer(self._out))

    def reset(self) -> None:
        """All states zero."""
        self._model.call("reset")

    def step(self, u: Float32) -> Float32:
        """One frame: (U,) → (Y,)."""
        self._in[:] = u
        self._step(*self._step_arguments)  # cannot fail: the pointers are fixed, the model is open
        return self._out.copy()

    def process(self, block: Float32) -> Float32:
        """Many frames: (T, U) → (T, Y)."""
        out = np.empty((len(block), self.outputs), np.float32)
        for start in range(0, len(block), MAX_FRAMES):
            part = block[start : start + MAX_FRAMES]
            self._model.call("process", _pointer(part), _pointer(out[start:]), ctypes.c_uint32(len(part)))
        return out

    def state_get(self) -> dict[str, NDArray[Any]]:
        """A copy of every state."""
        blob = self._saved()
        state, at = {}, BLOB_HEADER_BYTES
        for name, n, dtype in self._states:
            state[name] = np.frombuffer(blob, dtype, n, at)
            at += state[name].nbytes
        return {name: value.copy() for name, value in state.items()}

    def state_set(self, saved: Mapping[str, Any]) -> None:
        """Continue from states that ``state_get`` returned."""
        parts = [np.asarray(saved[name], dtype).tobytes() for name, _, dtype in self._states]
        blob = self._saved()[:BLOB_HEADER_BYTES] + b"".join(parts)
        self._model.call("state_set", ctypes.c_char_p(blob), ctypes.c_size_t(len(blob)))

    def _saved(self) -> bytes:
        """The state as C gives it: a header of the model's, then the words."""
        blob = ctypes.create_string_buffer(self._blob_bytes)
        self._model.call("state_get", blob, ctypes.c_size_t(self._blob_bytes))
        return blob.raw


def open_backend(path: Path) -> NativeBackend:
    """Open an artifact folder, a generated ``NAME.c`` or ``NAME.h``, or a ``NAME.ssmc``.

    Raises:
        InputError: the file is missing, damaged or not one of ours.
        MissingToolError: there is no C compiler.
        SsmithError: the compiler refuses the source.
    """
    if path.is_dir():
        path = _in_folder(path)
    try:
        return _open_ssmc(path) if path.suffix == ".ssmc" else _open_generated(path.with_suffix(".c"))
    except MissingToolError as error:
        raise MissingToolError(
            f"the native backend compiles the model for this machine, and {error}, or use backend='onnx' or"
            " 'reference'"
        ) from error


def _in_folder(folder: Path) -> Path:
    """The C form in an artifact folder, generated preferred; all its files are checked."""
    manifest = read_manifest(folder)
    source = manifest.first("c-source", "ssmc")
    if source is None:
        raise InputError(f"{folder} holds no .c and no .ssmc file; run `ssmith export` with target c99")
    if source.kind == "c-source":
        for file in manifest.files:
            if file.kind in ("c-source", "c-header"):
                verified(folder, file)
    return verified(folder, source)


def _open_generated(path: Path) -> NativeBackend:
    header = path.with_suffix(".h")
    try:
        found = re.search(r"ssmith-meta: (\{.*\}) \*/", header.read_text("utf-8"))
        meta = json.loads(found[1]) if found else None
        stem, folder = path.stem, path.parent.resolve()
        files = [folder / f for f in (path.name, header.name, f"{stem}_weights.h", KERNELS)]
        if missing := [file.name for file in files if not file.is_file()]:
            raise InputError(f"{missing[0]} does not lie beside {path}; keep the exported files together")
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise InputError(f"cannot read {header}: {error}. {path.name} needs its header beside it") from error
    meta = _checked(meta, path)
    if meta["name"] != stem:
        raise InputError(f"{path} holds the model {meta['name']!r}; keep the exported file names")
    unit = f'#include "{path.name}"\nuint32_t ssmith_bytes(void) {{ return (uint32_t)sizeof({stem}_t); }}\n'
    library = _load(build_library(unit, files, FLAGS))
    memory = _aligned(library.ssmith_bytes())
    model = _Model(library, stem, _pointer(memory), (memory,))
    model.call("init")
    return NativeBackend(model, meta)


def _open_ssmc(path: Path) -> NativeBackend:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error
    with ExitStack() as stack:
        engine = resources.files("ssmith.runtime") / "c"
        files = [stack.enter_context(resources.as_file(engine / name)) for name in (*ENGINE, KERNELS)]
        unit = '#include "ssm.c"\nuint32_t ssmith_bytes(void) { return (uint32_t)sizeof(ssm_t); }\n'
        library = _load(build_library(unit, files, FLAGS))
    library.ssm_memory_bytes.restype = ctypes.c_size_t
    library.ssm_memory_bytes.argtypes = (ctypes.c_void_p, ctypes.c_size_t)
    content = _aligned(len(data))
    content[:] = np.frombuffer(data, np.uint8)
    size = ctypes.c_size_t(len(data))
    memory = _aligned(library.ssm_memory_bytes(_pointer(content), size))
    handle = _aligned(library.ssmith_bytes())
    model = _Model(library, "ssm", _pointer(handle), (content, memory, handle))
    status = library.ssm_open(
        model.handle, _pointer(content), size, _pointer(memory), ctypes.c_size_t(len(memory))
    )
    if status != 0:
        reason = _OPEN_ERRORS.get(status, f"the engine returned {status}")
        raise InputError(f"{path} cannot be used: {reason}; export it again")
    at, n = (int.from_bytes(data[i : i + 4], "little") for i in (32, 36))
    try:
        meta = json.loads(data[at : at + n])
    except (UnicodeDecodeError, json.JSONDecodeError):
        meta = None
    return NativeBackend(model, _checked(meta, path))


def _checked(meta: Any, path: Path) -> dict[str, Any]:
    """The model's description, or a refusal: an artifact of ours always has one."""
    keys = {"name", "task", "inputs", "outputs", "period_s", "states", "bundle_sha256", "precision"}
    if not isinstance(meta, dict) or not keys <= set(meta):
        raise InputError(f"{path} does not describe its model; it was not written by `ssmith export`")
    return meta


def _load(path: Path) -> ctypes.CDLL:
    library = ctypes.CDLL(str(path))
    library.ssmith_bytes.restype = ctypes.c_uint32
    return library


def _pointer(array: np.ndarray[Any, Any]) -> ctypes.c_void_p:
    return ctypes.c_void_p(array.ctypes.data)


def _aligned(n: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Zeroed bytes that start at a multiple of 64, what the widest vector register likes."""
    memory = np.zeros(n + 64, np.uint8)
    start = -memory.ctypes.data % 64
    return memory[start : start + n]
