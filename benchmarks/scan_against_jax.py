"""Our scan against JAX's on the same layer: how much faster, in how much less memory.

Forward and backward of one LRU layer, gradients of every parameter and of the input, against the
reference formula: `jax.lax.associative_scan` on complex64, vmap over the batch, one jitted
value_and_grad. Each side is a process of its own on the same cores with the same number of threads.
They are compiled and warmed, their results are compared, then they take turns, one call each a
round; the answer is the median over rounds of the ratio of the two times of a round, with a
bootstrap interval. Memory is how far ru_maxrss grows in the first call after compiling.

JAX is not among our dependencies. Where it is missing the benchmark says so and does nothing:

    python -m venv jaxenv && jaxenv/bin/pip install jax
    python benchmarks/scan_against_jax.py --jax-python jaxenv/bin/python

SSMITH_JAX_PYTHON names that interpreter too.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from _output import publish

# (batch, T, N, H) and what we want to reach: sMNIST full and reduced, a wide layer, sCIFAR.
SIZES = {
    (50, 784, 256, 8): 15.0,
    (50, 784, 28, 8): 7.0,
    (16, 784, 256, 96): 4.5,
    (4, 1024, 384, 512): 3.0,
}
NAMES = ("u", "lam", "B", "C")
Arrays = dict[str, np.ndarray]


def problem(batch: int, steps: int, n: int, width: int) -> Arrays:
    """A random layer as LRU initialises it, an input, and the weights w of the loss sum(w y)."""
    rng = np.random.default_rng(0)
    radius = np.sqrt(rng.uniform(0.9**2, 0.999**2, n))
    angle = rng.uniform(0, 2 * np.pi, n)
    gamma = np.tile(np.sqrt(1 - radius**2), 2)[:, None]
    arrays = {
        "u": rng.standard_normal((batch, steps, width)),
        "lam": np.stack((radius * np.cos(angle), radius * np.sin(angle))),
        "B": gamma * rng.standard_normal((2 * n, width)) / np.sqrt(2 * width),
        "C": rng.standard_normal((width, 2 * n)) / np.sqrt(n),
        "w": rng.standard_normal((batch, steps, width)),
    }
    return {name: a.astype(np.float32) for name, a in arrays.items()}


def ours(arrays: Arrays, threads: int) -> tuple[Callable[[], Any], Callable[[Any], Arrays], str]:
    """A call of our layer, its results as arrays, and the version; warmed on one sequence."""
    import torch

    from ssmith.train.recurrence import fastest
    from ssmith.train.scan import lru_scan

    torch.set_num_threads(threads)
    leaves = [torch.tensor(arrays[name], requires_grad=True) for name in NAMES]
    weight = torch.tensor(arrays["w"])

    def call(u: torch.Tensor = leaves[0], w: torch.Tensor = weight) -> Any:
        y, _ = lru_scan(u, *leaves[1:])
        loss = (w * y).sum()
        return loss, torch.autograd.grad(loss, (u, *leaves[1:]))

    call(leaves[0][:1], weight[:1])
    return call, lambda r: _named(r[0].detach(), r[1]), f"torch {torch.__version__}, {fastest().name}"


def theirs(arrays: Arrays, threads: int) -> tuple[Callable[[], Any], Callable[[Any], Arrays], str]:
    """The same of the JAX layer; compiled, not yet run."""
    import jax
    import jax.numpy as jnp

    n = arrays["lam"].shape[1]

    def combine(first: Any, second: Any) -> Any:
        return second[0] * first[0], second[0] * first[1] + second[1]

    def layer(u: Any, lam: Any, B: Any, C: Any) -> Any:
        poles, b, c = lam[0] + 1j * lam[1], B[:n] + 1j * B[n:], C[:, :n] - 1j * C[:, n:]
        repeated = jnp.repeat(poles[None], u.shape[0], axis=0)
        _, states = jax.lax.associative_scan(combine, (repeated, jax.vmap(lambda v: b @ v)(u)))
        return jax.vmap(lambda x: (c @ x).real)(states)

    def loss(u: Any, lam: Any, B: Any, C: Any, w: Any) -> Any:
        return (w * jax.vmap(layer, in_axes=(0, None, None, None))(u, lam, B, C)).sum()

    values = [jax.device_put(arrays[name]) for name in (*NAMES, "w")]
    step = jax.jit(jax.value_and_grad(loss, argnums=(0, 1, 2, 3))).lower(*values).compile()
    return (
        lambda: jax.block_until_ready(step(*values)),
        lambda r: _named(r[0], r[1]),
        f"jax {jax.__version__}, jaxlib {jax.lib.__version__}, {threads} threads",
    )


def _named(loss: Any, grads: Any) -> Arrays:
    return {"loss": np.asarray(loss), **{k: np.asarray(g) for k, g in zip(NAMES, grads, strict=True)}}


def worker(side: str, folder: Path, threads: int) -> None:
    """Run one side: a JSON line when ready, then one for each line that arrives on stdin."""
    arrays = dict(np.load(folder / "problem.npz"))
    call, results, version = (ours if side == "ours" else theirs)(arrays, threads)
    before = _peak_bytes()
    first = call()
    grown = _peak_bytes() - before
    np.savez(folder / f"{side}.npz", **results(first))
    del first
    for _ in range(3):
        call()
    print(json.dumps({"version": version, "memory_bytes": grown}), flush=True)
    for _ in sys.stdin:
        wall, cpu = time.perf_counter(), time.process_time()
        call()
        print(json.dumps([time.perf_counter() - wall, time.process_time() - cpu]), flush=True)


def _peak_bytes() -> int:
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _start(side: str, python: str, folder: Path, threads: int) -> subprocess.Popen[str]:
    environment = {
        **os.environ,
        "JAX_PLATFORMS": "cpu",
        "OMP_NUM_THREADS": str(threads),
        "PYTHONPATH": str(Path(__file__).parents[1]) if side == "ours" else "",
    }
    if threads == 1:
        environment["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
    command = [python, __file__, "--worker", side, "--folder", str(folder), "--threads", str(threads)]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=environment)


def _ask(process: subprocess.Popen[str], line: str | None = None) -> Any:
    assert process.stdin is not None and process.stdout is not None
    if line is not None:
        process.stdin.write(line)
        process.stdin.flush()
    answer = process.stdout.readline()
    if not answer:
        raise SystemExit(f"a worker died with exit status {process.wait()}")
    return json.loads(answer)


def compare(size: tuple[int, int, int, int], options: argparse.Namespace) -> dict[str, Any]:
    """One size: agreement, then `rounds` rounds of one call each."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        np.savez(folder / "problem.npz", **problem(*size))
        pythons = {"ours": sys.executable, "jax": options.jax_python}
        workers: dict[str, subprocess.Popen[str]] = {}
        ready: dict[str, Any] = {}
        times: dict[str, list[list[float]]] = {side: [] for side in pythons}
        try:
            for side, python in pythons.items():
                workers[side] = _start(side, python, folder, options.threads)
                ready[side] = _ask(workers[side])
            differences = _differences(folder)
            for k in range(options.rounds):
                for side in sorted(pythons, reverse=bool(k % 2)):
                    times[side].append(_ask(workers[side], "go\n"))
        finally:
            for process in workers.values():
                process.communicate()
    if max(differences.values()) > 1e-3:
        raise SystemExit(f"{size}: results differ, {differences}; a speed would mean nothing")
    wall, cpu = ({side: np.array([pair[i] for pair in times[side]]) for side in pythons} for i in (0, 1))
    memory = {side: ready[side]["memory_bytes"] for side in pythons}
    return {
        "size": dict(zip(("batch", "T", "N", "H"), size, strict=True)),
        "target": SIZES.get(size),
        "speedup": _ratio(wall),
        "speedup_cpu_time": _ratio(cpu),
        "median_s": {side: float(np.median(a)) for side, a in wall.items()},
        "memory_bytes": memory,
        "memory_ratio": memory["jax"] / max(memory["ours"], 1),
        "relative_difference": differences,
        "versions": {side: ready[side]["version"] for side in pythons},
    }


def _differences(folder: Path) -> dict[str, float]:
    a, b = (dict(np.load(folder / f"{side}.npz")) for side in ("ours", "jax"))
    return {k: float(np.linalg.norm(a[k] - b[k]) / np.linalg.norm(b[k])) for k in b}


def _ratio(times: Arrays) -> dict[str, float]:
    """Median over rounds of jax/ours, with a 95 % bootstrap interval."""
    ratios = times["jax"] / times["ours"]
    draws = np.random.default_rng(0).choice(ratios, (4000, len(ratios)))
    low, high = np.quantile(np.median(draws, axis=1), (0.025, 0.975))
    return {"median": float(np.median(ratios)), "low": float(low), "high": float(high)}


def _has_jax(python: str) -> bool:
    try:
        return subprocess.run([python, "-c", "import jax"], capture_output=True).returncode == 0
    except OSError:
        return False


def _size(text: str) -> tuple[int, int, int, int]:
    batch, steps, n, width = (int(part) for part in text.split(","))
    return batch, steps, n, width


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    here = os.environ.get("SSMITH_JAX_PYTHON", sys.executable)
    parser.add_argument("--jax-python", default=here, help="the interpreter that has jax")
    parser.add_argument("--threads", type=int, default=1, help="threads of both, and cores to pin to")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--size", type=_size, action="append", help="batch,T,N,H; may be repeated")
    parser.add_argument("--out", type=Path, help="write the JSON here too")
    parser.add_argument("--worker", choices=("ours", "jax"), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        worker(options.worker, options.folder, options.threads)
        return 0
    if not _has_jax(options.jax_python):
        print(f"skipped: {options.jax_python} has no jax; see --help for where to put it", file=sys.stderr)
        return 0
    from ssmith.devices.fingerprint import host_fingerprint  # the other interpreter has no ssmith

    cores = None
    if hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))[-options.threads :]
        os.sched_setaffinity(0, cores)
    load = os.getloadavg()[0]
    rows = [compare(size, options) for size in options.size or SIZES]
    report = {
        "question": "speed and memory of one LRU layer, forward and backward, against JAX",
        "command": [Path(sys.executable).name, *sys.argv],
        "machine": {
            "processor": host_fingerprint().get("cpu"),
            "cores_used": cores,
            "system": platform.platform(),
        },
        "load_before": load,
        "threads": options.threads,
        "rounds": options.rounds,
        "rows": rows,
    }
    publish(report, options.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
