"""Progress on stderr: a bar with the time left on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

SECONDS_BETWEEN_LINES = 15.0


@dataclass(frozen=True)
class Progress:
    """How far a training run is.

    Attributes:
        step: finished steps.
        steps: all of them.
        orders: complex modes of each layer now.
        train_loss: mean since the last evaluation, at that evaluation; None before the first.
        validation_metric: at the last evaluation; None before the first.
    """

    step: int
    steps: int
    orders: tuple[int, ...]
    train_loss: float | None
    validation_metric: float | None

    def __str__(self) -> str:
        """One line without the time."""
        parts = [f"step {self.step}/{self.steps}", f"order {' '.join(map(str, self.orders))}"]
        if self.train_loss is not None:
            parts.append(f"loss {self.train_loss:.4g}")
        if self.validation_metric is not None:
            parts.append(f"validation {self.validation_metric:.4g}")
        return ", ".join(parts)


@contextmanager
def show_progress(title: str, *, quiet: bool = False) -> Iterator[Callable[[Progress], None]]:
    """A function to call after every step; what it shows goes to stderr and never to stdout.

    Args:
        title: in front of the bar or the line.
        quiet: show nothing.
    """
    if quiet:
        yield lambda progress: None
    elif sys.stderr.isatty():
        with _bar(title) as show:
            yield show
    else:
        yield _lines(title)


@contextmanager
def _bar(title: str) -> Iterator[Callable[[Progress], None]]:
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (
        TextColumn("{task.fields[title]}"),
        BarColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.description}"),
    )
    with Bar(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("", title=title, total=None)

        def show(progress: Progress) -> None:
            bar.update(task, completed=progress.step, total=progress.steps, description=str(progress))

        yield show


def _lines(title: str) -> Callable[[Progress], None]:
    start = last = time.monotonic()
    first_step: int | None = None

    def show(progress: Progress) -> None:
        nonlocal last, first_step
        now = time.monotonic()
        if first_step is None:
            first_step = progress.step - 1
        if now - last < SECONDS_BETWEEN_LINES and progress.step < progress.steps:
            return
        last = now
        left = (now - start) / (progress.step - first_step) * (progress.steps - progress.step)
        print(f"{title}: {progress}, {left:.0f} s left", file=sys.stderr, flush=True)

    return show
