"""A network that computes with the numbers of int8 while it learns: ``rounded_network``.

The modules are those of ``ssmith.train.model`` under the same names, so that weights go from one to the
other; each product has a ``FakeProduct`` beside it. What is rounded as the integer code rounds it: inputs
(16 bits), weights, the codes of whatever meets weights, λ (16 or 32 bits), tables of an embedding. D and
biases keep 30 bits in integers, sums and states 32, more than float32 tells apart.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ssmith.quant import WEIGHT_LIMIT
from ssmith.runtime.integer_model import CODE_LIMIT
from ssmith.runtime.integer_ssm import quantize_poles
from ssmith.runtime.integer_weights import TrainedScales
from ssmith.train.exact import exact_products
from ssmith.train.fake_quant import FakeProduct, straight_through
from ssmith.train.model import Block, Embedding, Network
from ssmith.train.norm import Affine
from ssmith.train.scan_states import driven_states
from ssmith.train.ssm_layer import SSMLayer


class RoundedLinear(nn.Linear):
    """ŷ = Ŵ û + b; weight and bias are the linear layer's own."""

    def __init__(self, layer: nn.Linear, product: FakeProduct) -> None:
        nn.Module.__init__(self)  # nn.Linear's would draw new weights
        self.in_features, self.out_features = layer.in_features, layer.out_features
        self.weight, self.product = layer.weight, product
        self.register_parameter("bias", layer.bias)

    def forward(self, u: Tensor) -> Tensor:
        """Frames u (…, K) → (…, M)."""
        weight, limit = self.product.rounded(self.weight)
        bias = _sum(self.bias, self.product.mean)
        return nn.functional.linear(self.product.codes(u, limit), weight, bias)


class RoundedEmbedding(Embedding):
    """Rows of a table in int8, one scale a channel, as large as its largest entry asks for."""

    def forward(self, index: Tensor) -> Tensor:
        """Indices (…, 1) → (…, H)."""
        rows = index[..., 0].round().clamp(0, len(self.weight) - 1).long()
        return nn.functional.embedding(rows, straight_through(self.weight, rounded_table(self.weight)))


@torch.no_grad()
def rounded_table(table: Tensor) -> Tensor:
    """An embedding's table (V, H) as int8 keeps it."""
    scale = table.abs().amax(0).clamp(min=torch.finfo(torch.float32).tiny) / WEIGHT_LIMIT
    return (table / scale).round() * scale


class RoundedSSM(SSMLayer):
    """x_k = λ̂ x_{k-1} + B̂ û_k, y_k = Ĉ x̂_k + D ∘ û_k.

    Args:
        layer: whose parameters are taken over, the objects themselves.
        into: of B; ``out``: of C.
        norm: what opens the block: the shift of an ``Affine`` there is not rounded, see ``FakeProduct``.
    """

    def __init__(self, layer: SSMLayer, into: FakeProduct, out: FakeProduct, norm: nn.Module) -> None:
        super().__init__()
        for name, parameter in layer.named_parameters():
            self.register_parameter(name, parameter)
        for name, buffer in layer.named_buffers():
            self.register_buffer(name, buffer)
        self.into, self.out = into, out
        self._layer = [layer]  # in a list: not a module of this one, whose tensors it shares
        self._norm = [norm] if isinstance(norm, Affine) else []
        self.SSM_PARAMETERS = layer.SSM_PARAMETERS  # type: ignore[misc]

    @property
    def order(self) -> int:
        """Complex modes N."""
        return self._layer[0].order

    @property
    def channels(self) -> tuple[int, ...] | None:
        """See ``SSMLayer.channels``."""
        return self._layer[0].channels

    def input_matrix(self) -> Tensor:
        """B, not rounded."""
        return self._layer[0].input_matrix()

    def output_matrix(self) -> Tensor:
        """C, not rounded."""
        return self._layer[0].output_matrix()

    def poles(self) -> Tensor:
        """λ̂, rows [Re; Im], shape (2, N), float32: 16 bits where that is enough, else 32."""
        exact = self._layer[0].poles()
        codes, _ = quantize_poles("ssm", exact.detach().cpu().numpy())
        rounded = torch.from_numpy(codes).double() * 2.0**-31
        return straight_through(exact, rounded.to(exact))

    def process(self, u: Tensor, x: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """See ``SSMLayer.process``."""
        u = u.to(self.D.dtype)
        with exact_products(u.device):
            weight, limit = self.into.rounded(self.input_matrix())
            u = self.into.codes(u, limit, self._norm[0].shift if self._norm else None)
            states = driven_states(
                nn.functional.linear(u, weight, self.into.mean), self.poles().to(u.dtype), x
            )
            weight, limit = self.out.rounded(self.output_matrix())
            y = nn.functional.linear(self.out.codes(states, limit), weight, self.out.mean)
        return y + self.D * u, states[:, -1]

    def step(self, u: Tensor, x: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """See ``SSMLayer.step``."""
        y, x = self.process(u[:, None], x)
        return y[:, 0], x


class RoundedBlock(Block):
    """A ``Block`` whose linear layer meets codes."""

    def _mixed(self, y: Tensor) -> Tensor:
        value, gate = self.mix(self.dropout(nn.functional.gelu(y))).chunk(2, -1)
        out: Tensor = self.dropout(value * torch.sigmoid(gate))
        return out


class RoundedNetwork(Network):
    """A ``Network`` of rounded modules; inputs are codes of 16 bits, unless an embedding counts them.

    Args:
        network: its parts, rounded.
        input_scale: real value of one input code, (U).
    """

    input_scale: Tensor

    def __init__(self, *parts: Any, input_scale: Tensor) -> None:
        super().__init__(*parts)
        self.register_buffer("input_scale", input_scale)

    def forward(self, x: Tensor, lengths: Tensor | None = None, *, last: bool = False) -> Tensor:
        """See ``Network.forward``."""
        return super().forward(self._encoded(x), lengths, last=last)

    def process(
        self, x: Tensor, state: Mapping[str, Tensor] | None = None, lengths: Tensor | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """See ``Network.process``."""
        return super().process(self._encoded(x), state, lengths)

    def step(self, u: Tensor, state: Mapping[str, Tensor] | None = None) -> tuple[Tensor, dict[str, Tensor]]:
        """See ``Network.step``."""
        return super().step(self._encoded(u), state)

    def products(self) -> dict[str, FakeProduct]:
        """The rounding of each product by its key in the bundle that ``freeze`` makes of such a network."""
        found: dict[str, nn.Module] = {"encoder": self.encoder, "head": self.head}
        for i, block in enumerate(self.blocks):
            assert isinstance(block, Block)
            found[f"block{i}.mix"] = block.mix
        products = {key: m.product for key, m in found.items() if isinstance(m, RoundedLinear)}
        for i, layer in enumerate(self.layers):
            assert isinstance(layer, RoundedSSM)
            products |= {f"block{i}.ssm.B": layer.into, f"block{i}.ssm.C": layer.out}
        return products

    def _encoded(self, x: Tensor) -> Tensor:
        if isinstance(self.encoder, Embedding):
            return x
        scale = self.input_scale.to(x.dtype)
        return (x * (1 / scale)).round().clamp(-CODE_LIMIT, CODE_LIMIT) * scale


def product_keys(network: Network) -> list[str]:
    """The keys of a network's products in the bundle that ``freeze`` makes of it, in the order of its ops."""
    blocks = [f"block{i}.{part}" for i in range(len(network.blocks)) for part in ("ssm.B", "ssm.C", "mix")]
    return [*([] if isinstance(network.encoder, Embedding) else ["encoder"]), *blocks, "head"]


def _sum(a: Tensor | None, b: Tensor | None) -> Tensor | None:
    return a if b is None else b if a is None else a + b


def rounded_network(
    network: Network,
    scales: Mapping[str, TrainedScales],
    input_scale: Tensor,
    details: Mapping[str, tuple[Tensor, Tensor]] | None = None,
) -> RoundedNetwork:
    """The network with rounding in it; its parameters are the network's own.

    Args:
        network: thawed: inputs and outputs in their own units, no BatchNorm.
        scales: by key, see ``product_keys``.
        input_scale: real value of one input code, (U) float32.
        details: mean and steps taken of each product, see ``FakeProduct``; none if None.
    """

    def fake(key: str) -> FakeProduct:
        return FakeProduct(scales[key], *(() if details is None else details[key]))

    def linear(layer: nn.Linear, key: str) -> RoundedLinear:
        return RoundedLinear(layer, fake(key))

    encoder: nn.Linear | Embedding
    if isinstance(network.encoder, Embedding):
        encoder = RoundedEmbedding(*network.encoder.weight.shape)
        encoder.weight = network.encoder.weight
    else:
        encoder = linear(network.encoder, "encoder")
    blocks = []
    for i, block in enumerate(network.blocks):
        assert isinstance(block, Block)
        into, out = (fake(f"block{i}.ssm.{side}") for side in "BC")
        ssm = RoundedSSM(block.ssm, into, out, block.norm)
        mix = linear(block.mix, f"block{i}.mix")
        blocks.append(RoundedBlock(block.norm, ssm, mix, block.dropout.p))
    head = linear(network.head, "head")
    return RoundedNetwork(encoder, blocks, network.pool, head, input_scale=input_scale)
