"""How far one system is to be cut: to an order, a share of its spectrum, or a bound of its error."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from ssmith.errors import InputError
from ssmith.reduce.accuracy import hinf_norm
from ssmith.reduce.hankel import order_for_bound, order_for_tolerance
from ssmith.system import Real, System


@dataclass(frozen=True)
class Extent:
    """Exactly one of order, tolerance and bound decides; the other two fields hold for each of them.

    Attributes:
        order: modes to keep at most.
        tolerance: share of the spectrum that may be dropped, from 0 to below 1.
        bound: a-priori bound of the H∞ error as a share of the largest gain ‖G‖∞, from 0 to below 1.
        min_order: keep at least so many slots.
        multiple: round the number of slots up to a multiple of this.

    Raises:
        InputError: not exactly one of the three, or a value out of its range.
    """

    order: int | None = None
    tolerance: float | None = None
    bound: float | None = None
    min_order: int = 1
    multiple: int = 1

    def __post_init__(self) -> None:
        goals = {"order": self.order, "tolerance": self.tolerance, "bound": self.bound}
        given = [name for name, value in goals.items() if value is not None]
        if len(given) != 1:
            raise InputError(
                f"{' and '.join(given) or 'none of order, tolerance and bound'} given; one of the three "
                "decides the cut: give exactly one"
            )
        counts = (("order", self.order), ("min_order", self.min_order), ("multiple", self.multiple))
        for name, count in counts:
            whole = isinstance(count, (int, np.integer)) and not isinstance(count, bool)
            if count is not None and not (whole and count >= 1):
                raise InputError(f"{name} = {count}; it counts modes, so write a whole number from 1")
        if self.bound is not None and not 0.0 <= self.bound < 1.0:
            raise InputError(
                f"bound = {self.bound}; it is the error that may be made as a share of the system's largest "
                "gain, so write a number from 0 to below 1, for instance 0.01"
            )

    def slots(self, modes: int) -> int:
        """Modes as they are stored: at least the minimum, rounded up to the multiple."""
        return -(-max(modes, self.min_order) // self.multiple) * self.multiple

    def modes(self, system: System, sigma: Real, slack: float) -> int:
        """Modes to keep where each holds two of the values and Σσ bounds the error; see `real_order`."""
        if self.order is not None:
            return int(self.order)
        return -(-self.real_order(system, sigma, 1, 1.0, slack) // 2)

    def real_order(
        self, system: System, sigma: Real, power: Literal[1, 2], factor: float, slack: float
    ) -> int:
        r"""Smallest real order q ≥ 1 within the tolerance or the bound; only where no order is given.

        The bound is kept by :math:`f \sum_{i>q} σ_i + s \le \mathrm{bound} \cdot \|G\|_\infty`; the norm is
        met from below (`hinf_norm`), so the bound is not exceeded either.

        Args:
            system: G, whose largest gain the bound refers to.
            sigma: descending values, shape (2N,).
            power: p of the measure that a tolerance limits.
            factor: f.
            slack: s, what rounding may add to the bound.
        """
        if self.bound is not None:
            allowed = max(0.0, self.bound * hinf_norm(system) - slack)
            return order_for_bound(0.5 * factor * sigma, allowed)
        assert self.tolerance is not None  # __post_init__ has seen to it
        return order_for_tolerance(sigma, self.tolerance, power)
