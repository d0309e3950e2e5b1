"""Multipliers that use their bits, and bounds that hold."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ssmith.errors import InputError
from ssmith.runtime.integer_functions import INT32_MAX, requantize
from ssmith.runtime.integer_ledger import Ledger, requant_shift, whole
from ssmith.runtime.integer_scales import Scales


def ledger() -> Ledger:
    return Ledger(Scales(), np.zeros(1, np.int64), 16)


@given(st.integers(0, 2**30 - 1))
def test_a_shift_fills_31_bits_and_no_more(reach):
    shift = requant_shift(reach)
    assert 1 <= shift <= 30 and reach << shift < 2**31
    assert shift == 30 or reach << (shift + 1) >= 2**31


@given(st.integers(1, 2**30 - 1), st.floats(1e-6, 0.49), st.booleans(), st.data())
def test_a_rule_multiplies_and_its_bound_holds(reach, share, negative, data):
    factor = np.array([share * 2**30 / reach * (-1 if negative else 1)])
    book = ledger()
    rule, bound = book.requant("part", factor, np.array([reach]))
    assert book.proofs == {"part": reach}
    a = data.draw(st.integers(-reach, reach))
    y = int(requantize(np.array([a]), rule.multiplier.astype(np.int64), rule.shift)[0])
    assert abs(y) <= bound[0] < 2**31
    half_of_multiplier = abs(a) * 2.0 ** (rule.shift - 32) / 2
    assert abs(y - a * factor[0]) <= 0.5 + half_of_multiplier + 1e-6


def test_what_does_not_fit_is_refused_with_the_numbers():
    with pytest.raises(InputError, match="part can reach 1073741824"):
        ledger().requant("part", np.array([0.1]), np.array([2**30]))
    with pytest.raises(InputError, match="multiplied by 3"):
        ledger().requant("part", np.array([3.0]), np.array([2**30 - 1]))
    with pytest.raises(InputError, match="the bias is 3e\\+09 codes"):
        whole("the bias", np.array([3e9]))


def test_whole_numbers():
    assert whole("b", np.array([0.4, -0.3])) is None
    rounded = whole("b", np.array([1.6, -(2.0**31) + 1]))
    assert rounded is not None and rounded.tolist() == [2, -INT32_MAX]
