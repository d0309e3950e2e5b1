"""A bundle as an ExecuTorch step program, made so that XNNPACK takes all of it in one piece."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from pathlib import Path

import torch
from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
from executorch.exir import ExecutorchBackendConfig, to_edge_transform_and_lower
from executorch.exir.passes import MemoryPlanningPass
from torch import Tensor, nn
from torch.nn import functional

from ssmith.bundle import Bundle
from ssmith.ops import SSM, Add, Affine, Gate, Gelu, Linear, Save


class Step(nn.Module):
    """One frame: (input (1, U), states (1, 2N) …) → (output (1, Y), new states …), all real.

    λ is kept as two vectors and halves are taken by slices: an index or a split would stay outside
    XNNPACK and cut the program into five.
    """

    def __init__(self, bundle: Bundle) -> None:
        super().__init__()
        self.ops = bundle.meta.ops
        self.weights = nn.ParameterDict()
        for name, tensor in bundle.tensors.items():
            if not name.startswith("golden."):
                parts = {"": tensor} if not name.endswith(".lam") else {"_re": tensor[0], "_im": tensor[1]}
                for part, values in parts.items():
                    self.weights[_key(name) + part] = nn.Parameter(torch.from_numpy(values.copy()))

    def forward(self, frame: Tensor, *states: Tensor) -> tuple[Tensor, ...]:
        """One step, op by op."""
        v, slots, new = frame, dict[int, Tensor](), list[Tensor]()
        for op in self.ops:
            if isinstance(op, Linear):
                v = functional.linear(v, self._get(op.weight), self._get(op.bias) if op.bias else None)
            elif isinstance(op, Affine):
                v = self._get(op.scale) * v + self._get(op.shift)
            elif isinstance(op, SSM):
                new.append(self._next(op, states[len(new)], v))
                y = functional.linear(new[-1], self._get(op.C))
                v = y if op.D is None else y + self._get(op.D) * v
            elif isinstance(op, Gelu):
                v = functional.gelu(v)
            elif isinstance(op, Gate):
                half = v.shape[1] // 2
                v = v[:, :half] * torch.sigmoid(v[:, half:])
            elif isinstance(op, Save):
                slots[op.slot] = v
            elif isinstance(op, Add):
                v = v + slots[op.slot]
            else:
                raise NotImplementedError(op.op)
        return (v, *new)

    def _get(self, name: str, part: str = "") -> Tensor:
        return self.weights[_key(name) + part]

    def _next(self, op: SSM, x: Tensor, v: Tensor) -> Tensor:
        re, im, n = self._get(op.lam, "_re"), self._get(op.lam, "_im"), x.shape[1] // 2
        rotated = torch.cat([re * x[:, :n] - im * x[:, n:], im * x[:, :n] + re * x[:, n:]], 1)
        return rotated + functional.linear(v, self._get(op.B))


def lower(bundle: Bundle, path: Path) -> list[int]:
    """Write the program for XNNPACK; inputs and outputs stay outside its memory plan.

    Returns:
        The length of each state, in the order of the inputs.
    """
    widths = [shape[0] for shape in bundle.states.values()]
    example = tuple(torch.zeros(1, n) for n in (len(bundle.meta.inputs), *widths))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.getLogger("executorch").setLevel(logging.ERROR)
        exported = torch.export.export(Step(bundle).eval(), example, strict=False)
        edge = to_edge_transform_and_lower(exported, partitioner=[XnnpackPartitioner()])
        plan = MemoryPlanningPass(alloc_graph_input=False, alloc_graph_output=False)
        program = edge.to_executorch(ExecutorchBackendConfig(memory_planning_pass=plan))
    calls = [node for node in edge.exported_program().graph.nodes if node.op == "call_function"]
    delegates = sum("call_delegate" in str(node.target) for node in calls)
    if delegates != 1:
        raise RuntimeError(f"XNNPACK took the program in {delegates} pieces: {_names(calls)}")
    path.write_bytes(program.buffer)
    return widths


def _names(calls: Sequence[torch.fx.Node]) -> list[str]:
    return sorted({str(node.target) for node in calls})


def _key(name: str) -> str:
    return name.replace(".", "_")
