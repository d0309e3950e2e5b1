"""Mixed precision: for each product the cheapest arithmetic that a budget of the loss allows.

All products start in int8 with 8-bit activations. While the network as a whole, simulated on validation
data, costs more than the budget, one product is lifted to 16-bit activations or to float32: the one whose
own share of the damage is largest for what that costs. At the end every product that was lifted is tried
one step lower again. What is held against the budget is always the whole network, never a sum of parts.

Without a recipe there is no loss: the budget then is the size of the error relative to that of the outputs.
"""

from __future__ import annotations

from collections.abc import Callable

from ssmith.bundle import Bundle
from ssmith.errors import InputError
from ssmith.quant import Plan, ProductPrecision, product_weights
from ssmith.quantization import HeldOut
from ssmith.quantization_trial import Trial
from ssmith.runtime.simulate import planned

LADDER: tuple[ProductPrecision, ...] = ("int8-a8", "int8-a16", "float32")
# What a weight costs: bytes to keep and to read, and cycles of a multiplication, roughly.
_COST = {"int8-a8": 1.0, "int8-a16": 1.5, "float32": 4.0}


def choose_plan(
    bundle: Bundle,
    held_out: HeldOut,
    loss_budget: float,
    *,
    on_progress: Callable[[int, int], object] | None = None,
) -> Plan:
    """The precision of each product, by key; the same bundle and data give the same plan.

    Args:
        bundle: calibrated; variants are not looked at.
        held_out: validation data, never test data.
        loss_budget: relative rise of the loss that the whole network may show, see ``Judgement.rise``.
        on_progress: called with (trials done, trials at most).

    Raises:
        InputError: the budget is not above zero, or the bundle has no ranges or no int8 form.
    """
    if not loss_budget > 0:
        raise InputError(
            f"a loss budget of {loss_budget:g} allows no rounding at all; write a share above zero, 0.03 for"
            " three per cent"
        )
    trial, sizes = Trial(bundle, held_out), _sizes(bundle)
    rounded = {level: planned(bundle, dict.fromkeys(sizes, level)) for level in LADDER}
    done, most = 0, 2 * len(sizes) * len(LADDER)

    def rise(plan: Plan) -> float:
        nonlocal done
        done += 1
        if on_progress is not None:
            on_progress(min(done, most), most)
        used = {key: rounded[level][key] for key, level in plan.items() if level != "float32"}
        return trial.rounded(used).rise

    plan: Plan = dict.fromkeys(sizes, LADDER[0])
    if rise(plan) <= loss_budget:
        return plan
    alone: dict[tuple[str, str], float] = {}
    exact: Plan = dict.fromkeys(sizes, LADDER[-1])
    for key in sizes:
        for level in LADDER[:-1]:
            alone[key, level] = max(rise({**exact, key: level}), 0.0)
        alone[key, LADDER[-1]] = 0.0
    while True:
        plan = _lifted(plan, alone, sizes)
        if rise(plan) <= loss_budget:
            break
    for key in sorted(sizes, key=lambda key: (-_COST[plan[key]] * sizes[key], key)):
        while plan[key] != LADDER[0]:
            lower: Plan = {**plan, key: LADDER[LADDER.index(plan[key]) - 1]}
            if rise(lower) > loss_budget:
                break
            plan = lower
    return plan


def with_plan(
    bundle: Bundle,
    held_out: HeldOut,
    loss_budget: float,
    *,
    on_progress: Callable[[int, int], object] | None = None,
) -> Bundle:
    """The same models, each variant too, with a plan of its own; one that they have is replaced.

    Args:
        bundle: calibrated.
        held_out: validation data.
        loss_budget: see ``choose_plan``.
        on_progress: see ``choose_plan``.
    """
    variants = tuple(
        with_plan(variant, held_out, loss_budget, on_progress=on_progress) for variant in bundle.variants
    )
    plan = choose_plan(bundle, held_out, loss_budget, on_progress=on_progress)
    return Bundle(bundle.meta.model_copy(update={"plan": plan}), bundle.tensors, variants)


def _lifted(plan: Plan, alone: dict[tuple[str, str], float], sizes: dict[str, int]) -> Plan:
    """The plan with one product lifted: most of the own rise saved for what that costs.

    From 8-bit activations float32 is in reach at once, as 16 bits may save nothing.
    """
    best: tuple[float, str, ProductPrecision] | None = None
    for key, now in plan.items():
        for level in LADDER[LADDER.index(now) + 1 :]:
            saved = alone[key, now] - alone[key, level]
            gain = saved / ((_COST[level] - _COST[now]) * sizes[key])
            if best is None or gain > best[0]:
                best = gain, key, level
    assert best is not None  # with all products exact nothing is above any budget
    return {**plan, best[1]: best[2]}


def _sizes(bundle: Bundle) -> dict[str, int]:
    return {key: bundle.tensors[name].size for key, name in product_weights(bundle.meta.ops).items()}
