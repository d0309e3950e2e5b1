"""Golden vectors of a model that no trained network stands behind: its float64 reference is what it says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ssmith.bundle import GoldenMeta
from ssmith.golden import recorded_tolerance
from ssmith.ops import Float32, Op, Tensors
from ssmith.runtime.reference import run


def record_golden(
    ops: Sequence[Op], tensors: Tensors, inputs: Mapping[str, Float32]
) -> tuple[tuple[GoldenMeta, ...], dict[str, Float32]]:
    """Run a model on inputs and keep what comes out.

    Args:
        ops: the network.
        tensors: its weights.
        inputs: name of each case → frames (T, U).

    Returns:
        What a bundle's document says of each case, and its tensors ``golden.NAME.{input,output,streamed}``.

    Raises:
        SsmithError: float32 does not carry the model.
    """
    metas, recorded = [], dict[str, Float32]()
    for name, block in inputs.items():
        exact, _ = run(ops, tensors, block)
        rounded, _ = run(ops, tensors, block, precision="float32")
        scale = max(float(np.abs(exact).max(initial=0.0)), 1e-6)
        spread = float(np.abs(rounded - exact).max(initial=0.0)) / scale
        metas.append(GoldenMeta(name=name, relative_tolerance=recorded_tolerance(name, spread)))
        output = exact.astype(np.float32)
        parts = {"input": block, "output": output, "streamed": output}
        recorded |= {f"golden.{name}.{part}": value for part, value in parts.items()}
    return tuple(metas), recorded
