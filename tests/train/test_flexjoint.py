"""The simulated arm: physics that holds for any parameters, and data that holds for any seed."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.signal import lfilter

from ssmith.train.flexjoint import RATE_HZ, Arm, episodes, excitation, simulate

FRICTIONLESS = replace(Arm(), joint_damping=0, payload_damping=0, viscous_friction=0, coulomb_friction=0)


def test_energy_is_conserved_without_friction_and_torque():
    rng = np.random.default_rng(0)
    angle = np.array([[0.9], [1.0], [1.05]]) + 0.1 * rng.standard_normal((3, 8))
    rate = rng.standard_normal((3, 8))
    before = FRICTIONLESS.energy(angle, rate)
    angles, rates = simulate(FRICTIONLESS, np.zeros((8, 500)), angle=angle, rate=rate)
    after = FRICTIONLESS.energy(angles[:, -1].T, rates[:, -1].T)
    np.testing.assert_allclose(after, before, rtol=1e-4)
    assert np.abs(angles[:, -1] - angle.T).max() > 0.1  # it did move


def test_friction_only_takes_energy_away():
    angles, rates = simulate(Arm(), np.zeros((1, 2000)), angle=np.array([[1.0], [1.0], [1.0]]))
    energy = Arm().energy(angles[0].T, rates[0].T)
    assert (np.diff(energy) < 1e-9).all()
    assert energy[-1] < 0.2 * energy[0]


def test_work_of_the_torque_becomes_energy():
    torque = excitation(np.random.default_rng(1), 400)[None]
    angles, rates = simulate(FRICTIONLESS, torque)
    motor = np.diff(angles[0, :, 0], prepend=0.0)  # the torque is constant during a sample
    energy = FRICTIONLESS.energy(angles[0, -1:].T, rates[0, -1:].T)
    np.testing.assert_allclose((torque[0] * motor).sum(), energy[0], rtol=1e-4)


def test_integration_is_of_fourth_order():
    torque = np.stack([excitation(np.random.default_rng(i), 300) for i in range(3)])
    exact, *_ = simulate(FRICTIONLESS, torque, substeps=16)
    coarse, fine = (np.abs(simulate(FRICTIONLESS, torque, substeps=n)[0] - exact).max() for n in (1, 2))
    assert coarse / fine == pytest.approx(16, rel=0.2)
    assert fine < 1e-5 * np.abs(exact).max()


def test_small_free_motion_has_the_frequencies_and_damping_that_modes_tells():
    """Each mode's second-order recurrence, one after the other, leaves nothing of the response."""
    arm = replace(Arm(), coulomb_friction=0)
    frequency, damping = arm.modes()
    assert (np.diff(frequency) > 0).all() and ((damping > 0) & (damping < 1)).all()
    angles, _ = simulate(arm, np.zeros((1, 400)), angle=np.array([[1e-4], [-1e-4], [2e-4]]))
    response = angles[0, :, 2]
    for hertz, ratio in zip(frequency, damping, strict=True):
        omega = 2 * np.pi * hertz / RATE_HZ
        pole = np.exp(omega * (-ratio + 1j * np.sqrt(1 - ratio**2)))
        response = lfilter([1, -2 * pole.real, abs(pole) ** 2], [1], response)
    assert np.abs(response[6:]).max() < 1e-8 * np.abs(angles).max()


def test_the_plant_is_not_linear():
    torque = 4 * np.sin(2 * np.pi * 3 * np.arange(600) / RATE_HZ)[None]
    _, once = simulate(Arm(), torque)
    _, half = simulate(Arm(), torque / 2)
    assert np.abs(once - 2 * half).max() > 0.1 * np.abs(once).max()


@pytest.mark.parametrize("seed", range(12))
def test_excitation_is_of_the_promised_size(seed):
    torque = excitation(np.random.default_rng(seed), 1200)
    assert torque.shape == (1200,)
    assert 1.5 <= np.sqrt(np.mean(torque**2)) <= 6.0


def test_episodes_are_reproducible_of_unequal_length_and_differ_between_seeds():
    first, again, other = (episodes(seed, 6, steps=(50, 90)) for seed in (0, 0, 1))
    lengths = [len(u) for u, _ in first]
    assert len(set(lengths)) > 1 and min(lengths) >= 50 and max(lengths) <= 90
    for (u, y), (u2, y2) in zip(first, again, strict=True):
        assert u.shape == y.shape == (len(u), 1) and u.dtype == y.dtype == np.float32
        assert np.array_equal(u, u2) and np.array_equal(y, y2)
    assert not np.array_equal(first[0][0][:50], other[0][0][:50])


def test_noise_is_the_only_difference_to_the_simulation():
    quiet, loud = (episodes(3, 20, steps=(200, 200), noise=noise) for noise in (0.0, 0.08))
    difference = np.concatenate([b - a for (_, a), (_, b) in zip(quiet, loud, strict=True)])
    assert difference.std() == pytest.approx(0.08, rel=0.05)
    torque = np.stack([u[:, 0] for u, _ in quiet]).astype(np.float64)
    _, rates = simulate(Arm(), torque)
    np.testing.assert_allclose(rates[:, :, 2], np.stack([y[:, 0] for _, y in quiet]), atol=1e-4)
