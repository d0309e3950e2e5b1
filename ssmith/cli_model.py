"""The verbs on a bundle or its artifacts, alone or in a run: quantize, export, verify, inspect."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ssmith.cli_options import BITS, BitsOption, JsonOption
from ssmith.cli_run import do_stage
from ssmith.cli_show import OUT, print_json, show
from ssmith.errors import InputError


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
    sensitivity: Annotated[
        bool, typer.Option("--sensitivity", help="Also round each tensor alone and say what that costs.")
    ] = False,
    loss_budget: Annotated[
        float | None,
        typer.Option(help="Choose each product's precision so that the loss rises by at most this share."),
    ] = None,
    qat: Annotated[
        int | None,
        typer.Option("--qat", metavar="STEPS", help="First train so many steps with rounding. Needs --data."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Make a bundle ready for int8: bundle → bundle with ranges. Says what int8 costs in accuracy."""
    if source.is_dir():
        given: dict[str, object] = {
            "--data": data,
            BITS: activation_bits,
            "--out": target,
            "--loss-budget": loss_budget,
        }
        _refuse_for_runs(source, "quantize", given | {"--qat": qat})
        if not sensitivity:
            do_stage(source, "quantize", as_json)
            return
        from ssmith import pipeline
        from ssmith.run import find_run

        alone = pipeline.measure_sensitivity(find_run(source), quiet=as_json)
        show(alone, as_json, title="quantize")
        return
    from ssmith import standalone

    result = standalone.quantize_bundle(
        source,
        target,
        data=data,
        activation_bits=activation_bits or 16,
        sensitivity=sensitivity,
        loss_budget=loss_budget,
        qat_steps=qat or 0,
        quiet=as_json,
    )
    show(result, as_json, title=f"quantize {source}")


def export(
    source: Annotated[Path, typer.Argument(help="A run folder or a bundle NAME.ssm.")],
    folder: Annotated[Path | None, typer.Option("--out", help="Artifact folder, for a bundle.")] = None,
    formats: Annotated[
        list[str] | None,
        typer.Option("--format", help="onnx, executorch or c99; may be repeated. Default: all that can be."),
    ] = None,
    precision: Annotated[
        list[str] | None,
        typer.Option(
            "--precision",
            help="float32, float16, int8, int8-all, int8-dynamic, int8-weights, int4-weights or mixed; may be"
            " repeated. Default: float32, and int8 where possible.",
        ),
    ] = None,
    activation_bits: BitsOption = None,
    opset: Annotated[
        int | None, typer.Option(help="Of ONNX: 20 (default), or 18 for older runtimes.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Write ONNX, ExecuTorch, C99: bundle → artifacts/. Verifies a lone bundle, a run in its next stage."""
    if source.is_dir():
        given: dict[str, object] = {"--out": folder, "--format": formats, "--precision": precision}
        _refuse_for_runs(source, "export", given | {BITS: activation_bits, "--opset": opset})
        do_stage(source, "export", as_json)
        return
    from ssmith import standalone

    facts = standalone.export_bundle(
        source,
        folder or Path("artifacts"),
        formats=formats,
        precisions=precision,
        activation_bits=activation_bits or 16,
        opset=opset or 20,
    )
    show(facts, as_json, title="export")


def verify(
    source: Annotated[Path, typer.Argument(help="A run folder or an artifact folder.")],
    bundle: Annotated[
        Path | None, typer.Option("--bundle", help="The bundle, for an artifact folder.")
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(help="Recipe or run folder whose validation set to run; a run has its own."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Prove every export equal: artifacts → parity.json, a table. Exit code 1 if one is not."""
    from ssmith.cli_parity import show_parity

    if bundle is None:
        if data is not None:
            raise InputError(
                f"--data {data}: a run is verified with its own data; give --bundle NAME.ssm too to check an"
                " artifact folder with other data"
            )
        from ssmith import pipeline
        from ssmith.run import find_run

        facts = pipeline.run_stage(find_run(source), "verify", quiet=as_json)
    else:
        from ssmith import standalone

        facts = standalone.verify_artifacts(source, bundle, data)
    show_parity(facts, as_json, title=f"verify {source}")


def inspect(
    source: Annotated[Path, typer.Argument(help="A bundle NAME.ssm, or a run folder that holds one.")],
    as_json: JsonOption = False,
) -> None:
    """Print what is in a bundle: ops with shapes, states, cuts, golden vectors, where it came from."""
    from ssmith import inspection

    facts = inspection.describe(source)
    if as_json:
        print_json(facts)
    else:
        inspection.show(facts, OUT)


def _refuse_for_runs(folder: Path, verb: str, options: dict[str, object]) -> None:
    """A run does what its recipe says; an option that would be ignored is refused."""
    given = [name for name, value in options.items() if value is not None]
    if given:
        raise InputError(
            f"{folder} is a run, which does what its recipe says, so {given[0]} would change nothing: set"
            f" [export] or [quantize] in the recipe, or {verb} the run's bundle {folder / 'NAME.ssm'}"
        )
