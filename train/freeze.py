"""Trained model → bundle: pure inference in real arithmetic, with golden vectors from the model itself."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ssmith.bundle import Bundle, BundleMeta, GoldenMeta, Signal
from ssmith.errors import InputError
from ssmith.golden import recorded_tolerance
from ssmith.ops import Float32
from ssmith.train.convert import Draft, convert
from ssmith.train.fold import fold
from ssmith.train.model import Network
from ssmith.train.thaw import thaw


@dataclass(frozen=True, eq=False)
class GoldenInput:
    """Frames to record.

    Args:
        name: of the case, lower case, for example ``validation_0``.
        frames: shape (T, U), in the inputs' own units.
        length: valid frames at the start; all if None.
    """

    name: str
    frames: NDArray[Any]
    length: int | None = None


def freeze(
    module: nn.Module,
    *,
    name: str,
    task: Literal["classification", "regression"],
    inputs: Sequence[Signal],
    outputs: Sequence[Signal],
    period_s: float | None = None,
    golden_inputs: Sequence[GoldenInput],
    reduction: Sequence[Mapping[str, Any]] = (),
    provenance: Mapping[str, str] | None = None,
) -> Bundle:
    """Freeze a model as it computes in evaluation mode; the model itself is not touched.

    BatchNorm and the normalisation of inputs and outputs are folded in float64, then every tensor is
    rounded to float32 once; poles are float32 already and keep every bit. Golden vectors are the
    model's own outputs, on the CPU: the whole sequence at once, and frame by frame.

    Args:
        module: a ``Network``, or an ``nn.Sequential`` of anything ``ssmith.train.convert`` knows.
        name: of the model: lower case, becomes a C identifier.
        task: what the outputs are.
        inputs: the U input channels.
        outputs: the Y output channels; a classifier's labels.
        period_s: seconds between frames, if they come at a rate.
        golden_inputs: at least one; every export is checked on them.
        reduction: one entry a cut.
        provenance: where the model comes from.

    Raises:
        InputError: a module has no op (it is named), or a golden input does not fit.
        SsmithError: the evaluations of the model differ by more than float32 can explain.
    """
    module = copy.deepcopy(module).cpu().eval()
    if not golden_inputs:
        raise InputError("no golden inputs; give at least one sequence, it is what exports are checked on")
    facts = {
        "name": name,
        "task": task,
        "inputs": tuple(inputs),
        "outputs": tuple(outputs),
        "period_s": period_s,
        "reduction": tuple(dict(entry) for entry in reduction),
        "provenance": dict(provenance or {}),
    }
    bare = unrecorded(module, facts)
    tensors = dict(bare.tensors)
    folded = thaw(bare).eval() if isinstance(module, Network) else None
    cases = [_record(module, folded, given, len(inputs)) for given in golden_inputs]
    for meta, vectors in cases:
        tensors |= {f"golden.{meta.name}.{part}": array for part, array in vectors.items()}
    recorded = bare.meta.model_copy(update={"golden": tuple(meta for meta, _ in cases)})
    return Bundle(recorded, tensors)


def unrecorded(module: nn.Module, facts: Mapping[str, Any]) -> Bundle:
    """The frozen model without golden vectors; the model itself is not touched.

    Args:
        module: as for `freeze`, on the CPU.
        facts: fields of ``BundleMeta`` but the ops.
    """
    draft = Draft()
    convert(module, "", draft)
    draft = fold(draft)
    with np.errstate(over="ignore"):  # an overflow is infinite, which the bundle refuses by name
        tensors = {key: array.astype(np.float32) for key, array in draft.tensors.items()}
    return Bundle(BundleMeta(**facts, ops=tuple(draft.ops)), tensors)


@torch.no_grad()
def _record(
    module: nn.Module, folded: nn.Module | None, given: GoldenInput, width: int
) -> tuple[GoldenMeta, dict[str, Float32]]:
    """One golden case: its tolerance covers how far evaluations of this model differ by rounding."""
    frames = _frames(given, width)
    whole, streamed = _whole(module, frames), _streamed(module, frames)
    others = [streamed] if folded is None else [streamed, _whole(folded, frames)]
    scale = max(float(whole.abs().max()), 1e-6)
    spread = max(float((other - whole).abs().max()) for other in others) / scale
    meta = GoldenMeta(name=given.name, relative_tolerance=recorded_tolerance(given.name, spread))
    return meta, {"input": frames.numpy(), "output": whole.numpy(), "streamed": streamed.numpy()}


def _frames(given: GoldenInput, width: int) -> Tensor:
    frames = np.asarray(given.frames)
    length = len(frames) if given.length is None else given.length
    if frames.ndim != 2 or frames.shape[1] != width or not 1 <= length <= len(frames):
        raise InputError(
            f"golden input {given.name!r} has shape {frames.shape} and length {length}; the model has "
            f"{width} inputs, so give frames (T, {width}) with 1 <= length <= T"
        )
    return torch.tensor(frames[:length], dtype=torch.float32)


def _whole(module: nn.Module, frames: Tensor) -> Tensor:
    """Frames (T, U) → outputs (T, Y), all at once; a model without memory sees them as a batch."""
    remembers = any(hasattr(m, "step") for m in module.modules())
    try:
        result: Tensor = module(frames[None])[0] if remembers else module(frames)
    except (RuntimeError, ValueError) as error:
        raise InputError(
            f"the model does not run on (1, T, U) = {(1, *frames.shape)}: {error}. Freeze it with as many "
            "inputs as it was built for"
        ) from error
    return result


def _streamed(module: nn.Module, frames: Tensor) -> Tensor:
    """Frames (T, U) → outputs (T, Y), one after the other."""
    states: dict[str, Any] = {}
    return torch.cat([_step(module, frame[None], states, "") for frame in frames])


def _step(module: nn.Module, v: Tensor, states: dict[str, Any], path: str) -> Tensor:
    """One frame through ``module``: sequences pass on, modules with ``step`` keep their state by path."""
    if isinstance(module, nn.Sequential):
        for name, child in module._modules.items():
            if child is not None:
                v = _step(child, v, states, f"{path}.{name}")
        return v
    step: Any = getattr(module, "step", None)
    if step is None:
        result: Tensor = module(v)
        return result
    v, states[path] = step(v, states.get(path))
    return v
