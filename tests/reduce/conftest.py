"""Systems for the reduction tests: friendly ones, and the kinds that break naive code."""

import numpy as np
import pytest

from ssmith.system import System

KINDS = ("plain", "near unit circle", "duplicate", "near defective", "real poles", "mixed")


def build(seed: int, kind: str = "plain", modes: int | None = None, channels=None) -> System:
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 21)) if modes is None else modes
    u, y = channels or (int(rng.integers(1, 5)), int(rng.integers(1, 5)))
    modulus, angle = rng.uniform(0.1, 0.99, n), rng.uniform(0.0, 2.0 * np.pi, n)
    if kind in ("near unit circle", "mixed"):
        near = rng.random(n) < 0.5
        modulus[near] = 1.0 - 10.0 ** rng.uniform(-5.0, -2.0, near.sum())
    lam = modulus * np.exp(1j * angle)
    b = rng.standard_normal((n, u)) + 1j * rng.standard_normal((n, u))
    c = rng.standard_normal((y, n)) + 1j * rng.standard_normal((y, n))
    if kind in ("real poles", "mixed"):
        real = rng.random(n) < 0.6
        lam[real] = modulus[real] * rng.choice([-1.0, 1.0], real.sum())
        b[real], c[:, real] = b[real].real, c[:, real].real
    half = n // 2
    if kind == "duplicate":
        lam[half : 2 * half] = lam[:half]
    if kind == "near defective":  # two poles a distance d apart with opposite residues of size 1/d
        distance = 10.0 ** rng.uniform(-6.0, -3.0, half)
        lam[half : 2 * half] = lam[:half] * (1.0 - distance)
        b[half : 2 * half], c[:, half : 2 * half] = b[:half], -c[:, :half]
        c[:, : 2 * half] /= np.tile(distance, 2)
    b *= np.sqrt(1.0 - np.abs(lam) ** 2)[:, None]
    return System(lam, b, c, D=rng.standard_normal((y, u)), dt_s=0.01)


@pytest.fixture(scope="session")
def make():
    return build


@pytest.fixture(scope="session")
def kinds():
    return KINDS


@pytest.fixture(scope="session")
def real_matrices():
    """(A_R, B_R, C_R), written out here once more so that the tests do not lean on ssmith.reduce.planar."""

    def matrices(system: System):
        a, b = np.diag(system.lam.real), np.diag(system.lam.imag)
        return (
            np.block([[a, -b], [b, a]]),
            np.vstack([system.B.real, system.B.imag]),
            np.hstack([system.C.real, -system.C.imag]),
        )

    return matrices


@pytest.fixture(scope="session")
def simulate():
    """Outputs (T, Y) of a system for inputs (T, U), by its defining loop."""

    def run(system: System, inputs):
        x, rows = np.zeros(system.order, dtype=complex), []
        for u in inputs:
            x = system.lam * x + system.B @ u
            d = system.D * u if system.D.ndim == 1 else system.D @ u
            rows.append((system.C @ x).real + d)
        return np.array(rows)

    return run


@pytest.fixture(scope="session")
def all_pass() -> System:
    """Strictly proper part of an all-pass filter: every Hankel singular value is 1."""
    poles = 0.8 * np.exp(1j * np.array([0.4, 1.1, 2.0]))
    everything = np.concatenate([poles, poles.conj()])
    residues = [
        np.prod(1.0 - everything.conj() * p) / np.prod(p - np.delete(everything, i))
        for i, p in enumerate(everything)
    ]
    return System(poles, np.ones((3, 1)), 2.0 * np.array(residues)[None, :3])
