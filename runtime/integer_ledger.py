"""Bounds in integers: multipliers made of real factors, with the proof of what they can lead to.

A ``Ledger`` walks along the finished ops. It knows how large each channel of the current vector can
be at most, turns real factors into ``Requant`` rules that use the bits there are, and refuses what does not
fit.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ssmith.errors import InputError
from ssmith.runtime.integer_functions import INT32_MAX, Int64, requantize
from ssmith.runtime.integer_model import Float64, Int32, Quantize, Requant
from ssmith.runtime.integer_scales import Ids, Scales
from ssmith.runtime.integer_weights import Codes

VECTOR_LIMIT = 1 << 30
_SHIFTS = (1, 30)


class Ledger:
    """Current bounds, and all that was proven on the way.

    Attributes:
        reach: largest magnitude of each channel of the current vector.
        slots: the same of saved vectors.
        proofs: as in ``IntegerModel``.
        scales: as in ``IntegerModel``.
    """

    def __init__(self, classes: Scales, reach: Int64, bits: int) -> None:
        self._classes, self.reach, self.bits = classes, reach, bits
        self.slots: dict[int, Int64] = {}
        self.proofs: dict[str, int] = {}
        self.scales: dict[str, Float64] = {}

    def scale(self, ids: Ids) -> Float64:
        """Real value of one code of each of these channels."""
        return self._classes.solve(ids)

    def requant(self, key: str, factor: Float64, reach: Int64) -> tuple[Requant, Int64]:
        """The rule a → a · factor for |a| ≤ reach, and what it can give at most.

        Args:
            key: what is scaled, for ``proofs`` and the refusal.
            factor: real, one a channel (M).
            reach: largest |a|, (M).
        """
        self.prove(key, reach)
        factor = np.where(reach > 0, factor, 0.0)  # what is always 0 stays 0, whatever the factor
        shift = _precise_shift(factor, requant_shift(int(reach.max(initial=0))))
        multiplier = np.rint(factor * 2.0 ** (32 - shift))
        if (np.abs(multiplier) > INT32_MAX).any():
            raise InputError(
                f"{key} can reach {int(reach.max())} and would have to be multiplied by"
                f" {np.abs(factor).max():.3g}; 32-bit integers cannot hold the result"
            )
        rule = Requant(multiplier.astype(np.int32), shift)
        return rule, requantize(reach, np.abs(multiplier).astype(np.int64), shift)

    def quantize(self, name: str, key: str, codes: Codes, factor: Float64, reach: Int64) -> Quantize:
        """The rule that makes codes of a vector whose channels are scaled by ``factor`` first."""
        rule, largest = self.requant(key, factor, reach)
        bias = whole(f"the offset of the codes of {name}", codes.bias)
        self.prove(f"{name}.sum", largest + np.abs(codes.bias).astype(np.int64), INT32_MAX)
        self.scales |= {name: codes.step, f"{name}.offset": codes.offset}
        return Quantize(rule, bias, codes.limit, self.bits)

    def prove(self, key: str, reach: Int64 | Sequence[int], limit: int = VECTOR_LIMIT) -> None:
        """Enter a bound that holds, or refuse the model.

        Raises:
            InputError: the bound is not below ``limit``.
        """
        largest = max(map(int, reach), default=0)
        if largest >= limit:
            raise InputError(
                f"{key} can reach {largest}, and integer code holds it only below {limit}; the model's bound"
                " needs more than 32 bits"
            )
        self.proofs[key] = largest


def requant_shift(reach: int) -> int:
    """The largest shift that keeps |a << shift| < 2^31 for |a| ≤ reach < 2^30."""
    return min(max(31 - reach.bit_length(), _SHIFTS[0]), _SHIFTS[1])


def _precise_shift(factor: Float64, most: int) -> int:
    """The smallest shift whose multipliers fit 32 bits, ``most`` at most: they then have the most digits."""
    largest = float(np.abs(factor).max(initial=0.0))
    fits = (s for s in range(_SHIFTS[0], most) if round(largest * 2.0 ** (32 - s)) <= INT32_MAX)
    return next(fits, most)


def whole(what: str, values: Float64) -> Int32 | None:
    """Rounded to int32, or None where nothing is left.

    Raises:
        InputError: one does not fit.
    """
    rounded = np.rint(values)
    if (np.abs(rounded) > INT32_MAX).any():
        raise InputError(f"{what} is {np.abs(rounded).max():.3g} codes, more than 32-bit integers hold")
    return rounded.astype(np.int32) if rounded.any() else None
