"""Arguments and options that several verbs of the command line share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

RecipeArgument = Annotated[
    str, typer.Argument(help="A recipe: a TOML file, or a name from `ssmith recipes`.")
]
RunArgument = Annotated[Path, typer.Argument(help="A run folder, as `ssmith run` or `ssmith train` made it.")]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change a recipe field, e.g. --set train.steps=500."),
]
RunsOption = Annotated[Path, typer.Option("--runs", help="Folder that holds the run folders.")]
NameOption = Annotated[
    str | None, typer.Option("--name", help="Name of the run folder; default RECIPE-HASH-sSEED.")
]
SeedOption = Annotated[int | None, typer.Option("--seed", help="Seed of weights, batches and splits.")]
BITS = "--activation-bits"
BitsOption = Annotated[
    int | None, typer.Option(BITS, help="Of int8: 16 (default) for accuracy, 8 for speed.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of text.")]
RUNS = Path("runs")
