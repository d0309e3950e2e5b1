"""A plan keeps its budget on the simulated whole, is the same every time, and is as cheap as it can be."""

from __future__ import annotations

import numpy as np
import pytest

from ssmith.bundle import Bundle
from ssmith.errors import InputError
from ssmith.quant import product_weights
from ssmith.quantization import HeldOut
from ssmith.quantization_plan import LADDER, choose_plan, with_plan
from ssmith.quantization_trial import Trial
from ssmith.runtime.simulate import planned
from tests.bundles import kept_modes, random_bundle
from tests.calibrated import calibrated


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return calibrated(random_bundle(np.random.default_rng(0), orders=(6, 4), radius=(0.6, 0.95)), 400)


@pytest.fixture(scope="module")
def held_out() -> HeldOut:
    return HeldOut([np.random.default_rng(5).standard_normal((150, 3), np.float32)], "these")


@pytest.mark.parametrize("budget", [1e-6, 1e-3, 0.01, 0.03, 10.0])
def test_the_whole_network_keeps_the_budget(bundle, held_out, budget):
    plan = choose_plan(bundle, held_out, budget)
    assert list(plan) == list(product_weights(bundle.meta.ops))
    trial = Trial(bundle, held_out)
    assert trial.rounded(planned(bundle, plan)).rise <= budget
    for key, level in plan.items():  # and no product can be one step lower
        if level != LADDER[0]:
            lower = {**plan, key: LADDER[LADDER.index(level) - 1]}
            assert trial.rounded(planned(bundle, lower)).rise > budget


def test_more_budget_fewer_bits(bundle, held_out):
    def rank(budget: float) -> int:
        return sum(LADDER.index(level) for level in choose_plan(bundle, held_out, budget).values())

    assert rank(10.0) == 0
    assert rank(1e-6) == 2 * len(product_weights(bundle.meta.ops))  # nothing rounded is that good
    assert rank(0.001) >= rank(0.02)


def test_the_same_every_time_with_progress_to_its_end(bundle, held_out):
    seen = []
    first = choose_plan(bundle, held_out, 0.01, on_progress=lambda done, most: seen.append((done, most)))
    assert first == choose_plan(bundle, held_out, 0.01)
    assert all(done <= most for done, most in seen) and [done for done, _ in seen] == sorted(
        done for done, _ in seen
    )


def test_every_variant_gets_a_plan_and_the_file_keeps_it(bundle, held_out):
    both = calibrated(
        bundle.without_calibration().with_variants([kept_modes(bundle.without_calibration(), 3)])
    )
    planned_both = with_plan(both, held_out, 0.01)
    again = Bundle.from_bytes(planned_both.to_bytes())
    assert again.meta.plan == planned_both.meta.plan == choose_plan(both, held_out, 0.01)
    assert again.variants[0].meta.plan == choose_plan(both.variants[0], held_out, 0.01)


def test_no_budget_no_ranges(bundle, held_out):
    for budget in (0.0, -1.0, float("nan")):
        with pytest.raises(InputError, match="write a share above zero"):
            choose_plan(bundle, held_out, budget)
    with pytest.raises(InputError, match="no calibration"):
        choose_plan(bundle.without_calibration(), held_out, 0.03)
