"""What a finished model loses at every order: one curve from one trained model, without training."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ssmith.bundle import Bundle
from ssmith.cost import ModelCost
from ssmith.errors import InputError
from ssmith.files import write_atomic
from ssmith.recipe import Recipe
from ssmith.reduce import CRITERIA
from ssmith.reduce.hankel import order_for_tolerance
from ssmith.train.goal import mode_tails
from ssmith.train.posthoc import Request, prepare
from ssmith.train.progress import Progress
from ssmith.train.trial import Trials

Document = dict[str, Any]
RATIO = 2**0.5  # of neighbouring orders
TOLERANCES = (1e-2, 1e-3)  # of the spectrum, marked on the curve
CLOSE = 0.01  # of accuracy in shares, or of an error relative to the full model's: hardly a loss


def sweep(
    bundle: Bundle,
    path: Path,
    request: Request,
    recipe: Recipe | None = None,
    *,
    orders: Sequence[int] | None = None,
    on_progress: Callable[[Progress], object] | None = None,
) -> Document:
    """Cut the model to one order after another, each time from the model as it is, and write the curve.

    The file is written after every point. A killed sweep goes on where it was if model, data and settings
    are the same; else it starts anew.

    Args:
        bundle: the model.
        path: of the JSON document.
        request: criterion, refit, minimum and multiple count.
        recipe: whose data to use; without, only the change of the outputs on the golden inputs is known.
        orders: of every layer (a layer that has fewer states stays); geometric from full to 1 if None. The
            full order is always a point.
        on_progress: called after every point.

    Returns:
        The document. ``points``, from the full order down: order, orders as reached, loss, metric, predicted
        tail (Σσ^p of what is dropped, all layers) and change (its share of the whole, to the power 1/p),
        measured output error, weight bytes, states, MACs. ``marks``: orders
        worth looking at, each with its meaning. ``complete``: whether all points are there.

    Raises:
        InputError: an order below 1 or above the model's; data that does not fit; ``path`` is another file.
    """
    with prepare(bundle, request, recipe, lambda text: None) as trials:
        wanted = _orders(request, max(trials.network.orders), orders)
        key = _key(bundle, request, trials)
        done = _read(path, key)
        document: Document = {}
        for count, order in enumerate(wanted, 1):
            if order not in done:
                done[order] = _point(order, trials, bundle)
            points = [done[r] for r in wanted if r in done]
            document = _document(bundle, request, trials, points, key, complete=len(points) == len(wanted))
            write_atomic(path, (json.dumps(document, indent=1, allow_nan=False) + "\n").encode())
            if on_progress is not None:
                on_progress(_progress(done[order], count, len(wanted)))
    return document


def _document(
    bundle: Bundle, request: Request, trials: Trials, points: list[Document], key: str, *, complete: bool
) -> Document:
    recipe = trials.evidence.recipe
    return {
        "model": bundle.name,
        "bundle_sha256": bundle.sha256,
        "key": key,
        "criterion": trials.criterion,
        "power": CRITERIA[trials.criterion].power,
        "refit": request.refit,
        "data": None if recipe is None else recipe.name,
        "metric": trials.evidence.metric,
        "complete": complete,
        "points": points,
        "marks": _marks(points, trials) if complete else [],
    }


def _progress(point: Document, count: int, of: int) -> Progress:
    return Progress(count, of, tuple(point["orders"]), point["loss"], point["metric"])


def _orders(request: Request, full: int, orders: Sequence[int] | None) -> list[int]:
    """The orders of the points, as stored, from the full one down."""
    if orders is None:
        count = math.ceil(math.log(full, RATIO)) if full > 1 else 0
        orders = [round(full ** (1 - k / count)) for k in range(count + 1)] if count else [1]
    if min(orders) < 1 or max(orders) > full:
        raise InputError(
            f"--orders {','.join(map(str, orders))}: the model has {full} states in its largest layer; write"
            f" orders from 1 to {full}"
        )
    goal = request.goal
    return sorted({full, *(min(full, max(goal.minimum(0), goal.rounded(r))) for r in orders)}, reverse=True)


def _point(order: int, trials: Trials, bundle: Bundle) -> Document:
    present = trials.network.orders
    trial = trials.to_orders(tuple(min(order, n) for n in present))
    reached = trial.network.orders
    power = CRITERIA[trials.criterion].power
    tails = [mode_tails(sigma, power) for sigma in trials.spectra()]
    lost = sum(tail[r] for tail, r in zip(tails, reached, strict=True))
    whole = sum(tail[0] for tail in tails)
    sizes = {
        kind: ModelCost.of(kind, bundle.meta.ops, bundle.tensors).total(reached)
        for kind in ("bytes", "states", "macs")
    }
    trials.forget()
    return {
        "order": order,
        "orders": list(reached),
        "reached": all(r <= order for r in reached),
        "loss": _plain(trial.found.loss),
        "metric": _plain(trial.found.metric),
        "output_error": _plain(trial.output_error),
        "predicted_tail": lost,
        "predicted_change": (lost / whole) ** (1 / power) if whole > 0 else 0.0,
        "weight_bytes": int(sizes["bytes"]),
        "states": int(sizes["states"]),
        "macs_per_step": int(sizes["macs"]),
    }


def _marks(points: Sequence[Document], trials: Trials) -> list[Document]:
    """Orders worth looking at: where tolerances would cut, the smallest that is close to full, the elbow."""
    power = CRITERIA[trials.criterion].power
    measure = "Σσ²" if power == 2 else "Σσ"
    marks = []
    for tolerance in TOLERANCES:
        real = max(order_for_tolerance(sigma, tolerance, power) for sigma in trials.spectra())
        order, meaning = -(-real // 2), f"drops {tolerance:g} of {measure}"
        if order < points[0]["order"]:
            marks.append({"name": f"tolerance {tolerance:g}", "order": order, "meaning": meaning})
    scores = _scores(points, trials.evidence.metric)
    least = scores[0] - CLOSE * (1 + 1e-9)
    close = [point["order"] for point, score in zip(points, scores, strict=True) if score >= least]
    if trials.evidence.metric is not None:
        distance = "a point" if trials.evidence.metric == "accuracy" else "1 %"
        meaning = f"{trials.evidence.metric} within {distance} of full"
        marks.append({"name": "close", "order": min(close), "meaning": meaning})
    if (elbow := _elbow([point["order"] for point in points], scores)) is not None:
        marks.append({"name": "elbow", "order": elbow, "meaning": "the curve bends most"})
    return marks


def _scores(points: Sequence[Document], metric: str | None) -> list[float]:
    """A score of each point, higher is better; a missing figure is worst of all."""
    name = "output_error" if metric is None else "metric"
    sign = 1.0 if metric == "accuracy" else -1.0
    scale = abs(points[0][name]) if metric in ("nrmse", "esr") and points[0][name] else 1.0
    return [-math.inf if p[name] is None else sign * p[name] / scale for p in points]


def _elbow(orders: Sequence[int], scores: Sequence[float]) -> int | None:
    """The order whose score stands highest above the line between the ends, over log order.

    None where nothing does: fewer than three points, a missing figure, or no bend.
    """
    top, bottom = scores[0], scores[-1]
    if len(orders) < 3 or not math.isfinite(top - bottom) or top <= bottom:
        return None
    place = [math.log(order / orders[-1]) / math.log(orders[0] / orders[-1]) for order in orders]
    above = [(s - bottom) / (top - bottom) - x for s, x in zip(scores, place, strict=True)]
    best = max(range(len(orders)), key=lambda i: above[i])
    return orders[best] if above[best] > 0.05 else None


def _key(bundle: Bundle, request: Request, trials: Trials) -> str:
    """Hash of all that decides a point."""
    recipe = trials.evidence.recipe
    data = None if recipe is None else [recipe.digest(), recipe.seed]
    goal = request.goal
    settings = [trials.criterion, request.refit, goal.minimum_order, goal.multiple]
    document = json.dumps([bundle.sha256, settings, data, version("ssmith"), version("torch")])
    return hashlib.sha256(document.encode()).hexdigest()


def _read(path: Path, key: str) -> dict[int, Document]:
    """The points of a sweep that was killed or done, by order.

    Raises:
        InputError: the file is something else.
    """
    if not path.exists():
        return {}
    try:
        document = json.loads(path.read_text())
        points = {int(point["order"]): point for point in document["points"]}
        same = document["key"] == key
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} exists and holds no sweep; give another --out, or remove it") from error
    return points if same else {}


def _plain(value: float) -> float | None:
    return value if math.isfinite(value) else None
