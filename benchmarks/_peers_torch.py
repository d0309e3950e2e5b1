"""torch in the benchmark's turns: eager, compiled, and what its ONNX exporter makes of the same network."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import logging
import sys
import warnings
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from _native import Candidate
from _peers import in_python, left_out

from ssmith.bundle import Bundle

OPSET = 20  # as ours


def in_torch(bundle: Bundle, *, compiled: bool = True) -> list[Candidate]:
    """The plain step in eager mode and through torch.compile, one thread.

    What torch.compile cannot do here, for want of a compiler say, is said on stderr and left out.
    """
    if importlib.util.find_spec("torch") is None:
        left_out("torch", "pip install 'ssmith[train]'")
        return []
    import torch
    from _torch_step import Step

    torch.set_num_threads(1)
    module = Step(bundle).eval()
    made = f"torch {version('torch')}"
    inputs = len(bundle.meta.inputs)

    def stepping(forward: Callable[..., Any]) -> Callable[[Any], Any]:
        states: list[Any] = [torch.zeros(1, *shape) for shape in bundle.states.values()]

        def step(frame: Any) -> Any:
            with torch.inference_mode():
                y, *states[:] = forward(frame, *states)
            return y

        return step

    candidates = [in_python("torch, eager", stepping(module), inputs, made, torch.from_numpy)]
    if compiled:
        torch.compiler.reset()  # of other sizes it would remember that they were compiled often enough
        optimised = torch.compile(module)
        try:
            stepping(optimised)(torch.zeros(1, inputs))  # compiles; its states are thrown away
        except Exception as error:  # a compiler's exceptions have no common base
            left_out("torch.compile", str(error).partition("\n")[0])
        else:
            step = stepping(optimised)
            candidates.append(in_python("torch.compile", step, inputs, made, torch.from_numpy))
    return candidates


def onnx_pair(bundle: Bundle, folder: Path) -> list[Candidate]:
    """Our step model and that of torch.onnx.export, run alike: buffers and states bound once, one thread."""
    if any(importlib.util.find_spec(name) is None for name in ("torch", "onnx", "onnxruntime", "onnxscript")):
        left_out("torch.onnx.export", "pip install 'ssmith[train,export,onnx]' onnxscript")
        return []
    from ssmith.export.onnx import lower

    ours, theirs = lower(bundle, folder)[0], folder / "torch.onnx"
    _export(bundle, theirs)
    return [
        _bound("ONNX Runtime, our step", bundle, ours),
        _bound("ONNX Runtime, torch.onnx.export", bundle, theirs),
    ]


def _export(bundle: Bundle, path: Path) -> None:
    import torch
    from _torch_step import Step

    example = tuple(torch.zeros(1, *shape) for shape in ((len(bundle.meta.inputs),), *bundle.states.values()))
    states = list(bundle.states)
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()) as said:
        warnings.simplefilter("ignore")
        torch.onnx.export(
            Step(bundle).eval(),
            example,
            str(path),
            dynamo=True,
            opset_version=OPSET,
            external_data=False,
            input_names=["input", *states],
            output_names=["output", *(f"{name}_out" for name in states)],
        )
    print(said.getvalue(), file=sys.stderr)


def _bound(name: str, bundle: Bundle, path: Path) -> Candidate:
    """A step model on two sets of states that swap, so that nothing is copied but the frame."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    inputs = len(bundle.meta.inputs)
    u, y = np.zeros((1, inputs), np.float32), np.zeros((1, len(bundle.meta.outputs)), np.float32)
    sets = [{key: np.zeros((1, *n), np.float32) for key, n in bundle.states.items()} for _ in range(2)]
    value = onnxruntime.OrtValue.ortvalue_from_numpy
    bindings = []
    for before, after in (sets, sets[::-1]):
        binding = session.io_binding()
        binding.bind_ortvalue_input("input", value(u))
        binding.bind_ortvalue_output("output", value(y))
        for key in before:
            binding.bind_ortvalue_input(key, value(before[key]))
            binding.bind_ortvalue_output(f"{key}_out", value(after[key]))
        bindings.append(binding)
    turn = 0

    def step(frame: Any) -> Any:
        nonlocal turn
        u[...] = frame
        session.run_with_iobinding(bindings[turn])
        turn = 1 - turn
        return y

    return in_python(name, step, inputs, f"onnxruntime {version('onnxruntime')}, {path.name}")
