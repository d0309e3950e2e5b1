"""One budget for several layers: which order each of them gets, and the order that a loss allows.

Costs are functions of the order given by the caller, so a budget may count states, bytes or microseconds.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

import numpy as np

from ssmith.errors import InputError
from ssmith.system import Real

Cost = Callable[[int], float]


@dataclass(frozen=True)
class Split:
    """Orders that keep within a budget.

    Attributes:
        orders: modes to keep, one number a layer.
        cost: what they cost, the fixed part included; at most the budget.
        predicted: sum of the layers' predicted losses at these orders.
        rule: how the budget was shared.
    """

    orders: tuple[int, ...]
    cost: float
    predicted: float
    rule: Literal["marginal", "equal"]


@dataclass(frozen=True, eq=False)
class _Ladder:
    """The orders a layer may take, ascending, with cost and predicted loss of each."""

    orders: list[int]
    costs: Real
    losses: Real


def split_marginal(
    tails: Sequence[Sequence[float]],
    costs: Sequence[Cost],
    budget: float,
    *,
    fixed: float = 0.0,
    minimum: Sequence[int] | None = None,
    multiple: int = 1,
) -> Split:
    r"""Share a budget by marginal cost: what is left goes where it saves the most predicted loss per cost.

    From the smallest orders on, the step r → r' of a layer l is taken that fits and has the largest

    .. math:: \frac{t_l(r) - t_l(r')}{k_l(r') - k_l(r)}

    until none saves anything. Steps may be long, so a plateau of t does not stop a layer. Where the t_l are
    convex over the k_l, no orders within the budget are predicted to lose less by more than the largest step
    that did not fit any more saves; where all steps cost the same, none lose less at all.

    Args:
        tails: predicted loss t_l(r) of each layer kept at r = 0 … N_l modes, nonincreasing.
        costs: order → cost k_l, of each layer.
        budget: what all of it may cost.
        fixed: what the model costs besides these layers.
        minimum: smallest order of each layer, 1 if None; N_l or more keeps the layer as it is.
        multiple: orders are multiples of it, or N_l.

    Raises:
        InputError: the budget is below the fixed part with all layers at their smallest orders, a value is
            out of its range, or the lists do not fit each other.
    """
    ladders = _ladders(tails, costs, minimum, multiple)
    _require_fit(ladders, budget, fixed)
    place = [0] * len(ladders)
    steps = [_best_step(ladder, 0, budget - _total(ladders, place, fixed)) for ladder in ladders]
    while any(gain > 0.0 for gain, _ in steps):
        layer = max(range(len(steps)), key=lambda i: steps[i][0])
        tried = [steps[i][1] if i == layer else rung for i, rung in enumerate(place)]
        if _total(ladders, tried, fixed) <= budget:
            place = tried
        else:  # fitted by a rounding only
            ladders[layer].costs[tried[layer]] = math.inf
        room = budget - _total(ladders, place, fixed)
        for i, ladder in enumerate(ladders):
            if i == layer or ladder.costs[steps[i][1]] - ladder.costs[place[i]] > room:
                steps[i] = _best_step(ladder, place[i], room)
    return _split(ladders, place, fixed, "marginal")


def split_equal(
    tails: Sequence[Sequence[float]],
    costs: Sequence[Cost],
    budget: float,
    *,
    fixed: float = 0.0,
    minimum: Sequence[int] | None = None,
    multiple: int = 1,
) -> Split:
    """Share a budget equally: every layer keeps the same share of its states, the largest that fits.

    A layer's order is the largest allowed one within the share, and never below its smallest; layers of one
    size get one order. The arguments and errors are those of `split_marginal`, costs increase with the order.
    """
    ladders = _ladders(tails, costs, minimum, multiple)
    _require_fit(ladders, budget, fixed)
    shares = sorted({Fraction(order, ladder.orders[-1]) for ladder in ladders for order in ladder.orders})

    def within(share: Fraction) -> list[int]:
        return [max(0, bisect_right(x.orders, share * x.orders[-1]) - 1) for x in ladders]

    fits, too_much = -1, len(shares)  # indices: of a share that fits, of one that does not
    while too_much - fits > 1:
        middle = (fits + too_much) // 2
        if _total(ladders, within(shares[middle]), fixed) <= budget:
            fits = middle
        else:
            too_much = middle
    place = within(shares[fits]) if fits >= 0 else [0] * len(ladders)
    return _split(ladders, place, fixed, "equal")


def bisect_order(loss: Callable[[int], float], limit: float, lowest: int, highest: int) -> int:
    """Smallest order in [lowest, highest] whose loss stays within a limit, if the loss falls with the order.

    If it does not everywhere, the result is an order within the limit, not always the smallest. Either way
    the loss of the result has been measured, with at most 1 + log2(highest - lowest + 1) measurements.

    Args:
        loss: order → loss; nan counts as above the limit.
        limit: what the loss may be.
        lowest: smallest order.
        highest: largest order.

    Raises:
        InputError: not 1 ≤ lowest ≤ highest, a limit that is no number, or a loss above the limit at the
            highest order too.
    """
    if not 1 <= lowest <= highest or math.isnan(limit):
        raise InputError(
            f"lowest = {lowest}, highest = {highest}, limit = {limit}; write 1 <= lowest <= highest, and the "
            "largest loss that may be paid"
        )
    low, high, measured = lowest, highest, False
    while low < high:
        middle = (low + high) // 2
        if loss(middle) <= limit:
            high, measured = middle, True
        else:
            low = middle + 1
    if not measured and not (last := loss(high)) <= limit:
        raise InputError(
            f"even order {high} has a loss of {last:.6g}, above the limit of {limit:.6g}; allow more loss"
        )
    return high


def _ladders(
    tails: Sequence[Sequence[float]], costs: Sequence[Cost], minimum: Sequence[int] | None, multiple: int
) -> list[_Ladder]:
    smallest = [1] * len(tails) if minimum is None else list(minimum)
    if not len(tails) == len(costs) == len(smallest):
        raise InputError(
            f"{len(tails)} tails, {len(costs)} costs, {len(smallest)} minimum orders; write one a layer"
        )
    if multiple < 1 or any(order < 1 for order in smallest):
        raise InputError(f"multiple = {multiple}, minimum = {smallest}; both count modes, from 1")
    return [_ladder(*each, multiple) for each in zip(tails, costs, smallest, strict=True)]


def _ladder(tail: Sequence[float], cost: Cost, smallest: int, multiple: int) -> _Ladder:
    losses, present = np.asarray(tail, dtype=np.float64), len(tail) - 1
    if present < 1 or not np.isfinite(losses).all():
        raise InputError(
            f"a layer's tail of {len(tail)} values is too short or not finite; write its predicted loss at "
            "0, 1, … N modes"
        )
    start = -(-smallest // multiple) * multiple
    orders = [*range(start, present, multiple), present]
    return _Ladder(orders, np.array([cost(order) for order in orders], np.float64), losses[orders])


def _total(ladders: Sequence[_Ladder], place: Sequence[int], fixed: float) -> float:
    return math.fsum([fixed, *(x.costs[rung] for x, rung in zip(ladders, place, strict=True))])


def _require_fit(ladders: Sequence[_Ladder], budget: float, fixed: float) -> None:
    least = _total(ladders, [0] * len(ladders), fixed)
    if not least <= budget:
        orders = ", ".join(str(ladder.orders[0]) for ladder in ladders)
        raise InputError(
            f"the budget is {budget:.12g}, but {least:.12g} stays: {fixed:.12g} that no order changes and "
            f"{least - fixed:.12g} for the layers at their smallest orders ({orders}); allow at least that"
        )


def _best_step(ladder: _Ladder, rung: int, room: float) -> tuple[float, int]:
    """Loss saved per cost, and the rung where to, of the best step up that costs at most `room`."""
    saved = ladder.losses[rung] - ladder.losses[rung + 1 :]
    rise = ladder.costs[rung + 1 :] - ladder.costs[rung]
    free = np.where(saved > 0.0, np.inf, 0.0)  # what a step that costs nothing is worth
    gain = np.divide(saved, rise, out=free, where=rise > 0.0)
    gain[(rise > room) | (saved <= 0.0)] = 0.0
    if not gain.any():
        return 0.0, rung
    best = int(gain.argmax())
    return float(gain[best]), rung + 1 + best


def _split(
    ladders: Sequence[_Ladder], place: Sequence[int], fixed: float, rule: Literal["marginal", "equal"]
) -> Split:
    pairs = list(zip(ladders, place, strict=True))
    return Split(
        orders=tuple(ladder.orders[rung] for ladder, rung in pairs),
        cost=_total(ladders, place, fixed),
        predicted=math.fsum(float(ladder.losses[rung]) for ladder, rung in pairs),
        rule=rule,
    )
