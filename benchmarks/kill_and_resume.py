"""Does a run killed with −9 end with the same bytes? Twenty random moments in every stage.

    python benchmarks/kill_and_resume.py --kills 20 --out benchmarks/results/kill_and_resume.json

One undisturbed short run gives the bytes that all others must end with: weights, metrics, bundle, ONNX, C.
Then, stage after stage, a copy of the run as it stood before that stage is killed after a random share of the
stage's own time, and run again to the end of the stage. Moments are seeded. Every second kill of the training
hits an event instead of a time: inside a cut, inside a write, before or after a rename.
"""

from __future__ import annotations

import argparse
import platform
import random
import shutil
import sys
import tempfile
import time
from pathlib import Path

from _output import publish

sys.path.insert(0, str(Path(__file__).parents[1]))  # tests/killing.py holds the child process

from tests.killing import MOMENTS, leftovers, results, run_arguments, run_verb

STAGES = ("train", "freeze", "export", "verify", "bench", "report")


def outputs(run: Path) -> dict[str, bytes]:
    """What exists of the results so far."""
    if (run / "artifacts").exists():
        return results(run)
    names = ("train/best.safetensors", "train/last.safetensors", "train/metrics.jsonl", "train/cuts.json")
    found = {name: (run / name).read_bytes() for name in names if (run / name).exists()}
    return found | {p.name: p.read_bytes() for p in run.glob("*.ssm")}


def arguments_of(stage: str, runs: Path) -> list[str]:
    """The command line of one stage."""
    return ["train", *run_arguments(runs)[1:]] if stage == "train" else [stage, str(runs / "it")]


def kill_once(
    stage: str, before: Path | None, seconds: float, rng: random.Random, kill: int
) -> dict[str, object]:
    """Kill one copy of the run in this stage, run it again, and compare."""
    with tempfile.TemporaryDirectory() as folder:
        runs = Path(folder)
        if before is not None:
            shutil.copytree(before, runs / "it")
        event = rng.choice(list(MOMENTS)) if stage == "train" and kill % 2 else None
        if event is not None:
            count = rng.randint(1, 3 if event == "inside a cut" else 20)
            ended = run_verb(arguments_of(stage, runs), event, count)
            moment = f"{event}, number {count}"
        else:
            after = rng.uniform(0, seconds)
            ended = run_verb(arguments_of(stage, runs), after_s=after)
            moment = f"after {after:.2f} s"
        again = run_verb(arguments_of(stage, runs))
        return {
            "stage": stage,
            "moment": moment,
            "killed": ended.killed,
            "exit_code": again.code,
            "found": outputs(runs / "it"),
            "leftovers": leftovers(runs / "it"),
        }


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=20, help="per stage")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    rng = random.Random(options.seed)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        runs, before = Path(folder), None
        for stage in STAGES:
            begin = time.monotonic()
            assert run_verb(arguments_of(stage, runs)).code == 0
            seconds = time.monotonic() - begin
            expected = outputs(runs / "it")
            for kill in range(options.kills):
                row = kill_once(stage, before, seconds, rng, kill)
                row["same"] = row.pop("found") == expected
                rows.append(row)
                print(f"{stage}: {row['moment']}: {'same' if row['same'] else 'DIFFERENT'}", file=sys.stderr)
            before = Path(shutil.copytree(runs / "it", runs / f"after-{stage}"))
    document = {
        "question": "does a run killed with -9 end with the same bytes?",
        "command": f"python benchmarks/kill_and_resume.py --kills {options.kills} --seed {options.seed}",
        "machine": platform.platform(),
        "reruns": len(rows),
        "killed": sum(bool(row["killed"]) for row in rows),
        "same_bytes": sum(bool(row["same"]) for row in rows),
        "with_leftovers": sum(bool(row["leftovers"]) for row in rows),
        "rows": rows,
    }
    publish(document, options.out)
    return 0 if document["same_bytes"] == len(rows) else 1


if __name__ == "__main__":
    sys.exit(main())
