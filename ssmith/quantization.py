"""What int8 costs a model: ranges from data, the predicted and the measured error, what saturates.

A bundle becomes ready for int8 by the ranges of its signals on data (`calibrated`). `examine` then runs
the integer arithmetic, bit for bit what the exported C computes, on sequences that gave no ranges.
"""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from ssmith.bundle import Bundle
from ssmith.errors import InputError
from ssmith.ops import Float32
from ssmith.recipe import Format, MetricName, Recipe

if TYPE_CHECKING:
    from ssmith.runtime.integer_model import IntegerModel
    from ssmith.train.splits import SequenceSet, Splits

Bits = Literal[8, 16]
CALIBRATION_FRAMES = 50_000  # seconds of NumPy; more moved no range of the shipped recipes by a per cent
HELD_OUT_FRAMES = 30_000
# A knob may stand still in each long recording: so many give ranges, so many show what int8 costs.
LONG_RECORDINGS = 32
LONG_HELD_OUT = 6
PIECE = 12_000  # frames that make a recording long; so many at least of each: slow states need time to fill
INPUT = "input"


class Saturation(BaseModel):
    """How often the limit cut off the codes of one quantised vector."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    vector: str  # the op whose input it is; OP.state for the states
    codes: int = Field(ge=0)
    saturated: int = Field(ge=0)


class PrecisionRow(BaseModel):
    """What one precision of the artifacts costs: simulated, each product rounded as the files round it."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    precision: str
    format: Format  # whose rounding this is
    activation_bits: int  # of the vectors before the weights; mixed: the fewest
    weight_bytes: int  # of the matrices of the products, with the scales of their rows or blocks
    weight_bytes_float: int  # of the same in float32
    simulated: bool = True  # False where ONNX Runtime rounds on its own: then no figure below is known
    snr_db: float | None = None  # None with ``simulated``: exact
    metric: MetricName | None = None
    metric_float: float | None = None
    metric_rounded: float | None = None


class Quantization(BaseModel):
    """The document ``quantization.json``: what the int8 form of a model costs.

    An SNR is 10 log10(Σ y² / Σ (y - ŷ)²) over all frames and outputs, y of the float64 reference.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    version: Literal[1, 2] = 2  # 1 had no ``precisions``
    bundle_sha256: str
    activation_bits: Bits
    refused: str = ""  # why there is no int8 form; then nothing below is known
    measured_on: str = ""  # which sequences
    sequences: int = 0
    frames: int = 0
    predicted_snr_db: float | None = None
    measured_snr_db: float | None = None
    metric: MetricName | None = None
    metric_float: float | None = None  # of the float64 reference on the same sequences
    metric_int8: float | None = None
    saturation: list[Saturation] = []
    precisions: list[PrecisionRow] = []  # all that the recipe asks for but float32


@dataclass(frozen=True, eq=False)
class HeldOut:
    """Sequences to measure on, and what should come out, where that is known.

    Args:
        inputs: arrays of shape (T_i, U).
        name: what they are, for the reader.
        targets: the same sequences with their targets; None without a recipe.
        recipe: whose metric counts; None without one.
    """

    inputs: Sequence[Float32]
    name: str
    targets: SequenceSet | None = None
    recipe: Recipe | None = None

    @classmethod
    def of(cls, recipe: Recipe, splits: Splits) -> HeldOut:
        """The first validation sequences of a recipe, about `HELD_OUT_FRAMES`; beginnings of long ones."""
        chosen = list(_up_to(splits.validation.inputs, HELD_OUT_FRAMES))
        if len(chosen) < LONG_HELD_OUT:
            several = splits.validation.inputs[:LONG_HELD_OUT]
            chosen = [sequence[: HELD_OUT_FRAMES // len(several)] for sequence in several]
        if recipe.task == "classification":  # an answer belongs to a whole sequence
            chosen = list(splits.validation.inputs[: len(chosen)])
        name = f"validation sequences of {recipe.name}"
        return cls(chosen, name, splits.validation, recipe)


def calibrated(bundle: Bundle, sequences: Sequence[Float32]) -> Bundle:
    """The same model with the ranges that its signals have on some of the sequences, in every variant.

    Args:
        bundle: the model; ranges that it has are replaced.
        sequences: arrays of shape (T_i, U); evenly chosen ones are run, about `CALIBRATION_FRAMES`; of
            long recordings the beginnings of about `LONG_RECORDINGS`.

    Raises:
        InputError: there are no frames, none of the inputs ever changes, or as ``calibrate``.
    """
    from ssmith.quantization_data import check_varied
    from ssmith.runtime.calibrate import calibrate

    check_varied(sequences)
    return calibrate(bundle, _spread(sequences))


def _spread(sequences: Sequence[Float32]) -> list[Float32]:
    """Evenly chosen sequences; of long recordings, few of which would be enough, the beginnings of more."""
    every = max(1, math.ceil(sum(map(len, sequences)) / CALIBRATION_FRAMES))
    if max(map(len, sequences), default=0) <= PIECE:
        return list(_up_to(sequences[::every], CALIBRATION_FRAMES))
    chosen = sequences[:: min(every, math.ceil(len(sequences) / LONG_RECORDINGS))]
    piece = max(PIECE, CALIBRATION_FRAMES // len(chosen))
    return [sequence[:piece] for sequence in chosen]


def check_integer(bundle: Bundle, activation_bits: Bits) -> None:
    """Refuse a bundle that has no int8 form, or one of whose variants has none.

    Raises:
        InputError: it was not calibrated, its name is too long, or a bound needs more than 32 bits.
    """
    from ssmith.export.c99_integer import check_integer_name
    from ssmith.runtime.integer_lower import lower_integer

    for model in (bundle, *bundle.variants):
        check_integer_name(model)
        lower_integer(model, activation_bits)


def examine(bundle: Bundle, held_out: HeldOut, activation_bits: Bits) -> Quantization:
    """Lower a calibrated bundle to integers and hold it against the float64 reference.

    Where PyTorch is missing the metric stays unknown. A model that has no int8 form is told in
    ``refused``.
    """
    from ssmith.runtime.integer_lower import lower_integer
    from ssmith.runtime.noise import predicted_snr_db

    try:
        model = lower_integer(bundle, activation_bits)
    except InputError as error:
        return refusal(bundle, activation_bits, str(error))
    found = [_held_against_float64(bundle, model, block) for block in held_out.inputs]
    predicted = predicted_snr_db(bundle, model, inputs=held_out.inputs)
    signal, noise = (sum(getattr(one, name) for one in found) for name in ("signal", "noise"))
    return Quantization(
        bundle_sha256=bundle.sha256,
        activation_bits=activation_bits,
        measured_on=held_out.name,
        sequences=len(found),
        frames=sum(map(len, held_out.inputs)),
        predicted_snr_db=predicted if math.isfinite(predicted) else None,
        measured_snr_db=10 * math.log10(signal / noise) if signal and noise else None,
        saturation=_saturation(model, found),
        **_scores(held_out, found),
    )


def refusal(bundle: Bundle, activation_bits: Bits, why: str) -> Quantization:
    """The document of a model that has no int8 form."""
    return Quantization(bundle_sha256=bundle.sha256, activation_bits=activation_bits, refused=why)


def facts_of(found: Quantization) -> dict[str, Any]:
    """What to tell the user."""
    rows = {_title(row): _cost(row) for row in found.precisions}
    if found.refused:
        return {"int8": f"none: {found.refused}", **rows}
    codes = sum(row.codes for row in found.saturation)
    saturated = sum(row.saturated for row in found.saturation)
    facts: dict[str, Any] = {
        "measured on": f"{found.sequences} {found.measured_on}, {found.frames} frames",
        "activation bits": found.activation_bits,
        "signal to error, measured": snr_text(found.measured_snr_db),
        "signal to error, predicted": snr_text(found.predicted_snr_db),
        "saturated codes": f"{saturated} of {codes}",
    }
    if found.metric is not None and found.metric_float is not None and found.metric_int8 is not None:
        facts[found.metric] = f"{found.metric_int8:.4g} (float {found.metric_float:.4g})"
    return facts | rows


def _title(row: PrecisionRow) -> str:
    bits = f", {row.activation_bits}-bit activations" if row.precision == "int8" else ""
    return f"{row.precision} ({row.format}{bits})"


def _cost(row: PrecisionRow) -> str:
    """A row in a few words."""
    share = f"weights {row.weight_bytes / row.weight_bytes_float:.2f} × float32"
    if not row.simulated:
        return f"known once it is exported; {share}"
    scores = ""
    if row.metric and row.metric_rounded is not None and row.metric_float is not None:
        scores = f", {row.metric} {row.metric_rounded:.4g} (float {row.metric_float:.4g})"
    return f"{snr_text(row.snr_db)}{scores}; {share}"


def snr_text(value: float | None) -> str:
    """A signal-to-noise ratio for people; None is a noise of zero."""
    return "exact" if value is None else f"{value:.1f} dB"


@dataclass(frozen=True, eq=False)
class _Comparison:
    """One sequence through both: outputs (T, Y), Σ y², Σ error², saturated codes by vector."""

    exact: Float32
    integer: Float32
    signal: float
    noise: float
    saturated: dict[str, int]


def _held_against_float64(bundle: Bundle, model: IntegerModel, block: Float32) -> _Comparison:
    from ssmith.runtime.integer import beyond_codes, run_integer
    from ssmith.runtime.reference import run

    exact, _ = run(bundle.meta.ops, bundle.tensors, block)
    saturated = {INPUT: beyond_codes(model, block)}
    v, _ = run_integer(model, model.encode(block), saturated=saturated)
    integer = model.decode(v)
    noise = float(((integer - exact) ** 2).sum())
    return _Comparison(exact.astype("float32"), integer, float((exact**2).sum()), noise, saturated)


def _saturation(model: IntegerModel, found: Sequence[_Comparison]) -> list[Saturation]:
    """A row a quantised vector, in the order of the network."""
    from ssmith.runtime.integer_model import LinearOp, SsmOp

    frames = sum(len(one.exact) for one in found)
    widths = {INPUT: len(model.input_scale)}
    for op in model.ops:
        if isinstance(op, LinearOp):
            widths[op.name] = op.weight.shape[1]
        elif isinstance(op, SsmOp):
            widths |= {op.name: op.B.shape[1], f"{op.name}.state": op.C.shape[1]}
    return [
        Saturation(vector=name, codes=frames * width, saturated=sum(one.saturated[name] for one in found))
        for name, width in widths.items()
    ]


def _scores(held_out: HeldOut, found: Sequence[_Comparison]) -> dict[str, Any]:
    """The recipe's metric of both, where it is known."""
    name = metric_name(held_out)
    if name is None:
        return {}
    return {
        "metric": name,
        "metric_float": metric_of(held_out, [one.exact for one in found]),
        "metric_int8": metric_of(held_out, [one.integer for one in found]),
    }


def metric_name(held_out: HeldOut) -> MetricName | None:
    """What the recipe's metric is called; None without a recipe or without PyTorch, which defines it."""
    if held_out.recipe is None or held_out.targets is None or importlib.util.find_spec("torch") is None:
        return None
    return held_out.recipe.metric


def metric_of(held_out: HeldOut, outputs: Sequence[Float32]) -> float | None:
    """The recipe's metric of outputs, one array (T_i, Y) for each input; None where unknown or not finite."""
    recipe, targets = held_out.recipe, held_out.targets
    if recipe is None or targets is None or metric_name(held_out) is None:
        return None
    from ssmith.train.evaluate import score

    value = score(recipe, outputs, targets)
    return value if math.isfinite(value) else None


def _up_to(sequences: Sequence[Float32], frames: int) -> Iterator[Float32]:
    """Sequences in order until there are so many frames, the last one cut; at least one of them."""
    left = frames
    for block in sequences:
        if left <= 0:
            return
        yield block[:left]
        left -= len(block)
