"""Checkpoints: all of a run that the next process needs, one safetensors file, no pickle.

``model/NAME`` are the network's tensors, ``optimizer/PARAMETER/KEY`` the optimiser's entries,
``carried/NAME`` the states that chunks of recordings go on from; everything else is one JSON document under
the metadata key ``ssmith``. Equal content gives equal bytes, and a file is whole or absent.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn
from torch.optim import Optimizer

from ssmith.errors import InputError
from ssmith.files import write_atomic

VERSION = 1


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """A network at some step.

    Attributes:
        step: finished training steps.
        orders: complex modes of each layer; what gives the tensors their shapes.
        digest: of the settings and data behind it.
        model: the network's state_dict.
        optimizer: parameter name → what the optimiser keeps for it; empty in a best checkpoint.
        facts: the rest of the run as plain JSON values.
        carried: states after the last step, where training carries them over (``tbptt``).
    """

    step: int
    orders: tuple[int, ...]
    digest: str
    model: dict[str, Tensor]
    optimizer: dict[str, dict[str, Tensor]] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    carried: dict[str, Tensor] = field(default_factory=dict)

    def write(self, path: Path) -> None:
        """Write atomically.

        Raises:
            InputError: the folder cannot be written; an earlier file is untouched.
        """
        tensors = {f"model/{name}": tensor for name, tensor in self.model.items()}
        for parameter, entries in self.optimizer.items():
            tensors |= {f"optimizer/{parameter}/{key}": tensor for key, tensor in entries.items()}
        tensors |= {f"carried/{name}": tensor for name, tensor in self.carried.items()}
        document = {
            "version": VERSION,
            "step": self.step,
            "orders": list(self.orders),
            "digest": self.digest,
            "facts": self.facts,
        }
        plain = {name: tensor.detach().cpu().contiguous() for name, tensor in sorted(tensors.items())}
        write_atomic(path, save(plain, metadata={"ssmith": json.dumps(document, sort_keys=True)}))

    @classmethod
    def read(cls, path: Path) -> Checkpoint:
        """Read what `write` wrote.

        Raises:
            InputError: no such file, or it is no checkpoint of this version.
        """
        try:
            with safe_open(path, framework="pt") as file:
                document = json.loads((file.metadata() or {})["ssmith"])
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            if document["version"] != VERSION:
                raise ValueError(f"version {document['version']}, this program reads {VERSION}")
            model, optimizer, carried = _sorted_out(tensors)
            return cls(
                int(document["step"]),
                tuple(document["orders"]),
                document["digest"],
                model,
                optimizer,
                document["facts"],
                carried,
            )
        except (OSError, SafetensorError, ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"{path} is no checkpoint that can be continued ({error}); remove it to train anew, or "
                "restore it from a copy"
            ) from error


def optimizer_entries(network: nn.Module, optimizer: Optimizer) -> dict[str, dict[str, Tensor]]:
    """Parameter name → what the optimiser keeps for it; empty before its first step."""
    named = network.named_parameters()
    return {name: dict(optimizer.state[p]) for name, p in named if p in optimizer.state}


def restore_optimizer(
    network: nn.Module, optimizer: Optimizer, entries: dict[str, dict[str, Tensor]]
) -> None:
    """Give every parameter its entries back, on its device; a fused optimiser counts steps there too."""
    fused = {p: bool(group.get("fused")) for group in optimizer.param_groups for p in group["params"]}
    for name, parameter in network.named_parameters():
        if name in entries:
            optimizer.state[parameter] = {
                key: value.to(parameter.device) if value.ndim or fused[parameter] else value
                for key, value in entries[name].items()
            }


def cloned(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Copies on the CPU that later steps do not change."""
    return {name: torch.clone(tensor.detach()).cpu() for name, tensor in tensors.items()}


def _sorted_out(
    tensors: dict[str, Tensor],
) -> tuple[dict[str, Tensor], dict[str, dict[str, Tensor]], dict[str, Tensor]]:
    model: dict[str, Tensor] = {}
    carried: dict[str, Tensor] = {}
    optimizer: dict[str, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        kind, _, rest = name.partition("/")
        if kind == "model":
            model[rest] = tensor
        elif kind == "carried":
            carried[rest] = tensor
        elif kind == "optimizer":
            parameter, _, key = rest.rpartition("/")
            optimizer.setdefault(parameter, {})[key] = tensor
        else:
            raise ValueError(f"unknown tensor {name!r}")
    return model, optimizer, carried
