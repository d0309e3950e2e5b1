"""The onnxruntime backend: opens ``NAME.step.onnx``, ``NAME.sequence.onnx`` or a folder with both.

One thread, sequential execution. A step runs on buffers bound once: states swap between two sets,
nothing is allocated from Python. A block runs through the sequence model where there is one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ssmith.bundle import Signal
from ssmith.errors import InputError, MissingToolError, SsmithError
from ssmith.files import check_seal
from ssmith.ops import Float32
from ssmith.recipe import ArtifactPrecision
from ssmith.runtime.artifacts import read_manifest, verified
from ssmith.runtime.choice import files_of
from ssmith.runtime.frames import Precision

METADATA_KEY = "ssmith"
CPU = ("CPUExecutionProvider",)
SHORT = 8  # frames: a sequence model computes 16 at a time, so below it stepping is quicker


class OnnxMeta(BaseModel):
    """The document an exported model carries under ``metadata_props["ssmith"]``."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    form: Literal["step", "sequence"]
    name: str
    task: Literal["classification", "regression"]
    inputs: tuple[Signal, ...] = Field(min_length=1)
    outputs: tuple[Signal, ...] = Field(min_length=1)
    period_s: float | None = Field(gt=0)
    states: tuple[tuple[str, int], ...]
    precision: ArtifactPrecision = "float32"
    activation_bits: Literal[8, 16] | None = None
    bundle_sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


class OnnxBackend:
    """One stream through a step model, a sequence model, or both; see ``Session``.

    Args:
        models: open models of the same bundle, at most one a form.
    """

    name = "onnx"

    def __init__(self, models: Sequence[_Model]) -> None:
        forms = {model.meta.form: model for model in models}
        meta = models[0].meta
        self.precision: Precision = (
            "int8-a8" if (meta.precision, meta.activation_bits) == ("int8", 8) else meta.precision
        )
        self._step, self._sequence = forms.get("step"), forms.get("sequence")
        self.inputs, self.outputs, self.period_s = len(meta.inputs), len(meta.outputs), meta.period_s
        document = meta.model_dump(mode="json")
        del document["form"]
        self.meta: dict[str, Any] = document
        # Two sets of states: a run reads set `_now` and writes the other, then they swap.
        self._states = [
            {name: np.zeros((1, size), np.float32) for name, size in meta.states} for _ in range(2)
        ]
        self._now = 0
        if self._step is not None:
            self._u = np.zeros((1, self.inputs), np.float32)
            self._y = np.zeros((1, self.outputs), np.float32)
            self._bindings = [
                self._step.bind(self._u, self._y, self._states[i], self._states[1 - i]) for i in range(2)
            ]

    def reset(self) -> None:
        """All states zero."""
        for value in self._states[self._now].values():
            value.fill(0.0)

    def step(self, u: Float32) -> Float32:
        """Feed one frame (U,), get (Y,)."""
        if self._step is None:
            frame: Float32 = self.process(u[None])[0]
            return frame
        self._u[0] = u
        self._step.run(self._bindings[self._now])
        self._now = 1 - self._now
        y: Float32 = self._y[0].copy()
        return y

    def process(self, block: Float32) -> Float32:
        """Feed (T, U) with T ≥ 1, get (T, Y); a few frames go through the step model if it is there."""
        if self._sequence is None or (self._step is not None and len(block) < SHORT):
            return np.stack([self.step(u) for u in block])
        y: Float32 = np.empty((1, len(block), self.outputs), np.float32)
        before, after = self._states[self._now], self._states[1 - self._now]
        self._sequence.run(self._sequence.bind(block[None], y, before, after))
        self._now = 1 - self._now
        return y.reshape(y.shape[1:])

    def streams(self, blocks: Float32) -> Float32:
        """Feed several streams at once, each from a fresh start: (batch, T, U) → (batch, T, Y).

        The backend's own stream stays where it is.
        """
        batch, frames, _ = blocks.shape
        sets = [
            {name: np.zeros((batch, *value.shape[1:]), np.float32) for name, value in own.items()}
            for own in self._states
        ]
        y = np.empty((batch, frames, self.outputs), np.float32)
        if self._sequence is not None:
            self._sequence.run(self._sequence.bind(np.ascontiguousarray(blocks), y, *sets))
            return y
        assert self._step is not None
        frame = np.empty((batch, self.outputs), np.float32)
        for t in range(frames):
            given = np.ascontiguousarray(blocks[:, t])
            self._step.run(self._step.bind(given, frame, sets[t % 2], sets[1 - t % 2]))
            y[:, t] = frame
        return y

    def state_get(self) -> dict[str, Float32]:
        """A copy of every state."""
        return {name: value[0].copy() for name, value in self._states[self._now].items()}

    def state_set(self, saved: Mapping[str, Float32]) -> None:
        """Continue from states that ``state_get`` returned."""
        for name, value in saved.items():
            self._states[self._now][name][0] = value


class _Model:
    """One .onnx file in onnxruntime, known to be what ``ssmith`` exports."""

    def __init__(self, path: Path, threads: int, providers: Sequence[str]) -> None:
        runtime = _onnxruntime()
        if unknown := sorted(set(providers) - set(runtime.get_available_providers())):
            raise InputError(
                f"onnxruntime here has no {unknown[0]!r}; it has"
                f" {', '.join(runtime.get_available_providers())}"
            )
        try:
            data = path.read_bytes()
        except OSError as error:
            raise InputError(f"cannot read {path}: {error.strerror}") from error
        check_seal(data, path)
        try:
            options = _options(runtime, path, threads)
            # Without a word to the user onnxruntime would fall back to its CPU, and say so on stdout.
            self._session = runtime.InferenceSession(
                data, options, providers=list(providers), enable_fallback=0
            )
        except Exception as error:  # onnxruntime's own exceptions share no narrower base
            reason = str(error).partition("\n")[0]
            raise InputError(
                f"onnxruntime cannot open {path} ({reason}); it is damaged or needs a newer"
                " onnxruntime: export it again, or upgrade"
            ) from error
        self._value = runtime.OrtValue.ortvalue_from_numpy
        self.meta = _read_meta(self._session, path)
        _check_interface(self._session, self.meta, path)

    def bind(
        self,
        u: Float32,
        y: Float32,
        before: Mapping[str, Float32],
        after: Mapping[str, Float32],
    ) -> Any:
        """A binding that reads ``u`` and ``before`` and writes ``y`` and ``after`` in place.

        It does not keep the arrays alive; the caller does.
        """
        binding = self._session.io_binding()
        binding.bind_ortvalue_input("input", self._value(u))
        binding.bind_ortvalue_output("output", self._value(y))
        for name in before:
            binding.bind_ortvalue_input(name, self._value(before[name]))
            binding.bind_ortvalue_output(f"{name}_out", self._value(after[name]))
        return binding

    def run(self, binding: Any) -> None:
        """Compute once. Passing RunOptions, even empty ones, would add 30 us to a 22 us step."""
        try:
            self._session.run_with_iobinding(binding)
        except Exception as error:  # as above
            raise SsmithError(f"onnxruntime failed: {error}") from error


def open_backend(
    path: Path,
    precision: Precision | None = None,
    *,
    threads: int = 1,
    providers: Sequence[str] | None = None,
) -> OnnxBackend:
    """Open an exported model.

    Args:
        path: one ``.onnx`` file, or an artifact folder whose manifest names them.
        precision: which of a folder's models; of a file, what it must be. None: float32, or what the file is.
        threads: inside one operator; a step is too small to share.
        providers: onnxruntime execution providers, in order of preference; None is the CPU.

    Raises:
        InputError: the file is missing, damaged, not an ssmith export, or lacks a state; it has another
            precision.
        MissingToolError: onnxruntime is not installed.
    """
    chosen = CPU if providers is None else tuple(providers)
    if not path.is_dir():
        backend = OnnxBackend([_Model(path, threads, chosen)])
        found = backend.precision
        if precision not in (None, found) and (precision, found) != ("int8", "int8-a8"):
            raise InputError(f"{path} computes in {found}, not in {precision}")
        return backend
    files = files_of(read_manifest(path), "onnx", precision)
    if not files:
        raise InputError(
            f"{path} holds no ONNX model of precision {precision or 'float32'}; run `ssmith export` with the"
            " onnx format"
        )
    models = [_Model(verified(path, file), threads, chosen) for file in files]
    digests = {model.meta.bundle_sha256 for model in models}
    if len(digests) > 1:
        raise InputError(f"the ONNX files in {path} come from different models; run `ssmith export`")
    return OnnxBackend(models)


def _onnxruntime() -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingToolError(
            "running ONNX models needs onnxruntime; run: pip install 'ssmith[onnx]'"
        ) from error
    return onnxruntime


def _options(runtime: Any, path: Path, threads: int) -> Any:
    """So many threads, nodes in order, quiet unless something fails."""
    options = runtime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.execution_mode = runtime.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = 3
    # A plan of all buffers is kept for each input shape: right for steps, whose shape never changes;
    # blocks of ever new lengths would pile them up.
    options.enable_mem_pattern = path.name.endswith(".step.onnx")
    return options


def _read_meta(session: Any, path: Path) -> OnnxMeta:
    """The description inside the file."""
    try:
        document = session.get_modelmeta().custom_metadata_map.get(METADATA_KEY)
    except UnicodeDecodeError as error:
        raise InputError(f"{path} has damaged metadata: {error}; export it again") from error
    if document is None:
        raise InputError(
            f"{path} carries no {METADATA_KEY!r} metadata, so its states, rate and digest are unknown:"
            " it was not written by `ssmith export`; run it with onnxruntime directly"
        )
    try:
        return OnnxMeta.model_validate(json.loads(document))
    except (ValidationError, ValueError) as error:
        raise InputError(f"{path} has damaged {METADATA_KEY!r} metadata: {error}") from error


def _check_interface(session: Any, meta: OnnxMeta, path: Path) -> None:
    """Every input and output the description promises is there with its type and shape.

    A state read under a wrong name would be zeros forever, and nothing would fail.
    """
    middle = [None] if meta.form == "step" else [None, None]
    promised_in = {"input": [*middle, len(meta.inputs)]}
    promised_out = {"output": [*middle, len(meta.outputs)]}
    for name, size in meta.states:
        promised_in[name] = promised_out[f"{name}_out"] = [None, size]
    for kind, promised, found in (
        ("input", promised_in, session.get_inputs()),
        ("output", promised_out, session.get_outputs()),
    ):
        shapes = {
            port.name: [d if isinstance(d, int) else None for d in port.shape]
            for port in found
            if port.type == "tensor(float)"
        }
        for name in sorted(promised.keys() | {port.name for port in found}):
            if promised.get(name) != shapes.get(name):
                raise InputError(
                    f"{path}: {kind} {name!r} should be float32 of shape {promised.get(name, 'absent')},"
                    f" the graph has {shapes.get(name, 'none')} (None is free); export it again"
                )
