r"""How far to cut: one goal for a model, and the orders that it asks of each layer.

A budget over layers is shared by predicted loss. A layer kept at r of its N modes loses about

.. math:: t(r) = \sum_{i > 2r} σ_i^p

with p = 2 where a Gramian was measured on data and p = 1 elsewhere. Where gradients were measured, σ is in
units of the network's outputs and t predicts their mean squared change; elsewhere it speaks of the layer's
own outputs, and for p = 1 the layer's error is at most 2 t. A real pole takes a mode for one σ, which t does
not know. The tails are compared as they are: dividing each by its layer's sum was measured to be worse.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np

from ssmith.cost import ModelCost
from ssmith.errors import InputError
from ssmith.ops import SSM, Affine
from ssmith.recipe import CostKind, LayerSettings, ReduceSettings
from ssmith.reduce.budget import Split, split_equal, split_marginal
from ssmith.reduce.hankel import tails
from ssmith.system import Real

if TYPE_CHECKING:
    from torch import nn

Rule = Literal["best", "marginal", "equal"]
COST_KINDS: tuple[CostKind, ...] = get_args(CostKind)
NO_SETTINGS = LayerSettings()


@dataclass(frozen=True)
class Goal:
    """How far the layers of one model are to be cut; at most one of the first five is given.

    Attributes:
        order: complex modes to keep, one number for all layers or one a layer.
        tolerance: share of each layer's spectrum that may go.
        bound: a-priori bound of each layer's error, as a share of the layer's largest gain.
        max_loss: relative rise of the held-out loss that the whole reduction may cost.
        max_cost: what the whole model may cost, its fixed part included.
        split: how a budget over layers is shared: by marginal cost, equally, or the better of the two.
        minimum_order: no layer goes below.
        multiple: orders are rounded up to a multiple of this.
        layers: what is different for single layers, by their index.

    Raises:
        InputError: two goals at once, or a value out of its range.
    """

    order: int | tuple[int, ...] | None = None
    tolerance: float | None = None
    bound: float | None = None
    max_loss: float | None = None
    max_cost: tuple[CostKind, float] | None = None
    split: Rule = "best"
    minimum_order: int = 1
    multiple: int = 1
    layers: Mapping[int, LayerSettings] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if len(self.named) > 1:
            raise InputError(
                f"{' and '.join(self.named)} are given; each says how far to cut, so keep one of them"
            )
        orders = self.order if isinstance(self.order, tuple) else (self.order,)
        if any(order is not None and order < 1 for order in orders):
            raise InputError(f"order {self.order}: a layer keeps at least 1 state")
        for name in ("tolerance", "bound"):
            value = getattr(self, name)
            if value is not None and not 0 < value < 1:
                raise InputError(
                    f"{name} {value:g}: a share of a layer's spectrum or gain, so write a number above 0"
                    " and below 1, for instance 0.001"
                )
        if self.max_loss is not None and not 0 <= self.max_loss < np.inf:
            raise InputError(
                f"max_loss {self.max_loss:g}: it is the relative rise of the held-out loss that may be paid,"
                " so write 0 or more, for instance 0.01 for one per cent"
            )
        if self.max_cost is not None and not 0 < self.max_cost[1] < np.inf:
            raise InputError(f"max_{self.max_cost[0]} {self.max_cost[1]:g}: a budget is above 0")

    @property
    def named(self) -> tuple[str, ...]:
        """The goals that are given, in the words of the recipe; empty if the model is not to be cut."""
        plain = [
            name for name in ("order", "tolerance", "bound", "max_loss") if getattr(self, name) is not None
        ]
        return (*plain, *([] if self.max_cost is None else [f"max_{self.max_cost[0]}"]))

    @property
    def words(self) -> str:
        """The goal as the recipe writes it, ``max_bytes 65536``; exactly one is given."""
        [name] = self.named
        value = self.max_cost[1] if self.max_cost is not None else getattr(self, name)
        text = " ".join(map(str, value)) if isinstance(value, tuple) else f"{value:.10g}"
        return f"{name} {text}"

    @classmethod
    def from_settings(cls, settings: ReduceSettings) -> Goal:
        """The goal that a recipe's [reduce] section writes."""
        costs = [(kind, getattr(settings, f"max_{kind}")) for kind in COST_KINDS]
        budgets = [(kind, float(limit)) for kind, limit in costs if limit is not None]
        if len(budgets) > 1:
            names = " and ".join(f"max_{kind}" for kind, _ in budgets)
            raise InputError(f"{names} are given; each says how far to cut, so keep one of them")
        return cls(
            order=settings.order,
            tolerance=settings.tolerance,
            bound=settings.bound,
            max_loss=settings.max_loss,
            max_cost=budgets[0] if budgets else None,
            split=settings.split,
            minimum_order=settings.minimum_order,
            multiple=settings.multiple,
            layers=dict(settings.layers),
        )

    def check_layers(self, count: int) -> None:
        """Refuse what does not fit a model of so many layers.

        Raises:
            InputError: not one order a layer, or settings for a layer that is not there.
        """
        if isinstance(self.order, tuple) and len(self.order) != count:
            raise InputError(f"order lists {len(self.order)} orders for {count} layers; write one each")
        if strangers := sorted(set(self.layers) - set(range(count))):
            raise InputError(
                f"reduce.layers names layer {strangers[0]}, the model has layers 0 to {count - 1}; they count"
                " from the input"
            )

    def refuse_higher(self, present: Sequence[int]) -> None:
        """Refuse an order above the present ones; one number may be above some layers, which then stay.

        Args:
            present: the order of each layer.

        Raises:
            InputError: a layer's own number is above its order, or the one for all is above all of them.
        """
        if self.order is None:
            return
        each = isinstance(self.order, tuple)
        wanted = self.order if isinstance(self.order, tuple) else (self.order,)
        if any(r > n for r, n in zip(wanted, present if each else (max(present),), strict=True)):
            have = " and ".join(map(str, present))
            raise InputError(
                f"order {self.order}: the layers have {have} states, and a reduction goes down; write"
                f" {'an order for each that it has' if each else max(present)} or less"
            )

    def settings(self, index: int) -> LayerSettings:
        """What is different for a layer."""
        return self.layers.get(index, NO_SETTINGS)

    def minimum(self, index: int) -> int:
        """The smallest order of a layer, as stored."""
        own = self.settings(index).minimum_order
        return self.rounded(self.minimum_order if own is None else own)

    def rounded(self, order: int) -> int:
        """An order rounded up to the multiple."""
        return -(-order // self.multiple) * self.multiple

    def fixed_order(self, index: int, present: int) -> int | None:
        """The order of a layer where a setting of that layer or an explicit order decides it, else None.

        Args:
            index: of the layer.
            present: its order now; no cut goes up.
        """
        own = self.settings(index)
        if own.keep:
            return present
        wanted = own.order
        if wanted is None:
            wanted = self.order[index] if isinstance(self.order, tuple) else self.order
        if wanted is None:
            return None
        return min(present, max(self.minimum(index), self.rounded(wanted)))


def mode_tails(singular_values: Real, power: int) -> tuple[float, ...]:
    """Predicted loss t(r) of a layer kept at r = 0 … N modes (see the top of this file).

    Args:
        singular_values: σ in descending order, shape (2N,): a mode holds two of them.
        power: p.
    """
    return tuple(tails(singular_values, power)[::2].tolist())


def split_budget(
    goal: Goal,
    spectra: Sequence[Real],
    cost: ModelCost,
    *,
    power: int,
    limit: float | None = None,
    loss: Callable[[tuple[int, ...]], float] | None = None,
) -> Split:
    """Share a budget over the layers: the orders, and what they are predicted to lose.

    Layers that `Goal.fixed_order` decides keep that order, and the rest shares what they leave.

    Args:
        goal: its ``max_cost``, ``split``, minima and multiple count.
        spectra: σ of each layer, shape (2N,) each.
        cost: what the model costs at which orders.
        power: 2 for criteria that measure, 1 for exact ones.
        limit: the budget, fixed part included; the goal's own if None.
        loss: orders → held-out loss, by which "best" chooses between the rules; None chooses by prediction.

    Raises:
        InputError: the budget is below what stays even at the smallest orders.
    """
    if limit is None:
        assert goal.max_cost is not None  # the caller has a budget
        limit = goal.max_cost[1]
    present = [len(sigma) // 2 for sigma in spectra]
    decided = {i: r for i, n in enumerate(present) if (r := goal.fixed_order(i, n)) is not None}
    free = [i for i in range(len(present)) if i not in decided]
    predicted = [mode_tails(sigma, power) for sigma in spectra]
    fixed = cost.fixed + sum(cost.layers[i](order) for i, order in decided.items())
    lost = sum(predicted[i][order] for i, order in decided.items())
    smallest = [min(goal.minimum(i), present[i]) for i in free]
    least = fixed + sum(cost.layers[i](order) for i, order in zip(free, smallest, strict=True))
    if limit < least:
        raise InputError(
            f"a budget of {limit:.10g} {cost.kind} is below the {least:.10g} that stay: {fixed:.10g} that no"
            f" order changes and {least - fixed:.10g} for the layers at their smallest orders; allow at least"
            f" {least:.10g}"
        )
    rules = {"marginal": split_marginal, "equal": split_equal}
    found: list[Split] = []
    for name in rules if goal.split == "best" else (goal.split,):
        share = rules[name](
            [predicted[i] for i in free],
            [cost.layers[i] for i in free],
            limit,
            fixed=fixed,
            minimum=tuple(smallest),
            multiple=goal.multiple,
        )
        orders = decided | dict(zip(free, share.orders, strict=True))
        complete = tuple(orders[i] for i in range(len(present)))
        found.append(replace(share, orders=complete, predicted=share.predicted + lost))
    if len({split.orders for split in found}) == 1:
        return found[0]
    return min(found, key=lambda split: split.predicted if loss is None else loss(split.orders))


def module_cost(kind: CostKind, module: nn.Module) -> ModelCost:
    """What a model in training would cost as a bundle, with its norms and normalisation folded.

    Args:
        kind: what is counted.
        module: anything that `ssmith.train.freeze` freezes.

    Raises:
        InputError: it cannot be frozen, so its size in a bundle is not known.
    """
    from ssmith.train.convert import Draft, convert
    from ssmith.train.fold import fold

    draft = Draft()
    try:
        convert(module, "", draft)
    except InputError as error:
        raise InputError(f"a budget of {kind} counts what the frozen model holds, but {error}") from error
    for op, after in pairwise(draft.ops):
        if isinstance(op, Affine) and isinstance(after, SSM):
            # At the start of training the shift may be zero; it will not be, and then the op stays.
            draft.tensors[op.shift] = np.ones_like(draft.tensors[op.shift])
    folded = fold(draft)
    tensors = {name: array.astype(np.float32) for name, array in folded.tensors.items()}
    return ModelCost.of(kind, folded.ops, tensors)
