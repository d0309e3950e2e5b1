"""The native backend: compiles the C engine for this machine and calls it.

Both C forms: the generated ``NAME.c`` is compiled as it is, ``NAME.ssmc`` is given to the loadable
engine, which is compiled once. The results are the float32 reference's, bit for bit.
"""

from __future__ import annotations

import ctypes
import json
import re
from collections.abc import Mapping
from ctypes import addressof
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssmith.compiler import Flags, build_library
from ssmith.errors import InputError, MissingToolError, SsmithError
from ssmith.ops import Float32
from ssmith.recipe import ArtifactPrecision
from ssmith.runtime.artifacts import integer_name, read_manifest, verified
from ssmith.runtime.frames import Direct, Precision, refuse_not_finite

BLOB_HEADER_BYTES = 16  # of a state saved by C
MAX_FRAMES = 1 << 20  # per call into C: its frame count is 32 bits wide
# contract=off: a fused multiply-add rounds once where the reference rounds twice. The vector
# instructions of this processor change no bit.
_PLAIN = ("-std=c99", "-O3", "-ffp-contract=off")
FLAGS: Flags = ((*_PLAIN, "-march=native"), (*_PLAIN, "-mcpu=native"), _PLAIN)
FMA_FLAGS: Flags = [(*flags, "-DSSM_FMA") for flags in FLAGS]
_E_NONFINITE = -5
_ANYTHING = ctypes.c_char * 0
# Beside the model: its size, and a step whose arguments stand ready in memory.
_UNIT = """\
#include "{file}"
struct ssmith_call {{ {name}_t *model; const float *in; float *out; }};
int ssmith_step(const struct ssmith_call *call);
uint32_t ssmith_bytes(void);
int ssmith_step(const struct ssmith_call *call) {{ return {name}_step(call->model, call->in, call->out); }}
uint32_t ssmith_bytes(void) {{ return (uint32_t)sizeof({name}_t); }}
"""
_OPEN_ERRORS = {
    -9: "it is no .ssmc file of version 2 or 3",
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

    def function(self, name: str) -> Any:
        return getattr(self.library, f"{self.prefix}_{name}")

    def call(self, name: str, *arguments: Any) -> None:
        status = self.function(name)(self.handle, *arguments)
        if status != 0:
            raise SsmithError(f"{self.prefix}_{name} returned {status}, see its header")


class NativeBackend:
    """One open C model behind ``Session``. C itself refuses frames that are not finite."""

    name = "native"
    checks_frames = True

    def __init__(self, model: _Model, meta: dict[str, Any], precision: Precision) -> None:
        self._model = model
        self.meta = meta
        self.precision = precision
        self.inputs = len(meta["inputs"])
        self.outputs = len(meta["outputs"])
        self.period_s: float | None = meta["period_s"]
        dtypes = meta.get("state_types", ["float32"] * len(meta["states"]))
        self._states = [
            (name, n, np.dtype(kind)) for (name, n), kind in zip(meta["states"], dtypes, strict=True)
        ]
        self._blob_bytes = BLOB_HEADER_BYTES + sum(n * dtype.itemsize for _, n, dtype in self._states)
        frame, result = np.zeros(self.inputs, np.float32), np.zeros(self.outputs, np.float32)
        fixed = np.array([model.handle.value, frame.ctypes.data, result.ctypes.data], np.uintp)
        self._fixed = fixed  # what the step's one argument points to
        self.direct = Direct(frame, model.library.ssmith_step, _pointer(fixed), result)
        self._process = model.function("process")

    def reset(self) -> None:
        """All states zero."""
        self._model.call("reset")

    def step(self, u: Float32) -> Float32:
        """One frame: (U,) → (Y,).

        Raises:
            InputError: a value is not finite.
        """
        frame, run, arguments, result = self.direct
        frame[...] = u
        if run(arguments) != 0:  # with fixed pointers and an open model, for one reason only
            refuse_not_finite("u", frame)
        return result.copy()

    def process(self, block: Float32) -> Float32:
        """Many frames: (T, U) → (T, Y), C-contiguous.

        Raises:
            InputError: a value is not finite; then nothing was computed.
        """
        out = np.empty((len(block), self.outputs), np.float32)
        self.process_into(block, out)
        return out

    def process_into(self, block: Float32, out: Float32) -> None:
        """Many frames, without a copy: C reads ``block`` (T, U) and writes ``out`` (T, Y), both C-contiguous.

        They may share memory; then C reads a copy.

        Raises:
            InputError: a value is not finite; then nothing was computed.
        """
        if len(block) > MAX_FRAMES:
            if not np.isfinite(block).all():  # before the first part is computed
                refuse_not_finite("block", block)
            if np.may_share_memory(block, out):
                block = block.copy()
            for start in range(0, len(block), MAX_FRAMES):
                self.process_into(block[start : start + MAX_FRAMES], out[start : start + MAX_FRAMES])
            return
        source, target = _buffer(block), _buffer(out)
        read, written = addressof(source), addressof(target)
        if read < written + out.nbytes and written < read + block.nbytes:
            block = block.copy()
            source = _buffer(block)
        status = self._process(self._model.handle, source, target, len(block))
        if status == _E_NONFINITE:
            refuse_not_finite("block", block)
        if status != 0:
            raise SsmithError(f"{self._model.prefix}_process returned {status}, see its header")

    def state_get(self) -> dict[str, NDArray[Any]]:
        """A copy of every state."""
        blob = self._saved()
        state, at = {}, BLOB_HEADER_BYTES
        for name, n, dtype in self._states:
            state[name] = np.frombuffer(blob, dtype, n, at)
            at += state[name].nbytes
        return {name: value.copy() for name, value in state.items()}

    def state_set(self, saved: Mapping[str, Any]) -> None:
        """Continue from states that ``state_get`` returned.

        Raises:
            InputError: a value that no state can have; nothing has changed.
        """
        with np.errstate(over="ignore"):  # what becomes infinite is refused by C
            parts = [np.asarray(saved[name], dtype).tobytes() for name, _, dtype in self._states]
        blob = self._saved()[:BLOB_HEADER_BYTES] + b"".join(parts)
        size = ctypes.c_size_t(len(blob))
        if self._model.function("state_set")(self._model.handle, ctypes.c_char_p(blob), size) != 0:
            raise InputError(
                "the saved state holds a value that this model's states never have; give back what state_get"
                " returned, from the same model. Nothing has changed"
            )

    def _saved(self) -> bytes:
        """The state as C gives it: a header of the model's, then the words."""
        blob = ctypes.create_string_buffer(self._blob_bytes)
        self._model.call("state_get", blob, ctypes.c_size_t(self._blob_bytes))
        return blob.raw


def open_backend(path: Path, precision: Precision | None = None) -> NativeBackend:
    """Open an artifact folder, a generated ``NAME.c`` or ``NAME.h``, or a ``NAME.ssmc``.

    Args:
        path: the folder or file.
        precision: ``"float32"``; ``"float32-fma"``, the float model with fused multiply-add; ``"int8"``
            or ``"int8-a8"``, the integer model. None takes a file as it is, of a folder the float model.

    Raises:
        InputError: the file is missing, damaged, of another precision or not one of ours.
        MissingToolError: there is no C compiler.
        SsmithError: the compiler refuses the source.
    """
    if path.is_dir():
        path = _in_folder(path, precision)
    flags = FMA_FLAGS if precision == "float32-fma" else FLAGS
    try:
        if path.suffix == ".ssmc":
            model, meta = _open_ssmc(path, flags)
        else:
            model, meta = _open_generated(path.with_suffix(".c"), flags)
    except MissingToolError as error:
        raise MissingToolError(
            f"the native backend compiles the model for this machine, and {error}, or use backend='onnx' or"
            " 'reference'"
        ) from error
    return NativeBackend(model, meta, _precision(meta, precision, path))


def _precision(meta: dict[str, Any], wanted: Precision | None, path: Path) -> Precision:
    """What an open file computes in, or a refusal if that is not what was asked for."""
    integer: Precision = "int8-a8" if meta.get("activation_bits") == 8 else "int8"
    found: Precision = "float32" if meta["precision"] == "float32" else integer
    also: dict[Precision, Precision] = {"float32": "float32-fma", "int8-a8": "int8"}
    if wanted not in (None, found, also.get(found)):
        raise InputError(f"{path} computes in {found}, not in {wanted}; leave precision out, or export again")
    return wanted if wanted == "float32-fma" else found


def _in_folder(folder: Path, precision: Precision | None) -> Path:
    """The C form in an artifact folder, generated preferred; all its files are checked."""
    manifest = read_manifest(folder)
    kind: ArtifactPrecision = "int8" if precision in ("int8", "int8-a8") else "float32"
    source = manifest.first("c-source", "ssmc", precision=kind)
    if source is None:
        raise InputError(
            f"{folder} holds no .c and no .ssmc file of precision {kind}; run `ssmith export` with target c99"
            f" and {kind} among the recipe's precisions"
        )
    if source.kind == "c-source":
        for file in manifest.files:
            if file.kind in ("c-source", "c-header"):
                verified(folder, file)
    return verified(folder, source)


def _open_generated(path: Path, flags: Flags) -> tuple[_Model, dict[str, Any]]:
    header = path.with_suffix(".h")
    try:
        found = re.search(r"ssmith-meta: (\{.*\}) \*/", header.read_text("utf-8"))
        meta = _checked(json.loads(found[1]) if found else None, path)
        files = _sources(path.resolve())
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise InputError(f"cannot read {header}: {error}. {path.name} needs its header beside it") from error
    name = meta["name"] if meta["precision"] == "float32" else integer_name(meta["name"])
    if name != path.stem:
        raise InputError(f"{path} holds the model {name!r}; keep the exported file names")
    library = _load(_UNIT.format(file=path.name, name=name), files, flags)
    memory = _aligned(library.ssmith_bytes())
    model = _Model(library, name, _pointer(memory), (memory,))
    model.call("init")
    return model, meta


def _open_ssmc(path: Path, flags: Flags) -> tuple[_Model, dict[str, Any]]:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error
    with resources.as_file(resources.files("ssmith.runtime") / "c") as engine:
        library = _load(_UNIT.format(file="ssm.c", name="ssm"), _sources(engine / "ssm.c"), flags)
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
    return model, _checked(meta, path)


def _sources(path: Path) -> list[Path]:
    """A C file and all it includes from its own folder."""
    found, left = [path], [path]
    while left:
        for name in re.findall(r'^#include "([\w.]+)"', left.pop().read_text("utf-8"), re.MULTILINE):
            file = path.with_name(name)
            if not file.is_file():
                raise InputError(f"{name} does not lie beside {path}; keep the exported files together")
            if file not in found:
                found.append(file)
                left.append(file)
    return found


def _checked(meta: Any, path: Path) -> dict[str, Any]:
    """The model's description, or a refusal: an artifact of ours always has one."""
    keys = {"name", "task", "inputs", "outputs", "period_s", "states", "bundle_sha256", "precision"}
    if not isinstance(meta, dict) or not keys <= set(meta):
        raise InputError(f"{path} does not describe its model; it was not written by `ssmith export`")
    return meta


def _load(unit: str, files: list[Path], flags: Flags) -> ctypes.CDLL:
    library = ctypes.CDLL(str(build_library(unit, files, flags)))
    library.ssmith_bytes.restype = ctypes.c_uint32
    return library


def _pointer(array: np.ndarray[Any, Any]) -> ctypes.c_void_p:
    return ctypes.c_void_p(array.ctypes.data)


def _buffer(array: Any) -> Any:
    """A C-contiguous array as an argument; the quick way wants a writable one."""
    return (
        _ANYTHING.from_buffer(array) if array.flags.writeable else _ANYTHING.from_address(array.ctypes.data)
    )


def _aligned(n: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Zeroed bytes that start at a multiple of 64, what the widest vector register likes."""
    memory = np.zeros(n + 64, np.uint8)
    start = -memory.ctypes.data % 64
    return memory[start : start + n]
