"""The ops of a bundle as torch layers that XNNPACK takes whole: (T, in) → (T, out), T frames at once.

Import this module inside functions only: it needs torch. What shapes the formulas here:

- A mean over features is a product with a constant row: XNNPACK averages images only.
- Halves are taken by slices, never by an index or a split; a gate after a linear op takes none at all.
- A constant vector is a row, (1, n), and broadcasts over frames.
"""

from __future__ import annotations

import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from ssmith.ops import Float32
from ssmith.runtime.integer_model import Float64


def constant(values: NDArray, dtype: torch.dtype = torch.float32) -> Tensor:  # type: ignore[type-arg]
    """A tensor with memory of its own; a vector becomes a row, (n) → (1, n)."""
    tensor = torch.tensor(values.tolist(), dtype=dtype)
    return tensor.reshape(1, -1) if tensor.ndim == 1 else tensor


class Product(nn.Module):
    """y = W u (+ bias) in three parts, so that several can share a part.

    ``scale`` and ``shift``, (in), say what codes mean: u ≈ scale ∘ codes(u) + shift; None: they are u.
    """

    scale: Float64 | None = None
    shift: Float64 | None = None

    def codes(self, u: Tensor, *, whole: bool = False) -> Tensor:
        """Codes of u, (T, in); ``whole``: already rounded to whole numbers."""
        return u

    def met(self, codes: Tensor) -> Tensor:
        """What the weights meet: the codes as a kernel takes them."""
        return codes

    def weighted(self, met: Tensor) -> Tensor:
        """The product, (T, out)."""
        raise NotImplementedError

    def forward(self, u: Tensor) -> Tensor:
        """(T, in) → (T, out)."""
        return self.weighted(self.met(self.codes(u)))


class Dense(Product):
    """A product in float32: weight (out, in), bias (out) or None."""

    weight: Tensor
    bias: Tensor | None

    def __init__(self, weight: Float32, bias: Float32 | None) -> None:
        super().__init__()
        self.register_buffer("weight", constant(weight))
        self.register_buffer("bias", None if bias is None else constant(bias)[0].clone())

    def weighted(self, met: Tensor) -> Tensor:
        """W u + bias."""
        return functional.linear(met, self.weight, self.bias)


class Affine(nn.Module):
    """scale ∘ v + shift."""

    scale: Tensor
    shift: Tensor

    def __init__(self, scale: Float32, shift: Float32) -> None:
        super().__init__()
        self.register_buffer("scale", constant(scale))
        self.register_buffer("shift", constant(shift))

    def forward(self, v: Tensor) -> Tensor:
        """(T, H) → (T, H)."""
        return self.scale * v + self.shift


class LayerNorm(nn.Module):
    """scale ∘ (v - mean) / √(var + eps) + shift over the features of a frame."""

    mean: Tensor
    scale: Tensor
    shift: Tensor

    def __init__(self, scale: Float32, shift: Float32, eps: float) -> None:
        super().__init__()
        self.register_buffer("mean", torch.full((1, len(scale)), 1.0 / len(scale)))
        self.register_buffer("scale", constant(scale))
        self.register_buffer("shift", constant(shift))
        self.eps = eps

    def forward(self, v: Tensor) -> Tensor:
        """(T, H) → (T, H)."""
        centred = v - functional.linear(v, self.mean)
        variance = functional.linear(centred * centred, self.mean)
        return centred * torch.rsqrt(variance + self.eps) * self.scale + self.shift


class Gate(nn.Module):
    """v[:H] ∘ sigmoid(v[H:])."""

    def forward(self, v: Tensor) -> Tensor:
        """(T, 2 H) → (T, H)."""
        half = v.shape[1] // 2
        return v[:, :half] * torch.sigmoid(v[:, half:])


class GatedProduct(nn.Module):
    """A product and the gate after it, each half of the rows on its own: nothing is cut apart.

    Both halves have the same codes.
    """

    def __init__(self, value: Product, logit: Product) -> None:
        super().__init__()
        self.value, self.logit = value, logit

    def forward(self, v: Tensor) -> Tensor:
        """(T, in) → (T, H)."""
        met = self.value.met(self.value.codes(v))
        return self.value.weighted(met) * torch.sigmoid(self.logit.weighted(met))


class Embedding(nn.Module):
    """Row round(v) of a table, clamped; the one op that XNNPACK leaves outside."""

    table: Tensor
    lowest: Tensor
    highest: Tensor

    def __init__(self, table: Float32) -> None:
        super().__init__()
        self.register_buffer("table", constant(table))
        # Bounds as tensors: a clamp between numbers XNNPACK would take, as a piece of its own.
        self.register_buffer("lowest", torch.tensor(0.0))
        self.register_buffer("highest", torch.tensor(len(table) - 1.0))

    def forward(self, v: Tensor) -> Tensor:
        """(T, 1) → (T, H)."""
        index = torch.clamp(torch.round(v), self.lowest, self.highest).to(torch.int64)
        return functional.embedding(index.view(-1), self.table)


class Ssm(nn.Module):
    """x ← λ x + B v, y = C x + D ∘ v; x planar, [Re (N) | Im (N)]."""

    straight: Tensor
    crossed: Tensor
    through: Tensor | None

    def __init__(self, lam: Float32, into: Product, out: Product, d: Float32 | None) -> None:
        super().__init__()
        (re, im), self.order = lam.tolist(), lam.shape[1]
        self.register_buffer("straight", torch.tensor([*re, *re]))
        self.register_buffer("crossed", torch.tensor([*(-value for value in im), *im]))
        self.into, self.out = into, out
        through = None if d is None else constant(d if into.scale is None else d * into.scale)
        self.register_buffer("through", through)

    def driven(self, v: Tensor) -> tuple[Tensor, Tensor | None]:
        """B v (T, 2N) and D ∘ v (T, Y), the second as far as it is no constant."""
        codes = self.into.codes(v, whole=self.through is not None)
        drive = self.into.weighted(self.into.met(codes))
        return drive, None if self.through is None else self.through * codes

    def turned(self, x: Tensor) -> Tensor:
        """λ x along the last axis: [re | re] ∘ [x_re | x_im] + [-im | im] ∘ [x_im | x_re]."""
        swapped = torch.cat([x[..., self.order :], x[..., : self.order]], -1)
        return self.straight * x + self.crossed * swapped

    def read(self, x: Tensor, through: Tensor | None) -> Tensor:
        """(T, 2N) → (T, Y)."""
        y: Tensor = self.out(x)
        return y if through is None else y + through


class Pool(nn.Module):
    """s ← decay s + v, w ← decay w + 1, y = s / w."""

    def __init__(self, decay: float) -> None:
        super().__init__()
        self.decay = decay

    def kept(self, total: Tensor) -> Tensor:
        """What of a total remains; all of it for a cumulative mean."""
        return total if self.decay == 1.0 else total * self.decay
