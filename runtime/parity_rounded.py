"""Rows about an ONNX or ExecuTorch artifact that rounds weights or activations.

What such a file computes is known: ``ssmith.runtime.simulate`` says it in float64. The artifact's own
arithmetic is float32, so now and then a value beside a tie gets the other code; what that adds has to stay
well below the rounding noise itself. Precisions whose rounding is the runtime's own business (``int8-all``,
``float16``) are held against float64, with a floor for the signal-to-error ratio.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TypeVar

import numpy as np

from ssmith.bundle import Bundle
from ssmith.ops import Float32
from ssmith.recipe import ArtifactPrecision, Format
from ssmith.runtime.arithmetic import Real
from ssmith.runtime.oracle import NOISE_MARGIN_DB, Expectation
from ssmith.runtime.rounding import Rounding
from ssmith.runtime.session import Session
from ssmith.runtime.simulate import roundings, run_simulated

TIES = 0.5  # of the rounding noise: what codes beside a tie may add; trained models show a tenth of that
# What a precision without simulation must reach against float64, in dB: below it something is broken. What
# it costs is another question, and `ssmith quantize` answers it.
FLOORS_DB: dict[ArtifactPrecision, float] = {"float16": 40.0, "int8-all": 3.0}
SIMULATED = "root mean square error against the simulated rounding; codes beside a tie may differ"
NOISE = f"root mean square error against float64; {NOISE_MARGIN_DB:g} dB above that of the simulation"
FLOOR = "root mean square error against float64; how this runtime rounds inside is not simulated"
SPLIT = "root mean square difference; kernels differ by block length, and codes beside a tie with them"

Feed = Callable[[Session, Float32], Float32]
Row = TypeVar("Row")


def simulated_roundings(bundle: Bundle, session: Session) -> dict[str, Rounding] | None:
    """How the artifact that a session runs rounds each product; None where that is not known."""
    precision: ArtifactPrecision = session.meta["precision"]
    if precision in FLOORS_DB:
        return None
    format_: Format = "executorch" if session.backend == "executorch" else "onnx"
    return roundings(bundle, precision, session.meta.get("activation_bits") or 16, format_)


def rounded_rows(
    session: Session,
    bundle: Bundle,
    e: Expectation,
    rounded: Mapping[str, Rounding] | None,
    feeds: Mapping[str, Feed],
    row: Callable[[str, Real, Real, float, str, float | None], Row],
) -> Iterator[Row]:
    """All the ways to feed one input.

    Args:
        session: of the artifact.
        bundle: what it was made from.
        e: the input, and what the model itself makes of it.
        rounded: of ``simulated_roundings``.
        feeds: ways to split an input.
        row: (how, got, expected, tolerance, reason, predicted SNR) → a row judged by root mean squares.
    """
    session.reset()
    whole = session.process(e.input)
    if rounded is None:
        floor = FLOORS_DB[session.meta["precision"]]
        noise = _share(whole - e.output, e.output)
        yield row("noise", whole, e.output, 10 ** (-floor / 20), FLOOR, None)
    else:
        simulated, _ = run_simulated(bundle, rounded, e.input)
        noise = _share(simulated - e.output, e.output)
        predicted = -20 * float(np.log10(noise)) if noise else None
        yield row("simulated", whole, simulated, TIES * noise + e.tolerance, SIMULATED, None)
        allowed = noise * 10 ** (NOISE_MARGIN_DB / 20) + e.tolerance
        yield row("noise", whole, e.output, allowed, NOISE, predicted)
    for how, feed in feeds.items():
        session.reset()
        yield row(how, feed(session, e.input), whole, TIES * noise + e.tolerance, SPLIT, None)


def _share(error: Real, signal: Real) -> float:
    """Root mean square of an error as a share of the signal's."""
    return float(np.sqrt((error**2).mean() / max(float((signal**2).mean()), 1e-12))) if error.size else 0.0
