"""What Python adds to a step: Session.step minus the same step called in a C loop.

The two take turns on one core, CPU time of the thread; a figure is the median over rounds of the
difference in the same round, with an interval that holds it in 95 % of cases. The frame is a float32
array, as a program has it that keeps one; a list or another type costs a conversion on top. The goal is
1 us for the generated form.

    python benchmarks/session_overhead.py --out benchmarks/results/session_overhead.json
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from itertools import repeat
from pathlib import Path
from typing import Any

import numpy as np
from _native import (
    Candidate,
    build_name,
    interval,
    noise,
    of_engine,
    of_model,
    pin,
    processor,
    reference_model,
    small_model,
)
from _output import publish

from ssmith.bundle import Bundle
from ssmith.export import c99
from ssmith.runtime import Session

ROUNDS, STEPS, BLOCK = 41, 500, 64
NATIVE = ("-march=native",)


def of_session(name: str, call: Callable[[], Any]) -> Candidate:
    """A Python call, as often as wanted."""

    def run(calls: int) -> None:
        for _ in repeat(None, calls):
            call()

    return Candidate(name, run)


def compared(bundle: Bundle, folder: Path) -> list[dict[str, Any]]:
    """A row a way of calling a model: what it costs beyond C, in nanoseconds a call."""
    stem = bundle.name
    frames = noise(BLOCK, len(bundle.meta.inputs))
    u, y = frames[0], np.empty(len(bundle.meta.outputs), np.float32)
    out = np.empty((BLOCK, len(y)), np.float32)
    rows = []
    for form, inside in ((".c", of_model), (".ssmc", of_engine)):
        session = Session.open(folder / f"{stem}{form}")
        pairs = [
            (
                "step(u)",
                of_session("", lambda s=session: s.step(u)),
                inside("C", bundle, folder, "cc", NATIVE),
            ),
            (
                "step(u, out=y)",
                of_session("", lambda s=session: s.step(u, y)),
                inside("C", bundle, folder, "cc", NATIVE),
            ),
        ]
        if form == ".c":
            block = of_model("C", bundle, folder, "cc", NATIVE, frames=BLOCK)
            whole = of_session("", lambda s=session: s.process(frames, out))
            pairs.append((f"process({BLOCK} frames, out)", whole, block))
        for name, python, c in pairs:
            differences, own = [], []
            for _ in range(ROUNDS):
                took = [ns_per_call(candidate) for candidate in (python, c)]
                differences.append(took[0] - took[1])
                own.append(took[1])
            low, middle, high = (round(value) for value in interval(np.array(differences)))
            row = {"model": stem, "form": form, "call": name, "added_ns": middle, "interval_ns": [low, high]}
            rows.append(row | {"c_ns": round(float(np.median(own)))})
    return rows


def ns_per_call(candidate: Candidate) -> float:
    """CPU time of one call, after a few that are not counted."""
    candidate.call(STEPS // 8)
    begin = time.clock_gettime_ns(time.CLOCK_THREAD_CPUTIME_ID)
    candidate.call(STEPS)
    return (time.clock_gettime_ns(time.CLOCK_THREAD_CPUTIME_ID) - begin) / STEPS


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path)
    out = parser.parse_args().out
    pin()
    rows = []
    for bundle in (small_model(8), small_model(16), reference_model()):
        with tempfile.TemporaryDirectory() as folder:
            c99.lower(bundle, Path(folder))
            rows += compared(bundle, Path(folder))
    document = {
        "processor": processor()["name"],
        "build": build_name("cc", NATIVE),
        "rounds": ROUNDS,
        "rows": rows,
    }
    publish(document, out)


if __name__ == "__main__":
    main()
