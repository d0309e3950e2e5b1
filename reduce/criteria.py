"""By which measure a layer is cut: seven criteria behind one function, and what each of them promises.

A criterion is a choice for each side of a balancing: how far inputs reach the states (P) and how much the
outputs care (Q), each exact, in closed form, or measured on data.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Literal

import numpy as np

from ssmith.errors import InputError
from ssmith.reduce.balance import truncated
from ssmith.reduce.channels import reduce_channels
from ssmith.reduce.extent import Extent
from ssmith.reduce.measured import Measured as Measured
from ssmith.reduce.measured import measured_factors
from ssmith.reduce.planar import block_of, require_single
from ssmith.reduce.published import complex_truncation
from ssmith.reduce.reduction import NOTHING_TO_BALANCE, Reduction, unchanged
from ssmith.reduce.selection import modal_truncation, mode_gains
from ssmith.system import System

# The same names as in recipes, which this room does not know (a test holds both lists together).
CriterionName = Literal["task-aware", "empirical", "weighted", "gradient", "exact", "modal", "complex"]


@dataclass(frozen=True)
class Criterion:
    """What a criterion needs and what it promises.

    Attributes:
        name: as recipes and the command line write it.
        states: P is measured: the second moment of the states on data.
        gradients: something is measured on gradients of the network's outputs (Q, or W).
        stable: every cut has its poles inside the unit circle, by theory.
        bound: every cut has an a-priori bound of its H∞ error.
        power: p of the tail Σ σ^p that a tolerance limits and that predicts a loss.
        guarantee: both promises in a sentence.
    """

    name: CriterionName
    states: bool
    gradients: bool
    stable: bool
    bound: bool
    power: Literal[1, 2]
    guarantee: str


_STABLE = "Stable by construction; no a-priori error bound, as a Gramian is measured."
CRITERIA: Mapping[CriterionName, Criterion] = MappingProxyType(
    {
        c.name: c
        for c in (
            Criterion(
                "task-aware",
                states=True,
                gradients=True,
                stable=False,
                bound=False,
                power=2,
                guarantee="Neither stability nor a bound by theory: both Gramians are measured. Poles that "
                "leave the unit circle are moved inside and counted.",
            ),
            Criterion("empirical", True, False, stable=True, bound=False, power=2, guarantee=_STABLE),
            Criterion("weighted", True, True, stable=True, bound=False, power=2, guarantee=_STABLE),
            Criterion("gradient", False, True, stable=True, bound=False, power=2, guarantee=_STABLE),
            Criterion(
                "exact",
                False,
                False,
                stable=True,
                bound=True,
                power=1,
                guarantee="Stable, and the H∞ error is at most 2 Σ of the dropped singular values.",
            ),
            Criterion(
                "modal",
                False,
                False,
                stable=True,
                bound=True,
                power=1,
                guarantee="Stable, as no pole moves, and the H∞ error is at most the sum of the dropped "
                "modes' largest gains.",
            ),
            Criterion(
                "complex",
                False,
                False,
                stable=True,
                bound=True,
                power=1,
                guarantee="Stable, and the H∞ error is at most 2 Σ of the dropped complex singular values.",
            ),
        )
    }
)


def reduce_system(
    system: System,
    *,
    criterion: CriterionName = "task-aware",
    measured: Measured | None = None,
    order: int | None = None,
    tolerance: float | None = None,
    bound: float | None = None,
    min_order: int = 1,
    multiple: int = 1,
) -> Reduction:
    r"""Reduce a system to fewer modes by one of seven criteria.

    | criterion | P | Q | stable | bound |
    |---|---|---|---|---|
    | task-aware | measured | measured on gradients | poles may have to be moved | no |
    | empirical | measured | exact | yes | no |
    | weighted | measured | exact for :math:`W^{1/2} C` | yes | no |
    | gradient | exact | measured on gradients | yes | no |
    | exact | exact | exact | yes | 2 Σσ |
    | modal | no rotation: the modes with the largest | ‖b‖‖c‖/(1-\|λ\|) stay | yes | Σ of the others |
    | complex | exact, of the complex system, as published | | yes | 2 Σσ |

    The promises are kept by the code: where stability is promised and rounding still puts a pole outside,
    there is no cut but a note, and `error_bound` is nan where no bound holds. A system that does nothing, or
    was seen to do nothing, comes back unchanged with a note. Channels that do not mix are reduced each on its
    own, see `channels`.

    Args:
        system: one system (no leading dimensions) of N modes.
        criterion: its name, a key of `CRITERIA`.
        measured: what the criterion needs from data.
        order: how many modes to keep at most.
        tolerance: instead of order: the share of the spectrum that may be dropped (of Σσ^p, p = `power`).
        bound: instead of order: the a-priori error bound as a share of the largest gain ‖G‖∞; only for
            criteria that have one.
        min_order: keep at least so many slots.
        multiple: round the number of slots up to a multiple of this.

    Raises:
        InputError: an unknown criterion, one whose measurements are missing, a bound where none holds, not
            exactly one of order, tolerance and bound, a value out of its range, leading dimensions, or a
            measured moment that is none (wrong shape, not finite, not symmetric, indefinite).
    """
    if criterion not in CRITERIA:
        raise InputError(f"criterion = {criterion!r}; write one of {', '.join(CRITERIA)}")
    chosen, seen = CRITERIA[criterion], Measured() if measured is None else measured
    if bound is not None and not chosen.bound:
        having = ", ".join(name for name, c in CRITERIA.items() if c.bound)
        raise InputError(
            f"bound = {bound} with criterion {criterion!r}, whose error no theory bounds; give a tolerance, "
            f"or choose a criterion with a bound: {having}"
        )
    extent = Extent(order, tolerance, bound, min_order, multiple)
    require_single(system)
    if system.channels is not None and mode_gains(system).any():
        return _by_channel(system, chosen, seen, extent)
    if not mode_gains(system).any():
        note = "skipped: no mode has both input and output weights, so the layer only passes on D u"
        return unchanged(system, np.zeros(2 * system.order), note)
    if criterion == "modal":
        return modal_truncation(system, extent)
    if criterion == "complex":
        return _promised(system, complex_truncation(system, extent), chosen)
    factors, notes = measured_factors(
        system, seen, criterion, states=chosen.states, gradients=chosen.gradients
    )
    reduction = truncated(system, factors, extent, exact=chosen.bound)
    if not reduction.singular_values.any():
        return unchanged(system, reduction.singular_values, NOTHING_TO_BALANCE)
    return _promised(system, replace(reduction, notes=(*reduction.notes, *notes)), chosen)


def _by_channel(system: System, criterion: Criterion, seen: Measured, extent: Extent) -> Reduction:
    """Each channel by the same criterion; of what was measured it sees its own states and outputs."""

    def one(channel: int, part: System, modes: int) -> Reduction:
        weight = seen.output_weight
        own = Measured(
            block_of(seen.controllability, system, channel),
            block_of(seen.observability, system, channel),
            None if weight is None else np.asarray(weight)[channel : channel + 1, channel : channel + 1],
            seen.samples,
        )
        return reduce_system(part, criterion=criterion.name, measured=own, order=modes)

    # Of the modal criterion Σσ of what goes bounds the error, of the complex one σ stands twice.
    factor = {"exact": 2.0, "modal": 1.0, "complex": 1.0}.get(criterion.name)
    return reduce_channels(system, extent, one, power=criterion.power, bound_factor=factor)


def _promised(system: System, reduction: Reduction, criterion: Criterion) -> Reduction:
    """The reduction, or the system itself where a promise of stability would have been broken."""
    if not (criterion.stable and reduction.clamped):
        return reduction
    note = (
        f"skipped: {reduction.clamped} poles left the unit circle, which only rounding can do with "
        f"criterion {criterion.name!r}"
    )
    return unchanged(system, reduction.singular_values, note)
