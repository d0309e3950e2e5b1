r"""Reduction of a system whose channels do not mix: each on its own, under one goal for all.

Its transfer matrix is diagonal, so

.. math:: \|G - \hat G\|_\infty = \max_h \|G_h - \hat G_h\|_\infty, \qquad
          \|G - \hat G\|_2^2 = \sum_h \|G_h - \hat G_h\|_2^2

and a bound that each channel keeps is one of the whole. The modes that stay are shared out by the singular
values of all channels together; a channel may be left without any.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ssmith.reduce.accuracy import hinf_norm
from ssmith.reduce.extent import Extent
from ssmith.reduce.hankel import order_for_bound
from ssmith.reduce.planar import channel_rows
from ssmith.reduce.reduction import Reduction, unchanged
from ssmith.system import Real, System

# (channel, its system, modes to keep at most) → its reduction; all of its modes: σ, and no cut.
ReduceOne = Callable[[int, System, int], Reduction]
Counts = NDArray[np.intp]
ROUNDING = 1e-12  # share by which the singular values of a dropped channel may be off
GROWTH = 50  # where modes in pairs do not keep a tolerance, so much of them more are tried


def reduce_channels(
    system: System,
    extent: Extent,
    one: ReduceOne,
    *,
    power: Literal[1, 2],
    bound_factor: float | None,
) -> Reduction:
    r"""Reduce every channel, sharing the modes out over them.

    Args:
        system: with channels.
        extent: how far, for the whole; ``multiple`` rounds the modes of all channels together.
        one: reduces a channel.
        power: p of the measure Σσ^p that a tolerance limits, and by which modes are shared out.
        bound_factor: f of the bound :math:`f \sum_{i>q} σ_i` of a channel's H∞ error; None where none holds.

    Returns:
        ``singular_values`` of all channels together, descending; ``basis`` and ``dual_basis`` block diagonal;
        ``error_bound`` the largest of the channels', nan where one has none.
    """
    work = _Channels(system, one, power, bound_factor)
    least = np.zeros(len(work.parts), dtype=np.intp)
    allowed = math.inf
    if extent.bound is not None:
        allowed = extent.bound * hinf_norm(system) * (1 - ROUNDING)
        least = work.within(allowed)
    count = extent.slots(max(work.count(extent), int(least.sum()), 1))
    while count < system.order:
        modes = work.shared_out(least, count)
        found = work.reduced(modes)
        if extent.tolerance is not None and found.spent > extent.tolerance:
            count = extent.slots(count + max(1, count // GROWTH))
        elif found.error_bound > allowed:
            least = np.where(work.bounds(modes) > allowed, modes + 1, least)
            count = extent.slots(max(count, int(least.sum())))
        else:
            return found
    note = f"nothing to cut: {min(count, system.order)} of {system.order} modes stay"
    return unchanged(system, work.pooled, note)


@dataclass(frozen=True, eq=False)
class _Channels:
    """The channels of a system, and what cutting each to so many modes gives."""

    system: System
    one: ReduceOne
    power: Literal[1, 2]
    bound_factor: float | None

    @cached_property
    def parts(self) -> tuple[System | None, ...]:
        """Each channel alone, None for one without modes."""
        return self.system.split()

    @cached_property
    def sigmas(self) -> list[Real]:
        """σ of each channel, (2n,)."""
        full = [None if part is None else self.cut(h, part.order) for h, part in enumerate(self.parts)]
        return [np.zeros(0) if cut is None else cut.singular_values for cut in full]

    @cached_property
    def pooled(self) -> Real:
        """σ of all channels, descending, (2N,)."""
        return np.sort(np.concatenate(self.sigmas))[::-1]

    @cached_property
    def values(self) -> list[Real]:
        """What each mode of each channel holds, (n,) descending: σ^p of the two real states it can keep."""
        return [(sigma**self.power).reshape(-1, 2).sum(1) for sigma in self.sigmas]

    @cached_property
    def _known(self) -> dict[tuple[int, int], Reduction]:
        return {}

    def cut(self, channel: int, modes: int) -> Reduction | None:
        """A channel at so many modes; None for none."""
        part = self.parts[channel]
        if part is None or modes == 0:
            return None
        key = channel, min(modes, part.order)
        if key not in self._known:
            self._known[key] = self.one(channel, part, key[1])
        return self._known[key]

    def count(self, extent: Extent) -> int:
        """Modes in all that an order or a tolerance asks for, two states a mode; 0 for a bound."""
        if extent.order is not None:
            return int(extent.order)
        if extent.tolerance is None:
            return 0
        ranked = np.sort(np.concatenate(self.values))
        left = np.concatenate([np.cumsum(ranked)[::-1], [0.0]])  # what goes if 0, 1, … of them stay
        return int(np.argmax(left <= extent.tolerance * left[0]))

    def within(self, allowed: float) -> Counts:
        """The fewest modes of each channel whose bound may be within ``allowed``."""
        assert self.bound_factor is not None  # the caller has refused a bound where there is none
        found = [
            0
            if self._without(sigma) <= allowed
            else -(-order_for_bound(0.5 * self.bound_factor * sigma, allowed) // 2)
            for sigma in self.sigmas
        ]
        return np.array(found, dtype=np.intp)

    def shared_out(self, least: Counts, count: int) -> Counts:
        """Modes of each channel: at least ``least``, the others where they hold most."""
        sizes = [len(values) for values in self.values]
        owner = np.repeat(np.arange(len(sizes)), sizes)
        place = np.concatenate([np.arange(size) for size in sizes])
        taken = place < least[owner]
        ranked = np.argsort(-np.concatenate(self.values), kind="stable")  # so a channel's come in their order
        taken[ranked[~taken[ranked]][: max(count - int(taken.sum()), 0)]] = True
        return np.bincount(owner[taken], minlength=len(sizes))

    def bounds(self, modes: Counts) -> Real:
        """A bound of each channel's H∞ error, nan where there is none."""
        cuts = [self.cut(h, int(n)) for h, n in enumerate(modes)]
        pairs = zip(cuts, self.sigmas, strict=True)
        return np.array([self._without(sigma) if cut is None else cut.error_bound for cut, sigma in pairs])

    def _without(self, sigma: Real) -> float:
        """A bound of what a whole channel contributes."""
        if not sigma.any():
            return 0.0
        if self.bound_factor is None:
            return math.nan
        return self.bound_factor * float(sigma.sum()) * (1 + ROUNDING)

    def reduced(self, modes: Counts) -> Reduction:
        """All channels together at so many modes each."""
        cuts = [self.cut(h, int(n)) for h, n in enumerate(modes)]
        there = [cut for cut in cuts if cut is not None]
        smaller = System.joined(
            [None if cut is None else cut.system for cut in cuts], self.system.D, self.system.dt_s
        )
        bounds, pairs = self.bounds(modes), list(zip(cuts, self.sigmas, strict=True))
        lost = [
            float((sigma**self.power).sum()) * (1.0 if cut is None else cut.spent) for cut, sigma in pairs
        ]
        total = float((self.pooled**self.power).sum())
        return Reduction(
            system=smaller,
            order=smaller.order,
            real_order=sum(cut.real_order for cut in there),
            singular_values=self.pooled,
            error_bound=math.nan if np.isnan(bounds).any() else float(bounds.max()),
            tail=sum(float(sigma.sum()) if cut is None else cut.tail for cut, sigma in pairs),
            spent=sum(lost) / total if total else 0.0,
            basis=self._blocks(cuts, smaller, "basis"),
            dual_basis=self._blocks(cuts, smaller, "dual_basis").T,
            stable=all(cut.stable for cut in there),
            clamped=sum(cut.clamped for cut in there),
            condition=max(cut.condition for cut in there),
            notes=self._notes(cuts, smaller),
        )

    def _blocks(self, cuts: Sequence[Reduction | None], smaller: System, which: str) -> Real:
        """Block-diagonal basis, or the transpose of the dual one, (2N, 2r)."""
        whole = np.zeros((2 * self.system.order, 2 * smaller.order))
        for h, cut in enumerate(cuts):
            if cut is not None:
                rows = channel_rows(self.system.channels or (), h, self.system.order)
                columns = channel_rows(smaller.channels or (), h, smaller.order)
                whole[np.ix_(rows, columns)] = cut.basis if which == "basis" else cut.dual_basis.T
        return whole

    def _notes(self, cuts: Sequence[Reduction | None], smaller: System) -> tuple[str, ...]:
        """What a reader should know: what became of the channels, and what several of them say."""
        channels = smaller.channels or ()
        told = f"{len(channels)} channels: {min(channels)} to {max(channels)} modes each"
        said: dict[str, int] = {}
        for cut in cuts:
            for note in () if cut is None or cut.real_order == 2 * cut.order else cut.notes:
                said[note] = said.get(note, 0) + 1
        return (told, *(f"{count} channels: {note}" for note, count in said.items()))
