"""The verb bench: a run's own targets, or those that the command line names."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from ssmith.cli_options import JsonOption
from ssmith.cli_run import do_stage
from ssmith.cli_show import show
from ssmith.errors import InputError

if TYPE_CHECKING:
    from ssmith.runtime.session import BackendName


def bench(
    source: Annotated[Path, typer.Argument(help="A run folder, or an artifact folder.")],
    on: Annotated[
        list[str] | None,
        typer.Option(
            "--on",
            metavar="TARGET",
            help="A target of `ssmith devices`, a board of the fleet file, or fleet for all its boards;"
            " may be repeated. Default: the recipe's targets.",
        ),
    ] = None,
    fleet: Annotated[Path, typer.Option(help="The fleet file.")] = Path("devices.toml"),
    backend: Annotated[
        list[str] | None,
        typer.Option(help="native, onnx, executorch or reference; may be repeated. Default: all there are."),
    ] = None,
    baseline: Annotated[
        Path | None, typer.Option(help="report.json or measurements.json to compare with.")
    ] = None,
    fail_if: Annotated[
        list[str] | None,
        typer.Option(
            "--fail-if",
            metavar="CONDITION",
            help="Exit code 1 if a number rose: 'instructions>+2%', 'latency.p99>+15%', 'flash>+1024'; may be"
            " repeated.",
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="File for the rows of an artifact folder.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Measure on the recipe's targets, or on those named: artifacts → measurements.json."""
    from ssmith.runtime.artifacts import MANIFEST

    options: dict[str, Any] = {
        "--on": on,
        "--backend": backend,
        "--baseline": baseline,
        "--fail-if": fail_if,
        "--out": out,
    }
    lone = (source / MANIFEST).is_file()
    if not lone and all(value is None for value in options.values()):
        do_stage(source, "bench", as_json)
        return
    from ssmith import benching
    from ssmith.devices.target import KINDS

    if unknown := [name for name in backend or () if name not in KINDS]:
        raise InputError(f"--backend {unknown[0]}: write {', '.join(KINDS)}")
    facts = benching.bench_on(
        source,
        on,
        fleet=fleet,
        backends=cast("list[BackendName] | None", backend),
        out=out,
        baseline=baseline,
        fail_if=fail_if or (),
        quiet=as_json,
    )
    show(facts, as_json, title=f"bench {source}")
