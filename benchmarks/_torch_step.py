"""A bundle's step as one would write it in PyTorch: the network that torch runs and torch exports.

Real arithmetic, as torch.onnx.export has no complex numbers. Nothing here is shaped for a runtime.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from ssmith.bundle import Bundle
from ssmith.ops import SSM, Add, Affine, Gate, Gelu, Linear, Save


class Step(nn.Module):
    """One frame: (input (1, U), states (1, 2N) …) → (output (1, Y), new states …)."""

    def __init__(self, bundle: Bundle) -> None:
        super().__init__()
        self.ops = bundle.meta.ops
        self.weights = nn.ParameterDict()
        for name, tensor in bundle.tensors.items():
            if not name.startswith(("golden.", "calibration.")):
                self.weights[_key(name)] = nn.Parameter(torch.from_numpy(tensor.copy()), requires_grad=False)

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
                v = functional.glu(v, 1)
            elif isinstance(op, Save):
                slots[op.slot] = v
            elif isinstance(op, Add):
                v = v + slots[op.slot]
            else:
                raise NotImplementedError(op.op)
        return (v, *new)

    def _get(self, name: str) -> Tensor:
        return self.weights[_key(name)]

    def _next(self, op: SSM, x: Tensor, v: Tensor) -> Tensor:
        re, im = self._get(op.lam)
        x_re, x_im = x.chunk(2, 1)
        turned = torch.cat([re * x_re - im * x_im, im * x_re + re * x_im], 1)
        return turned + functional.linear(v, self._get(op.B))


def _key(name: str) -> str:
    return name.replace(".", "_")
