"""The command line: a command a verb, each a few lines of parse, call, print."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Annotated

import typer
from rich.markup import escape

from ssmith import cli_bench, cli_bundle, cli_machine, cli_model, cli_reduce, cli_run
from ssmith.cli_show import ERR, OUT
from ssmith.errors import SsmithError

INTERRUPTED = 130  # what typer exits with after Ctrl-C
# The verbs in the order in which --help lists them, each with examples of its use.
VERBS: tuple[tuple[Callable[..., None], tuple[str, ...]], ...] = (
    (cli_run.run, ("ssmith run digits", "ssmith run my.toml --set reduce.order=8 --seed 1")),
    (cli_run.train, ("ssmith train digits --set train.steps=500",)),
    (cli_run.freeze, ("ssmith freeze runs/digits-612fe6-s0",)),
    (cli_run.qat, ("ssmith qat runs/digits-612fe6-s0",)),
    (
        cli_model.quantize,
        (
            "ssmith quantize model.ssm --data digits",
            "ssmith quantize model.ssm --data digits --sensitivity --loss-budget 0.03",
            "ssmith quantize runs/digits-612fe6-s0",
        ),
    ),
    (
        cli_model.export,
        (
            "ssmith export runs/digits-612fe6-s0",
            "ssmith export model.ssm --out artifacts",
            "ssmith export model.ssm --precision int8 --activation-bits 8",
        ),
    ),
    (
        cli_model.verify,
        ("ssmith verify runs/digits-612fe6-s0", "ssmith verify artifacts --bundle model.ssm"),
    ),
    (
        cli_bench.bench,
        (
            "ssmith bench runs/digits-612fe6-s0",
            "ssmith bench runs/digits-612fe6-s0 --on emulated:cortex-m4 --on ssh:pi@raspberrypi.local",
            "ssmith bench artifacts --on wasm --baseline report.json --fail-if 'instructions>+2%'",
        ),
    ),
    (cli_run.report, ("ssmith report runs/digits-612fe6-s0",)),
    (
        cli_reduce.reduce,
        (
            "ssmith reduce m.ssm --order 8",
            "ssmith reduce m.ssm --max-loss 0.05 --data digits",
            "ssmith reduce m.ssm --max-instructions 9000 --on emulated:cortex-m4",
            "ssmith reduce m.ssm --sweep --data digits",
        ),
    ),
    (
        cli_bundle.import_,
        (
            "ssmith import lru.safetensors --arch lru --prefix layers.0.",
            "ssmith import cifar.safetensors --arch s4d",
        ),
    ),
    (
        cli_bundle.rerate,
        ("ssmith rerate amp.ssm --rate 44100", "ssmith rerate amp.ssm --rate 16000 --drop --out small.ssm"),
    ),
    (cli_machine.new, ("ssmith new --data recordings/ --out mine.toml",)),
    (cli_machine.fetch, ("ssmith fetch smnist", "ssmith fetch fashion-mnist --from downloads/")),
    (cli_model.inspect, ("ssmith inspect runs/digits-612fe6-s0/digits.ssm",)),
    (cli_machine.devices, ()),
    (cli_machine.doctor, ()),
    (cli_machine.recipes, ("ssmith recipes digits > mine.toml",)),
)

app = typer.Typer(
    name="ssmith",
    help="State-space models from data to device: train, reduce, freeze, export, prove, measure.",
    epilog="Start with: ssmith run digits",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)


@app.callback(invoke_without_command=True)
def _version(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and stop.", is_eager=True)
    ] = False,
) -> None:
    if version:
        from ssmith import __version__

        OUT.print(__version__)
        raise typer.Exit


def _epilog(examples: tuple[str, ...]) -> str | None:
    if not examples:
        return None
    return f"Example{'s' if len(examples) > 1 else ''}: {' · '.join(examples)}"


for verb, examples in VERBS:
    app.command(verb.__name__.rstrip("_"), epilog=_epilog(examples))(verb)  # import is a keyword


def main() -> None:
    """Run the command line; every expected error is one message and an exit code."""
    try:
        app()
    except SsmithError as error:
        ERR.print(f"[bold red]error:[/bold red] {escape(str(error))}", soft_wrap=True)
        sys.exit(error.exit_code)
    except SystemExit as stop:
        if stop.code == INTERRUPTED:
            ERR.print("stopped; the same command goes on from what is done")
        raise


if __name__ == "__main__":
    main()
