"""What one balanced truncation costs from N = 64 to N = 2304 modes, against two usual routes.

Ours: Gramian factors, singular values, oblique projection, diagonal form, certificate; N modes -> N/4. Cases:

exact     closed-form Gramians of a freshly initialised LRU layer: well-conditioned
measured  both Gramians summed over simulated data (10,000 steps of coloured inputs; not timed)
crowded   exact again, with phases in [0, 0.3] and 64 channels: ill-conditioned, factors from the sources
tolerance measured, and 0.001 of Σσ² may go instead of an order

The usual routes, up to --dense modes, for the same real system of order 2N and the same real order: SLICOT's
ab09ad (slycot), and what was published with the method (two discrete Lyapunov equations by SciPy, sqrtm, SVD,
an explicit inverse, eigenvalues). Their singular values are compared with ours. Above N = 1024, where ours
come from squares if those resolve them, two rows compare them with an SVD.

    OMP_NUM_THREADS=1 python benchmarks/reduce_speed.py --out benchmarks/results/reduce_speed.json

Every row is a process of its own, for its peak memory, and the smallest CPU seconds of its rounds count: on a
shared machine wall time, and the larger CPU times, say more about the neighbours. `load` is theirs and ours.
A run that was stopped goes on from the rows that --out holds.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import scipy.linalg
from _output import keep, publish

from ssmith.reduce import balanced_truncation, h2_error, hinf_error, hinf_norm
from ssmith.reduce.factors import gramian_factors
from ssmith.system import System

SIZES = ((64, 128), (128, 192), (256, 256), (384, 512), (512, 512), (768, 512), (1024, 512), (1536, 512))
LARGEST = (2304, 512)
ROWS = (
    *((n, h, "exact") for n, h in (*SIZES, LARGEST)),
    (768, 512, "measured"),
    (*LARGEST, "measured"),
    (*LARGEST, "tolerance"),
    (2304, 64, "crowded"),
)
AGAINST_SVD = ((1536, "exact"), (2304, "measured"))
PACKAGES = ("numpy", "scipy", "slycot")
HINF_UP_TO = 512  # modes; the H∞ norm of more takes longer than what is measured here
MANY_ROUNDS_UP_TO = 768


def lru(order: int, channels: int, phases: float = 2.0 * np.pi) -> System:
    """A freshly initialised LRU layer: |λ| in [0.9, 0.999], phases from 0 to `phases`."""
    rng = np.random.default_rng(0)
    modulus = np.sqrt(rng.uniform(0.9**2, 0.999**2, order))
    lam = modulus * np.exp(1j * phases * rng.random(order))
    b = rng.standard_normal((order, channels)) + 1j * rng.standard_normal((order, channels))
    c = rng.standard_normal((channels, order)) + 1j * rng.standard_normal((channels, order))
    gamma = np.sqrt(1.0 - modulus**2)[:, None]
    return System(lam, gamma * b / np.sqrt(2.0 * channels), c / np.sqrt(order))


def measured_moment(lam: np.ndarray, b: np.ndarray, seed: int) -> np.ndarray:
    """Planar second moment (2N, 2N) of the states over 50 sequences of 200 steps of coloured inputs."""
    rng = np.random.default_rng(seed)
    states, channels = b.shape
    mix = rng.standard_normal((channels, channels)) * np.exp(-4.0 * np.linspace(0.0, 1.0, channels))[:, None]
    u, x = np.zeros((50, channels)), np.zeros((50, states), dtype=complex)
    moment = np.zeros((2 * states, 2 * states))
    for _ in range(4):
        seen = []
        for _ in range(50):
            u = 0.9 * u + rng.standard_normal(u.shape)
            x = lam * x + (u @ mix / np.sqrt(channels)) @ b.T
            seen.append(np.concatenate([x.real, x.imag], axis=1))
        rows = np.concatenate(seen)
        moment += rows.T @ rows
    return moment / 10_000.0


def real_system(system: System) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Dense A (2N, 2N), B (2N, U), C (Y, 2N) of the real system."""
    re, im = np.diag(system.lam.real), np.diag(system.lam.imag)
    b = np.concatenate([system.B.real, system.B.imag])
    return np.block([[re, -im], [im, re]]), b, np.concatenate([system.C.real, -system.C.imag], axis=1)


def published_route(system: System, real_order: int) -> np.ndarray:
    """Singular values after truncation as published; what else it computes is thrown away."""
    a, b, c = real_system(system)
    p = scipy.linalg.solve_discrete_lyapunov(a, b @ b.T)
    q = scipy.linalg.solve_discrete_lyapunov(a.T, c.T @ c)
    root = scipy.linalg.sqrtm(p).real
    u, square, _ = scipy.linalg.svd(root @ q @ root)
    sigma = np.sqrt(square)
    transform = root @ u / np.sqrt(sigma)
    back = np.linalg.inv(transform)
    scipy.linalg.eig((back @ a @ transform)[:real_order, :real_order])
    return sigma


def slicot_route(system: System, real_order: int) -> np.ndarray:
    """Singular values after SLICOT's balanced truncation; its reduced system (not diagonal) is dropped."""
    from slycot import ab09ad

    a, b, c = real_system(system)
    _, _, _, _, sigma = ab09ad("D", "B", "N", len(a), b.shape[1], len(c), a, b, c, nr=real_order, tol=0.0)
    return sigma[: len(a)]


def timed(call: Callable[[], Any], rounds: int) -> tuple[Any, dict[str, float]]:
    """The last result, and the smallest CPU and wall seconds."""
    cpu, wall = [], []
    for _ in range(rounds):
        begin = time.process_time(), time.perf_counter()
        result = call()
        cpu.append(time.process_time() - begin[0])
        wall.append(time.perf_counter() - begin[1])
    return result, {"cpu_s": min(cpu), "wall_s": min(wall)}


def measure(order: int, channels: int, case: str, rounds: int, dense: bool) -> dict[str, Any]:
    """One row, with the peak memory of this process so far taken right after our own runs."""
    system = lru(order, channels, 0.3 if case == "crowded" else 2.0 * np.pi)
    given: dict[str, Any] = {}
    if case in ("measured", "tolerance"):
        given["controllability"] = measured_moment(system.lam, system.B, 1)
        given["observability"] = measured_moment(system.lam.conj(), system.C.conj().T, 2)
    goal = {"tolerance": 0.001} if case == "tolerance" else {"order": order // 4}
    load = os.getloadavg()[0]
    result, ours = timed(lambda: balanced_truncation(system, **goal, **given), rounds)
    sigma, q = result.singular_values, result.real_order
    row = {"N": order, "H": channels, "case": case, "goal": goal, "rounds": rounds, "load": load, **ours}
    row["peak_rss_gib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    row |= {"order": result.order, "real_order": q, "sigma_last": float(sigma[-1] / sigma[0])}
    row["h2_error"] = h2_error(system, result.system, relative=True)
    if case in ("exact", "crowded"):
        row["bound"], row["two_tails"] = result.error_bound, 2.0 * result.tail
    if case == "exact" and order <= HINF_UP_TO:
        gain = hinf_norm(system)
        row["hinf_error"] = hinf_error(system, result.system) / gain
        row["bound_of_gain"] = result.error_bound / gain
    if dense:
        for name, route in (("slicot", slicot_route), ("published", published_route)):
            theirs, seconds = timed(lambda route=route: route(system, q), 1)
            row[name] = {**seconds, "sigma_difference": float(np.abs(sigma - theirs).max() / sigma[0])}
    if (order, case) in AGAINST_SVD:
        reach, see = gramian_factors(system, given.get("controllability"), given.get("observability"))
        exact, seconds = timed(lambda: scipy.linalg.svdvals(see.T @ reach), 1)
        off = np.abs(np.pad(exact, (0, sigma.size - exact.size)) - sigma)
        worst = float((off[sigma > 0.0] / sigma[sigma > 0.0]).max())
        row["svdvals"] = {**seconds, "difference": float(off.max() / sigma[0]), "relative": worst}
    return row


def document(rows: list[dict[str, Any]]) -> dict[str, Any]:
    def installed(name: str) -> str | None:
        try:
            return version(name)
        except PackageNotFoundError:
            return None

    return {
        "benchmark": "reduce_speed",
        "command": " ".join(["python", *sys.argv]),
        "machine": {"cpu": platform.processor() or platform.machine(), "cores": os.cpu_count()},
        "threads": {name: os.environ.get(name) for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")},
        "versions": {"python": platform.python_version(), **{name: installed(name) for name in PACKAGES}},
        "rows": rows,
    }


def earlier_rows(out: Path | None) -> list[dict[str, Any]]:
    """Rows that --out holds already, from the same versions and threads."""
    if out is None or not out.exists():
        return []
    earlier, now = json.loads(out.read_text(encoding="utf-8")), document([])
    same = all(earlier.get(key) == now[key] for key in ("machine", "threads", "versions"))
    return list(earlier["rows"]) if same else []


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--out", type=Path, help="write the JSON here too")
    parser.add_argument("--rounds", type=int, default=3, help="for N up to 768; larger ones run once")
    parser.add_argument("--dense", type=int, default=384, help="largest N for the usual routes")
    parser.add_argument("--up-to", type=int, default=LARGEST[0], help="largest N")
    parser.add_argument("--row", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.row is not None:
        n, h, case = ROWS[arguments.row]
        rounds = arguments.rounds if n <= MANY_ROUNDS_UP_TO else 1
        dense = n <= arguments.dense and case == "exact"
        print(json.dumps(measure(n, h, case, rounds, dense)))
        return
    rows = earlier_rows(arguments.out)
    for i, row in enumerate(ROWS):
        if row[0] <= arguments.up_to and row not in [(r["N"], r["H"], r["case"]) for r in rows]:
            command = [sys.executable, *sys.argv, "--row", str(i)]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            rows.append(json.loads(done.stdout))
            print(done.stdout.strip(), file=sys.stderr, flush=True)
            rows.sort(key=lambda r: ROWS.index((r["N"], r["H"], r["case"])))
            keep(document(rows), arguments.out)
    publish(document(rows), arguments.out)


if __name__ == "__main__":
    main()
