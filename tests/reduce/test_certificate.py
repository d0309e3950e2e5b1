import math
from dataclasses import replace

import numpy as np
import pytest

from ssmith.reduce.accuracy import h2_norm, hinf_norm
from ssmith.reduce.certificate import certificate
from ssmith.reduce.criteria import reduce_system
from ssmith.reduce.guard import rounded
from ssmith.system import System


def test_one_mode_left_of_two_by_hand():
    """Two modes G = g / (1 - λ/z) each, real: dropping the weaker leaves an error of its own norm."""
    full = System(np.array([0.9, 0.5]) + 0j, np.ones((2, 1)) + 0j, np.array([[1.0, 0.1]]) + 0j)
    reduction = reduce_system(full, criterion="modal", order=1)
    stored = rounded(reduction.system)
    assert stored is not None
    found = certificate(full, reduction, stored)
    weaker = System(np.array([0.5]) + 0j, np.ones((1, 1)) + 0j, np.array([[0.1]]) + 0j)
    assert found["gain"] == pytest.approx(1 / 0.1 + 0.1 / 0.5) == pytest.approx(hinf_norm(full))
    assert found["hinf_error"] * found["gain"] == pytest.approx(0.1 / 0.5, rel=1e-4)
    assert found["h2_error"] == pytest.approx(h2_norm(weaker) / h2_norm(full), rel=1e-4)
    assert 0.2 < found["error_bound"] < 0.2 * (1 + 1e-3)


def test_no_bound_stays_none_and_no_gain_has_no_share():
    silent = System(np.array([0.5, 0.4]) + 0j, np.zeros((2, 1)) + 0j, np.ones((1, 2)) + 0j)
    reduction = reduce_system(silent, criterion="exact", order=1)
    found = certificate(silent, reduction, silent)
    assert found["gain"] == 0 and math.isnan(found["hinf_error"])
    assert math.isnan(certificate(silent, replace(reduction, error_bound=math.nan), silent)["error_bound"])
