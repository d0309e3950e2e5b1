"""The measuring loop of `bench` against one written by hand, in paired rounds, and what it costs a step.

The one by hand knows nothing of the other: it reads the clock before and after a batch of steps, and its
figure is the median over batches of the mean step. Each round starts both programs once, in turn the one
and the other first, on one core; a ratio is taken within its round. The interval holds the median ratio of
such rounds in 95 % of cases (order statistics).

    python benchmarks/measuring_loop.py --out benchmarks/results/measuring_loop.json
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from _native import processor, reference_model, small_model
from _output import publish

from ssmith.bundle import Bundle
from ssmith.compiler import compile_command, compiler_version, find_compiler
from ssmith.devices.host import Host, pinned
from ssmith.devices.loop import numbers, read_output
from ssmith.devices.repeats import interval
from ssmith.devices.target import Job, Plan
from ssmith.devices.timing import clock_step, find_warm_up, summarise
from ssmith.export import c99
from ssmith.export.manifest import write_manifest
from ssmith.runtime.native import FLAGS

BY_HAND = """
#define _POSIX_C_SOURCE 200809L
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include "NAME.h"
static NAME_t model;
static float in[65536], out[NAME_OUTPUTS_];
int main(int argc, char **argv)
{
    FILE *file = fopen(argv[1], "rb");
    long frames = (long)(fread(in, 4, 65536, file) / NAME_INPUTS_), batches = atol(argv[2]), k, b, at = 0;
    NAME_init(&model);
    for (b = 0; b < batches; b++) {
        struct timespec from, to;
        clock_gettime(CLOCK_MONOTONIC, &from);
        for (k = 0; k < BATCH; k++) {
            NAME_step(&model, in + at * NAME_INPUTS_, out);
            if (++at == frames) at = 0;
        }
        clock_gettime(CLOCK_MONOTONIC, &to);
        printf("%.3f\\n", ((to.tv_sec - from.tv_sec) * 1e9 + (to.tv_nsec - from.tv_nsec)) / BATCH);
    }
    return argc != 3;
}
"""
BATCH, STEPS, WARM_UP = 100, 20_000, 5_000


def by_hand(source: Path, folder: Path) -> Path:
    """The program above around a generated model, with the flags that the other is built with."""
    name, upper = source.stem, source.stem.upper()
    text = BY_HAND.replace("NAME_OUTPUTS_", f"{upper}_OUTPUTS").replace("NAME_INPUTS_", f"{upper}_INPUTS")
    program = folder / "by_hand"
    (folder / "by_hand.c").write_text(text.replace("NAME", name).replace("BATCH", str(BATCH)))
    files = (f"-I{source.parent}", str(folder / "by_hand.c"), str(source), "-o", str(program))
    subprocess.run([*compile_command(FLAGS), *files], check=True)
    return program


def hand_ns(program: Path, frames: Path) -> float:
    """Median over batches of the mean step, the warm-up left out."""
    arguments = [str(program), str(frames), str((STEPS + WARM_UP) // BATCH)]
    done = subprocess.run(arguments, check=True, capture_output=True, text=True)
    return float(np.median([float(line) for line in done.stdout.split()][WARM_UP // BATCH :]))


def bench_ns(job: Job, plan: Plan, output: Path) -> tuple[float, float, float]:
    """Median step of `bench`, what its loop costs a step, and the steps of the clock, all in nanoseconds."""
    output.mkdir()
    arguments = [*job.command, str(job.folder / "frames.f32"), str(output), *numbers(job, plan, 0)]
    subprocess.run(arguments, check=True)
    raw = read_output(output)
    steady = raw.samples[find_warm_up(raw.samples, limit=WARM_UP).steps :]
    step_ns = raw.clock_step_ns or clock_step(steady)
    median = summarise(steady, overhead_ns=raw.overhead_ns, step_ns=step_ns).p50_us
    return (median or 0.0) * 1e3, raw.loop_overhead_ns or 0.0, step_ns


def compared(bundle: Bundle, rounds: int, scratch: Path) -> dict[str, Any]:
    """A row: both medians, their ratio in the same round, and the cost of the loop."""
    artifacts, folder = scratch / "artifacts", scratch / "job"
    folder.mkdir()
    write_manifest(bundle, artifacts, c99.lower(bundle, artifacts))
    plan = Plan(steps=STEPS, warmup_limit=WARM_UP, paced_limit_s=0.0, time_limit_s=60.0)
    job = Host().push(Host().build(artifacts, "native", "float32", folder), plan)
    program = by_hand(artifacts / job.artifact, folder)
    found = []
    with pinned() as core:
        for k in range(rounds):
            output = scratch / f"round{k}"
            first = hand_ns(program, folder / "frames.f32") if k % 2 else None
            ours = bench_ns(job, plan, output)
            hand = hand_ns(program, folder / "frames.f32") if first is None else first
            found.append((ours[0], hand, ours[1], ours[2]))
    table = np.array(found)
    ratios = table[:, 0] / table[:, 1]
    middle = float(np.median(ratios))
    return {
        "model": bundle.name,
        "bench_p50_ns": round(float(np.median(table[:, 0])), 1),
        "by_hand_ns": round(float(np.median(table[:, 1])), 1),
        "ratio": round(middle, 4),
        "ratio_interval": [round(edge, 4) for edge in interval(ratios.tolist(), middle)],
        "loop_ns_per_step": round(float(np.median(table[:, 2])), 2),
        "loop_ns_per_step_worst_round": round(float(table[:, 2].max()), 2),
        "clock_step_ns": round(float(np.median(table[:, 3])), 2),
        "core": core,
    }


def main() -> None:
    """All models."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=21)
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    rows = []
    for bundle in (small_model(12), small_model(64), reference_model()):
        with tempfile.TemporaryDirectory() as scratch:
            rows.append(compared(bundle, asked.rounds, Path(scratch)))
    publish(
        {
            "processor": processor()["name"],
            "compiler": compiler_version(find_compiler() or []),
            "flags": " ".join(compile_command(FLAGS)[1:]),
            "rounds": asked.rounds,
            "steps_a_round": STEPS,
            "rows": rows,
        },
        asked.out,
    )


if __name__ == "__main__":
    main()
