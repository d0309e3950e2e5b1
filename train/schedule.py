"""When things happen: the learning rate of a step, the steps of the cuts, the orders they go to."""

from __future__ import annotations

import math

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


def cut_steps(window: tuple[float, float], cuts: int, total_steps: int) -> tuple[int, ...]:
    """After how many finished steps each cut happens: evenly over the window; a single cut at its end."""
    first, last = window
    shares = [last] if cuts == 1 else [first + (last - first) * k / (cuts - 1) for k in range(cuts)]
    return tuple(round(share * total_steps) for share in shares)


def order_goal(start: int, end: int, attempt: int, attempts: int) -> int:
    r"""The order that cut k of K goes to: N (r/N)^{k/K}, rounded; the last one is r exactly."""
    if attempt >= attempts:
        return end
    between: float = start * (end / start) ** (attempt / attempts)
    return max(end, round(between))
