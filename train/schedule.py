"""When things happen: the learning rate of a step, the steps of the cuts, the orders they go to."""

from __future__ import annotations

import math

from ssmith.recipe import Schedule

GRADUAL_INTERVAL = 0.015  # of the training, between the cuts of "gradual"
PLATEAU_INTERVAL = 0.01  # of the training, between the measurements of "plateau"
# The cosine ends here and not at zero, so that the last steps still move.
FINAL_FACTOR = 0.01


def learning_rate_factor(step: int, steps: int, warmup: float) -> float:
    r"""Linear warm-up over a share of the steps, then half a cosine down to FINAL_FACTOR.

    Args:
        step: which step, 0 … steps - 1.
        steps: how many there will be.
        warmup: share of the steps in [0, 1].
    """
    rising = math.ceil(warmup * steps)
    if step < rising:
        return (step + 1) / rising
    progress = (step - rising) / max(1, steps - rising)
    return FINAL_FACTOR + (1 - FINAL_FACTOR) * 0.5 * (1 + math.cos(math.pi * progress))


def cut_steps(
    schedule: Schedule, window: tuple[float, float], cuts: int, total_steps: int
) -> tuple[int, ...]:
    """After how many finished steps a truncator acts: cuts, or with "plateau" looks whether it is time.

    - window: so many cuts, evenly over the window; a single one at its end.
    - once: one, at the window's end.
    - gradual: every GRADUAL_INTERVAL of the training over the window.
    - plateau: every PLATEAU_INTERVAL of the training over the window, but not more often than every step.
    """
    first, last = window
    if schedule == "gradual":
        cuts = 1 + round((last - first) / GRADUAL_INTERVAL)
    elif schedule == "plateau":
        looks = min((last - first) / PLATEAU_INTERVAL, (last - first) * total_steps)
        cuts = 1 + round(looks)
    elif schedule == "once":
        cuts = 1
    shares = [last] if cuts == 1 else [first + (last - first) * k / (cuts - 1) for k in range(cuts)]
    return tuple(round(share * total_steps) for share in shares)


def between(schedule: Schedule, start: float, end: float, attempt: int, attempts: int) -> float:
    r"""Where cut k of K leaves an order or a cost on its way from start N to end r; the last one exactly r.

    .. math:: N (r/N)^{k/K} \quad\text{or, gradual,}\quad r + (N - r)(1 - k/K)^3
    """
    if attempt >= attempts:
        return end
    if schedule == "gradual":
        return end + (start - end) * (1 - attempt / attempts) ** 3
    where: float = start * (end / start) ** (attempt / attempts)
    return where


def order_goal(schedule: Schedule, start: int, end: int, attempt: int, attempts: int) -> int:
    """The order that cut k of K goes to: `between`, rounded."""
    return max(end, round(between(schedule, start, end, attempt, attempts)))


def allowance(spent: float, total: float, attempt: int, attempts: int) -> float:
    """What cut k of K may spend of a total: an equal share of what is left, never below zero."""
    return max(0.0, total - spent) / (attempts - attempt + 1)
