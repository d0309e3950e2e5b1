"""Shapes are checked once, values copied, and messages say what to write."""

import numpy as np
import pytest

from ssmith.errors import InputError
from ssmith.system import System


def parts(n=3, u=2, y=2):
    rng = np.random.default_rng(0)
    return 0.5 * np.exp(1j * rng.random(n)), rng.standard_normal((n, u)), rng.standard_normal((y, n))


def test_copies_and_freezes():
    lam, b, c = parts()
    system = System(lam, b, c)
    lam[0] = 9
    assert abs(system.lam[0]) < 1
    with pytest.raises(ValueError, match="read-only"):
        system.B[0] = 0
    assert (system.order, system.inputs, system.outputs) == (3, 2, 2)
    assert system.D.shape == (2, 2)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(lam=1.0), "at least one pole"),
        (dict(lam=np.ones(2) * 0.5), "N = 2"),
        (dict(B=np.ones((2, 2))), "B has shape"),
        (dict(C=np.ones((2, 2))), "C has shape"),
        (dict(D=np.ones(3)), "D has shape"),
        (dict(lam=np.array([0.1, 0.2, 1.0])), "stable"),
        (dict(B=np.full((3, 2), np.nan)), "not finite"),
        (dict(dt_s=0.0), "dt_s"),
    ],
)
def test_refusals(change, message):
    lam, b, c = parts()
    with pytest.raises(InputError, match=message):
        System(**({"lam": lam, "B": b, "C": c} | change))


def test_leading_dimensions_are_independent_systems():
    lam, b, c = parts(n=4, u=1, y=1)
    stacked = System(np.stack([lam] * 5), np.stack([b] * 5), np.stack([c] * 5))
    assert stacked.lam.shape == (5, 4)
    assert stacked.D.shape == (5, 1, 1)
