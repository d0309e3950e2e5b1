"""Does any layer width fall into a slow tile? ns per multiply-add of the C matrix product, by width.

gcc 12 turns some tile shapes into code 20 times slower, so every width is timed, one frame at a time
and four together, with 64 inputs. A width is "slow" when it costs more than three times the next wider one.
"""

from __future__ import annotations

import argparse
import ctypes
import itertools
from importlib import resources
from pathlib import Path

from _output import keep

from ssmith.compiler import build_library, compile_command
from ssmith.runtime.native import FLAGS

INPUTS = 64
WIDTHS = [*range(1, 34), 47, 48, 49, 63, 64, 65, 80, 96, 127, 128, 129, 192, 256]
ROUNDS = 25
UNIT = """
#define _POSIX_C_SOURCE 200809L
#include "ssm_kernels.h"
#include <time.h>
static float x[4 * 64], w[64 * 256], b[256], y[4 * 256];
double linear_ns(unsigned frames, unsigned width, unsigned calls)
{
    struct timespec start, end;
    clock_gettime(CLOCK_MONOTONIC, &start);
    for (unsigned k = 0; k < calls; k++) {
        ssm_linear(x, w, b, y, frames, 64, width);
        x[k % 64] = y[k % width]; /* every call depends on the one before */
    }
    clock_gettime(CLOCK_MONOTONIC, &end);
    return ((double)(end.tv_sec - start.tv_sec) * 1e9 + (double)(end.tv_nsec - start.tv_nsec)) / calls;
}
"""


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--out", type=Path)
    out = arguments.parse_args().out
    with resources.as_file(resources.files("ssmith.runtime") / "c") as folder:
        library = ctypes.CDLL(str(build_library(UNIT, sorted(folder.glob("ssm_[klm]*.h")), FLAGS)))
    library.linear_ns.restype = ctypes.c_double
    best = {(frames, width): float("inf") for frames in (1, 4) for width in WIDTHS}
    for _ in range(ROUNDS):  # rounds over all widths: a busy moment hits one sample of each
        for frames, width in best:
            calls = 200_000 // (INPUTS * width) + 20
            best[frames, width] = min(best[frames, width], library.linear_ns(frames, width, calls))
    rows = [
        {"frames": f, "width": w, "ns": round(ns, 1), "ns_per_mac": round(ns / (f * INPUTS * w), 4)}
        for (f, w), ns in best.items()
    ]
    slow = [
        {"frames": f, "width": w}
        for f in (1, 4)
        for w, wider in itertools.pairwise(WIDTHS)
        if best[f, w] > 3 * best[f, wider]
    ]
    result = {"inputs": INPUTS, "command": " ".join(compile_command(FLAGS)), "slow": slow, "rows": rows}
    for row in rows:
        print(f"{row['frames']} x {row['width']:4}: {row['ns']:8.1f} ns  {row['ns_per_mac']:.4f} ns/MAC")
    print("slow widths:", slow or "none")
    keep(result, out)


if __name__ == "__main__":
    main()
