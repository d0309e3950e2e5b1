"""Run every benchmark in this folder, one after another, and keep their JSON in results/.

python benchmarks/run_all.py            # all of them
python benchmarks/run_all.py scan       # those whose name holds "scan"
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

FOLDER = Path(__file__).parent


def main() -> int:
    wanted = sys.argv[1:]
    scripts = sorted(p for p in FOLDER.glob("*.py") if p.stem != "run_all" and p.stem[0] != "_")
    failed = []
    for script in scripts:
        if wanted and not any(word in script.stem for word in wanted):
            continue
        print(f"== {script.stem}", flush=True)
        begin = time.monotonic()
        kept = FOLDER / "results" / f"{script.stem}.json"
        fresh = kept.with_suffix(".new")  # never the kept file: some scripts go on from what --out holds
        fresh.unlink(missing_ok=True)
        done = subprocess.run([sys.executable, str(script), "--out", str(fresh)], check=False)
        if done.returncode == 0 and fresh.exists():
            fresh.replace(kept)
        elif done.returncode == 0:
            print("   skipped: what is in results/ is from an earlier run")
        print(f"   {time.monotonic() - begin:.0f} s, exit code {done.returncode}", flush=True)
        if done.returncode:
            failed.append(script.stem)
    if failed:
        print("failed:", ", ".join(failed))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
