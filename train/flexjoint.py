"""A generated robot arm with a flexible joint: torque in, the tip's angular rate out, at 1 kHz.

One revolute joint swings a link in the vertical plane. An elastic gear (hardening spring, light
damping) stands between motor and link, and the link carries a payload on a second, linear spring.
With θ = (motor, link, payload) in rad, all seen on the link's side of the gear:

    δ = θ₀ − θ₁                     τ_j = k δ + k₃ δ³ + d δ̇          the joint
    ε = θ₁ − θ₂                     τ_p = k_p ε + d_p ε̇              the payload
    J₀ θ̈₀ = τ − τ_j − b θ̇₀ − f tanh(θ̇₀ / v)                          viscous and Coulomb friction
    J₁ θ̈₁ = τ_j − τ_p − g sin θ₁                                      gravity
    J₂ θ̈₂ = τ_p

The torque is held between samples. What is recorded is θ̇₂ (a gyroscope at the tip) with white
noise. Small motions have three lightly damped modes (``Arm.modes``), so the answer to one pulse
lasts longer than an episode is short; friction, gravity and hardening make the plant nonlinear.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]

RATE_HZ = 1000.0
SUBSTEPS = 2  # Runge-Kutta steps per sample


@dataclass(frozen=True)
class Arm:
    """The constants of the equations above, in SI units (kg m², N m, rad, s)."""

    motor_inertia: float = 0.15  # J₀, rotor inertia times the gear ratio squared
    link_inertia: float = 0.05  # J₁
    payload_inertia: float = 0.02  # J₂
    joint_stiffness: float = 70.0  # k
    joint_hardening: float = 3000.0  # k₃
    joint_damping: float = 0.1  # d
    payload_stiffness: float = 200.0  # k_p
    payload_damping: float = 0.08  # d_p
    gravity_torque: float = 4.0  # g, the torque that holds the link level
    viscous_friction: float = 1.2  # b
    coulomb_friction: float = 0.6  # f
    friction_speed: float = 0.1  # v, where Coulomb friction sets in

    def acceleration(self, angle: Float64, rate: Float64, torque: Float64) -> Float64:
        """θ̈ of every arm.

        Args:
            angle: θ, shape (3, episodes).
            rate: θ̇, shape (3, episodes).
            torque: τ, shape (episodes,).

        Returns:
            Shape (3, episodes).
        """
        twist = angle[0] - angle[1]
        joint = (self.joint_stiffness + self.joint_hardening * twist**2) * twist
        joint = joint + self.joint_damping * (rate[0] - rate[1])
        payload = self.payload_stiffness * (angle[1] - angle[2])
        payload = payload + self.payload_damping * (rate[1] - rate[2])
        friction = self.viscous_friction * rate[0]
        friction = friction + self.coulomb_friction * np.tanh(rate[0] / self.friction_speed)
        gravity = self.gravity_torque * np.sin(angle[1])
        result: Float64 = np.stack(
            [
                (torque - joint - friction) / self.motor_inertia,
                (joint - payload - gravity) / self.link_inertia,
                payload / self.payload_inertia,
            ]
        )
        return result

    def energy(self, angle: Float64, rate: Float64) -> Float64:
        """Kinetic and potential energy in J; constant without torque, damping and friction."""
        inertia = np.array([self.motor_inertia, self.link_inertia, self.payload_inertia])
        twist, bend = angle[0] - angle[1], angle[1] - angle[2]
        kinetic = 0.5 * np.tensordot(inertia, rate**2, axes=1)
        elastic = 0.5 * self.joint_stiffness * twist**2 + 0.25 * self.joint_hardening * twist**4
        elastic = elastic + 0.5 * self.payload_stiffness * bend**2
        total: Float64 = kinetic + elastic + self.gravity_torque * (1 - np.cos(angle[1]))
        return total

    def modes(self) -> tuple[Float64, Float64]:
        """Natural frequencies (Hz, ascending) and damping ratios of small motions while sliding.

        Coulomb friction is left out: when the motor moves faster than v, it hardly depends on speed.
        """
        k, d = self.joint_stiffness, self.joint_damping
        p, e = self.payload_stiffness, self.payload_damping
        stiffness = np.array([[k, -k, 0], [-k, k + p + self.gravity_torque, -p], [0, -p, p]])
        damping = np.array([[d + self.viscous_friction, -d, 0], [-d, d + e, -e], [0, -e, e]])
        inertia = np.array([[self.motor_inertia], [self.link_inertia], [self.payload_inertia]])
        zero, one = np.zeros((3, 3)), np.eye(3)
        poles = np.linalg.eigvals(np.block([[zero, one], [-stiffness / inertia, -damping / inertia]]))
        poles = poles[poles.imag > 0]
        poles = poles[np.argsort(np.abs(poles))]
        return np.abs(poles) / (2 * np.pi), -poles.real / np.abs(poles)


def simulate(
    arm: Arm,
    torque: Float64,
    *,
    angle: Float64 | None = None,
    rate: Float64 | None = None,
    substeps: int = SUBSTEPS,
) -> tuple[Float64, Float64]:
    """Integrate all episodes side by side with the classical Runge-Kutta scheme.

    Args:
        arm: the plant.
        torque: N m, held over each sample, shape (episodes, T).
        angle: θ at the start, shape (3, episodes); None hangs at rest.
        rate: θ̇ at the start, shape (3, episodes); None stands still.
        substeps: integration steps per sample.

    Returns:
        θ and θ̇ at the end of each sample, shapes (episodes, T, 3).
    """
    episodes, steps = torque.shape
    q = np.zeros((3, episodes)) if angle is None else angle.copy()
    v = np.zeros((3, episodes)) if rate is None else rate.copy()
    h = 1 / (RATE_HZ * substeps)
    angles, rates = np.empty((2, steps, 3, episodes))
    for k in range(steps):
        force = torque[:, k]
        for _ in range(substeps):
            a1 = arm.acceleration(q, v, force)
            v2 = v + h / 2 * a1
            a2 = arm.acceleration(q + h / 2 * v, v2, force)
            v3 = v + h / 2 * a2
            a3 = arm.acceleration(q + h / 2 * v2, v3, force)
            v4 = v + h * a3
            a4 = arm.acceleration(q + h * v3, v4, force)
            q = q + h / 6 * (v + 2 * v2 + 2 * v3 + v4)
            v = v + h / 6 * (a1 + 2 * a2 + 2 * a3 + a4)
        angles[k], rates[k] = q, v
    return angles.transpose(2, 0, 1), rates.transpose(2, 0, 1)


def excitation(rng: np.random.Generator, steps: int) -> Float64:
    """One torque command in N m, shape (steps,): multisine, coloured noise or random steps.

    - multisine: 12 lines between 0.5 and 40 Hz, log-spaced draws, random phases
    - noise: white noise through two first-order low-passes at 2 to 30 Hz
    - steps: levels held for 20 to 250 ms, smoothed with a 3 ms time constant

    Each has a random size of 1.5 to 6 N m rms over the 1.2 s of the longest episode.
    """
    from scipy.signal import lfilter

    kind = rng.integers(3)
    t = np.arange(steps) / RATE_HZ
    if kind == 0:
        hertz = np.exp(rng.uniform(np.log(0.5), np.log(40.0), 12))
        phase = rng.uniform(0, 2 * np.pi, 12)
        signal = np.sin(2 * np.pi * hertz * t[:, None] + phase).sum(1)
    elif kind == 1:
        pole = np.exp(-2 * np.pi * np.exp(rng.uniform(np.log(2.0), np.log(30.0))) / RATE_HZ)
        signal = lfilter([(1 - pole) ** 2], [1, -2 * pole, pole**2], rng.standard_normal(steps))
    else:
        holds = rng.integers(20, 251, size=1 + steps // 20)
        levels = np.repeat(rng.uniform(-1, 1, len(holds)), holds)[:steps]
        pole = np.exp(-1 / (0.003 * RATE_HZ))
        signal = lfilter([1 - pole], [1, -pole], levels)
    size = rng.uniform(1.5, 6.0)
    result: Float64 = size * signal / np.sqrt(np.mean(signal**2))
    return result


def episodes(
    seed: int,
    count: int,
    *,
    arm: Arm | None = None,
    steps: tuple[int, int] = (800, 1200),
    noise: float = 0.08,
) -> list[tuple[NDArray[np.float32], NDArray[np.float32]]]:
    """Record ``count`` episodes from rest, each of its own length.

    Args:
        seed: fixes commands, lengths and noise.
        count: number of episodes.
        arm: the plant; None is the default one.
        steps: shortest and longest episode.
        noise: standard deviation of the gyroscope's white noise, rad/s.

    Returns:
        Pairs (torque (T, 1) in N m, measured tip rate (T, 1) in rad/s).
    """
    rng = np.random.default_rng([seed, 0xF1E8])
    longest = steps[1]
    torque = np.stack([excitation(rng, longest) for _ in range(count)])
    lengths = rng.integers(steps[0], steps[1] + 1, size=count)
    _, rates = simulate(Arm() if arm is None else arm, torque)
    measured = rates[:, :, 2] + noise * rng.standard_normal((count, longest))
    return [
        (u[:n, None].astype(np.float32), y[:n, None].astype(np.float32))
        for u, y, n in zip(torque, measured, lengths, strict=True)
    ]
