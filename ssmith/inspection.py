"""What a bundle holds, as facts and as text."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ssmith.bundle import Bundle
from ssmith.errors import InputError
from ssmith.ops import SSM, output_width, packed, tensor_names
from ssmith.quantization import snr_text

_BOUNDS = {  # what is shown of the proofs → how their keys end
    "sums of products": (".accumulator", ".drive"),
    "states": (".state",),
    "vectors": (".output",),
}


def describe(source: Path) -> dict[str, Any]:
    """Read a bundle (or the one in a run folder) and list what it says and what follows from it.

    Raises:
        InputError: there is no bundle, or it is not usable.
    """
    if source.is_dir():
        found = sorted(source.glob("*.ssm"))
        if len(found) != 1:
            raise InputError(f"{source} holds {len(found)} bundles; name one of them")
        source = found[0]
    bundle = Bundle.read(source)
    facts = {"file": str(source), "bytes": source.stat().st_size, "orders": list(bundle.orders)}
    return facts | _facts(bundle) | {"variants": [_facts(variant) for variant in bundle.variants]}


def _facts(bundle: Bundle) -> dict[str, Any]:
    """What one model says and what follows from it; of a bundle with several orders the main one."""
    meta = bundle.meta
    rows, width, stored = [], len(meta.inputs), packed(meta.ops, bundle.tensors)
    for op in meta.ops:
        before, width = width, output_width(op, width, bundle.tensors)
        row: dict[str, Any] = {"name": op.name, "op": op.op, "in": before, "out": width}
        row["weights"] = sum(int(stored[name].size) for name in tensor_names(op))
        if isinstance(op, SSM):
            lam = bundle.tensors[op.lam].astype(float)
            row["order"] = lam.shape[1]
            row["largest_radius"] = float((lam[0] ** 2 + lam[1] ** 2).max() ** 0.5)
            if op.channels is not None:
                row["channels"] = list(op.channels)
        rows.append(row)
    return {
        "sha256": bundle.sha256,
        "name": meta.name,
        "task": meta.task,
        "period_s": meta.period_s,
        "inputs": [signal.model_dump() for signal in meta.inputs],
        "outputs": [signal.model_dump() for signal in meta.outputs],
        "ops": rows,
        "weights": sum(row["weights"] for row in rows),
        "order": bundle.order,
        "states": {name: list(shape) for name, shape in bundle.states.items()},
        "cuts": list(meta.reduction),
        "calibration": meta.calibration and meta.calibration.model_dump(),
        "int8": _integers(bundle),
        "golden": [
            {"name": case.name, "frames": len(case.input), "relative_tolerance": case.relative_tolerance}
            for case in bundle.golden()
        ],
        "provenance": dict(meta.provenance),
    }


def _integers(bundle: Bundle) -> dict[str, Any]:
    """What is proven and predicted of the int8 form with activations of 16 bits, or why there is none."""
    from ssmith.runtime.integer_lower import lower_integer
    from ssmith.runtime.noise import predicted_snr_db

    try:
        model = lower_integer(bundle, 16)
    except InputError as error:
        return {"refused": str(error)}
    predicted = predicted_snr_db(bundle, model)
    return {
        "activation_bits": model.activation_bits,
        "predicted_snr_db": predicted if math.isfinite(predicted) else None,
        "bounds": dict(model.proofs),
    }


def show(facts: dict[str, Any], console: Console) -> None:
    """Print the facts for a person."""
    rate = f", {1 / facts['period_s']:g} frames/s" if facts["period_s"] else ""
    channels = f"{len(facts['inputs'])} in, {len(facts['outputs'])} out"
    console.print(
        f"[bold]{facts['name']}[/bold]: {facts['task']}, {channels}{rate}, {facts['weights']:,} weights,"
        f" {facts['bytes']:,} bytes"
    )
    console.print(f"sha256 {facts['sha256']}")
    table = Table("op", "kind", "in", "out", "weights", "order", "max |λ|")
    for row in facts["ops"]:
        radius = f"{row['largest_radius']:.6f}" if "order" in row else ""
        shared = f" in {len(row['channels'])} channels" if "channels" in row else ""
        cells = (row["in"], row["out"], row["weights"], f"{row.get('order', '')}{shared}", radius)
        table.add_row(row["name"], row["op"], *(str(cell) for cell in cells))
    console.print(table)
    for title, key in (("states", "states"), ("golden vectors", "golden"), ("made from", "provenance")):
        console.print(f"[bold]{title}[/bold]")
        value = facts[key]
        lines = value.items() if isinstance(value, dict) else ((row["name"], row) for row in value)
        for name, line in lines:
            text = (
                line
                if not isinstance(line, dict)
                else f"{line['frames']} frames, within {line['relative_tolerance']:g}"
            )
            console.print(f"  {escape(str(name))}: {escape(str(text))}")
    _show_integers(facts["calibration"], facts["int8"], console)
    for cut in facts["cuts"]:
        console.print(
            f"cut at step {cut.get('step')}: layer {cut.get('layer')},"
            f" {cut.get('order_before')} → {cut.get('order_after')} states ({cut.get('criterion')})"
        )
    for variant in facts["variants"]:
        layers = ", ".join(str(row["order"]) for row in variant["ops"] if "order" in row)
        console.print(
            f"[bold]also at order {variant['order']}[/bold]: layers of {layers} states,"
            f" {variant['weights']:,} weights;"
            f" Session.open({escape(facts['file'])!r}, order={variant['order']})"
        )


def _show_integers(calibration: dict[str, int] | None, int8: dict[str, Any], console: Console) -> None:
    """Where the ranges come from, and how near every integer may come to its limit."""
    console.print("[bold]int8[/bold]")
    if calibration is not None:
        frames = f"{calibration['frames']:,} frames, {calibration['sequences']:,} sequences"
        console.print(f"  ranges from {frames}")
    if "refused" in int8:
        console.print(f"  none: {escape(int8['refused'])}")
        return
    predicted = snr_text(int8["predicted_snr_db"])
    console.print(f"  signal to error predicted {predicted} on golden inputs, activations of 16 bits")
    told = []
    for words, end in _BOUNDS.items():
        found = [(value, key) for key, value in int8["bounds"].items() if key.endswith(end)]
        if found:
            value, key = max(found)
            told.append(f"{words} up to 2^{math.log2(value):.2f} ({escape(key)})")
    console.print(f"  proven for every input: {', '.join(told)}")
