"""The verbs that make a bundle from a file that is no run: import, rerate."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from ssmith.cli_options import JsonOption
from ssmith.cli_show import show


def import_(
    checkpoint: Annotated[Path, typer.Argument(help="A file .safetensors or .npz.")],
    arch: Annotated[
        Literal["lru", "s4d", "s5"], typer.Option(help="Whose layout and conventions: lru, s4d or s5.")
    ],
    prefix: Annotated[
        str | None,
        typer.Option(help="What stands before the layer's tensors; not needed where there is one layer."),
    ] = None,
    rate: Annotated[
        float | None, typer.Option(metavar="HZ", help="Frames per second, if there are any.")
    ] = None,
    discretization: Annotated[
        Literal["zoh", "bilinear"], typer.Option(help="Of S5: zoh or bilinear, as it was trained.")
    ] = "zoh",
    all_poles: Annotated[
        bool, typer.Option("--all-poles", help="Of S5: both poles of each pair are stored (conj_sym off).")
    ] = False,
    clip_eigs: Annotated[
        bool, typer.Option("--clip-eigs", help="Of S5: trained with real parts held below -1e-4.")
    ] = False,
    norm: Annotated[
        Literal["post", "pre"], typer.Option(help="Of S4's example network: post, or pre (its --prenorm).")
    ] = "post",
    pooling: Annotated[
        Literal["mean", "none"], typer.Option(help="Of S4's example network: mean over time, or none.")
    ] = "mean",
    target: Annotated[
        Path | None, typer.Option("--out", help="New bundle; default NAME.ssm beside the checkpoint.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Bring in a trained LRU, S4D or S5 from elsewhere: checkpoint → bundle. Nothing is unpickled."""
    from ssmith import importing

    facts = importing.import_checkpoint(
        checkpoint,
        target,
        arch=arch,
        prefix=prefix,
        rate_hz=rate,
        discretization=discretization,
        conj_sym=not all_poles,
        clip_eigs=clip_eigs,
        norm=norm,
        pooling=pooling,
    )
    show(facts, as_json, title=f"import {checkpoint}")


def rerate(
    bundle: Annotated[Path, typer.Argument(help="A bundle NAME.ssm.")],
    rate: Annotated[float, typer.Option(metavar="HZ", help="Frames per second to come.")],
    from_rate: Annotated[
        float | None,
        typer.Option(metavar="HZ", help="Frames per second it was made for, if the bundle does not say."),
    ] = None,
    drop: Annotated[
        bool,
        typer.Option("--drop", help="Drop modes that do not exist at the new rate, instead of refusing."),
    ] = False,
    target: Annotated[Path | None, typer.Option("--out", help="New bundle; default NAME-RATEhz.ssm.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Fit a model to another sample rate without training: bundle → bundle. Says how well each layer fits."""
    from ssmith import rerating

    facts = rerating.rerate_bundle(
        bundle, target, rate_hz=rate, from_hz=from_rate, aliasing="drop" if drop else "refuse"
    )
    show(facts, as_json, title=f"rerate {bundle}")
