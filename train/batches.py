"""What statistics and the held-out check need to know about a batch: inputs, lengths, device."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ssmith.errors import InputError
from ssmith.train.model import valid_steps

Outputs = Callable[[nn.Module, Any], Tensor]
Loss = Callable[[nn.Module, Any], Tensor]


class Parts(NamedTuple):
    """A batch taken apart: x (batch, T, U), the targets or None, lengths (batch,) int64 or None."""

    x: Tensor
    y: Tensor | None
    lengths: Tensor | None


def parts(batch: Any) -> Parts:
    """Take a batch apart: a tensor x, a tuple (x, y) or (x, y, lengths), or an object with these names.

    Raises:
        InputError: the batch is none of these.
    """
    if isinstance(batch, Tensor):
        return Parts(batch, None, None)
    if isinstance(batch, tuple | list) and 1 <= len(batch) <= 3 and isinstance(batch[0], Tensor):
        return Parts(*[*batch, None, None][:3])
    if isinstance(getattr(batch, "x", None), Tensor):
        return Parts(batch.x, getattr(batch, "y", None), getattr(batch, "lengths", None))
    raise InputError(
        f"a batch is a {type(batch).__name__}; the statistics need its inputs, so yield x, (x, y) or "
        "(x, y, lengths) with x a tensor (batch, T, U)"
    )


def all_outputs(model: nn.Module, batch: Any) -> Tensor:
    """Every output at every valid step: what the cut shall preserve, unless the caller knows better."""
    x, _, lengths = parts(batch)
    if lengths is None:
        return torch.as_tensor(model(x))
    y = torch.as_tensor(model(x, lengths))
    if y.ndim == 3 and y.shape[1] == x.shape[1]:
        y = y * valid_steps(lengths, x.shape[1])[..., None]
    return y


def take(batches: Iterable[Any], sequences: int | None, model: nn.Module) -> list[Any]:
    """The first batches, moved to the model's device, until they hold enough sequences; all if None."""
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    taken: list[Any] = []
    count = 0
    for batch in batches:
        taken.append(moved(batch, device))
        count += len(parts(batch).x)
        if sequences is not None and count >= sequences:
            break
    if not taken:
        raise InputError("a loader for the cuts is empty; statistics and the held-out check need batches")
    return taken


def some(batches: Iterable[Any], sequences: int) -> list[Any]:
    """The first batches that together hold so many sequences, as they are."""
    found: list[Any] = []
    count = 0
    for batch in batches:
        if count >= sequences:
            break
        found.append(batch)
        count += len(parts(batch).x)
    return found


def relative_change(before: Iterable[Tensor], after: Iterable[Tensor]) -> float:
    """‖after - before‖ / ‖before‖ over all entries: the relative RMS change; nan where before is zero."""
    changed = size = 0.0
    for a, b in zip(before, after, strict=True):
        changed += float((b.double() - a.double()).square().sum())
        size += float(a.double().square().sum())
    return math.sqrt(changed / size) if size > 0 else math.nan


def moved(batch: Any, device: torch.device) -> Any:
    """A batch with its tensors on a device: inside tuples, lists and dataclasses too; the rest as it is."""
    if type(batch) in (tuple, list):
        return type(batch)(moved(part, device) for part in batch)
    if dataclasses.is_dataclass(batch) and not isinstance(batch, type):
        fields = [field.name for field in dataclasses.fields(batch)]
        return dataclasses.replace(batch, **{name: moved(getattr(batch, name), device) for name in fields})
    return batch.to(device) if hasattr(batch, "to") else batch
