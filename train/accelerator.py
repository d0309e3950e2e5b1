"""Lightning Fabric, and what makes a run repeat itself bit for bit."""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import torch
from lightning_fabric import Fabric

from ssmith.errors import InputError, SsmithError
from ssmith.recipe import TrainSettings

Result = TypeVar("Result")


def open_fabric(settings: TrainSettings) -> Fabric:
    """Fabric on the recipe's accelerator, devices, strategy and precision; processes are launched.

    Raises:
        InputError: this machine does not have what the recipe asks for.
    """
    if settings.batch % settings.devices:
        raise InputError(
            f"train.batch = {settings.batch} cannot be shared evenly by train.devices = {settings.devices}; "
            "write a multiple"
        )
    try:
        fabric = Fabric(
            accelerator=settings.accelerator,
            devices=settings.devices,
            strategy=settings.strategy,
            precision=settings.precision,
        )
    except (ValueError, RuntimeError, TypeError, ImportError) as error:
        raise InputError(
            f"this machine cannot run train.accelerator = {settings.accelerator!r}, "
            f"devices = {settings.devices}, strategy = {settings.strategy!r}, "
            f"precision = {settings.precision!r}: {error}. 'auto', 1, 'auto', '32-true' run anywhere"
        ) from error
    fabric.launch()
    return fabric


@contextlib.contextmanager
def reproducible(threads: int, device: torch.device) -> Iterator[None]:
    """Fixed thread count and deterministic algorithms inside; all as before afterwards.

    Sums on the CPU depend on how many threads share them, so the count belongs to the result.
    """
    before = torch.get_num_threads()
    deterministic = torch.are_deterministic_algorithms_enabled()
    cuda = [device.index or 0] if device.type == "cuda" else []
    with contextlib.ExitStack() as stack:
        stack.enter_context(torch.random.fork_rng(devices=cuda))
        torch.set_num_threads(threads)
        stack.callback(torch.set_num_threads, before)
        if cuda:
            # Without this cuBLAS may pick another order of sums from run to run.
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
            stack.enter_context(warnings.catch_warnings())
            warnings.filterwarnings("ignore", message=".*deterministic")
            torch.use_deterministic_algorithms(True, warn_only=True)
            stack.callback(torch.use_deterministic_algorithms, deterministic)
        yield


def seed_step(seed: int, step: int, rank: int, device: torch.device) -> None:
    """Set the generators that a step draws from (dropout): a pure function, so nothing needs saving.

    The multipliers are odd and large, so that neighbouring seeds, steps and ranks share no stream. Only the
    CPU's and the device's own generator are set: `torch.manual_seed` takes a millisecond, for devices too
    that are not there.
    """
    mixed = (seed * 0x9E3779B97F4A7C15 + step * 0xBF58476D1CE4E5B9 + rank * 0x94D049BB133111EB) % (1 << 63)
    torch.default_generator.manual_seed(mixed)
    if device.type == "cuda":
        torch.cuda.manual_seed(mixed)
    elif device.type == "mps":
        torch.mps.manual_seed(mixed)


def shared_by(fabric: Fabric) -> Callable[[Callable[[], Any]], Any]:
    """Rank 0 computes, every rank gets the result, or the same error."""
    if fabric.world_size == 1:
        return lambda compute: compute()

    def share(compute: Callable[[], Any]) -> Any:
        result: Any = None
        if fabric.is_global_zero:
            try:
                result = compute()
            except SsmithError as error:
                result = error
        result = fabric.broadcast(result, src=0)
        if isinstance(result, SsmithError):
            raise result
        return result

    return share
