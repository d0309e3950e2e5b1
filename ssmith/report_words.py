"""A cut's certificate in words for people who know their model, not control theory.

Every sentence says which kind of knowledge it is: guaranteed (proven, for every input), measured (on this
model, with the data named) or predicted (read off the spectrum before anything was tried).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from ssmith.report_cuts import CutRow, ReductionPlan

Kind = Literal["guaranteed", "no guarantee", "measured", "predicted"]
TINY = 1e-5  # shares below are said to be below
PERCENT = "\u00a0%"  # the sign stays on the number's line
DASH = "–"


@dataclass(frozen=True)
class Sentence:
    """One statement about a cut, and what it rests on."""

    kind: Kind
    text: str


@dataclass(frozen=True)
class CriterionWords:
    """A criterion for the glossary.

    Attributes:
        looks_at: what it keeps, and how it knows.
        bound: whether a proven limit of the layer's error comes with it.
        why: why there is such a limit, or why not.
    """

    looks_at: str
    bound: bool
    why: str


_DATA = "this criterion looks at data, and what is measured on some data proves nothing about other data"
CRITERIA: dict[str, CriterionWords] = {
    "task-aware": CriterionWords(
        "keeps what the data excites and the outputs react to: data runs forwards, gradients backwards",
        False,
        _DATA,
    ),
    "empirical": CriterionWords(
        "keeps what the data excites; how a state reaches the layer’s output is computed exactly",
        False,
        _DATA,
    ),
    "weighted": CriterionWords(
        "as empirical, with the layer’s outputs weighted by how much the network reacts to each", False, _DATA
    ),
    "gradient": CriterionWords(
        "keeps what the network’s outputs react to; how inputs reach a state is computed exactly",
        False,
        _DATA,
    ),
    "exact": CriterionWords(
        "keeps what matters if every input were white noise; computed from the layer alone, without data",
        True,
        "theory limits the error by twice the sum of what was dropped",
    ),
    "complex": CriterionWords(
        "the published method: as exact, with each complex state taken as one",
        True,
        "theory limits the error by twice the sum of what was dropped",
    ),
    "modal": CriterionWords(
        "keeps the states with the largest response of their own and leaves them as they are",
        True,
        "the error is at most the sum of the responses that were dropped",
    ),
}


def share_text(value: float, below: str = "less than ") -> str:
    """A share of something, in per cent: two digits below ten, whole numbers above."""
    if 0 < value < TINY:
        return f"{below}{100 * TINY:g}{PERCENT}"
    return f"{100 * value:.2g}{PERCENT}" if value < 0.0995 else f"{100 * value:.0f}{PERCENT}"


def percent_text(value: float) -> str:
    """A relative change with its sign; digits enough to see small ones."""
    digits = 1 if abs(value) >= 0.0005 or value == 0 else 3
    return f"{100 * value:+.{digits}f}{PERCENT}".replace("-", "−")


def metric_text(metric: str | None) -> str:
    """``accuracy``, ``error (NRMSE)``: a metric in a sentence; ``metric`` where it is not known."""
    if metric == "accuracy":
        return "accuracy"
    return "metric" if metric is None else f"error ({metric.upper()})"


def metric_title(metric: str | None) -> str:
    """The same as a heading: ``Accuracy``, ``Error (NRMSE)``."""
    text = metric_text(metric)
    return text[0].upper() + text[1:]


def score_text(value: float, metric: str | None) -> str:
    """``96.4 %`` for an accuracy, ``0.431`` for an error; an ESR is a ratio of energies and may be small."""
    if metric == "accuracy":
        return f"{100 * value:.1f}{PERCENT}"
    return f"{value:.3g}" if metric == "esr" else f"{value:.3f}"


def size_text(value: int | None) -> str:
    """Bytes for people: ``38.2 KB`` is 38.2 · 1024 bytes."""
    if value is None:
        return DASH
    if value < 1024:
        return f"{value} B"
    return f"{value / 1024:.1f} KB" if value < 1024**2 else f"{value / 1024**2:.1f} MB"


def ratio_text(value: float) -> str:
    """A factor with two or three digits: ``1.4``, ``41``, ``13 000``."""
    if value < 100:
        return f"{value:.2g}" if value < 10 else f"{value:.0f}"
    rounded = round(value, 2 - len(str(int(value))))
    return count_text(int(rounded))


def count_text(value: int | None) -> str:
    """Thousands set apart."""
    return DASH if value is None else f"{value:,}".replace(",", "\u202f")


def headline(cut: CutRow) -> str:
    """What happened, in one sentence."""
    layer = f"Layer {cut.layer + 1}"
    if cut.outcome == "kept":
        return f"{layer} kept {cut.order_after} of its {cut.order_before} states."
    if cut.outcome == "undone":
        return (
            f"{layer} was cut from {cut.order_before} to {cut.order_tried} states, and got them back:"
            f" {cut.reason.removeprefix('undone').lstrip(': ') or 'the cut cost too much'}."
        )
    why = cut.reason.removeprefix("skipped").lstrip(": ")
    return f"{layer} stayed at {cut.order_before} states{': ' + why if why else ''}."


def sentences(cut: CutRow) -> list[Sentence]:
    """The certificate of a cut that was tried; figures that nobody measured are left out."""
    if cut.outcome == "not cut":
        return []
    found = [_dropped(cut), _response(cut), _outputs(cut), _moved_poles(cut), _guarantee(cut)]
    return [sentence for sentence in found if sentence is not None]


def plan_text(plan: ReductionPlan) -> str:
    """What the recipe asked for."""
    when = {
        "once": "in a single cut",
        "gradual": "little by little, in many small cuts",
        "plateau": "in a single cut as soon as the spectrum had settled,",
    }.get(plan.schedule, f"in {plan.cuts} cuts" if plan.cuts and plan.cuts > 1 else "in one cut")
    where = ""
    if len(plan.window) == 2:
        first, last = (f"{100 * w:g}{PERCENT}" for w in plan.window)
        at_end = plan.schedule == "once" or (plan.schedule == "window" and plan.cuts == 1)
        where = f" at {last}" if at_end or first == last else f" between {first} and {last}"
        where += " of the training"
    refit = " After each cut the output weights were fitted anew." if plan.refit else ""
    name = f" (schedule {plan.schedule}, criterion {plan.criterion})" if plan.criterion else ""
    return f"The recipe asked {_goal(plan)}, {when}{where}{name}.{refit}"


def asked_text(goal: str) -> str:
    """A goal as bundles record it, ``max_bytes 65536``, in words that follow "asked"."""
    name, *values = goal.split()
    try:
        target = [float(v) if "." in v or "e" in v else int(v) for v in values]
        plan = ReductionPlan.model_validate(
            {"goal": name, "target": target if len(target) > 1 else target[0]}
        )
        return _goal(plan)
    except (LookupError, ValueError):
        return f"for {goal}"


def outcome_text(cuts: Sequence[CutRow]) -> str:
    """How many cuts stand, and the costliest of them; a single cut speaks for itself."""
    if len(cuts) == 1:
        return ""
    counts = {o: sum(cut.outcome == o for cut in cuts) for o in ("kept", "undone", "not cut")}
    parts = [f"{counts['kept']} of {len(cuts)} cuts stand"]
    if counts["undone"]:
        parts.append(f"{counts['undone']} cost too much and {_were(counts['undone'])} undone")
    if counts["not cut"]:
        parts.append(f"{counts['not cut']} {_were(counts['not cut'])} not made")
    text = "; ".join(parts) + "."
    known = [(cut.cost, i) for i, cut in enumerate(cuts) if cut.outcome == "kept" and cut.cost is not None]
    if known:
        worst, i = max(known)
        text += (
            f" The costliest that stands raised the held-out loss by {share_text(worst)}"
            f" (layer {cuts[i].layer + 1}, to {cuts[i].order_after} states)."
            if worst > 0
            else " No cut that stands raised the held-out loss."
        )
    return text


def agreement(pairs: Sequence[tuple[float, float]]) -> float | None:
    """Of any two pairs with unequal members, how often the larger first has the larger second too."""
    same = total = 0
    for i, (x, y) in enumerate(pairs):
        for u, v in pairs[:i]:
            if x != u and y != v:
                total += 1
                same += (x > u) == (y > v)
    return same / total if total else None


def _dropped(cut: CutRow) -> Sentence | None:
    share = cut.share_cut
    if share is None:
        return None
    what = "What was dropped" if cut.outcome == "kept" else "What was to go"
    of = "energy that the states pass on" if cut.power == 2 else "sum of all singular values"
    return Sentence("predicted", f"{what} carried {share_text(share)} of the {of}.")


def _response(cut: CutRow) -> Sentence | None:
    parts = []
    if cut.hinf_error is not None:
        parts.append(f"by {share_text(cut.hinf_error)} of the largest gain at the worst frequency")
    if cut.h2_error is not None:
        parts.append(f"by {share_text(cut.h2_error)} on average over all frequencies")
    if not parts:
        return None
    verb = "differs" if cut.outcome == "kept" else "differed"
    return Sentence("measured", f"The layer’s response {verb} from the original {', and '.join(parts)}.")


def _outputs(cut: CutRow) -> Sentence | None:
    parts = []
    if cut.output_error is not None:
        parts.append(f"the network’s outputs moved by {share_text(cut.output_error)}")
    if cut.loss_before is not None and cut.loss_after is not None:
        change = f" ({percent_text(cut.cost)})" if cut.cost is not None else ""
        parts.append(f"the loss went from {cut.loss_before:.4g} to {cut.loss_after:.4g}{change}")
    if cut.metric is not None and cut.metric_before is not None and cut.metric_after is not None:
        name = metric_text(cut.metric)
        before, after = (score_text(m, cut.metric) for m in (cut.metric_before, cut.metric_after))
        parts.append(f"the {name} from {before} to {after}")
    if not parts:
        return None
    return Sentence("measured", f"On held-out data {', and '.join(parts)}.")


def _moved_poles(cut: CutRow) -> Sentence | None:
    if not cut.clamped:
        return None
    poles = "pole that came out unstable was" if cut.clamped == 1 else "poles that came out unstable were"
    return Sentence("measured", f"{cut.clamped} {poles} moved inside the unit circle before all this.")


def _guarantee(cut: CutRow) -> Sentence | None:
    if cut.error_bound is not None:
        share = "" if cut.share_bound is None else f", {share_text(cut.share_bound)} of its largest gain"
        return Sentence(
            "guaranteed",
            f"Whatever goes in, what this layer puts out is off by at most {cut.error_bound:.2g} × the"
            f" strength of its input{share} (root mean square over the whole signal).",
        )
    words = CRITERIA.get(cut.criterion)
    if words is None:
        return None
    if not words.bound:
        why = f"{words.why} ({cut.criterion})"
    elif cut.clamped:
        why = f"{words.why}; here poles had to be moved, and that voids it"
    else:
        why = f"{words.why}; here the layer was changed after the cut, and that voids it"
    return Sentence("no guarantee", f"{why[0].upper()}{why[1:]}.")


def _were(count: int) -> str:
    return "was" if count == 1 else "were"


def _goal(plan: ReductionPlan) -> str:
    target = plan.target
    if isinstance(target, list):
        return f"for {', '.join(map(str, target))} states in its layers"
    number = f"{target:,}".replace(",", "\u202f") if isinstance(target, int) else f"{target:g}"
    return {
        "order": f"for {number} {'state' if target == 1 else 'states'} a layer",
        "tolerance": f"that all cuts of a layer together drop at most {share_text(target)} of its spectrum",
        "bound": f"that a layer’s guaranteed error stays within {share_text(target)} of its largest gain",
        "max_loss": f"that the held-out loss rises by at most {share_text(target)}",
        "max_states": f"for at most {number} states in all layers together",
        "max_parameters": f"for at most {number} parameters",
        "max_macs": f"for at most {number} multiply-accumulates a step",
        "max_bytes": f"for at most {number} bytes of weights",
    }[plan.goal]
