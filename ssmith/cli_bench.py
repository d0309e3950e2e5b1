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
    steps: Annotated[int | None, typer.Option(min=100, help="Steady steps; 10,000 for a p99.9.")] = None,
    seconds: Annotated[float | None, typer.Option(min=0.01, help="Limit of a back-to-back run.")] = None,
    repeats: Annotated[
        int | None, typer.Option(min=1, help="Repeat all, interleaved, for intervals; six or more are best.")
    ] = None,
    period: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="Paced run: a step every 2ms, 500us. Default: the model's."),
    ] = None,
    duration: Annotated[
        str | None, typer.Option(metavar="TIME", help="Length of the paced run: 30s, 10min, 1h.")
    ] = None,
    rt_priority: Annotated[
        int | None,
        typer.Option(
            min=1, max=99, help="Paced run under SCHED_FIFO with memory locked; needs the right to."
        ),
    ] = None,
    rt_fallback: Annotated[
        bool, typer.Option("--rt-fallback", help="Without that right, go on all the same and say so.")
    ] = False,
    cpu: Annotated[int | None, typer.Option(min=0, help="Core to hold the measurement on.")] = None,
    blocks: Annotated[
        str | None,
        typer.Option(metavar="SIZES", help="Audio blocks to time, 32,64,128; none for no table."),
    ] = None,
    toolchain: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.cmake", help="CMake toolchain file that compiles for an ssh: or adb: board."
        ),
    ] = None,
    cc_on_target: Annotated[
        bool, typer.Option("--cc-on-target", help="Compile on the ssh: or adb: board with its own cc.")
    ] = False,
    layers: Annotated[
        bool, typer.Option("--layers", help="Show what each op costs, too, where a target knows: emulated:*.")
    ] = False,
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
        "--steps": steps,
        "--seconds": seconds,
        "--repeats": repeats,
        "--period": period,
        "--duration": duration,
        "--rt-priority": rt_priority,
        "--rt-fallback": rt_fallback or None,
        "--cpu": cpu,
        "--blocks": blocks,
        "--toolchain": toolchain,
        "--cc-on-target": cc_on_target or None,
        "--layers": layers or None,
    }
    lone = (source / MANIFEST).is_file()
    if not lone and all(value is None for value in options.values()):
        do_stage(source, "bench", as_json)
        return
    from ssmith import benching
    from ssmith.devices.target import KINDS, Plan
    from ssmith.devices.timing import seconds as seconds_of

    if unknown := [name for name in backend or () if name not in KINDS]:
        raise InputError(f"--backend {unknown[0]}: write {', '.join(KINDS)}")
    if rt_fallback and rt_priority is None:
        raise InputError("--rt-fallback is about --rt-priority; write that too")
    given: dict[str, Any] = {
        "steps": steps,
        "time_limit_s": seconds,
        "repeats": repeats,
        "period_s": None if period is None else seconds_of(period),
        "paced_limit_s": None if duration is None else seconds_of(duration),
        "rt_priority": rt_priority,
        "rt_fallback": rt_fallback,
        "core": cpu,
        "blocks": None if blocks is None else _sizes(blocks),
    }
    facts = benching.bench_on(
        source,
        on,
        fleet=fleet,
        plan=Plan(**{name: value for name, value in given.items() if value is not None}),
        backends=cast("list[BackendName] | None", backend),
        toolchain=toolchain,
        cc_on_target=cc_on_target,
        out=out,
        baseline=baseline,
        fail_if=fail_if or (),
        layers=layers,
        quiet=as_json,
    )
    show(facts, as_json, title=f"bench {source}")


def _sizes(text: str) -> tuple[int, ...]:
    """Frames of the blocks to time."""
    if text == "none":
        return ()
    try:
        sizes = tuple(int(part) for part in text.split(","))
    except ValueError:
        sizes = (0,)
    if min(sizes) < 1:
        raise InputError(f"--blocks {text}: write sizes in frames as 32,64,128, or none")
    return sizes
