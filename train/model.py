"""The network: encoder → blocks of (norm → SSM → GELU → GLU → residual) → pooling → head."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ssmith.errors import InputError
from ssmith.recipe import ModelSettings, TrainSettings
from ssmith.train.layers import LRU
from ssmith.train.norm import Affine, BatchNorm, LayerNorm, NoNorm
from ssmith.train.pool import Pool
from ssmith.train.s4d import S4D
from ssmith.train.s5 import S5
from ssmith.train.ssm_layer import SSMLayer

Norm = Affine | BatchNorm | LayerNorm | NoNorm
Pooling = Literal["mean", "ema", "last", "none"]
State = Mapping[str, Tensor]


class Embedding(nn.Module):
    """Row ``round(i)`` of a table, i clamped to it; i comes as a float, the one input of a frame."""

    def __init__(self, vocabulary: int, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(vocabulary, width))

    def forward(self, index: Tensor) -> Tensor:
        """Indices (…, 1) → (…, H)."""
        rows = index[..., 0].round().clamp(0, len(self.weight) - 1).long()
        return nn.functional.embedding(rows, self.weight)


class Block(nn.Module):
    """v + dropout(GLU(dropout(gelu(SSM(norm(v)))))), the GLU being a linear H → 2H and a gate."""

    def __init__(self, norm: Norm, ssm: SSMLayer, mix: nn.Linear, dropout: float = 0.0) -> None:
        super().__init__()
        self.norm, self.ssm, self.mix, self.dropout = norm, ssm, mix, nn.Dropout(dropout)

    def forward(self, v: Tensor, mask: Tensor | None = None) -> Tensor:
        """Frames v (batch, T, H), mask (batch, T) True where valid, or None → (batch, T, H)."""
        return v + self._mixed(self.ssm(self.norm(v, mask)))

    def process(
        self, v: Tensor, x: Tensor | None = None, mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """A piece of a sequence: v (batch, T, H), x (batch, 2N) or None → (batch, T, H), next x."""
        y, x = self.ssm.process(self.norm(v, mask), x)
        return v + self._mixed(y), x

    def step(self, v: Tensor, x: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """One frame: v (batch, H), x (batch, 2N) or None if fresh → (batch, H), next x; no dropout."""
        y, x = self.ssm.step(self.norm(v), x)
        return v + self._mixed(y), x

    def _mixed(self, y: Tensor) -> Tensor:
        y = self.dropout(nn.functional.gelu(y))
        # Two contiguous halves: torch's glu reads strided memory, 40 % slower forward and backward.
        rows = zip(self.mix.weight.chunk(2), self.mix.bias.chunk(2), strict=True)
        value, gate = (nn.functional.linear(y, weight, bias) for weight, bias in rows)
        out: Tensor = self.dropout(value * torch.sigmoid(gate))
        return out


class Network(nn.Module):
    """A causal sequence model, (batch, T, U) → (batch, T, Y), that also runs frame by frame.

    Inputs and outputs are in their own units: ``input_mean``, ``input_std`` (U,) and ``output_mean``,
    ``output_std`` (Y,) are buffers, applied inside and folded away when the network is frozen.

    Args:
        encoder: U → H.
        blocks: one or more, H → H.
        pool: applied before the head, or None.
        head: H → Y.
    """

    input_mean: Tensor
    input_std: Tensor
    output_mean: Tensor
    output_std: Tensor

    def __init__(
        self, encoder: nn.Linear | Embedding, blocks: Sequence[Block], pool: Pool | None, head: nn.Linear
    ) -> None:
        super().__init__()
        self.encoder, self.pool, self.head = encoder, pool, head
        self.blocks = nn.ModuleList(blocks)
        inputs = encoder.in_features if isinstance(encoder, nn.Linear) else 1
        for side, size in (("input", inputs), ("output", head.out_features)):
            self.register_buffer(f"{side}_mean", torch.zeros(size))
            self.register_buffer(f"{side}_std", torch.ones(size))

    @property
    def inputs(self) -> int:
        """U."""
        return self.input_mean.numel()

    @property
    def outputs(self) -> int:
        """Y."""
        return self.output_mean.numel()

    @property
    def layers(self) -> list[SSMLayer]:
        """The SSM of each block."""
        return [block.ssm for block in self.blocks if isinstance(block, Block)]

    @property
    def orders(self) -> tuple[int, ...]:
        """N of each block."""
        return tuple(layer.order for layer in self.layers)

    def set_normalisation(
        self,
        *,
        input_mean: Any = None,
        input_std: Any = None,
        output_mean: Any = None,
        output_std: Any = None,
    ) -> None:
        """Fill the buffers of that name; what is None stays.

        Raises:
            InputError: a wrong size, a value that is not finite, a standard deviation of zero or less, or
                an input normalisation in front of an embedding.
        """
        given = {
            "input_mean": input_mean,
            "input_std": input_std,
            "output_mean": output_mean,
            "output_std": output_std,
        }
        for name, value in given.items():
            if value is not None:
                _fill(name, getattr(self, name), value, isinstance(self.encoder, Embedding))

    def forward(self, x: Tensor, lengths: Tensor | None = None, *, last: bool = False) -> Tensor:
        """Whole sequences: x (batch, T, U) → y (batch, T, Y).

        Args:
            x: frames; what stands behind a sequence's length changes nothing before it.
            lengths: valid frames of each sequence, (batch,) int64; all of them if None.
            last: only the output at each sequence's last valid frame, (batch, 1, Y): what a classifier's
                loss looks at, without pooling and head at every other frame.
        """
        mask = None if lengths is None else valid_steps(lengths, x.shape[1])
        v = self.encoder((x - self.input_mean) / self.input_std)
        for block in self.blocks:
            v = block(v, mask)
        if self.pool is not None:
            v = self.pool.last(v, lengths) if last else self.pool(v)
        elif last:
            ends = -1 if lengths is None else lengths - 1
            v = v[torch.arange(len(v), device=v.device), ends][:, None]
        y: Tensor = self.head(v) * self.output_std + self.output_mean
        return y

    def process(
        self, x: Tensor, state: State | None = None, lengths: Tensor | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """A piece of sequences: pieces one after the other give what ``forward`` gives, to rounding.

        Args:
            x: frames, (batch, T, U).
            state: before the first frame, as of ``initial_state``; zero if None.
            lengths: valid frames of each piece, (batch,); where fewer than T, its next state means nothing.

        Returns:
            y (batch, T, Y) and the next state, with gradients to the state before.
        """
        mask = None if lengths is None else valid_steps(lengths, x.shape[1])
        before: State = {} if state is None else state
        after: dict[str, Tensor] = {}
        v = self.encoder((x - self.input_mean) / self.input_std)
        for i, block in enumerate(self.blocks):
            assert isinstance(block, Block)
            v, after[f"state_{i}"] = block.process(v, before.get(f"state_{i}"), mask)
        if self.pool is not None:
            pooled = None if state is None else (state["pool_sum"], state["pool_count"])
            v, (after["pool_sum"], after["pool_count"]) = self.pool.process(v, pooled)
        return self.head(v) * self.output_std + self.output_mean, after

    def initial_state(self, batch: int) -> dict[str, Tensor]:
        """Zeros: ``state_i`` (batch, 2N); with pooling ``pool_sum`` (batch, H), ``pool_count`` (batch, 1)."""
        state = {f"state_{i}": layer.initial_state(batch) for i, layer in enumerate(self.layers)}
        if self.pool is not None:
            zeros = self.head.weight.new_zeros(batch, self.head.in_features)
            state |= {"pool_sum": zeros, "pool_count": zeros.new_zeros(batch, 1)}
        return state

    def step(self, u: Tensor, state: State | None = None) -> tuple[Tensor, dict[str, Tensor]]:
        """One frame: u (batch, U), state or None if fresh → y (batch, Y), next state; in evaluation mode."""
        state = self.initial_state(len(u)) if state is None else state
        after: dict[str, Tensor] = {}
        v = self.encoder((u - self.input_mean) / self.input_std)
        for i, block in enumerate(self.blocks):
            assert isinstance(block, Block)
            v, after[f"state_{i}"] = block.step(v, state[f"state_{i}"])
        if self.pool is not None:
            pooled = (state["pool_sum"], state["pool_count"])
            v, (after["pool_sum"], after["pool_count"]) = self.pool.step(v, pooled)
        return self.head(v) * self.output_std + self.output_mean, after


def valid_steps(lengths: Tensor, steps: int) -> Tensor:
    """True where a frame belongs to its sequence: lengths (batch,) → (batch, T)."""
    return torch.arange(steps, device=lengths.device) < lengths[:, None]


def build_network(
    model: ModelSettings,
    inputs: int,
    outputs: int,
    *,
    pooling: Pooling,
    seed: int,
    orders: Sequence[int] | None = None,
) -> Network:
    """A fresh network; equal arguments give equal weights, torch's global generator is not touched.

    Args:
        model: the recipe's model section.
        inputs: U; one for an embedding.
        outputs: Y; for a classifier the number of classes.
        pooling: ``Recipe.pooling``. "last" and "none" build the same network; only the loss differs.
        seed: of all initial weights.
        orders: N of each block where they differ from ``model.order``, as after a cut.

    Raises:
        InputError: inputs or outputs below one, an embedding with several inputs, or not one order a block.
    """
    if inputs < 1 or outputs < 1:
        raise InputError(f"{inputs} inputs and {outputs} outputs; a network needs at least one of each")
    orders = list(model.orders if orders is None else orders)
    if len(orders) != model.blocks:
        raise InputError(f"{len(orders)} orders for {model.blocks} blocks; give one order a block")
    generator = torch.Generator().manual_seed(seed)
    width = model.width
    encoder: nn.Linear | Embedding
    if model.vocabulary is None:
        encoder = _linear(inputs, width, generator)
    elif inputs == 1:
        encoder = Embedding(model.vocabulary, width)
        with torch.no_grad():
            encoder.weight.normal_(generator=generator)
    else:
        raise InputError(f"an embedding reads one index per frame, got {inputs} inputs; name one input")
    blocks = []
    for order in orders:
        ssm = build_layer(model, order, generator)
        mix = _linear(width, 2 * width, generator)
        blocks.append(Block(_norm(model.norm, width), ssm, mix, model.dropout))
    pool = {"mean": Pool(1.0), "ema": Pool(1 - 1 / model.ema_steps)}.get(pooling)
    return Network(encoder, blocks, pool, _linear(width, outputs, generator))


def build_layer(model: ModelSettings, order: int, generator: torch.Generator | None = None) -> SSMLayer:
    """The SSM layer of a recipe, with so many modes and fresh values."""
    if model.layer == "lru":
        radii = {"r_min": model.minimum_radius, "r_max": model.maximum_radius}
        return LRU(model.width, order, **radii, max_phase=model.maximum_phase, generator=generator)
    kind = S4D if model.layer == "s4d" else S5
    return kind(
        model.width,
        order,
        discretization=model.discretization,
        minimum_dt=model.minimum_dt,
        maximum_dt=model.maximum_dt,
        generator=generator,
    )


def parameter_groups(module: nn.Module, settings: TrainSettings) -> list[dict[str, Any]]:
    """AdamW groups of any module that holds SSM layers: ``ssm``, ``matrices``, ``vectors``.

    The dynamics (``SSM_PARAMETERS``) learn at ``ssm_learning_rate_factor`` times the rate and never
    decay; biases, norms and D do not decay either; matrices do. Empty groups are left out.
    """
    dynamics = {
        id(getattr(m, name)) for m in module.modules() if isinstance(m, SSMLayer) for name in m.SSM_PARAMETERS
    }
    groups: dict[str, list[nn.Parameter]] = {"ssm": [], "matrices": [], "vectors": []}
    for parameter in module.parameters():
        if parameter.requires_grad:
            kind = "ssm" if id(parameter) in dynamics else "matrices" if parameter.ndim > 1 else "vectors"
            groups[kind].append(parameter)
    rate, decay = settings.learning_rate, settings.weight_decay
    rates = {"ssm": rate * settings.ssm_learning_rate_factor, "matrices": rate, "vectors": rate}
    decays = {"ssm": 0.0, "matrices": decay, "vectors": 0.0}
    return [
        {"name": kind, "params": found, "lr": rates[kind], "weight_decay": decays[kind]}
        for kind, found in groups.items()
        if found
    ]


def count_parameters(module: nn.Module) -> int:
    """Numbers that training may change."""
    return sum(p.numel() for p in module.parameters() if p.requires_grad)


def _linear(inputs: int, outputs: int, generator: torch.Generator) -> nn.Linear:
    """Weights normal with variance 1 / inputs, bias zero."""
    layer: nn.Linear = nn.utils.skip_init(nn.Linear, inputs, outputs)  # type: ignore[no-untyped-call]
    with torch.no_grad():
        layer.weight.normal_(std=1 / math.sqrt(inputs), generator=generator)
        layer.bias.zero_()
    return layer


def _norm(kind: Literal["layer", "batch", "none"], width: int) -> Norm:
    if kind == "layer":
        return LayerNorm(width)
    return BatchNorm(width) if kind == "batch" else NoNorm()


def _fill(name: str, buffer: Tensor, value: Any, embedded: bool) -> None:
    new = torch.as_tensor(value, dtype=torch.float64).flatten()
    if new.shape != buffer.shape:
        raise InputError(f"{name} has {new.numel()} values; the network needs {buffer.numel()}")
    if not torch.isfinite(new).all() or (name.endswith("std") and not (new > 0).all()):
        raise InputError(
            f"{name} = {new.tolist()}; a mean must be finite and a standard deviation above zero, else the "
            "network divides by it. Use 1 for a channel that never changes"
        )
    if embedded and name.startswith("input"):
        raise InputError(f"{name} is set, but an embedding reads an index; leave indices as they are")
    buffer.copy_(new)
