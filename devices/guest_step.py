"""Feeds frames to a step model, inside a foreign root: needs numpy and onnxruntime and nothing of ours.

``python3 guest_step.py MODEL FRAMES OUTPUT``, with raw float32 frames (T, inputs), writes raw float32 outputs
(T, outputs) and prints ``frames T`` and the versions. ``os.getppid`` marks for the instruction counter, as
in ``firmware/counted.c``: twice with nothing between, then before and after each run.
"""

from __future__ import annotations

import gc
import os
import platform
import sys

import numpy as np
import onnxruntime


def main(model: str, frames_path: str, output: str) -> None:
    """Run; the arguments are those of the module's docstring."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    sizes = {value.name: value.shape[-1] for value in [*session.get_inputs(), *session.get_outputs()]}
    u, y = (np.zeros((1, sizes[name]), np.float32) for name in ("input", "output"))
    names = [value.name for value in session.get_inputs() if value.name != "input"]
    states = [{name: np.zeros((1, sizes[name]), np.float32) for name in names} for _ in range(2)]
    bindings = []
    for before, after in (states, states[::-1]):
        binding = session.io_binding()
        value = onnxruntime.OrtValue.ortvalue_from_numpy
        binding.bind_ortvalue_input("input", value(u))
        binding.bind_ortvalue_output("output", value(y))
        for name in names:
            binding.bind_ortvalue_input(name, value(before[name]))
            binding.bind_ortvalue_output(f"{name}_out", value(after[name]))
        bindings.append(binding)
    frames = np.fromfile(frames_path, np.float32).reshape(-1, sizes["input"])
    outputs = np.zeros((len(frames), sizes["output"]), np.float32)
    mark, run = os.getppid, session.run_with_iobinding
    gc.collect()
    gc.disable()
    mark()
    mark()
    for t, frame in enumerate(frames):
        u[0] = frame
        binding = bindings[t % 2]
        mark()
        run(binding)
        mark()
        outputs[t] = y[0]
    outputs.tofile(output)
    print(f"frames {len(frames)}")
    print(f"onnxruntime={onnxruntime.__version__}")
    print(f"numpy={np.__version__}")
    print(f"python={platform.python_version()} {platform.machine()}")


if __name__ == "__main__":
    main(*sys.argv[1:])
