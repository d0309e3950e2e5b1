import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ssmith.train.plateau import SETTLED, compared, settled

values = st.lists(st.floats(1e-3, 1e3), min_size=4, max_size=4)


def change(now, before):
    (spectrum,) = compared({"a": np.array(now)}, {"a": list(before)})
    return spectrum.change


@given(values, values, st.floats(1e-3, 1e3))
def test_the_change_is_a_distance_between_shapes(now, before, scale):
    found = change(now, before)
    assert 0 <= found <= 1
    assert found == pytest.approx(change(before, now), abs=1e-12)
    assert found == pytest.approx(change([scale * v for v in now], before), abs=1e-9)
    assert change(now, now) == 0


def test_what_moves_from_one_value_to_another_is_its_share():
    assert change([0.5, 0.5, 0, 0], [0.8, 0.2, 0, 0]) == pytest.approx(0.3)


def test_a_first_look_or_another_order_has_not_settled():
    sigma = {"a": np.ones(4), "b": np.ones(2)}
    assert not settled(compared(sigma, {}))
    assert not settled(compared(sigma, {"a": [1.0] * 4, "b": [1.0] * 4}))
    assert settled(compared(sigma, {"a": [1.0] * 4, "b": [1.0] * 2}))


def test_every_layer_has_to_settle():
    still, moving = [1.0, 1.0], [1.0, 1.0 - 5 * SETTLED]
    spectra = {"a": np.array(still), "b": np.array(still)}
    assert not settled(compared(spectra, {"a": still, "b": moving}))


def test_a_layer_that_does_nothing_has_settled():
    assert change([0.0, 0.0], [0.0, 0.0]) == 0
