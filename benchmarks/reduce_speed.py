"""What one balanced truncation costs, against the usual dense route.

Ours: the closed form or source factors, a real SVD, diagonal form, N modes -> N/2, exact Gramians. The usual
route, as published with the method: two discrete Lyapunov equations solved by SciPy for the same real system
of order 2N, sqrtm of the Gramian, SVD, an explicit inverse, eigenvalues. Its result is checked against ours
(Hankel singular values) before times are compared. The dense route stops where it takes minutes (--dense).

    OMP_NUM_THREADS=1 python benchmarks/reduce_speed.py --out benchmarks/results/reduce_speed.json

Times are CPU seconds of this process (medians over rounds, the two routes taking turns): wall time on a
shared machine says more about the neighbours.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import scipy
import scipy.linalg
from _output import publish

from ssmith.reduce import balanced_truncation, hankel_singular_values
from ssmith.system import System

SIZES = ((64, 8), (256, 8), (384, 512), (768, 512))


def lru(order: int, channels: int) -> System:
    """A freshly initialised LRU layer: |λ| in [0.9, 0.999], any phase."""
    rng = np.random.default_rng(0)
    modulus = np.sqrt(rng.uniform(0.9**2, 0.999**2, order))
    lam = modulus * np.exp(2j * np.pi * rng.random(order))
    b = rng.standard_normal((order, channels)) + 1j * rng.standard_normal((order, channels))
    c = rng.standard_normal((channels, order)) + 1j * rng.standard_normal((channels, order))
    gamma = np.sqrt(1.0 - modulus**2)[:, None]
    return System(lam, gamma * b / np.sqrt(2.0 * channels), c / np.sqrt(order))


def usual_route(system: System) -> np.ndarray:
    """Singular values after truncation the usual way; what else it computes is thrown away."""
    n = system.order
    re, im = np.diag(system.lam.real), np.diag(system.lam.imag)
    a = np.block([[re, -im], [im, re]])
    b = np.concatenate([system.B.real, system.B.imag])
    c = np.concatenate([system.C.real, -system.C.imag], axis=1)
    p = scipy.linalg.solve_discrete_lyapunov(a, b @ b.T)
    q = scipy.linalg.solve_discrete_lyapunov(a.T, c.T @ c)
    root = scipy.linalg.sqrtm(p).real
    u, square, _ = scipy.linalg.svd(root @ q @ root)
    sigma = np.sqrt(square)
    transform = root @ u / np.sqrt(sigma)
    back = np.linalg.inv(transform)
    scipy.linalg.eig((back @ a @ transform)[:n, :n])
    return sigma


def cpu_seconds(call: Callable[[], object]) -> float:
    begin = time.process_time()
    call()
    return time.process_time() - begin


def measure(order: int, channels: int, rounds: int, dense: bool) -> dict[str, object]:
    system = lru(order, channels)
    row: dict[str, object] = {"N": order, "H": channels, "kept": order // 2}
    if dense:
        sigma, theirs = hankel_singular_values(system), usual_route(system)
        row["sigma_difference"] = float(np.abs(sigma - theirs).max() / sigma[0])
    ours, usual = [], []
    for _ in range(rounds):
        ours.append(cpu_seconds(lambda: balanced_truncation(system, order=order // 2)))
        if dense:
            usual.append(cpu_seconds(lambda: usual_route(system)))
    row |= {"rounds": rounds, "ours_cpu_s": statistics.median(ours), "ours_cpu_s_min": min(ours)}
    row["usual_cpu_s"] = statistics.median(usual) if dense else None
    row["ratio"] = statistics.median(u / o for u, o in zip(usual, ours, strict=True)) if dense else None
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--out", type=Path, help="write the JSON here too")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--dense", type=int, default=384, help="largest N for the usual route")
    arguments = parser.parse_args()
    rows = [measure(n, h, arguments.rounds, n <= arguments.dense) for n, h in SIZES]
    document = {
        "benchmark": "reduce_speed",
        "command": " ".join(["python", *sys.argv]),
        "machine": {"cpu": platform.processor() or platform.machine(), "cores": os.cpu_count()},
        "threads": {name: os.environ.get(name) for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")},
        "versions": {
            "python": platform.python_version(),
            "numpy": np.__version__,
            "scipy": scipy.__version__,
        },
        "rows": rows,
    }
    publish(document, arguments.out)


if __name__ == "__main__":
    main()
