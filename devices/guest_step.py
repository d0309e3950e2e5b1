"""Feeds frames to a step model, inside a foreign root: needs numpy, the model's runtime and nothing of ours.

``python3 guest_step.py MODEL FRAMES OUTPUT``, with raw float32 frames (T, inputs), writes raw float32 outputs
(T, outputs) and prints ``frames T`` and the versions. ``os.getppid`` marks for the instruction counter, as
in ``firmware/counted.c``: twice with nothing between, then before and after each run. MODEL is an ``.onnx``
or a ``.pte`` file; in both the inputs are a frame and the states, and the outputs are in the same order.
"""

from __future__ import annotations

import gc
import importlib.metadata
import os
import platform
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

Run = Callable[[Any], Any]
Array = np.ndarray


class OnnxStep:
    """A session on buffers that are bound once; the states swap between two sets, as in ``runtime.onnx``."""

    package = "onnxruntime"

    def __init__(self, model: str) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        sizes = {value.name: value.shape[-1] for value in [*session.get_inputs(), *session.get_outputs()]}
        self.frame, self.output = (np.zeros((1, sizes[name]), np.float32) for name in ("input", "output"))
        names = [value.name for value in session.get_inputs() if value.name != "input"]
        self._states = [{name: np.zeros((1, sizes[name]), np.float32) for name in names} for _ in range(2)]
        self._bindings, self._turn = [], 0
        for before, after in (self._states, self._states[::-1]):
            binding = session.io_binding()
            value = onnxruntime.OrtValue.ortvalue_from_numpy
            binding.bind_ortvalue_input("input", value(self.frame))
            binding.bind_ortvalue_output("output", value(self.output))
            for name in names:
                binding.bind_ortvalue_input(name, value(before[name]))
                binding.bind_ortvalue_output(f"{name}_out", value(after[name]))
            self._bindings.append(binding)
        self.run: Run = session.run_with_iobinding

    def given(self) -> Any:
        """What ``run`` takes next."""
        self._turn = 1 - self._turn
        return self._bindings[1 - self._turn]

    def take(self, result: Any) -> Array:
        """The output of a run."""
        output: Array = self.output[0]
        return output


class ExecutorchStep:
    """The method ``forward`` of a program; the states go in and come out."""

    package = "executorch-numpy-runtime"

    def __init__(self, model: str) -> None:
        import executorch_numpy_runtime

        self._program = executorch_numpy_runtime.Runtime.get().load_program(model)
        self.run: Run = self._program.load_method("forward")
        self._arrays = [np.zeros(given["shape"], np.float32) for given in self.run.metadata["inputs"]]
        self.frame = self._arrays[0]

    def given(self) -> Any:
        """What ``run`` takes next."""
        return self._arrays

    def take(self, result: Any) -> Array:
        """The output of a run."""
        self._arrays = [self.frame, *result[1:]]
        output: Array = result[0][0]
        return output


def main(model: str, frames_path: str, output_path: str) -> None:
    """Run; the arguments are those of the module's docstring."""
    step = OnnxStep(model) if model.endswith(".onnx") else ExecutorchStep(model)
    frames = np.fromfile(frames_path, np.float32).reshape(-1, step.frame.shape[-1])
    outputs = []
    mark, run = os.getppid, step.run
    gc.collect()
    gc.disable()
    mark()
    mark()
    for frame in frames:
        step.frame[0] = frame
        given = step.given()
        mark()
        result = run(given)
        mark()
        outputs.append(step.take(result).copy())
    np.stack(outputs).tofile(output_path)
    print(f"frames {len(frames)}")
    for package in (step.package, "numpy"):
        print(f"{package}={importlib.metadata.version(package)}")
    print(f"python={platform.python_version()} {platform.machine()}")


if __name__ == "__main__":
    main(*sys.argv[1:])
