"""The verb rerate: a frozen model for frames that come at another rate."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ssmith.bundle import INTEGER_FIELDS, Bundle
from ssmith.continuous import at_rate
from ssmith.errors import InputError
from ssmith.files import check_writable
from ssmith.ops import SSM, Op, Pool, ssm_system, ssm_tensors
from ssmith.quant import PREFIX, SCALES
from ssmith.reduce.accuracy import frequency_response, hinf_norm
from ssmith.runtime.record import record_golden
from ssmith.system import Real, System

Facts = dict[str, Any]
Aliasing = Literal["refuse", "drop"]
FOLDED = math.pi * (1 - 1e-6)  # an angle of λ from which a pole counts as negative real: float32 rounds it
POINTS = 64  # frequencies at which two rates are compared


def rerate_bundle(
    source: Path,
    target: Path | None,
    *,
    rate_hz: float,
    from_hz: float | None = None,
    aliasing: Aliasing = "refuse",
) -> Facts:
    """Read a bundle, write it for another rate.

    Args:
        source: the model.
        target: where to write; None writes NAME-RATEhz.ssm beside it.
        rate_hz: frames per second to come.
        from_hz: frames per second that it was made for, if the bundle does not say.
        aliasing: see ``rerated``.

    Raises:
        InputError: as ``rerated`` says, or the target cannot be written.
    """
    bundle = Bundle.read(source)
    target = target or source.with_name(f"{source.stem}-{rate_hz:.0f}hz.ssm")
    check_writable(target)
    model, layers = rerated(bundle, rate_hz, from_hz=from_hz, aliasing=aliasing)
    model.write(target)
    facts: Facts = {
        "written": str(target),
        "rate_hz": _told(rate_hz),
        "from_hz": _told(_rate(bundle, from_hz)),
        "layers": layers,
    }
    if bundle.calibrated and not model.calibrated:
        facts["note"] = "ranges for int8 were left out, as modes were dropped; ssmith quantize makes new ones"
    elif bundle.meta.rounding is not None:
        facts["note"] = (
            "scales that training with rounding had learnt were left out: they belong to the old B"
        )
    return facts


def rerated(
    bundle: Bundle, rate_hz: float, *, from_hz: float | None = None, aliasing: Aliasing = "refuse"
) -> tuple[Bundle, list[Facts]]:
    r"""The model for frames at another rate, and what that did to each layer.

    Every SSM becomes ``ssmith.continuous.at_rate`` of itself and an averaging pool's decay the power
    :math:`f_\mathrm{old} / f_\mathrm{new}` of itself; the other ops have no memory. The poles are rounded to
    float32 once, here. Golden inputs stay, as frames; what they must give is made anew by the float64
    reference, since no trained network exists at this rate. Ranges for int8 stay, as those of the same
    signals, unless a mode is dropped; scales that training has learnt go, since B changes.

    A mode whose frequency is not below half the new rate cannot be told from a lower one there. A negative
    real pole swings at exactly half the old rate, at a phase that only the old grid knew.

    Args:
        bundle: the model; variants are re-rated with it.
        rate_hz: frames per second to come.
        from_hz: frames per second that it was made for; None takes the bundle's period.
        aliasing: "refuse" such modes, or "drop" them.

    Returns:
        The model, and a record of each layer: what was dropped, the share of the layer's largest gain that
        this costs, and by how much the frequency responses differ up to a tenth of, and up to, the lower of
        the two Nyquist frequencies, as a share of the largest gain.

    Raises:
        InputError: no rate known, a rate that is not above zero, or a mode that would alias.
    """
    old = _rate(bundle, from_hz)
    if not (math.isfinite(rate_hz) and rate_hz > 0):
        raise InputError(f"the rate is {rate_hz} Hz; write frames per second, a number above zero")
    ratio = old / rate_hz
    tensors = {name: a for name, a in bundle.tensors.items() if not name.startswith((SCALES, "golden."))}
    ops: list[Op] = []
    layers: list[Facts] = []
    for op in bundle.meta.ops:
        if isinstance(op, SSM):
            before = ssm_system(op, bundle.tensors, 1 / old)
            kept, facts = _without_aliases(op.name, before, ratio, old, aliasing)
            after = at_rate(kept, ratio, 1 / rate_hz)
            op = op.model_copy(update={"channels": after.channels})
            tensors |= ssm_tensors(op, after)
            layers.append({"layer": op.name, **facts, **_deviation(before, after)})
        elif isinstance(op, Pool):
            op = op.model_copy(update={"decay": float(np.float32(op.decay**ratio))})
        ops.append(op)
    integers: Facts = {"rounding": None}
    if any(facts["dropped"] for facts in layers):
        integers = dict.fromkeys(INTEGER_FIELDS)
        tensors = {name: a for name, a in tensors.items() if not name.startswith(PREFIX)}
    golden, recorded = record_golden(ops, tensors, {case.name: case.input for case in bundle.golden()})
    provenance = {
        **bundle.meta.provenance,
        "rerated_from": replace(bundle, variants=()).sha256,
        "rerated_from_hz": f"{old:.9g}",
        "golden_from": "reference",
    }
    meta = bundle.meta.model_copy(
        update={
            "ops": tuple(ops),
            "golden": golden,
            "period_s": 1 / rate_hz,
            "provenance": provenance,
            **integers,
        }
    )
    model = Bundle(meta, tensors | recorded)
    variants = [rerated(variant, rate_hz, from_hz=old, aliasing=aliasing)[0] for variant in bundle.variants]
    return (model.with_variants(variants) if variants else model), layers


def _told(rate_hz: float) -> float:
    """A rate without what 1 / (1 / rate) adds to it, and as a whole number where it is one."""
    near = round(rate_hz, 6)
    return int(near) if near == int(near) else near


def _rate(bundle: Bundle, from_hz: float | None) -> float:
    period = bundle.meta.period_s
    if from_hz is None:
        if period is None:
            raise InputError(
                f"the bundle {bundle.name!r} does not say at which rate its frames come, so there is"
                " nothing to go from; add --from-rate HZ"
            )
        return 1 / period
    if not (math.isfinite(from_hz) and from_hz > 0):
        raise InputError(f"--from-rate is {from_hz} Hz; write frames per second, a number above zero")
    if period is not None and abs(from_hz * period - 1) > 1e-6:
        raise InputError(
            f"--from-rate is {from_hz:g} Hz, but the bundle says {1 / period:g} Hz; leave the option out"
        )
    return from_hz


def _without_aliases(
    name: str, system: System, ratio: float, old_hz: float, aliasing: Aliasing
) -> tuple[System, Facts]:
    """The modes that exist at the new rate, and a record of those that do not."""
    angle = np.abs(np.angle(system.lam))
    lost = (angle >= FOLDED) | (angle * ratio >= math.pi) & (system.lam != 0)
    facts: Facts = {"modes": int((~lost).sum()), "dropped": int(lost.sum()), "dropped_gain": 0.0}
    if not lost.any():
        return system, facts
    gone = _picked(system, lost, np.zeros_like(system.D))
    share = hinf_norm(gone) / max(hinf_norm(system), np.finfo(float).tiny)
    if aliasing == "refuse" or lost.all():
        n = int(np.flatnonzero(lost)[0])
        hz = float(angle[n]) * old_hz / (2 * math.pi)
        what = (
            "is real and negative, so it swings at half the old rate"
            if angle[n] >= FOLDED
            else f"swings at {hz:.6g} Hz, and half the new rate is {old_hz / ratio / 2:.6g} Hz"
        )
        way = (
            "They are all that the layer has, so train at this rate instead"
            if lost.all()
            else f"Drop them with --drop, which changes the layer by {share:.3g} of its largest gain, or"
            " train at this rate"
        )
        raise InputError(
            f"layer {name!r}: {int(lost.sum())} of {system.order} modes cannot be re-rated; mode {n}"
            f" (λ = {system.lam[n]:.6g}) {what}. {way}"
        )
    return _picked(system, ~lost, system.D), {**facts, "dropped_gain": share}


def _picked(system: System, modes: NDArray[np.bool_], D: Real) -> System:
    """Some of the modes, (N,) true for those, with this D."""
    channels = None
    if system.channels is not None:
        ends = np.cumsum(system.channels)[:-1]
        channels = [int(part.sum()) for part in np.split(modes, ends)]
    return System(system.lam[modes], system.B[modes], system.C[:, modes], D, system.dt_s, channels)


def _deviation(before: System, after: System) -> Facts:
    """How far the responses are apart at the same frequencies in Hz."""
    assert before.dt_s is not None
    assert after.dt_s is not None
    hz = np.linspace(0, 0.5 / max(before.dt_s, after.dt_s), POINTS)
    responses = [frequency_response(s, 2 * math.pi * hz * s.dt_s) for s in (before, after) if s.dt_s]
    largest = float(np.linalg.norm(responses[0], axis=(1, 2)).max()) or 1.0
    apart = np.linalg.norm(responses[1] - responses[0], axis=(1, 2)) / largest
    tenth = hz <= hz[-1] / 10
    return {"deviation_tenth": float(apart[tenth].max()), "deviation": float(apart.max())}
