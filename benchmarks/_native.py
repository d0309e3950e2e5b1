"""Times native models against each other: libraries with one C function, taking turns on one core.

A candidate is ``step(const float *in, float *out)`` in a shared library of its own, built with its own
compiler and flags, or a Python callable. Every round runs all candidates once, each after a warm-up, and
a ratio is the median over rounds of candidate / first in the same round: what a neighbour does to the
machine hits both. Times are CPU time of the thread, pinned to one core.
"""

from __future__ import annotations

import ctypes
import os
import platform
import shlex
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parents[1]))  # the tests' bundles

from ssmith.bundle import Bundle
from ssmith.compiler import build_library, compiler_version
from ssmith.runtime.calibrate import calibrate
from tests.bundles import random_bundle

FRAMES = 16  # of input in a ring: short, so that it stays in L1
BATCH_NS = 400_000  # of CPU time a candidate and round
PLAIN = ("-std=c99", "-O3", "-ffp-contract=off")
ZIG = f"{sys.executable} -m ziglang cc"

DRIVER = """
typedef int step_t(const float *, float *);
void drive(step_t *step, const float *in, float *out, unsigned inputs, unsigned frames, unsigned calls)
{
    unsigned k;
    for (k = 0; k < calls; k++)
        step(in + (k % frames) * inputs, out);
}
"""
# The least time for a matrix-vector product of this size: every weight is loaded once, in order, and
# goes through one multiply-add; sixteen sums hide the latency.
STREAM = """
#include <string.h>
typedef float v __attribute__((vector_size(LANES * 4), aligned(4), may_alias));
static float weights[WORDS] __attribute__((aligned(64)));
int step(const float *in, float *out)
{
    v sum[16];
    unsigned i, k;
    memset(sum, 0, sizeof sum);
    for (i = 0; i + 16 * LANES <= WORDS; i += 16 * LANES)
        for (k = 0; k < 16; k++)
            sum[k] += *(const v *)(weights + i + k * LANES) * in[0];
    for (k = 1; k < 16; k++)
        sum[0] += sum[k];
    out[0] = sum[0][0];
    return 0;
}
"""


@dataclass(frozen=True)
class Candidate:
    """One thing to time.

    Args:
        name: in the results.
        call: runs that many steps.
        frames: frames that one step computes; times are given for one frame.
        build: the compiler's command line, or the versions behind it.
        last: the output of the last frame, (Y); where it is given, numbers can be compared.
    """

    name: str
    call: Callable[[int], None]
    frames: int = 1
    build: str = ""
    last: Callable[[], NDArray[np.float32]] | None = None


def reference_model() -> Bundle:
    """Four blocks, H = N = 64, 40 → 12, 103 thousand weights, calibrated on noise."""
    rng = np.random.default_rng(0)
    bundle = random_bundle(
        rng, name="ref", width=64, orders=(64,) * 4, inputs=40, outputs=12, norm="affine", pool="none"
    )
    return calibrate(bundle, [noise(400, 40)])


def small_model(width: int) -> Bundle:
    """One block, H = N = width, one value in and one out."""
    rng = np.random.default_rng(0)
    name = f"lru{width}"
    return random_bundle(
        rng, name=name, width=width, orders=(width,), inputs=1, outputs=1, norm="affine", pool="none"
    )


@contextmanager
def compiler(command: str) -> Iterator[None]:
    """Within it, ``ssmith.compiler`` uses this command."""
    before = os.environ.get("CC")
    os.environ["CC"] = command
    try:
        yield
    finally:
        if before is None:
            del os.environ["CC"]
        else:
            os.environ["CC"] = before


def library(unit: str, files: Sequence[Path], command: str, flags: Sequence[str]) -> Path:
    """A shared library made from one translation unit."""
    with compiler(command):
        return build_library(unit, files, [tuple(flags)])


def build_name(command: str, flags: Sequence[str]) -> str:
    """Compiler, its version and the flags, in one line."""
    return f"{compiler_version(shlex.split(command))} {shlex.join(flags)}"


def of_library(
    name: str,
    path: Path,
    inputs: int,
    outputs: int,
    *,
    frames: int = 1,
    silent: bool = False,
    build: str = "",
) -> Candidate:
    """A library's ``step``, fed noise from a ring of frames, or zeros."""
    driver = ctypes.CDLL(str(library(DRIVER, [Path(__file__)], "cc", PLAIN)))
    step = ctypes.cast(ctypes.CDLL(str(path)).step, ctypes.c_void_p)
    ring = noise(max(FRAMES // frames, 1) * frames, inputs) * (not silent)
    out = np.zeros((frames, outputs), np.float32)
    fixed = (step, _pointer(ring), _pointer(out), frames * inputs, len(ring) // frames)

    def call(calls: int, keep: Any = (ring, out)) -> None:
        driver.drive(*fixed, calls)

    return Candidate(name, call, frames, build, last=lambda: out[-1].copy())


def of_model(
    name: str,
    bundle: Bundle,
    folder: Path,
    command: str = "cc",
    flags: Sequence[str] = (),
    *,
    frames: int = 1,
    silent: bool = False,
    stem: str = "",
) -> Candidate:
    """The generated form of a model that was exported to a folder; ``stem`` where it is not its name."""
    stem, flags = stem or bundle.name, (*PLAIN, *flags)
    call = f"{stem}_step(&model, in, out)" if frames == 1 else f"{stem}_process(&model, in, out, {frames})"
    unit = f"""
#include "{stem}.c"
static {stem}_t model;
int step(const float *in, float *out)
{{
    if (model.ready == 0)
        {stem}_init(&model);
    return {call};
}}
"""
    files = [folder / f"{stem}.c", *sorted(folder.glob("*.h"))]
    path = library(unit, files, command, flags)
    build = build_name(command, flags)
    inputs, outputs = len(bundle.meta.inputs), len(bundle.meta.outputs)
    return of_library(name, path, inputs, outputs, frames=frames, silent=silent, build=build)


def of_engine(
    name: str, bundle: Bundle, folder: Path, command: str = "cc", flags: Sequence[str] = ()
) -> Candidate:
    """The loadable form: the engine with the model's bytes."""
    flags = (*PLAIN, *flags)
    data = (folder / f"{bundle.name}.ssmc").read_bytes()
    unit = f"""
#include "ssm.c"
static ssm_t model;
static float file[{len(data) // 4 + 16}] SSM_ALIGNED, memory[1 << 16] SSM_ALIGNED;
int prepare(const void *bytes)
{{
    memcpy(file, bytes, {len(data)});
    return ssm_open(&model, file, {len(data)}, memory, sizeof memory);
}}
int step(const float *in, float *out) {{ return ssm_step(&model, in, out); }}
"""
    path = library(unit, [folder / "ssm.c", *sorted(folder.glob("*.h"))], command, flags)
    if (status := ctypes.CDLL(str(path)).prepare(data)) != 0:
        raise RuntimeError(f"ssm_open returned {status}")
    inputs, outputs = len(bundle.meta.inputs), len(bundle.meta.outputs)
    return of_library(name, path, inputs, outputs, build=build_name(command, flags))


def stream_limit(weight_bytes: int, command: str = "cc") -> Candidate:
    """What loading so many bytes of weights costs, whatever is computed with them."""
    lanes = 16 if "avx512f" in processor()["flags"] else 8 if "avx2" in processor()["flags"] else 4
    flags = ("-O3", "-march=native", "-ffp-contract=fast", f"-DLANES={lanes}", f"-DWORDS={weight_bytes // 4}")
    path = library(STREAM, [Path(__file__)], command, flags)
    return of_library("stream limit", path, 1, 1, build=build_name(command, flags))


def noise(frames: int, inputs: int) -> NDArray[np.float32]:
    """White noise, uniform in [-2, 2), the same every time."""
    rng = np.random.default_rng(1)
    return rng.uniform(-2, 2, (frames, inputs)).astype(np.float32)


def time_all(candidates: Sequence[Candidate], rounds: int) -> list[dict[str, Any]]:
    """A row a candidate: ns per frame (least and median) and its ratio to the first with an interval."""
    times = times_of(candidates, rounds)
    rows = []
    for k, candidate in enumerate(candidates):
        low, middle, high = interval(times[:, k] / times[:, 0])
        row = {
            "name": candidate.name,
            "ns_min": round(float(times[:, k].min()), 1),
            "ns_median": round(float(np.median(times[:, k])), 1),
            "ratio": round(middle, 4),
            "ratio_interval": [round(low, 4), round(high, 4)],
            "build": candidate.build,
        }
        rows.append(row)
    return rows


def times_of(candidates: Sequence[Candidate], rounds: int) -> NDArray[np.float64]:
    """CPU time of one frame in ns, (rounds, candidates), each measured after a warm-up in its turn."""
    pin()
    calls = [_calls_in(candidate, BATCH_NS) for candidate in candidates]
    times = np.zeros((rounds, len(candidates)))
    for turn in range(rounds):
        for k in np.roll(np.arange(len(candidates)), turn):  # nobody always follows the same neighbour
            candidates[k].call(calls[k] // 8 + 1)
            times[turn, k] = _timed(candidates[k], calls[k]) / (calls[k] * candidates[k].frames)
    return times


def ratio_of(rows: Sequence[dict[str, Any]], name: str, other: str) -> float:
    """Ratio of two rows' ratios to the first."""
    by_name = {row["name"]: row["ratio"] for row in rows}
    return round(by_name[name] / by_name[other], 3)


def interval(values: NDArray[np.float64]) -> tuple[float, float, float]:
    """(low, median, high): order statistics that hold the true median in 95 % of cases."""
    ordered, n = np.sort(values), len(values)
    reach = 0.98 * np.sqrt(n)  # 1.96 standard deviations of Binomial(n, 1/2)
    low, high = int(np.floor(n / 2 - reach)), int(np.ceil(n / 2 + reach))
    return ordered[max(low, 0)], float(np.median(ordered)), ordered[min(high, n - 1)]


def pin() -> None:
    """Keep the thread on one core, the last of those it may use."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


def processor() -> dict[str, str]:
    """Name and flags of the processor, as far as Linux tells."""
    found = {"name": platform.processor() or platform.machine(), "flags": ""}
    path = Path("/proc/cpuinfo")
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        key, _, value = line.partition(":")
        if key.strip() in ("model name", "flags"):
            found["name" if key.strip() == "model name" else "flags"] = value.strip()
    return found


def table(rows: Sequence[dict[str, Any]]) -> None:
    """Print rows for people, on stderr: stdout is for JSON."""
    for row in rows:
        low, high = row["ratio_interval"]
        print(
            f"{row['name']:34} {row['ns_min']:9.1f} {row['ns_median']:9.1f} ns  {row['ratio']:.3f}"
            f" [{low:.3f}, {high:.3f}]",
            file=sys.stderr,
        )


def _calls_in(candidate: Candidate, ns: int) -> int:
    """How many steps take about so long."""
    candidate.call(1)
    calls = 1
    while (taken := _timed(candidate, calls)) < ns / 8:
        calls *= 2
    return max(1, int(calls * ns / taken))


def _timed(candidate: Candidate, calls: int) -> int:
    begin = time.clock_gettime_ns(time.CLOCK_THREAD_CPUTIME_ID)
    candidate.call(calls)
    return time.clock_gettime_ns(time.CLOCK_THREAD_CPUTIME_ID) - begin


def _pointer(array: NDArray[np.float32]) -> ctypes.c_void_p:
    return ctypes.c_void_p(array.ctypes.data)
