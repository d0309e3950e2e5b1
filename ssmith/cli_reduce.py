"""The verb reduce."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ssmith.cli_options import JsonOption
from ssmith.cli_show import show


def reduce(
    bundle: Annotated[Path, typer.Argument(help="A bundle NAME.ssm.")],
    order: Annotated[int | None, typer.Option(help="States to keep in each layer.")] = None,
    tolerance: Annotated[
        float | None, typer.Option(help="Share of each layer's spectrum that may go, e.g. 0.001.")
    ] = None,
    bound: Annotated[
        float | None,
        typer.Option(help="Guaranteed error of each layer, as a share of its largest gain, e.g. 0.05."),
    ] = None,
    max_loss: Annotated[
        float | None,
        typer.Option(help="Relative rise of the held-out loss that may be paid, e.g. 0.01. Needs --data."),
    ] = None,
    max_states: Annotated[int | None, typer.Option(help="States of all layers together.")] = None,
    max_parameters: Annotated[int | None, typer.Option(help="Numbers in the whole model.")] = None,
    max_macs: Annotated[
        int | None, typer.Option(help="Multiply-accumulates of the whole model, per frame.")
    ] = None,
    max_bytes: Annotated[int | None, typer.Option(help="Bytes of the whole model's float32 weights.")] = None,
    max_latency_us: Annotated[
        float | None, typer.Option(help="Median µs of a step of the C code, measured on --on.")
    ] = None,
    max_instructions: Annotated[
        float | None, typer.Option(help="Instructions of a step of the C code, counted on --on.")
    ] = None,
    on: Annotated[
        str | None, typer.Option(metavar="TARGET", help="Where; see `ssmith devices`. Default: host.")
    ] = None,
    orders: Annotated[
        str | None,
        typer.Option(metavar="N,N,…", help="Several orders in one bundle; with --sweep the curve's points."),
    ] = None,
    sweep: Annotated[
        bool, typer.Option("--sweep", help="Draw what is left at every order: JSON and SVG, no bundle.")
    ] = False,
    data: Annotated[
        str | None,
        typer.Option(help="Recipe whose data shows which states matter; without it, white noise is assumed."),
    ] = None,
    criterion: Annotated[
        str | None,
        typer.Option(
            help="task-aware (default with --data), empirical, weighted, gradient, exact (default without),"
            " modal, complex."
        ),
    ] = None,
    refit: Annotated[
        bool, typer.Option("--refit", help="Fit C of each cut layer to what the layer said before.")
    ] = False,
    fine_tune: Annotated[
        int | None, typer.Option(metavar="STEPS", help="Train so many steps after the cut. Needs --data.")
    ] = None,
    distill: Annotated[
        bool, typer.Option("--distill", help="While fine-tuning, learn from the model before the cut too.")
    ] = False,
    multiple: Annotated[int, typer.Option(help="Round orders up to a multiple of this, for SIMD.")] = 1,
    target: Annotated[
        Path | None,
        typer.Option("--out", help="New bundle; default NAME-reduced.ssm (a sweep: NAME-sweep.json)."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Cut a finished model: bundle → smaller bundle. Give one goal, or --orders, or --sweep."""
    from ssmith import reduction

    budgets = {"states": max_states, "parameters": max_parameters, "macs": max_macs, "bytes": max_bytes}
    options = reduction.Options(
        order=order,
        tolerance=tolerance,
        bound=bound,
        max_loss=max_loss,
        budgets={kind: limit for kind in reduction.BUDGETS if (limit := budgets[kind]) is not None},
        max_latency_us=max_latency_us,
        max_instructions=max_instructions,
        on=on,
        orders=reduction.parse_orders(orders),
        sweep=sweep,
        data=data,
        criterion=criterion,
        refit=refit,
        fine_tune=fine_tune,
        distill=distill,
        multiple=multiple,
    )
    result = reduction.reduce_bundle(bundle, target, options, quiet=as_json)
    show(result, as_json, title=f"reduce {bundle}")
