"""Which vectors share a scale, and how large each scale must be.

Every channel of every vector belongs to a class; channels that are added, kept or gated together are
joined into one. What a channel can reach at most, and what an op asks of its scale, is required of
its class; ``solve`` then gives the smallest scales that keep every code below 2^30.
"""

from __future__ import annotations

import copy
import math
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ssmith.errors import InputError
from ssmith.runtime.integer_model import Float64

Ids = NDArray[np.int64]
Grid = Literal["gelu", "sigmoid"]
REACH = 2.0**30  # codes stay below
GRID_STEP = {"gelu": 5 / 32, "sigmoid": 1 / 3}  # a code is step / 2^p, 1 ≤ p ≤ 25
_FINEST = 25
_SLACK = 1.0 + 1e-6  # multipliers are rounded, so what they give may be a little above its bound


class Scales:
    """Classes of channels: join them, require ranges of them, solve for their scales."""

    def __init__(self) -> None:
        self._parent: list[int] = []
        self._needed: list[float] = []
        self._grid: list[Grid | None] = []
        self._fixed: dict[int, float] = {}

    def fresh(self, count: int) -> Ids:
        """New classes, one a channel."""
        first = len(self._parent)
        self._parent += range(first, first + count)
        self._needed += [0.0] * count
        self._grid += [None] * count
        return np.arange(first, first + count)

    def fixed(self, scales: Float64) -> Ids:
        """New classes whose scales are given; they are never joined."""
        ids = self.fresh(len(scales))
        self._fixed |= dict(zip(ids.tolist(), map(float, scales), strict=True))
        return ids

    def joinable(self, a: Ids, b: Ids) -> bool:
        """Whether join(a, b) would leave every class on one grid at most."""
        trial = copy.deepcopy(self)  # pairs may have classes in common: each join changes the next
        return all(trial.uniform(np.array(pair)) for pair in zip(a, b, strict=True))

    def join(self, a: Ids, b: Ids) -> None:
        """One scale for a[i] and b[i], each i; they MUST be joinable."""
        for i, j in zip(map(self._root, a), map(self._root, b), strict=True):
            if i != j:
                self._parent[j] = i
                self._needed[i] = max(self._needed[i], self._needed[j])
                self._grid[i] = self._grid[i] or self._grid[j]

    def accepts(self, ids: Ids, grid: Grid) -> bool:
        """Whether all these classes can become one on this grid."""
        return {self._grid[self._root(i)] for i in ids} <= {None, grid}

    def to_grid(self, ids: Ids, grid: Grid) -> None:
        """One scale for all, step / 2^p of a function's table."""
        self.join(np.full(len(ids) - 1, ids[0]), ids[1:])
        self._grid[self._root(ids[0])] = grid

    def uniform(self, ids: Ids) -> bool:
        """Join all of them, if no two lie on different grids; whether that could be done."""
        if len({self._grid[self._root(i)] for i in ids} - {None}) > 1:
            return False
        self.join(np.full(len(ids) - 1, ids[0]), ids[1:])
        return True

    def require(self, ids: Ids, reach: Float64) -> None:
        """Let the scales be large enough for real values of this magnitude to stay below 2^30 codes."""
        for i, needed in zip(map(self._root, ids), reach, strict=True):
            self._needed[i] = max(self._needed[i], float(needed))

    def solve(self, ids: Ids) -> Float64:
        """The scales of these classes as required so far.

        Raises:
            InputError: a function's table cannot cover a value that large.
        """
        return np.array([self._scale(self._root(i)) for i in ids])

    def _scale(self, root: int) -> float:
        if root in self._fixed:
            return self._fixed[root]
        scale = self._needed[root] * _SLACK / REACH
        grid = self._grid[root]
        if grid is None:
            return scale if scale > 0 else 1.0 / REACH
        step = GRID_STEP[grid]
        p = _FINEST if scale <= 0 else min(_FINEST, math.floor(math.log2(step / scale)))
        if p < 1:
            raise InputError(
                f"the input of a {grid} can reach {self._needed[root]:.3g}, more than the"
                f" {step / 2 * REACH:.3g} that its integer table covers; integer code needs"
                " weights or inputs of ordinary size"
            )
        return step / 2.0**p

    def _root(self, i: int) -> int:
        i = int(i)
        while self._parent[i] != i:
            self._parent[i] = self._parent[self._parent[i]]
            i = self._parent[i]
        return i


def grid_power(grid: Grid, scale: float) -> int:
    """The p of a scale on a grid."""
    return round(math.log2(GRID_STEP[grid] / scale))
