"""What the benchmarks do with their figures: print them as JSON, keep them, go on from them."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

Rows = list[dict[str, Any]]


def arguments(description: str | None, seeds: int, tasks: Sequence[str] = ()) -> argparse.Namespace:
    """The command line of a benchmark over seeds: --seeds, --out, and --tasks where there are several."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=seeds)
    if tasks:
        parser.add_argument("--tasks", nargs="*", default=list(tasks))
    parser.add_argument("--out", type=Path)
    return parser.parse_args()


def versions() -> dict[str, str]:
    """Of the packages that figures depend on."""
    return {name: version(name) for name in ("torch", "numpy", "scipy")}


def keep(document: dict[str, Any], out: Path | None) -> None:
    """Write a document where the user asked for it."""
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


def publish(document: dict[str, Any], out: Path | None) -> None:
    """Print a document, and write it where the user asked for it."""
    print(json.dumps(document, indent=2))
    keep(document, out)


def by_seed(
    seeds: Iterable[int],
    measure: Callable[[int], dict[str, Any]],
    document: Callable[[Rows], dict[str, Any]],
    key: dict[str, Any],
    out: Path | None,
) -> None:
    """Publish a row a seed, written after every one; seeds that `out` holds already are not measured again.

    Args:
        seeds: what to measure.
        measure: seed → row; it holds the "seed".
        document: rows → all that is published, beside `key` and the rows.
        key: the settings; rows measured with others do not count.
        out: where the JSON goes.
    """
    earlier = json.loads(out.read_text(encoding="utf-8")) if out is not None and out.exists() else {}
    rows: Rows = earlier["rows"] if earlier.items() >= key.items() else []
    whole: dict[str, Any] = {}
    for seed in seeds:
        if all(row["seed"] != seed for row in rows):
            rows.append(measure(seed))
            print(json.dumps(rows[-1]), file=sys.stderr, flush=True)
        whole = {**document(rows), **key, "rows": rows}
        keep(whole, out)
    print(json.dumps(whole, indent=2))
