"""Bundle → ``NAME.step.onnx`` (one frame) and ``NAME.sequence.onnx`` (any number of frames).

Both are written node by node from the bundle's op list, take and return every state by name, and
carry the bundle's description and digest. Equal bundles give equal bytes.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ssmith.bundle import Bundle
from ssmith.errors import InputError, MissingToolError
from ssmith.files import SEAL, seal, write_atomic
from ssmith.recipe import ArtifactPrecision
from ssmith.runtime.artifacts import artifact_stem
from ssmith.runtime.integer_lower import ActivationBits
from ssmith.runtime.onnx import METADATA_KEY
from ssmith.runtime.reference import describe

if TYPE_CHECKING:
    from ssmith.runtime.parity import ParityRow

Form = Literal["step", "sequence"]
FORMS: tuple[Form, ...] = ("step", "sequence")
OPSET = 20
OLDEST_OPSET = 18

LICENSE = (
    "0BSD: use the graph in this file for anything, without conditions and without warranty. "
    "The weights belong to whoever trained them."
)
HOW_TO_USE = {
    "step": (
        "One frame a call: feed input (batch, {inputs}) and every state (zeros at the start of a "
        "stream); read output (batch, {outputs}) and feed each NAME_out back as NAME next time."
    ),
    "sequence": (
        "T >= 1 frames a call: feed input (batch, T, {inputs}) and every state (zeros at the start "
        "of a stream); read output (batch, T, {outputs}). To go on with a stream feed each NAME_out "
        "back as NAME: any split into calls gives the same numbers up to rounding."
    ),
}
ONE_STREAM = (
    " Feed one stream (batch 1): the scale of the 8-bit activations is that of all frames in a call, so"
    " streams fed together round each other."
)


def lower(
    bundle: Bundle,
    folder: Path,
    *,
    opset: int = OPSET,
    precisions: Sequence[ArtifactPrecision] = ("float32",),
    activation_bits: ActivationBits = 16,
) -> list[Path]:
    """Write both models into ``folder``, in each precision; of int8-dynamic the step model alone.

    Args:
        bundle: what to export.
        folder: where; made if needed.
        opset: 20, or 18 or 19 for a runtime that lacks the Gelu operator.
        precisions: of the files.
        activation_bits: of int8.

    Returns:
        The files written, step model first.

    Raises:
        InputError: ``opset`` is not supported, a state has a name that ONNX needs itself, a precision needs
            ranges or a plan that the bundle has not, or the folder cannot be written.
        MissingToolError: the onnx package is not installed, or onnxruntime, which writes int8-all.
    """
    models = [
        (
            folder / f"{artifact_stem(bundle.name, precision)}.{form}.onnx",
            to_bytes(bundle, form, opset, precision, activation_bits),
        )
        for precision in precisions
        for form in forms_of(precision)
    ]
    for path, data in models:
        write_atomic(path, data)
    return [path for path, _ in models]


def forms_of(precision: ArtifactPrecision) -> tuple[Form, ...]:
    """What is written: a scale for a whole block, which int8-dynamic would have, makes splits differ."""
    return ("step",) if precision == "int8-dynamic" else FORMS


def to_bytes(
    bundle: Bundle,
    form: Form,
    opset: int = OPSET,
    precision: ArtifactPrecision = "float32",
    activation_bits: ActivationBits = 16,
) -> bytes:
    """The file's bytes, checked and with every value's shape inferred; raises as ``lower``."""
    try:
        import onnx
    except ImportError as error:
        raise MissingToolError(
            "writing ONNX needs the onnx package; run: pip install 'ssmith[export]'"
        ) from error
    if not OLDEST_OPSET <= opset <= OPSET:
        raise InputError(f"opset {opset} is not supported; write one of {OLDEST_OPSET} to {OPSET}")
    model = _model(bundle, form, opset, precision, activation_bits)
    if precision == "int8-all":
        from ssmith.export.onnx_quant_all import quantise_all

        model = quantise_all(bundle, model)
    # Shapes end at an operator of ONNX Runtime's own, which the onnx package does not know.
    known = all(entry.domain == "" for entry in model.opset_import)
    model = onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=known, data_prop=True)
    onnx.checker.check_model(model, full_check=True)
    return seal(model.SerializeToString(deterministic=True))


def check(bundle: Bundle, folder: Path) -> list[ParityRow]:
    """Run the written models against the float64 reference and the golden vectors.

    Raises:
        InputError: a file is missing, damaged or made from another model.
        MissingToolError: onnxruntime is not installed.
    """
    from ssmith.runtime.parity import check_file

    paths = [folder / f"{bundle.name}.{form}.onnx" for form in FORMS]
    return [row for path in paths for row in check_file(bundle, path)]


def _model(
    bundle: Bundle, form: Form, opset: int, precision: ArtifactPrecision, activation_bits: ActivationBits
) -> Any:
    """The ModelProto, before checking."""
    from onnx import helper

    from ssmith import __version__
    from ssmith.export.onnx_graph import Graph, value
    from ssmith.export.onnx_network import emit_network, ways

    _check_names(bundle)
    sequence = form == "sequence"
    graph = Graph(opset, sequence)
    current = graph.pad("input") if sequence else "input"
    how = ways(bundle, precision, activation_bits)
    current = emit_network(graph, bundle, how, current, apart=precision == "int8-all")
    if sequence:
        graph.cut(current, "output")
    else:
        graph.node("Identity", [current], "output", output="output")

    frames: list[str | int] = ["batch", "time"] if sequence else ["batch"]
    states = bundle.states.items()
    inputs = [value("input", [*frames, len(bundle.meta.inputs)])]
    outputs = [value("output", [*frames, len(bundle.meta.outputs)])]
    domains = [("", opset)]
    domains += [(domain, 1) for domain in sorted({node.domain for node in graph.nodes} - {""})]
    model = helper.make_model(
        helper.make_graph(
            graph.nodes,
            f"{bundle.name}_{form}",
            inputs + [value(name, ["batch", *shape]) for name, shape in states],
            outputs + [value(f"{name}_out", ["batch", *shape]) for name, shape in states],
            graph.weights,
        ),
        opset_imports=[helper.make_opsetid(domain, version) for domain, version in domains],
        ir_version=helper.find_min_ir_version_for([helper.make_opsetid("", opset)]),
        producer_name="ssmith",
        producer_version=__version__,
        doc_string=f"{_how_to_use(bundle, form, precision)}\n\n{LICENSE}",
    )
    helper.set_model_props(model, _properties(bundle, form, precision, activation_bits))
    return model


def _check_names(bundle: Bundle) -> None:
    """Every input and output of a model needs its own name, none like an internal one."""
    uses = Counter(["input", "output", *bundle.states, *(f"{name}_out" for name in bundle.states)])
    for name in bundle.states:
        if not name or "/" in name or uses[name] > 1 or uses[f"{name}_out"] > 1:
            raise InputError(
                f"state {name!r} cannot be exported: ONNX finds inputs and outputs by name, and this"
                " one is empty, holds a slash or meets another; rename it in the bundle's ops"
            )


def _how_to_use(bundle: Bundle, form: Form, precision: ArtifactPrecision) -> str:
    text = HOW_TO_USE[form].format(inputs=len(bundle.meta.inputs), outputs=len(bundle.meta.outputs))
    return text + (ONE_STREAM if precision == "int8-dynamic" else "")


def _properties(
    bundle: Bundle, form: Form, precision: ArtifactPrecision, activation_bits: ActivationBits
) -> dict[str, str]:
    """What the file says about itself; keys sorted, values text."""
    document = {"form": form, **describe(bundle)}
    if precision != "float32":
        document["precision"] = precision
    if precision == "int8":
        document["activation_bits"] = activation_bits
    properties = {
        METADATA_KEY: json.dumps(document, sort_keys=True),
        "bundle_sha256": bundle.sha256,
        "how_to_use": _how_to_use(bundle, form, precision),
        "license": LICENSE,
        "name": bundle.name,
        "seal": SEAL,
    }
    if bundle.meta.task == "classification":
        properties["labels"] = json.dumps([signal.name for signal in bundle.meta.outputs])
    if bundle.meta.period_s is not None:
        properties["period_s"] = repr(bundle.meta.period_s)
    return dict(sorted(properties.items()))
